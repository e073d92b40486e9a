/**
 * A new log where the old one cannot go on: its database does not continue what was signed, and no copy does. The new
 * log has another name, and its first record commits to the last checkpoint of the old one, so that the old history
 * can be neither denied nor exchanged for another.
 */
import type { CommittedEvent, EventDraft } from '../core/audit-event.ts';
import { parseCheckpoint } from '../core/checkpoint.ts';
import { parseNote } from '../core/note.ts';
import { ownDraft } from '../core/own-draft.ts';
import type { CheckpointStore, StoredCheckpoint } from '../storage/checkpoints.ts';
import type { Checkpointer } from './checkpointer.ts';

export interface NewEpochOptions {
  /** The name of the new log. */
  readonly origin: string;
  /** The last checkpoint of the old log that is believed: the signed note. */
  readonly lastNote: string;
  readonly store: CheckpointStore;
  readonly record: (draft: EventDraft) => Promise<CommittedEvent>;
  readonly open: () => Promise<Checkpointer>;
}

export interface NewEpoch {
  /** The first record. */
  readonly eventId: string;
  /** The first checkpoint of the new log. */
  readonly checkpoint: StoredCheckpoint;
}

/** Throws an `Error` with one sentence unless the log is new and empty. */
export async function beginEpoch({ origin, lastNote, store, record, open }: NewEpochOptions): Promise<NewEpoch> {
  const last = parseCheckpoint(parseNote(lastNote).text);
  if (last.origin === origin) throw new Error(`The new log needs another name than ${origin}: set another log_origin.`);
  assertFirst((await store.head()).size);
  const checkpointer = await open();
  try {
    const { eventId, seq } = await record(epochRecord(origin, last, lastNote));
    assertFirst(seq);
    return { eventId, checkpoint: await checkpointer.cosigned(1) };
  } finally {
    await checkpointer.close();
  }
}

function assertFirst(records: number): void {
  if (records > 0) throw new Error('The log holds records already: an epoch begins with an empty database.');
}

function epochRecord(origin: string, last: ReturnType<typeof parseCheckpoint>, lastNote: string): EventDraft {
  return {
    ...ownDraft('log.epoch.begin'),
    resource: { type: 'log', id: origin },
    meta: {
      event_type: 'log.epoch.begin',
      previous_origin: last.origin,
      previous_size: last.size,
      previous_root: last.root.toString('hex'),
    },
    details: { checkpoint: lastNote },
  };
}
