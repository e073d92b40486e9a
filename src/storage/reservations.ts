/**
 * Idempotency keys: a group of events that a client submits under a key is recorded once, whichever gateways it is sent
 * to and however often. Keys are looked up under the head's lock, so what is taken is known before anything is written,
 * and one taken key costs the other events of the batch nothing.
 */
import type pg from 'pg';
import { bounds } from '../config/bounds.ts';
import { type CommittedEvent, committedEvent, type PreparedEvent, type Reservation } from '../core/audit-event.ts';
import type { Admits } from './capability-use.ts';
import { pruneRows } from './prune.ts';
import { UnwritableError } from './unwritable.ts';

/** What a key stands for. */
interface Taken {
  readonly bodyHash: string;
  readonly firstSeq: number;
  readonly records: number;
}

export interface TakenRow {
  readonly key_hash: string;
  readonly body_hash: string;
  readonly first_seq: string;
  readonly records: number;
}

/** Where an event of the batch is in the log, and how it came there when it is not by this batch. */
interface Place {
  /** Meaningless for what is exhausted, which is nowhere. */
  readonly seq: number;
  readonly reservation?: 'replayed' | 'conflict' | 'exhausted';
}

export interface Plan {
  /** The events to write, in their order. */
  readonly fresh: readonly PreparedEvent[];
  /** One for each event of the batch; undefined when no event has a key or spends anything, so that all are fresh. */
  readonly places: readonly Place[] | undefined;
}

/** A SELECT of the batch's keys that are taken; empty when the batch has none. */
export function takenStatement(events: readonly PreparedEvent[]): string {
  const keys = reservationsOf(events).map(({ keyHash }) => bytea(keyHash));
  if (keys.length === 0) return '';
  return `SELECT encode(key_hash, 'hex') AS key_hash, encode(body_hash, 'hex') AS body_hash, first_seq, records
    FROM log_idempotency WHERE key_hash IN (${keys.join(', ')})
     AND reserved_at > now() - make_interval(secs => ${bounds.idempotencyKeptSec})
     AND EXISTS (SELECT 1 FROM audit_event WHERE seq = first_seq)`;
}

function reservationsOf(events: readonly PreparedEvent[]): Reservation[] {
  return events.flatMap(({ companions }) => companions?.reserves ?? []);
}

/** Whether it is written whatever is reserved or spent. */
export function isPlain({ companions }: PreparedEvent): boolean {
  return companions?.reserves === undefined && companions?.spends === undefined;
}

/**
 * Sorts the events into those to write from `firstSeq` on, those whose key is taken and those not admitted. Of a batch that was written
 * before, with its own first sequence number, the same events are fresh again: their keys stand for exactly the places
 * that they would get.
 */
export function planBatch(
  events: readonly PreparedEvent[],
  rows: readonly TakenRow[],
  firstSeq: number,
  admits: Admits,
): Plan {
  if (events.every(isPlain)) return { fresh: events, places: undefined };
  const taken = takenKeys(rows);
  const fresh: PreparedEvent[] = [];
  const places: Place[] = [];
  for (const group of groupsOf(events)) {
    const seq = firstSeq + fresh.length;
    const reservation = group[0]?.companions?.reserves;
    const standing = reservation === undefined ? undefined : taken.get(reservation.keyHash);
    if (reservation !== undefined && standing !== undefined && stands(standing, reservation, seq)) {
      places.push(...group.map((_, index) => standingPlace(standing, reservation, index)));
      continue;
    }
    if (!group.every((event, index) => admits(event, seq + index))) {
      places.push(...group.map(() => ({ seq: -1, reservation: 'exhausted' as const })));
      continue;
    }
    if (reservation !== undefined) taken.set(reservation.keyHash, { ...reservation, firstSeq: seq });
    fresh.push(...group);
    places.push(...group.map((_, index) => ({ seq: seq + index })));
  }
  return { fresh, places };
}

/** Whether the key is taken: not by the very place that the group would get, nor by what the group may replace. */
function stands({ firstSeq }: Taken, { replaces }: Reservation, seq: number): boolean {
  return firstSeq !== seq && firstSeq !== replaces;
}

function takenKeys(rows: readonly TakenRow[]): Map<string, Taken> {
  return new Map(
    rows.map((row) => [
      row.key_hash,
      { bodyHash: row.body_hash, firstSeq: Number(row.first_seq), records: row.records },
    ]),
  );
}

/** Events under one key together, every other event by itself. */
function groupsOf(events: readonly PreparedEvent[]): PreparedEvent[][] {
  const groups: PreparedEvent[][] = [];
  for (let from = 0; from < events.length; from += groups.at(-1)?.length ?? 1) {
    groups.push(events.slice(from, from + (events[from]?.companions?.reserves?.records ?? 1)));
  }
  return groups;
}

function standingPlace(standing: Taken, { bodyHash, records }: Reservation, index: number): Place {
  const isSame = standing.bodyHash === bodyHash && standing.records === records;
  return isSame
    ? { seq: standing.firstSeq + index, reservation: 'replayed' }
    : { seq: standing.firstSeq, reservation: 'conflict' };
}

/** What each event of the batch became: `written` by this batch, or read from where an earlier one wrote it. */
export async function atPlaces(
  client: pg.Client,
  places: readonly Place[],
  written: readonly CommittedEvent[],
): Promise<CommittedEvent[]> {
  const known = new Map(written.map((event) => [event.seq, event]));
  const absent = new Set(places.map(({ seq }) => seq).filter((seq) => seq >= 0 && !known.has(seq)));
  for (const event of await readRecords(client, [...absent])) known.set(event.seq, event);
  return places.map(({ seq, reservation }) => {
    if (reservation === 'exhausted') return exhausted;
    const event = known.get(seq);
    if (event === undefined) throw new Error(`Record ${seq}, which an idempotency key stands for, is not there.`);
    return reservation === undefined ? event : { ...event, reservation };
  });
}

const exhausted: CommittedEvent = {
  seq: -1,
  eventId: '',
  timeMs: 0,
  cursor: '',
  eventHash: '',
  reservation: 'exhausted',
};

/** The records at these sequence numbers, as they were committed. */
export async function readRecords(client: pg.Client, seqs: readonly number[]): Promise<CommittedEvent[]> {
  if (seqs.length === 0) return [];
  const { rows } = await client.query<{ seq: string; event_id: string; canon: string }>(
    'SELECT seq, event_id, canon FROM audit_event WHERE seq = ANY ($1::bigint[]) ORDER BY seq',
    [seqs],
  );
  return rows.map((row) => committedEvent(Number(row.seq), row.event_id, row.canon));
}

/** SQL that takes the keys of fresh events for the places that they got. */
export function reserve(fresh: readonly PreparedEvent[], committed: readonly CommittedEvent[]): string {
  const rows = fresh.flatMap(({ companions }, index) => {
    const reservation = companions?.reserves;
    return reservation === undefined ? [] : [row(reservation, (committed[index] as CommittedEvent).seq)];
  });
  if (rows.length === 0) return '';
  // A row that is still there is one whose time is over.
  return `INSERT INTO log_idempotency (key_hash, body_hash, first_seq, records) VALUES ${rows.join(', ')}
    ON CONFLICT (key_hash) DO UPDATE SET body_hash = excluded.body_hash, first_seq = excluded.first_seq,
      records = excluded.records, reserved_at = now();`;
}

function row({ keyHash, bodyHash, records }: Reservation, seq: number): string {
  return `(${bytea(keyHash)}, ${bytea(bodyHash)}, ${seq}, ${records})`;
}

function bytea(hash: string): string {
  // It becomes part of a statement.
  if (!/^[0-9a-f]{64}$/.test(hash)) throw new UnwritableError('A reservation is named by a SHA-256.');
  return `'\\x${hash}'`;
}

/** Forgets keys whose time is over. Resolves with how many. */
export async function pruneReservations(pool: pg.Pool): Promise<number> {
  const isOver = 'reserved_at <= now() - make_interval(secs => $1)';
  return await pruneRows(pool, { table: 'log_idempotency', key: 'key_hash', isOver }, [bounds.idempotencyKeptSec]);
}
