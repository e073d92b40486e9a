/**
 * Another key for the same log. The log itself tells of it, in a record that the old key still vouches for; then the old
 * and the new key sign one checkpoint together, which is the bridge from the one to the other. What the old key has
 * signed stays good.
 */
import type { CommittedEvent, EventDraft } from '../core/audit-event.ts';
import { generateNoteKey } from '../core/note-key.ts';
import { ownDraft } from '../core/own-draft.ts';
import type { CheckpointStore, StoredCheckpoint } from '../storage/checkpoints.ts';
import type { Checkpointer } from './checkpointer.ts';
import { type LogKey, parseLogKey, writeKeyFile } from './log-key.ts';

export interface RotationOptions {
  /** The key as it is now, and the secret text that it was read from. */
  readonly key: LogKey;
  readonly signerKeys: string;
  /** The new file for the new key. */
  readonly out: string;
  /** Whether the old keys go on signing beside the new one, for verifiers who know only them. */
  readonly keepOld: boolean;
  readonly store: CheckpointStore;
  readonly record: (draft: EventDraft) => Promise<CommittedEvent>;
  /** Opens a checkpointer with these keys, once the database is known to continue what was signed. */
  readonly open: (key: LogKey) => Promise<Checkpointer>;
}

export interface Rotation {
  /** What verifiers are given from now on. */
  readonly verifierKey: string;
  /** The record that tells of it. */
  readonly eventId: string;
  /** Signed by the old keys and the new one. */
  readonly bridge: StoredCheckpoint;
}

/** Throws an `Error` with one sentence; before the record nothing is changed but the new file. */
export async function rotateLogKey(options: RotationOptions): Promise<Rotation> {
  const { key, out, store } = options;
  // First of all: a database that is not the log's must not be told of a new key.
  const before = await options.open(key);
  await before.close();

  const { skey, vkey } = generateNoteKey(key.origin);
  const oldLines = options.signerKeys.split('\n').filter((line) => line.trim() !== '');
  const both = parseLogKey([skey, ...oldLines].join('\n'), 'The new key with the old ones');
  await writeKeyFile(out, options.keepOld ? [skey, ...oldLines] : [skey]);
  // A crash here leaves a file with a key that no log knows.
  const { eventId, seq } = await options.record(rotationRecord(both, options.keepOld));
  // A crash here leaves a record of a key that never signed: rotate again, into another file.
  await store.addSigner(vkey);

  const after = await options.open(both);
  const bridge = await after.cosigned(seq + 1);
  await after.close();
  return { verifierKey: vkey, eventId, bridge };
}

function rotationRecord({ origin, verifierKeys }: LogKey, keepOld: boolean): EventDraft {
  const [newId = '', ...oldIds] = verifierKeys.map((verifierKey) => verifierKey.split('+')[1] ?? '');
  return {
    ...ownDraft('log.key.rotate'),
    resource: { type: 'log', id: origin },
    meta: {
      event_type: 'log.key.rotate',
      old_key_ids: oldIds.join(' '),
      new_key_id: newId,
      old_keys_kept: keepOld,
    },
  };
}
