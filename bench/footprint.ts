/**
 * What one gateway on its embedded store takes: the time of its first start on an empty folder and of the next ones, and
 * the memory of its process when idle and under load. The database's memory is told apart.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { type Later, withCleanup } from './lib/cleanup.ts';
import { makeFolder } from './lib/database.ts';
import { type BenchGateway, startGateway } from './lib/gateway.ts';
import { startGenerator } from './lib/generator.ts';
import { type BenchOptions, readOptions } from './lib/options.ts';
import { childrenOf, familyMemoryMb, residentMb } from './lib/proc.ts';
import { deliver } from './lib/report.ts';
import { measureInTurns } from './lib/rounds.ts';
import { figure } from './lib/statistics.ts';
import { readCallTarget } from './lib/targets.ts';
import { startUpstream } from './lib/upstream.ts';

const laterStarts = 3;
const settleMs = 10_000;

const options = readOptions();
await withCleanup((later) => main(options, later));

async function main(options: BenchOptions, later: Later): Promise<void> {
  const upstream = await startUpstream(later);
  const dataDir = await makeFolder('talos-bench-data-', later);
  const start = () => startGateway({ upstreamPort: upstream.port, dataDir, profile: options.profile }, later);

  const first = await start();
  await first.stop();
  const startsMs: number[] = [];
  for (let n = 1; n < laterStarts; n++) startsMs.push(await startAndStop(start));
  const gateway = await start();
  startsMs.push(gateway.startMs);

  await delay(settleMs);
  const idleMb = residentMb(gateway.pid).now;
  const databaseMb = databaseMemoryMb(gateway);
  const generator = await startGenerator(later);
  const measurements = await measureInTurns([generator.contender('gateway', readCallTarget(gateway.port), 32)], {
    seconds: options.seconds,
    meters: {},
  });
  const loaded = residentMb(gateway.pid);
  const secondStartSec = Math.max(...startsMs) / 1000;
  await deliver(
    {
      benchmark: 'footprint',
      command: `node bench/footprint.ts --seconds ${options.seconds}`,
      environment: {},
      sections: [{ title: 'The load: tool calls, concurrency 32', unit: 'calls', measurements, reference: 'gateway' }],
      facts: [
        {
          title: 'Footprint',
          rows: [
            ['first start, empty folder', `${figure(first.startMs / 1000)} s`],
            ['later starts', startsMs.map((ms) => `${figure(ms / 1000)} s`).join(', ')],
            ['gateway process, idle', `${figure(idleMb)} MB`],
            ['gateway process, after the load', `${figure(loaded.now)} MB`],
            ['gateway process, peak', `${figure(loaded.peak)} MB`],
            ['embedded PostgreSQL, idle (shared pages once)', `${figure(databaseMb)} MB`],
          ],
        },
      ],
      budgets: [
        { what: 'memory, idle', unit: 'MB', value: idleMb, must: 120, aim: 90, better: 'less' },
        { what: 'memory, under load', unit: 'MB', value: loaded.peak, must: 300, aim: 200, better: 'less' },
        { what: 'second start, embedded store', unit: 's', value: secondStartSec, must: 3, aim: 1.5, better: 'less' },
      ],
    },
    options,
  );
}

async function startAndStop(start: () => Promise<BenchGateway>): Promise<number> {
  const gateway = await start();
  await gateway.stop();
  return gateway.startMs;
}

/** The embedded server is a child of the gateway's process. */
function databaseMemoryMb(gateway: BenchGateway): number {
  return childrenOf(gateway.pid).reduce((sum, child) => sum + familyMemoryMb(child), 0);
}
