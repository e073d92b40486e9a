/**
 * System calls fail: under load, writes and syncs of the store and of a gateway are answered with an error, or the process
 * is killed at one, by strace. What was acknowledged is there afterwards, and each time work goes on by itself.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { cleanUp, endProcess, later, openFolder, processesIn, query } from '../support/embedded.ts';
import { type Cluster, type Node, startCluster } from './cluster.ts';
import { dice } from './dice.ts';
import { type Load, startLoad } from './load.ts';
import { acknowledgedMore, expectNoneLost } from './settle.ts';

afterEach(cleanUp, 60_000);

/** strace counts the calls of each process by itself: the `nth` of whichever process comes to it first fails. */
interface Injection {
  readonly calls: string;
  readonly fault: 'error=EIO' | 'error=ENOSPC' | 'signal=SIGKILL';
  readonly nth: number;
  /** Asks for a checkpoint of the store, which does what commits alone do not. */
  readonly checkpoint?: true;
}

const onCommit: readonly Injection[] = ['fdatasync', 'pwrite64,pwritev'].flatMap((calls) =>
  ([1, 4] as const).flatMap((nth): Injection[] => [
    { calls, fault: 'error=EIO', nth },
    { calls, fault: 'error=ENOSPC', nth },
    { calls, fault: 'signal=SIGKILL', nth },
  ]),
);
const onCheckpoint: readonly Injection[] = [
  { calls: 'fsync', fault: 'error=EIO', nth: 1, checkpoint: true },
  { calls: 'fsync', fault: 'error=EIO', nth: 7, checkpoint: true },
  { calls: 'fsync', fault: 'signal=SIGKILL', nth: 2, checkpoint: true },
  { calls: 'rename,renameat,renameat2', fault: 'signal=SIGKILL', nth: 1, checkpoint: true },
];
/** A gateway keeps its last checkpoint in a file: written beside, synced, put in place, the folder synced. */
const ofGateway: readonly Injection[] = [
  { calls: 'fsync,fdatasync', fault: 'error=EIO', nth: 1 },
  { calls: 'fsync,fdatasync', fault: 'error=ENOSPC', nth: 2 },
  { calls: 'fsync,fdatasync', fault: 'signal=SIGKILL', nth: 1 },
  { calls: 'fsync,fdatasync', fault: 'signal=SIGKILL', nth: 2 },
  { calls: 'rename,renameat,renameat2', fault: 'error=EIO', nth: 1 },
  { calls: 'rename,renameat,renameat2', fault: 'signal=SIGKILL', nth: 1 },
  { calls: 'write,writev', fault: 'signal=SIGKILL', nth: 5 },
];
const eventsBetween = 300;
const patienceMs = 20_000;

it('loses nothing when system calls of the store fail', { timeout: 900_000 }, async () => {
  const cluster = await startCluster(2);
  const load = startLoad(cluster, dice(1));
  const { connection } = cluster.store;
  const [row] = (await query(connection, 'SHOW data_directory')) as { data_directory: string }[];
  const folder = row?.data_directory ?? '';
  let hits = 0;
  const injections = [...onCommit, ...onCheckpoint];
  for (const injection of injections) {
    await acknowledgedMore(load, eventsBetween);
    // It may just be starting again.
    await expect.poll(async () => (await processesIn(folder)).length, { timeout: patienceMs }).toBeGreaterThan(3);
    const pids = await processesIn(folder);
    if (await inject(pids, injection, () => checkpoint(cluster, injection))) hits++;
  }
  await acknowledgedMore(load, eventsBetween);
  expect(hits).toBe(injections.length);
  await expectNoneLost(load, cluster, () => connection, { 'calls that failed': hits });
});

it('loses nothing when system calls of a gateway fail', { timeout: 600_000 }, async () => {
  const cluster = await startCluster(2);
  const load = startLoad(cluster, dice(2));
  const [node] = cluster.nodes as [Node];
  let hits = 0;
  let kills = 0;
  for (const injection of ofGateway) {
    await acknowledgedMore(load, eventsBetween);
    const pid = node.child?.pid ?? 0;
    if (await inject([pid], injection, () => checkpointsAskedOf(node))) hits++;
    if (injection.fault === 'signal=SIGKILL') {
      await revive(cluster, node, load);
      kills++;
    }
    await isSigningAgain(node);
  }
  expect(hits).toBe(ofGateway.length);
  await expectNoneLost(load, cluster, () => cluster.store.connection, { 'calls that failed': hits, kills });
});

/** Attaches strace until one call has failed. False when none came. */
async function inject(
  pids: readonly number[],
  { calls, fault, nth }: Injection,
  provoke: () => Promise<unknown>,
): Promise<boolean> {
  const log = join(await openFolder(), 'strace');
  const plan = ['-e', `trace=${calls}`, '-e', `inject=${calls}:${fault}:when=${nth}`];
  const tracer = spawn('strace', ['-f', '-q', '-o', log, ...plan, ...pids.flatMap((pid) => ['-p', String(pid)])], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  later(() => endProcess(tracer, 'SIGKILL'));
  const isHit = await hitIn(log, tracer, provoke);
  // Who is started again must not meet the same fault. A polite signal would wait for ends that it has not heard of.
  await endProcess(tracer, 'SIGKILL');
  return isHit;
}

async function hitIn(log: string, tracer: ChildProcess, provoke: () => Promise<unknown>): Promise<boolean> {
  const untilMs = performance.now() + patienceMs;
  while (performance.now() < untilMs && tracer.exitCode === null) {
    void provoke().catch(() => undefined);
    const text = await readFile(log, 'utf8').catch(() => '');
    if (/\(INJECTED\)|killed by SIGKILL/.test(text)) return true;
    await delay(10);
  }
  return false;
}

let asked: Promise<unknown> | undefined;

/** One at a time. */
async function checkpoint({ store }: Cluster, injection: Injection): Promise<void> {
  if (injection.checkpoint === undefined || asked !== undefined) return;
  asked = query(store.connection, 'SELECT pg_switch_wal()', 'CHECKPOINT')
    .catch(() => undefined)
    .finally(() => {
      asked = undefined;
    });
  await asked;
}

async function checkpointsAskedOf({ url }: Node): Promise<void> {
  await fetch(`${url}/log/checkpoint`);
}

async function revive(cluster: Cluster, node: Node, { ledger }: Load): Promise<void> {
  const { child } = node;
  node.url = undefined;
  if (child !== undefined && child.signalCode === null) await once(child, 'exit');
  expect(child?.signalCode).toBe('SIGKILL');
  expect(ledger.faults).toEqual([]);
  await cluster.start(node);
}

/** It signs the log as it is now. */
async function isSigningAgain(node: Node): Promise<void> {
  const sizeNow = async () => Number((await (await fetch(`${node.url}/log/checkpoint`)).text()).split('\n')[1]);
  const before = await sizeNow();
  await expect.poll(sizeNow, { timeout: patienceMs }).toBeGreaterThan(before);
}
