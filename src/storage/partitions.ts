/**
 * The partitions of the records: made ahead of need, and dropped from the old end. Tiles are never dropped, so proofs of
 * records that are gone, and of all others, can be made for ever. The newest partition always stays.
 */
import type pg from 'pg';
import { describeError, TalosError } from '../core/errors.ts';
import { uuidv7Ms } from '../core/uuidv7.ts';
import { type DatabaseAddress, endClient, openClient, read } from './db.ts';
import { hasOwnersRights } from './roles.ts';

/** Whole partitions: from inclusive, to exclusive. */
export interface PrunablePart {
  readonly fromSeq: number;
  readonly toSeq: number;
  /** The id of its last record. */
  readonly lastId: string;
}

export interface PartitionStore {
  /** Makes room for as many records as half of the last partition has, so that writers find it made. */
  readonly extendAhead: () => Promise<void>;
  /** Whether the database user may drop partitions: only who has the rights of their owner. */
  readonly mayDrop: () => Promise<boolean>;
  /**
   * The oldest partitions whose records are all older than `beforeMs`: neither the one that the log ends in nor any with
   * a call whose outcome is not recorded yet.
   */
  readonly prunable: (beforeMs: number) => Promise<PrunablePart | undefined>;
  /** From now on these records count as gone, and with them their erasable values. */
  readonly markPruned: (part: PrunablePart) => Promise<void>;
  /**
   * Drops the tables of what is marked. Readers and writers are not held up: it waits for them. A crash at any point
   * leaves something that the next call finishes. Returns how many were dropped; 0 also while another one is at it.
   */
  readonly dropMarked: () => Promise<number>;
  /** How many records at the start of the log are marked, and how many are there. */
  readonly extent: () => Promise<{ prunedUntil: number; nextSeq: number }>;
}

// An arbitrary number that names the lock; the same in every version.
const dropLock = 7_425_003;
const dropLockTimeoutMs = 30_000;

export function createPartitionStore(pool: pg.Pool, address: DatabaseAddress): PartitionStore {
  return {
    async extendAhead() {
      await read(
        pool,
        `SELECT log_extend(next_seq + (SELECT (end_seq - first_seq) / 2 FROM log_partition ORDER BY first_seq DESC LIMIT 1))
           FROM log_head`,
      );
    },
    mayDrop: () => hasOwnersRights(pool),
    prunable: (beforeMs) => prunable(pool, beforeMs),
    async markPruned({ toSeq, lastId }) {
      await read(
        pool,
        `WITH marked AS (
           UPDATE log_partition p SET pruned_at = now(),
                  last_id = (SELECT event_id FROM audit_event WHERE seq = p.end_seq - 1)
            WHERE end_seq <= $1 AND pruned_at IS NULL)
         DELETE FROM log_erasable WHERE event_id <= $2`,
        [toSeq, lastId],
      );
    },
    dropMarked: () => dropMarked(address),
    async extent() {
      const [row] = await read<{ pruned_until: string; next_seq: string }>(
        pool,
        `SELECT coalesce((SELECT max(end_seq) FROM log_partition WHERE pruned_at IS NOT NULL), 0) AS pruned_until, next_seq
           FROM log_head`,
      );
      return { prunedUntil: Number(row?.pruned_until), nextSeq: Number(row?.next_seq) };
    },
  };
}

async function prunable(pool: pg.Pool, beforeMs: number): Promise<PrunablePart | undefined> {
  const rows = await read<{ first_seq: string; end_seq: string; last_id: string; is_closed: boolean }>(
    pool,
    `SELECT first_seq, end_seq, event_id AS last_id,
            NOT EXISTS (SELECT FROM log_intent WHERE intent_id <= event_id) AS is_closed
       FROM log_partition JOIN audit_event ON seq = end_seq - 1
      WHERE pruned_at IS NULL AND end_seq < (SELECT next_seq FROM log_head)
      ORDER BY first_seq`,
  );
  const isKept = rows.findIndex(({ last_id, is_closed }) => uuidv7Ms(last_id) >= beforeMs || !is_closed);
  const old = isKept < 0 ? rows : rows.slice(0, isKept);
  const [first, last] = [old[0], old.at(-1)];
  if (first === undefined || last === undefined) return undefined;
  return { fromSeq: Number(first.first_seq), toSeq: Number(last.end_seq), lastId: last.last_id };
}

interface Marked {
  readonly name: string;
  /** True while it is a part of the log, false when a crash left it half detached, null once it is on its own. */
  readonly attached: boolean | null;
}

async function dropMarked(address: DatabaseAddress): Promise<number> {
  try {
    const client = await openClient(address, 'talos-retention');
    try {
      return await dropOn(client);
    } finally {
      // Ending the session releases the lock.
      await endClient(client);
    }
  } catch (error) {
    throw new TalosError('STORE_UNAVAILABLE', { inside: describeError(error), cause: error });
  }
}

async function dropOn(client: pg.Client): Promise<number> {
  const locks = await client.query<{ locked: boolean }>('SELECT pg_try_advisory_lock($1) AS locked', [dropLock]);
  if (locks.rows[0]?.locked !== true) return 0;
  await client.query(`SET lock_timeout = ${dropLockTimeoutMs}`);
  const { rows } = await client.query<Marked>(
    `SELECT name, (SELECT NOT inhdetachpending FROM pg_inherits WHERE inhrelid = to_regclass(name)) AS attached
       FROM (SELECT first_seq, 'audit_event_' || first_seq AS name FROM log_partition WHERE pruned_at IS NOT NULL) AS marked
      WHERE to_regclass(name) IS NOT NULL ORDER BY first_seq`,
  );
  for (const { name, attached } of rows) {
    if (attached === true) await client.query(`ALTER TABLE audit_event DETACH PARTITION ${name} CONCURRENTLY`);
    if (attached === false) await client.query(`ALTER TABLE audit_event DETACH PARTITION ${name} FINALIZE`);
    await client.query(`DROP TABLE ${name}`);
  }
  return rows.length;
}
