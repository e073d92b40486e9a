/**
 * The power fails: a gateway with its embedded store has everything on one disk, which loses, at random moments under load,
 * all that was not synced. What was acknowledged is there when the machine is on again, and the log key and the last
 * checkpoint are those that the gateway signed with.
 */
import { stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { cleanUp, endProcess, openFolder, processesIn, startStore } from '../support/embedded.ts';
import { openPowerDisk } from '../support/power.ts';
import { type Node, startGateways } from './cluster.ts';
import { dice } from './dice.ts';
import { startLoad } from './load.ts';
import { acknowledgedMore, expectNoneLost } from './settle.ts';

afterEach(cleanUp, 60_000);

const cuts = Number(process.env['TALOS_POWER_CUTS'] ?? 10);
const seed = Number(process.env['TALOS_CRASH_SEED'] ?? Date.now() % 2 ** 31);
const diskMib = 1_024;
const eventsBetween = 300;

it('loses nothing when the power fails', { timeout: (cuts * 60 + 120) * 1000 }, async () => {
  const disk = await openPowerDisk(await openFolder(), diskMib);
  const gateways = await startGateways({
    folder: disk.folder,
    count: 1,
    env: { TALOS_LOG_KEY_FILE: join(disk.folder, 'gateway-1', 'log.key') },
  });
  const [node] = gateways.nodes as [Node];
  const dataDir = join(disk.folder, node.name);
  const unsynced = join(disk.folder, 'unsynced');
  const chance = dice(seed);
  const load = startLoad(gateways, dice(seed + 1));
  for (let cut = 0; cut < cuts; cut++) {
    await acknowledgedMore(load, eventsBetween);
    await delay(chance.below(1_500));
    await writeFile(unsynced, 'for the page cache alone');
    disk.cut();
    node.url = undefined;
    for (const pid of await processesIn(join(dataDir, 'postgres'))) process.kill(pid, 'SIGKILL');
    if (node.child !== undefined) await endProcess(node.child, 'SIGKILL');
    await disk.restore();
    // The disk did lose what was not synced.
    await expect(stat(unsynced).then(({ size }) => size)).rejects.toThrow('ENOENT');
    await gateways.start(node);
  }
  await acknowledgedMore(load, eventsBetween);
  const openStore = async () => (await startStore(dataDir)).connection;
  await expectNoneLost(load, gateways, openStore, { 'power failures': cuts, seed });
});
