/**
 * How far records were forwarded, and which gateway does it: one at a time, for as long as it says so every few seconds.
 * One that was stopped and wakes finds that its claim is gone before it can move the position.
 */
import type pg from 'pg';
import { read } from './db.ts';

export interface ForwardedRecord {
  readonly seq: number;
  /** The canonical record without `event_hash`. */
  readonly canon: string;
}

export interface ForwardStore {
  /** Claims the target, or keeps the claim. The next record to forward; undefined when another gateway is at it. */
  readonly claim: () => Promise<number | undefined>;
  /** Moves the position. False when another gateway has taken over. */
  readonly advance: (nextSeq: number) => Promise<boolean>;
  readonly release: () => Promise<void>;
  /** Records from there on, oldest first. */
  readonly records: (fromSeq: number, count: number) => Promise<ForwardedRecord[]>;
  /** How many records the log has had. */
  readonly logSize: () => Promise<number>;
  /** The target refused the record for what it is. */
  readonly reject: (seq: number, status: number) => Promise<void>;
  /** Records that the target refused, oldest first. */
  readonly rejected: (count: number) => Promise<ForwardedRecord[]>;
  /** The target has taken it after all. */
  readonly accept: (seq: number) => Promise<void>;
}

export interface ForwardStoreOptions {
  /** Names the position: the address that records go to. */
  readonly target: string;
  /** Names this process. */
  readonly owner: string;
  /** A claim that is not renewed for as long is over. */
  readonly leaseMs: number;
}

interface Row {
  readonly seq: string;
  readonly canon: string;
}

export function createForwardStore(pool: pg.Pool, { target, owner, leaseMs }: ForwardStoreOptions): ForwardStore {
  return {
    async claim() {
      const [row] = await read<{ next_seq: string }>(
        pool,
        `INSERT INTO log_forward AS held (target, next_seq, owner, seen_at) VALUES ($1, 0, $2, now())
           ON CONFLICT (target) DO UPDATE SET owner = excluded.owner, seen_at = now()
            WHERE held.owner IS NULL OR held.owner = excluded.owner
               OR held.seen_at < now() - make_interval(secs => $3::float8 / 1000)
         RETURNING next_seq`,
        [target, owner, leaseMs],
      );
      return row === undefined ? undefined : Number(row.next_seq);
    },
    async advance(nextSeq) {
      const rows = await read(
        pool,
        'UPDATE log_forward SET next_seq = $3, seen_at = now() WHERE target = $1 AND owner = $2 RETURNING 1',
        [target, owner, nextSeq],
      );
      return rows.length === 1;
    },
    async release() {
      await read(pool, 'UPDATE log_forward SET owner = NULL WHERE target = $1 AND owner = $2', [target, owner]);
    },
    async records(fromSeq, count) {
      const text = 'SELECT seq, canon FROM audit_event WHERE seq >= $1 ORDER BY seq LIMIT $2';
      return (await read<Row>(pool, text, [fromSeq, count])).map(forwarded);
    },
    async logSize() {
      const [row] = await read<{ next_seq: string }>(pool, 'SELECT next_seq FROM log_head');
      return Number(row?.next_seq);
    },
    async reject(seq, status) {
      await read(
        pool,
        'INSERT INTO log_forward_rejected (target, seq, status) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING',
        [target, seq, status],
      );
    },
    async rejected(count) {
      const rows = await read<Row>(
        pool,
        `SELECT seq, canon FROM log_forward_rejected JOIN audit_event USING (seq) WHERE target = $1 ORDER BY seq LIMIT $2`,
        [target, count],
      );
      return rows.map(forwarded);
    },
    async accept(seq) {
      await read(pool, 'DELETE FROM log_forward_rejected WHERE target = $1 AND seq = $2', [target, seq]);
    },
  };
}

function forwarded({ seq, canon }: Row): ForwardedRecord {
  return { seq: Number(seq), canon };
}
