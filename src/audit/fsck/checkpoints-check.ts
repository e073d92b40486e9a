/** Checkpoints, stored ones and ones from outside: form, signature, and that the log continues what they say. */
import { parseCheckpoint } from '../../core/checkpoint.ts';
import { describeError, TalosError } from '../../core/errors.ts';
import type { NodeReader } from '../../core/merkle-proof.ts';
import { openNote } from '../../core/note.ts';
import { type NoteVerifier, noteVerifier, parseVerifierKey } from '../../core/note-key.ts';
import type { TreeHead } from '../../storage/checkpoints.ts';
import { assertContinues, LogForked } from '../checkpointer-guard.ts';
import type { Findings } from './findings.ts';

export interface NamedNote {
  /** What to call it in a sentence, with a capital letter. */
  readonly name: string;
  readonly note: string;
  /** What its row says, for one that is stored. */
  readonly row?: TreeHead;
}

export interface CheckpointsCheckOptions {
  readonly verifierKeys: readonly string[];
  readonly origin: string | null;
  /** Reads the stored tree, which has been checked. */
  readonly nodes: NodeReader;
  /** How many records the log has. */
  readonly size: number;
}

/** Checks one after another, so that a log with many takes no more memory than one. */
export async function checkCheckpoints(
  notes: readonly NamedNote[],
  options: CheckpointsCheckOptions,
  findings: Findings,
): Promise<void> {
  const verifiers = options.verifierKeys.flatMap((key) => verifierOf(key, findings));
  for (const named of notes) {
    try {
      await checkOne(named, verifiers, options);
    } catch (error) {
      // A store that cannot be read says nothing of what is in it.
      if (error instanceof TalosError && error.code === 'STORE_UNAVAILABLE') throw error;
      if (!(error instanceof TalosError || error instanceof LogForked || error instanceof Mismatch)) throw error;
      findings.fault('checkpoints', `${named.name}: ${describeError(error)}`);
    }
  }
}

class Mismatch extends Error {}

function verifierOf(key: string, findings: Findings): NoteVerifier[] {
  try {
    const { name, publicKey } = parseVerifierKey(key);
    return [noteVerifier(name, publicKey)];
  } catch (error) {
    findings.fault('checkpoints', `A key of the log cannot be read: ${describeError(error)}`);
    return [];
  }
}

async function checkOne(
  { note, row }: NamedNote,
  verifiers: readonly NoteVerifier[],
  { origin, nodes, size }: CheckpointsCheckOptions,
): Promise<void> {
  const checkpoint = parseCheckpoint(openNote(note, verifiers).text);
  if (checkpoint.origin !== origin) throw new Mismatch('It is of another log than the database says it holds.');
  if (row !== undefined && (row.size !== checkpoint.size || !row.root.equals(checkpoint.root))) {
    throw new Mismatch('Its row says something else than its note.');
  }
  await assertContinues(nodes, checkpoint, size);
}
