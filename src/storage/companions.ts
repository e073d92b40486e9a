/** The rows that commit with a record, as SQL for the transaction that appends it: a record and its companions, or neither. */
import type { CommittedEvent, PreparedEvent } from '../core/audit-event.ts';
import { isUuidv7 } from '../core/uuidv7.ts';
import { keepErasable } from './erasable.ts';
import { reserve } from './reservations.ts';
import { nameSpooled } from './spool.ts';

/** Statements for all companions of a batch; empty when there are none. */
export function companionStatements(
  writerId: string,
  events: readonly PreparedEvent[],
  committed: readonly CommittedEvent[],
): string {
  const opened = committed.filter((_, index) => events[index]?.companions?.opensIntent === true);
  const closed = events.flatMap(({ companions }) => companions?.closesIntent ?? []);
  return (
    openIntents(writerId, opened) +
    closeIntents(closed) +
    reserve(events, committed) +
    keepErasable(events, committed) +
    nameSpooled(events)
  );
}

// No writer has this id: whatever is under it may be claimed at once.
const nobody = '00000000-0000-0000-0000-000000000000';

/** A statement that gives up the intents of a batch that nobody was told of, so that they are closed like a dead one's. */
export function disownIntents(writerId: string, batch: { readonly firstSeq: number; readonly size: number }): string {
  return `UPDATE log_intent SET writer_id = '${nobody}' WHERE writer_id = '${writerId}' AND intent_id IN (
    SELECT event_id FROM audit_event
     WHERE seq >= ${batch.firstSeq} AND seq < ${batch.firstSeq + batch.size} AND is_intent);`;
}

function openIntents(writerId: string, intents: readonly CommittedEvent[]): string {
  if (intents.length === 0) return '';
  const rows = intents.map(({ eventId }) => `('${eventId}', '${writerId}')`);
  return `INSERT INTO log_intent (intent_id, writer_id) VALUES ${rows.join(', ')};`;
}

function closeIntents(ids: readonly string[]): string {
  if (ids.length === 0) return '';
  // They become part of a statement.
  if (!ids.every(isUuidv7)) throw new Error('An intent is named by its event id.');
  return `DELETE FROM log_intent WHERE intent_id IN (${ids.map((id) => `'${id}'`).join(', ')});`;
}
