/**
 * Intents whose outcome is not recorded, and who answers for them. An intent has one outcome: of all records that would
 * close it, the first one does, and every other one is recorded as late. Who is first is known under the head's lock.
 */
import type pg from 'pg';
import type { CommittedEvent, PreparedEvent } from '../core/audit-event.ts';
import { isUuidv7 } from '../core/uuidv7.ts';
import { read } from './db.ts';
import { type EventRow, eventColumns, type StoredEvent, storedEvent } from './events.ts';
import { UnwritableError } from './unwritable.ts';

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

// A bound on the work of one round; the next round takes the next ones.
const claimsMax = 500;

async function claimOrphans(
  pool: pg.Pool,
  writerId: string,
  silentMs: number,
  abandoned: ReadonlySet<string>,
): Promise<StoredEvent[]> {
  const rows = await read<EventRow>(
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
     SELECT ${eventColumns} FROM audit_event JOIN claimed ON event_id = intent_id ORDER BY seq`,
    [writerId, silentMs, [...abandoned]],
  );
  return rows.map(storedEvent);
}

/** SQL that opens the intents of a batch in the name of their writer. */
export function openIntents(writerId: string, intents: readonly CommittedEvent[]): string {
  if (intents.length === 0) return '';
  const rows = intents.map(({ eventId }) => `('${eventId}', '${writerId}')`);
  return `INSERT INTO log_intent (intent_id, writer_id) VALUES ${rows.join(', ')};`;
}

// No writer has this id: whatever is under it may be claimed at once.
const nobody = '00000000-0000-0000-0000-000000000000';

/** A statement that gives up the intents of a batch that nobody was told of, so that they are closed like a dead one's. */
export function disownIntents(writerId: string, batch: { readonly firstSeq: number; readonly size: number }): string {
  return `UPDATE log_intent SET writer_id = '${nobody}' WHERE writer_id = '${writerId}' AND intent_id IN (
    SELECT event_id FROM audit_event
     WHERE seq >= ${batch.firstSeq} AND seq < ${batch.firstSeq + batch.size} AND is_intent);`;
}

export interface ClosedRow {
  readonly intent_id: string;
}

/**
 * A statement that closes the intents that the batch is to close and returns those that were open; empty when there are
 * none. It belongs right behind the head's lock: what it closes is undone with the batch.
 */
export function closeStatement(events: readonly PreparedEvent[]): string {
  const ids = closedBy(events);
  // They become part of a statement.
  if (!ids.every(isUuidv7)) throw new UnwritableError('An intent is named by its event id.');
  if (ids.length === 0) return '';
  return `DELETE FROM log_intent WHERE intent_id IN (${ids.map((id) => `'${id}'`).join(', ')}) RETURNING intent_id`;
}

/** The same, failing with a division by zero unless all of them were open. */
export function closesAll(events: readonly PreparedEvent[]): string {
  const statement = closeStatement(events);
  if (statement === '') return '';
  return `WITH closed AS (${statement}) SELECT 1 / (count(*) = ${closedBy(events).length})::integer FROM closed;`;
}

function closedBy(events: readonly PreparedEvent[]): string[] {
  return events.flatMap(({ companions }) => companions?.closesIntent ?? []);
}

/** The events as they are written: what would close an intent that something else has closed comes too late for that. */
export function settleIntents(
  events: readonly PreparedEvent[],
  closed: readonly ClosedRow[],
): readonly PreparedEvent[] {
  const unanswered = new Set(closed.map((row) => row.intent_id));
  return events.map((event) => {
    const intentId = event.companions?.closesIntent;
    if (intentId === undefined || unanswered.delete(intentId)) return event;
    return event.late?.() ?? event;
  });
}
