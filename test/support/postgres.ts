/**
 * The PostgreSQL of the tests: an embedded server for each worker, as one has connections for so many gateways only,
 * started by vitest as its global set-up, and a fresh database for whoever asks, migrated or empty. With
 * TALOS_TEST_DATABASE set (the URL of a superuser) that server is used instead.
 */
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { inject } from 'vitest';
import type { TestProject } from 'vitest/node';
import { systemClock } from '../../src/core/clock.ts';
import { startEmbeddedPostgres } from '../../src/storage/embedded/start.ts';
import { migrate } from '../../src/storage/migrate.ts';

declare module 'vitest' {
  interface ProvidedContext {
    readonly testServers: readonly TestServer[];
  }
}

interface TestServer {
  /** The URL of its superuser. */
  readonly url: string;
  /** A migrated database that nobody connects to: copying it takes a third of the time that migrations take. */
  readonly template: string;
}

// Some tests have nine gateways at once.
const connectionsMax = 200;

export interface TestPostgres {
  /** The URL of its superuser on the database `postgres`. */
  readonly url: string;
  readonly stop: () => Promise<void>;
}

export interface TestDatabase {
  readonly url: string;
  /** Ends all connections to it and deletes it. */
  readonly drop: () => Promise<void>;
}

/** A server of its own, with its data in a temporary folder. */
export async function startTestPostgres(): Promise<TestPostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), 'talos-test-'));
  // Root's server runs as another user, which must pass through.
  await chmod(dataDir, 0o711);
  const server = await startEmbeddedPostgres({ dataDir, clock: systemClock, log: () => {}, connectionsMax });
  return {
    url: socketUrl(server.connection),
    stop: async () => {
      await server.stop();
      await rm(dataDir, { recursive: true });
    },
  };
}

/** A fresh, migrated database with nothing in its log, on the server of this run. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const { url, template } = serverOfWorker();
  return await createDatabase(url, template);
}

/** The same before the first migration. */
export async function createEmptyDatabase(): Promise<TestDatabase> {
  return await createDatabase(testServerUrl(), 'template0');
}

/** The URL of the superuser on the server that this test uses. */
export function testServerUrl(): string {
  return serverOfWorker().url;
}

function serverOfWorker(): TestServer {
  const servers = inject('testServers');
  const server = servers[(Number(process.env['VITEST_POOL_ID']) - 1) % servers.length];
  if (server === undefined) throw new Error('no server was started for this worker');
  return server;
}

async function createDatabase(server: string, template: string): Promise<TestDatabase & { readonly name: string }> {
  const name = `test_${randomBytes(6).toString('hex')}`;
  await execute(server, `CREATE DATABASE ${name} TEMPLATE ${template}`);
  return {
    name,
    url: withDatabase(server, name),
    drop: () => execute(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`),
  };
}

/** A URL that libpq and `pg` understand alike: the folder of the socket is the host, percent-encoded. */
export function socketUrl(connection: { host: string; port: number; user: string; database: string }): string {
  const { host, port, user, database } = connection;
  return `postgresql://${user}@${encodeURIComponent(host)}:${port}/${database}`;
}

const undo: (() => Promise<void>)[] = [];

/** vitest calls it before the first test. */
export async function setup(project: TestProject): Promise<void> {
  const given = process.env['TALOS_TEST_DATABASE'];
  const count = given === undefined ? project.config.maxWorkers : 1;
  const servers = await Promise.all(Array.from({ length: count }, () => openServer(given)));
  project.provide('testServers', servers);
}

async function openServer(given: string | undefined): Promise<TestServer> {
  const url = given ?? (await startServer());
  const { name, url: templateUrl, drop } = await createDatabase(url, 'template0');
  undo.unshift(drop);
  await migrate({ url: templateUrl });
  return { url, template: name };
}

async function startServer(): Promise<string> {
  const { url, stop } = await startTestPostgres();
  undo.push(stop);
  return url;
}

/** vitest calls it after the last test. */
export async function teardown(): Promise<void> {
  for (const step of undo) await step();
}

function withDatabase(url: string, name: string): string {
  return url.replace(/\/[^/?]*(\?.*)?$/, `/${name}$1`);
}

async function execute(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
