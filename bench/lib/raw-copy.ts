/** Raw COPY: records of the log, copied into a twin of its table with the same indexes, one COPY a transaction. */
import pg from 'pg';
import { copyQuery } from '../../src/storage/copy-query.ts';
import type { Later } from './cleanup.ts';
import type { Contender, Turn } from './rounds.ts';

export interface RawCopy {
  readonly contender: (name: string, rowsPerCopy: number) => Contender;
}

/** Rows in COPY's text format without what must be new in each copy: the sequence and the event id. */
interface Rows {
  readonly columns: string;
  readonly tails: readonly string[];
}

/** Takes the newest `rowsMax` rows of the log as what is copied. Throws when it holds fewer. */
export async function prepareRawCopy(url: string, rowsMax: number, later: Later): Promise<RawCopy> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  later(() => client.end());
  // In the log itself each partition has an index of its own on the id.
  await client.query(
    'CREATE TABLE bench_twin (LIKE audit_event INCLUDING ALL); CREATE UNIQUE INDEX ON bench_twin (event_id)',
  );
  const rows = await readRows(client, rowsMax);
  const counter = { next: 0 };
  return {
    contender: (name, rowsPerCopy) => ({
      name,
      run: (seconds) => copyFor(client, rows, rowsPerCopy, counter, seconds),
    }),
  };
}

async function readRows(client: pg.Client, rowsMax: number): Promise<Rows> {
  const names = await client.query<{ name: string }>(
    `SELECT attname AS name FROM pg_attribute WHERE attrelid = 'audit_event'::regclass AND attnum > 0
        AND NOT attisdropped AND attname NOT IN ('seq', 'event_id') ORDER BY attnum`,
  );
  const columns = names.rows.map(({ name }) => name);
  const { rows } = await client.query<(string | null)[]>({
    text: `SELECT ${columns.map((name) => `${name}::text`).join(', ')} FROM audit_event ORDER BY seq DESC LIMIT ${rowsMax}`,
    rowMode: 'array',
  });
  if (rows.length < rowsMax) throw new Error(`The log holds ${rows.length} records, and ${rowsMax} are to be copied.`);
  return { columns: columns.join(', '), tails: rows.map((row) => row.map(field).join('\t')) };
}

function field(value: string | null): string {
  return value === null ? '\\N' : value.replaceAll('\\', '\\\\');
}

/** Only the COPY is timed and not the making of its text, so that it is as raw as it can be. */
async function copyFor(
  client: pg.Client,
  { columns, tails }: Rows,
  rowsPerCopy: number,
  counter: { next: number },
  seconds: number,
): Promise<Turn> {
  let operations = 0;
  let spentMs = 0;
  while (spentMs < seconds * 1000) {
    const text = batchText(tails.slice(0, rowsPerCopy), counter);
    const startedAtMs = performance.now();
    await copyQuery(client, `COPY bench_twin (seq, event_id, ${columns}) FROM STDIN`, Buffer.from(text));
    spentMs += performance.now() - startedAtMs;
    operations += rowsPerCopy;
  }
  return { operations, errors: 0, seconds: spentMs / 1000 };
}

function batchText(tails: readonly string[], counter: { next: number }): string {
  return tails.map((tail) => `${counter.next}\t${idOf(counter.next++)}\t${tail}\n`).join('');
}

/** Ids that grow as those of the log do, so that the index is filled in the same way. */
function idOf(n: number): string {
  return `01900000-0000-7000-8000-${n.toString(16).padStart(12, '0')}`;
}
