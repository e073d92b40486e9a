/** What the tests of the log share: migrated databases, writers on them, and an end that leaves nothing behind. */
import pg from 'pg';
import type { CommittedEvent } from '../../src/core/audit-event.ts';
import { createLogWriter, type LogWriter } from '../../src/storage/log.ts';
import { migrate } from '../../src/storage/migrate.ts';
import { type CheckedRecord, checkLog } from './log-checker.ts';
import { createTestDatabase, type TestDatabase } from './postgres.ts';

const cleanups: (() => Promise<unknown> | unknown)[] = [];

/** For `afterEach`: undoes everything in reverse order. */
export async function cleanUp(): Promise<void> {
  for (let step = cleanups.pop(); step !== undefined; step = cleanups.pop()) await step();
}

export function later(step: () => Promise<unknown> | unknown): void {
  cleanups.push(step);
}

// Databases that no test uses now: emptying one costs a fifth of making one.
const spare: TestDatabase[] = [];

/** For `afterAll`: drops the databases of this file. */
export async function dropDatabases(): Promise<void> {
  for (const database of spare.splice(0)) await database.drop();
}

/** A database with an empty log and nothing else. */
export async function freshLog(): Promise<{ url: string }> {
  const database = spare.pop() ?? (await createTestDatabase());
  later(async () => {
    await empty(database);
    spare.push(database);
  });
  await migrate({ url: database.url });
  return { url: database.url };
}

async function empty({ url }: TestDatabase): Promise<void> {
  await query(
    url,
    'SET default_transaction_read_only = off',
    `ALTER DATABASE ${new URL(url).pathname.slice(1)} RESET ALL`,
    'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
    'DROP SCHEMA public CASCADE',
    'CREATE SCHEMA public',
  );
}

export function writerOn(address: { url: string }): LogWriter {
  const writer = createLogWriter(address);
  later(() => writer.close());
  return writer;
}

/** Runs statements on a connection of its own and returns the rows of the last one. */
export async function query(url: string, ...statements: readonly string[]): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  client.on('error', () => undefined);
  await client.connect();
  try {
    let rows: Record<string, unknown>[] = [];
    for (const statement of statements) rows = (await client.query<Record<string, unknown>>(statement)).rows;
    return rows;
  } finally {
    await client.end();
  }
}

/** The whole log is intact, and every acknowledged event is in it with the place that its caller was told. */
export async function checkAcknowledged(
  address: { url: string },
  acknowledged: readonly CommittedEvent[],
): Promise<CheckedRecord[]> {
  const records = await checkLog(address);
  for (const { seq, eventId } of acknowledged) {
    if (records[seq]?.eventId !== eventId) throw new Error(`event ${eventId} is not at its place ${seq}`);
  }
  if (new Set(acknowledged.map(({ seq }) => seq)).size !== acknowledged.length) {
    throw new Error('two callers were told the same place');
  }
  return records;
}

/** The values of `meta.n` in the order of the log. */
export function numbersOf(records: readonly CheckedRecord[]): unknown[] {
  return records.map(({ record }) => record['meta']?.['n']);
}
