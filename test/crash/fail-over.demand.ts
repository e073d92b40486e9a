/**
 * Fail-over: the machine of the primary dies under load and its synchronous replica is promoted, three times. Whatever was
 * acknowledged is on the new primary, and the gateways go on signing the same log. TALOS_POSTGRES_BIN names the folder of
 * PostgreSQL's programs, of which `pg_basebackup` is none of those that the gateway brings.
 */
import { execFileSync, spawn } from 'node:child_process';
import { chown, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { cleanUp, later, openFolder, processesIn, query } from '../support/embedded.ts';
import { socketUrl } from '../support/postgres.ts';
import { startGateways } from './cluster.ts';
import { dice } from './dice.ts';
import { startLoad } from './load.ts';
import { acknowledgedMore, expectNoneLost } from './settle.ts';

afterEach(cleanUp, 60_000);

const programs = process.env['TALOS_POSTGRES_BIN'] ?? '/usr/lib/postgresql/15/bin';
const failOvers = 3;
const eventsBetween = 1_000;
const patienceMs = 30_000;

/** The server refuses to run as root. */
const account = process.getuid?.() === 0 ? { uid: idOf('-u'), gid: idOf('-g') } : {};

function idOf(option: string): number {
  return Number(execFileSync('id', [option, 'postgres'], { encoding: 'utf8' }));
}

interface Server {
  readonly dataFolder: string;
  readonly connection: { host: string; port: number; user: string; database: string };
  readonly url: string;
}

function run(program: string, ...args: readonly string[]): void {
  execFileSync(join(programs, program), args, { ...account, cwd: '/', stdio: 'pipe' });
}

async function makeFolder(path: string): Promise<string> {
  await mkdir(path, { mode: 0o700 });
  if (account.uid !== undefined) await chown(path, account.uid, account.gid);
  return path;
}

async function startServer(folder: string, dataFolder: string): Promise<Server> {
  const host = await makeFolder(join(folder, 'socket'));
  const args = ['-D', dataFolder, '-c', 'listen_addresses=', '-c', `unix_socket_directories=${host}`];
  const child = spawn(join(programs, 'postgres'), args, { ...account, cwd: '/', stdio: 'ignore' });
  later(() => child.kill('SIGQUIT'));
  const connection = { host, port: 5432, user: 'postgres', database: 'postgres' };
  await expect.poll(() => query(connection, 'SELECT 1').catch(() => []), { timeout: patienceMs }).toHaveLength(1);
  return { dataFolder, connection, url: socketUrl(connection) };
}

async function startPrimary(folder: string): Promise<Server> {
  const dataFolder = await makeFolder(join(folder, 'data'));
  run('initdb', '-D', dataFolder, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync');
  return await startServer(folder, dataFolder);
}

/** A copy of the primary that follows it; from then on no commit is answered before the replica has it on its disk. */
async function startReplica(folder: string, primary: Server): Promise<Server> {
  const dataFolder = await makeFolder(join(folder, 'data'));
  const { host } = primary.connection;
  run('pg_basebackup', '-h', host, '-U', 'postgres', '-D', dataFolder, '-R', '-X', 'stream', '-c', 'fast', '--no-sync');
  const replica = await startServer(folder, dataFolder);
  await query(primary.connection, "ALTER SYSTEM SET synchronous_standby_names = '*'", 'SELECT pg_reload_conf()');
  const states = () => query(primary.connection, "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'");
  await expect.poll(states, { timeout: patienceMs }).toHaveLength(1);
  return replica;
}

/** All at once, as when the machine is gone; its disk is never looked at again. */
async function kill({ dataFolder }: Server): Promise<void> {
  const pids = await processesIn(dataFolder);
  expect(pids.length, 'processes of the primary').toBeGreaterThan(1);
  for (const pid of pids) process.kill(pid, 'SIGKILL');
  await expect.poll(() => processesIn(dataFolder), { timeout: patienceMs }).toEqual([]);
}

async function promote({ connection }: Server): Promise<void> {
  await query(
    connection,
    'SELECT pg_promote()',
    // The one that it was copied from may have asked for a replica; there is none now.
    "ALTER SYSTEM SET synchronous_standby_names = ''",
    'SELECT pg_reload_conf()',
  );
}

it('loses nothing when a synchronous replica takes over', { timeout: 300_000 }, async () => {
  const folder = await openFolder();
  const place = (name: string) => makeFolder(join(folder, name));
  let primary = await startPrimary(await place('pg-0'));
  const gateways = await startGateways({ folder, count: 3, database: () => primary.url });
  const load = startLoad(gateways, dice(3));
  await acknowledgedMore(load, eventsBetween);
  for (let turn = 1; turn <= failOvers; turn++) {
    const replica = await startReplica(await place(`pg-${turn}`), primary);
    await acknowledgedMore(load, eventsBetween);
    await kill(primary);
    await promote(replica);
    primary = replica;
    for (const { proxy } of gateways.nodes) proxy.urlOf(primary.url);
    await acknowledgedMore(load, eventsBetween);
  }
  // Each promotion begins a timeline, which the name of a log file starts with.
  const [row] = (await query(primary.connection, 'SELECT pg_walfile_name(pg_current_wal_lsn()) AS file')) as {
    file: string;
  }[];
  expect(row?.file.slice(0, 8)).toBe(`0000000${1 + failOvers}`);
  // The fork guard found nothing to object to.
  for (const { logs } of gateways.nodes) for (const text of logs) expect(text()).not.toMatch(/old copy|were signed/);
  await expectNoneLost(load, gateways, () => primary.connection, { 'fail-overs': failOvers });
});
