/** Raw COPY: records of the log, copied into a twin of its table with the same indexes, one COPY a transaction. */
import pg from 'pg';
import { copyQuery } from '../../src/storage/copy-query.ts';
import type { Later } from './cleanup.ts';
import type { Contender, Turn } from './rounds.ts';

const columns =
  'event_id, ts, outcome, surface_id, team_id, agent_id, session_id, correlation_id, event_type, server_id, tool, leaf_hash, canon, details';

export interface RawCopy {
  readonly contender: (name: string, rowsPerCopy: number) => Contender;
}

/** Takes the rows that the log holds now, which must be at least `rowsMax`, as what is copied. */
export async function prepareRawCopy(url: string, rowsMax: number, later: Later): Promise<RawCopy> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  later(() => client.end());
  await client.query('CREATE TABLE bench_twin (LIKE audit_event INCLUDING ALL)');
  const tails = await rowTails(client, rowsMax);
  const counter = { next: 0 };
  return {
    contender: (name, rowsPerCopy) => ({
      name,
      run: (seconds) => copyFor(client, tails, rowsPerCopy, counter, seconds),
    }),
  };
}

/** The rows in COPY's text format without what must be new in each copy: the sequence and the event id. */
async function rowTails(client: pg.Client, rowsMax: number): Promise<string[]> {
  const { rows } = await client.query<Record<string, string | null>>(
    `SELECT ${columns.replace('ts,', 'ts::text,').replace('leaf_hash', "'\\x' || encode(leaf_hash, 'hex') AS leaf_hash")}
       FROM audit_event ORDER BY seq DESC LIMIT ${rowsMax}`,
  );
  if (rows.length < rowsMax) throw new Error(`The log holds ${rows.length} records, and ${rowsMax} are to be copied.`);
  return rows.map(({ event_id: _, ...row }) => Object.values(row).map(field).join('\t'));
}

function field(value: string | null): string {
  return value === null ? '\\N' : value.replaceAll('\\', '\\\\');
}

/** Only the COPY is timed and not the making of its text, so that it is as raw as it can be. */
async function copyFor(
  client: pg.Client,
  tails: readonly string[],
  rowsPerCopy: number,
  counter: { next: number },
  seconds: number,
): Promise<Turn> {
  let operations = 0;
  let spentMs = 0;
  while (spentMs < seconds * 1000) {
    const text = batchText(tails.slice(0, rowsPerCopy), counter);
    const startedAtMs = performance.now();
    await copyQuery(client, `COPY bench_twin (seq, ${columns}) FROM STDIN`, Buffer.from(text));
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
  const hex = n.toString(16).padStart(12, '0');
  return `01900000-0000-7000-8000-${hex}`;
}
