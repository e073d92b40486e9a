/** Erasure: values that records only commit to are deleted, and the log says so before it happens. */
import type { EventDraft } from '../core/audit-event.ts';
import { ownDraft } from '../core/own-draft.ts';
import type { ErasableStore, ErasureTarget } from '../storage/erasable.ts';
import type { Recorder } from './recorder.ts';

export interface EraseOptions {
  readonly store: ErasableStore;
  readonly record: Recorder['record'];
  readonly requestId: string;
}

export interface Erased {
  readonly values: number;
  /** The record that says so. */
  readonly eventId: string;
}

/**
 * Returns undefined, with nothing recorded, when there is nothing to erase. Throws an `Error` with one sentence, and with
 * nothing recorded, when the database user may not erase.
 */
export async function eraseValues(
  target: ErasureTarget,
  { store, record, requestId }: EraseOptions,
): Promise<Erased | undefined> {
  if (!(await store.mayErase())) throw new Error('Only the owner of the database may erase: run this as the owner.');
  const count = await store.count(target);
  if (count === 0) return undefined;
  const { eventId } = await record(erasureDraft(target, count, requestId));
  // A crash here leaves the values, and a record of what was about to be done: erasing again is safe.
  const values = await store.erase(target);
  await store.scrub();
  return { values, eventId };
}

const surfaceId = 'log.erasure';

function erasureDraft({ eventId, agentId, key }: ErasureTarget, count: number, requestId: string): EventDraft {
  return {
    ...ownDraft(surfaceId, requestId),
    resource: eventId === undefined ? { type: 'agent', id: agentId ?? '' } : { type: 'event', id: eventId },
    meta: {
      event_type: 'erasure',
      erased_event_id: eventId,
      erased_agent_id: agentId,
      erased_key: key,
      erased_count: count,
    },
  };
}
