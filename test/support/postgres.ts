/**
 * The PostgreSQL of the tests: one embedded server a run, started by vitest as its global set-up, and a fresh database
 * for whoever asks. With TALOS_TEST_DATABASE set (the URL of a superuser) that server is used instead.
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

declare module 'vitest' {
  interface ProvidedContext {
    readonly testPostgresUrl: string;
  }
}

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
  const server = await startEmbeddedPostgres({ dataDir, clock: systemClock, log: () => {} });
  return {
    url: socketUrl(server.connection),
    stop: async () => {
      await server.stop();
      await rm(dataDir, { recursive: true });
    },
  };
}

/** A fresh, empty database on the server of this run. */
export async function createTestDatabase(): Promise<TestDatabase> {
  const server = inject('testPostgresUrl');
  const name = `test_${randomBytes(6).toString('hex')}`;
  await execute(server, `CREATE DATABASE ${name} TEMPLATE template0`);
  return {
    url: withDatabase(server, name),
    drop: () => execute(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`),
  };
}

/** A URL that libpq and `pg` understand alike: the folder of the socket is the host, percent-encoded. */
export function socketUrl(connection: { host: string; port: number; user: string; database: string }): string {
  const { host, port, user, database } = connection;
  return `postgresql://${user}@${encodeURIComponent(host)}:${port}/${database}`;
}

let server: TestPostgres | undefined;

/** vitest calls it before the first test. */
export async function setup(project: TestProject): Promise<void> {
  const given = process.env['TALOS_TEST_DATABASE'];
  if (given === undefined) server = await startTestPostgres();
  project.provide('testPostgresUrl', given ?? server?.url ?? '');
}

/** vitest calls it after the last test. */
export async function teardown(): Promise<void> {
  await server?.stop();
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
