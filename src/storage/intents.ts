/** Intents whose outcome is not recorded, and who answers for them. */
import type pg from 'pg';
import { read } from './db.ts';
import type { StoredEvent } from './events.ts';

export interface IntentStore {
  /**
   * Takes over the open intents of writers that have not committed anything for `silentMs`, and those of this writer
   * that it has `abandoned`. Returns their records; no two gateways are given the same one.
   */
  readonly claimOrphans: (writerId: string, silentMs: number, abandoned: ReadonlySet<string>) => Promise<StoredEvent[]>;
}

export function createIntentStore(pool: pg.Pool): IntentStore {
  return { claimOrphans: (writerId, silentMs, abandoned) => claimOrphans(pool, writerId, silentMs, abandoned) };
}

interface Row {
  readonly seq: string;
  readonly event_id: string;
  readonly canon: string;
  readonly leaf_hash: Buffer;
  readonly details: string | null;
}

// A bound on the work of one round; the next round takes the next ones.
const claimsMax = 500;

async function claimOrphans(
  pool: pg.Pool,
  writerId: string,
  silentMs: number,
  abandoned: ReadonlySet<string>,
): Promise<StoredEvent[]> {
  const rows = await read<Row>(
    pool,
    `WITH orphan AS (
       SELECT intent_id FROM log_intent
         LEFT JOIN log_writer ON log_writer.writer_id = log_intent.writer_id
        WHERE intent_id = ANY ($3::uuid[]) OR log_intent.writer_id <> $1
          AND (log_writer.seen_at IS NULL OR log_writer.seen_at <= now() - make_interval(secs => $2::float8 / 1000))
        ORDER BY intent_id LIMIT ${claimsMax} FOR UPDATE OF log_intent SKIP LOCKED),
     claimed AS (
       UPDATE log_intent SET writer_id = $1 FROM orphan WHERE log_intent.intent_id = orphan.intent_id
       RETURNING log_intent.intent_id)
     SELECT seq, event_id, canon, leaf_hash, details FROM audit_event JOIN claimed ON event_id = intent_id ORDER BY seq`,
    [writerId, silentMs, [...abandoned]],
  );
  return rows.map((row) => ({
    seq: Number(row.seq),
    eventId: row.event_id,
    canon: row.canon,
    leafHash: row.leaf_hash,
    details: row.details,
  }));
}
