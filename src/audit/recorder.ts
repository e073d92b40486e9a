/**
 * The way into the log for every room: a draft becomes a prepared record, joins a batch, and the promise resolves when it
 * is durable. No record, no answer.
 */
import { bounds } from '../config/bounds.ts';
import { type CommittedEvent, type EventDraft, prepareEvent } from '../core/audit-event.ts';
import type { Clock } from '../core/clock.ts';
import type { LogWriter } from '../storage/log.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { filterMeta } from './meta-filter.ts';
import { CommitPool } from './pool.ts';

export interface Recorder {
  /** Resolves once the record is durable. Rejects with `AUDIT_UNAVAILABLE`, `AUDIT_OVERLOADED` or `RECORD_TOO_LARGE`. */
  readonly record: (draft: EventDraft) => Promise<CommittedEvent>;
  /** The same for up to `batchEventsMax` records, which commit together or not at all, in the order given. */
  readonly recordAll: (drafts: readonly EventDraft[]) => Promise<CommittedEvent[]>;
  /** Rejects with `AUDIT_UNAVAILABLE` when the log cannot be written now: nothing that needs a record may begin then. */
  readonly ensureWritable: () => Promise<void>;
  /** Commits what was accepted, then lets go of the connection. */
  readonly close: () => Promise<void>;
}

export function createRecorder(options: {
  readonly writer: LogWriter;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Told after every commit. */
  readonly onCommitted?: () => void;
}): Recorder {
  const { writer, clock, telemetry, onCommitted } = options;
  const pool = new CommitPool({
    writer,
    clock,
    bounds,
    onCommit: (batch) => {
      telemetry.batchCommitted(batch);
      if (batch.records > 0) onCommitted?.();
    },
    onFailure: (reason) => telemetry.batchFailed(reason),
  });

  async function recordAll(drafts: readonly EventDraft[]): Promise<CommittedEvent[]> {
    return await pool.add(drafts.map((draft) => prepareEvent(filterMeta(draft), bounds)));
  }

  async function record(draft: EventDraft): Promise<CommittedEvent> {
    const [committed] = await recordAll([draft]);
    return committed as CommittedEvent;
  }

  async function close(): Promise<void> {
    await pool.drained();
    await writer.close();
  }

  return { record, recordAll, ensureWritable: () => pool.ensureWritable(), close };
}
