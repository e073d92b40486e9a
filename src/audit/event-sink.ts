/**
 * Where reported events go, by the policy for a log that cannot be written: refused, spooled, or answered as
 * unrecorded. It is for events that clients report only; everything else that needs a record is refused without one.
 */
import type { CommittedEvent, EventDraft } from '../core/audit-event.ts';
import { type ErrorCode, TalosError } from '../core/errors.ts';
import type { Recorder } from './recorder.ts';

/** What became of a group of events: durable in the log, durable in the spool, or not recorded as far as is known. */
export type Submitted =
  | { readonly kind: 'recorded'; readonly committed: CommittedEvent[] }
  | { readonly kind: 'spooled' }
  | { readonly kind: 'unrecorded' };

export interface EventSink {
  /** All of the events or none, in the order given. Rejects as `Recorder.recordAll` does, where the policy says so. */
  readonly submit: (drafts: readonly EventDraft[]) => Promise<Submitted>;
  readonly close: () => Promise<void>;
}

/** No record, no answer. */
export function createStrictSink(recorder: Pick<Recorder, 'recordAll'>): EventSink {
  return {
    submit: async (drafts) => ({ kind: 'recorded', committed: await recorder.recordAll(drafts) }),
    close: async () => undefined,
  };
}

const passing: ReadonlySet<ErrorCode> = new Set(['AUDIT_UNAVAILABLE', 'AUDIT_OVERLOADED', 'STORE_FULL']);

/** Whether the log failed, and not the events. */
export function isLogFailure(error: unknown): boolean {
  return error instanceof TalosError && passing.has(error.code);
}
