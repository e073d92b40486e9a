/** The head of the log: one row, whose lock makes commit order equal to sequence order across all processes. */
import type pg from 'pg';
import type { PreparedEvent } from '../core/audit-event.ts';
import { CompactRange } from '../core/merkle.ts';
import type { IdTick } from '../core/uuidv7.ts';
import { type UsedRow, usedStatement } from './capability-use.ts';
import { type ClosedRow, closeStatement } from './intents.ts';
import { type TakenRow, takenStatement } from './reservations.ts';

/** Where the next record goes. */
export interface Place {
  readonly nextSeq: number;
  /** Of the last record. */
  readonly tick: IdTick;
  readonly tree: CompactRange;
}

export interface Head extends Place {
  /** The time for the next records. */
  readonly nowMs: number;
}

// Milliseconds since the Unix epoch, by the database's clock.
const nowMs = 'floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms';

/** Prepared once a connection: for a small batch, planning would cost the server more than running it. */
export function headStatements(writerId: string): string {
  return `
    PREPARE lock_head AS
      SELECT next_seq, last_ms, last_counter, ${nowMs}, tree FROM log_head WHERE log_id = 1 FOR UPDATE;
    PREPARE lock_known_head (bigint, bigint, integer, bytea) AS
      SELECT ${nowMs}, 1 / (next_seq = $1 AND last_ms = $2 AND last_counter = $3 AND tree = $4)::integer AS is_known
        FROM log_head WHERE log_id = 1 FOR UPDATE;
    PREPARE last_batch AS SELECT batch_id, first_seq, size FROM log_writer WHERE writer_id = '${writerId}';
    PREPARE note_batch (uuid, bigint, integer) AS
      INSERT INTO log_writer (writer_id, batch_id, first_seq, size) VALUES ('${writerId}', $1, $2, $3)
        ON CONFLICT (writer_id) DO UPDATE SET batch_id = excluded.batch_id, first_seq = excluded.first_seq,
          size = excluded.size, seen_at = now()`;
}

interface HeadRow {
  readonly next_seq: string;
  readonly last_ms: string;
  readonly last_counter: number;
  readonly now_ms: string;
  readonly tree: Buffer;
}

interface WriterRow {
  readonly batch_id: string;
  readonly first_seq: string;
  readonly size: number;
}

export interface WrittenBatch {
  readonly batchId: string;
  readonly firstSeq: number;
  readonly size: number;
}

/** What is known, and stands still, while the head is locked. */
export interface Locked {
  readonly head: Head;
  /** This writer's last batch, when there may be one that was committed and nobody was told of. */
  readonly last: WrittenBatch | undefined;
  /** The keys of the events that are taken. */
  readonly taken: readonly TakenRow[];
  /** The intents that were open until now, of those that the events are to close. */
  readonly closed: readonly ClosedRow[];
  /** The counters of the capabilities that the events spend. */
  readonly used: readonly UsedRow[];
}

/** Begins a transaction that holds the head. `asksLast`: whether to look up this writer's last batch. */
export async function lockHead(
  client: pg.Client,
  asksLast: boolean,
  events: readonly PreparedEvent[],
): Promise<Locked> {
  const [head, last, taken, closed, used] = await inOneMessage(client, [
    'EXECUTE lock_head',
    asksLast ? 'EXECUTE last_batch' : '',
    takenStatement(events),
    closeStatement(events),
    usedStatement(events),
  ]);
  const row = head?.[0] as HeadRow | undefined;
  if (row === undefined) throw new Error(noHead);
  return {
    head: headOf(row),
    last: writtenBatch(last?.[0] as WriterRow | undefined),
    taken: (taken ?? []) as TakenRow[],
    closed: (closed ?? []) as ClosedRow[],
    used: (used ?? []) as UsedRow[],
  };
}

/** SQL that begins a transaction and holds the head, or fails with what `isHeadElsewhere` knows; for `copyQuery`. */
export function lockKnownHead({ nextSeq, tick, tree }: Place): string {
  const edge = `\\x${tree.serialize().toString('hex')}`;
  return `BEGIN; EXECUTE lock_known_head (${nextSeq}, ${tick.ms}, ${tick.counter}, '${edge}'); `;
}

/** The database's time, of the results of what began with `lockKnownHead`. */
export function serverTime([, locked]: readonly pg.QueryResult[]): number {
  const row = locked?.rows[0] as Pick<HeadRow, 'now_ms'> | undefined;
  if (row === undefined) throw new Error(noHead);
  return Number(row.now_ms);
}

const noHead = 'The log has no head row: the database is not a migrated gateway database.';
const divisionByZero = '22012';

/** Whether something was not as the batch had it: the checks divide by whether it is. */
export function isHeadElsewhere(error: unknown): boolean {
  return (error as { readonly code?: unknown }).code === divisionByZero;
}

/** Begins a transaction and runs the statements in it, in one round trip. The rows of each; none of an empty one. */
async function inOneMessage(client: pg.Client, statements: readonly string[]): Promise<unknown[][]> {
  const asked = statements.filter((statement) => statement !== '');
  const [, ...results] = (await client.query(['BEGIN', ...asked].join('; '))) as unknown as pg.QueryResult[];
  return statements.map((statement) => (statement === '' ? [] : (results.shift()?.rows ?? [])));
}

function headOf(row: HeadRow): Head {
  const nextSeq = Number(row.next_seq);
  return {
    nextSeq,
    tick: { ms: Number(row.last_ms), counter: row.last_counter },
    nowMs: Number(row.now_ms),
    tree: CompactRange.parse(nextSeq, row.tree),
  };
}

function writtenBatch(row: WriterRow | undefined): WrittenBatch | undefined {
  if (row === undefined) return undefined;
  return { batchId: row.batch_id, firstSeq: Number(row.first_seq), size: row.size };
}
