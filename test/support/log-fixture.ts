/** What the tests of the log share: migrated databases, writers on them, and an end that leaves nothing behind. */
import pg from 'pg';
import type { CommittedEvent } from '../../src/core/audit-event.ts';
import { createLogWriter, type LogWriter } from '../../src/storage/log.ts';
import { type CheckedRecord, checkLog } from './log-checker.ts';
import { createTestDatabase } from './postgres.ts';

const cleanups: (() => Promise<unknown> | unknown)[] = [];

/** For `afterEach`: undoes everything in reverse order. */
export async function cleanUp(): Promise<void> {
  for (let step = cleanups.pop(); step !== undefined; step = cleanups.pop()) await step();
}

export function later(step: () => Promise<unknown> | unknown): void {
  cleanups.push(step);
}

/** A database with an empty log and nothing else. */
export async function freshLog(): Promise<{ url: string }> {
  const database = await createTestDatabase();
  later(() => database.drop());
  return { url: database.url };
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
