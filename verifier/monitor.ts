/**
 * The memory of whoever watches a log: the last checkpoint that was believed, and what a new one means beside it. Holding
 * one small note is enough to see any change to what was logged before it.
 */
import { hashesOf } from './bytes.ts';
import { type Checkpoint, readCheckpointNote, sentenceOf, verifyCheckpoint } from './checkpoint.ts';
import { type Check, check, isAllOk, type Report } from './report.ts';
import { isConsistent, isSameHead } from './tree.ts';
import type { Trust } from './trust.ts';

/**
 * `first`, `unchanged` and `grown` are good. `untrusted`: not signed as the trust demands. `other_log`: another origin.
 * `rollback`: smaller than what was seen. `fork`: two signed roots of one size, which proves the log's guilt by
 * itself. `inconsistent`: larger, but not shown to contain what was seen.
 */
export type Decision =
  | 'first'
  | 'unchanged'
  | 'grown'
  | 'untrusted'
  | 'other_log'
  | 'rollback'
  | 'fork'
  | 'inconsistent';

export interface MonitorReport extends Report {
  readonly decision: Decision;
  /** The note to remember from now on: the new one when all is well, else the one that was seen. */
  readonly seen: string | undefined;
}

/** Judges `next` beside `seen`, the note that the last report said to remember. `proof` is base64, from size to size. */
export async function monitor(
  seen: string | undefined,
  next: string,
  proof: readonly string[],
  trust: Trust,
): Promise<MonitorReport> {
  const { checkpoint, checks } = await verifyCheckpoint(next, trust);
  if (checkpoint === undefined || !isAllOk(checks)) return { ok: false, decision: 'untrusted', checks, seen };
  const decision = seen === undefined ? 'first' : await compare(readCheckpointNote(seen), checkpoint, proof);
  const ok = decision === 'first' || decision === 'unchanged' || decision === 'grown';
  return { ok, decision, checks: [...checks, check('history', ok, sentences[decision])], seen: ok ? next : seen };
}

/** Judges two checkpoints of one log and the proof (base64) that the old one is a prefix of the new one. */
export async function verifyConsistency(
  oldNote: string,
  newNote: string,
  proof: readonly string[],
  trust: Trust,
): Promise<Report> {
  const [old, next] = [await verifyCheckpoint(oldNote, trust), await verifyCheckpoint(newNote, trust)];
  const checks: Check[] = [...old.checks, ...next.checks];
  if (old.checkpoint !== undefined && next.checkpoint !== undefined) {
    const decision = await compare(old.checkpoint, next.checkpoint, proof);
    checks.push(check('consistency', decision === 'grown' || decision === 'unchanged', sentences[decision]));
  }
  return { ok: isAllOk(checks), checks };
}

const sentences: Readonly<Record<Decision, string>> = {
  first: 'nothing was seen of this log before',
  unchanged: 'the log is as it was',
  grown: 'the log has grown and contains all that was seen',
  untrusted: 'the checkpoint is not signed as it must be',
  other_log: 'the checkpoint is of another log',
  rollback: 'the log is smaller than it was',
  fork: 'the log has signed two histories of the same size',
  inconsistent: 'the log is not shown to contain what was seen',
};

async function compare(old: Checkpoint, next: Checkpoint, proof: readonly string[]): Promise<Decision> {
  if (old.origin !== next.origin) return 'other_log';
  if (next.size < old.size) return 'rollback';
  if (next.size === old.size) return isSameHead(old, next) ? 'unchanged' : 'fork';
  // Every log contains the empty one, and there is nothing to prove.
  if (old.size === 0) return proof.length === 0 ? 'grown' : 'inconsistent';
  return (await isProven(old, next, proof)) ? 'grown' : 'inconsistent';
}

async function isProven(old: Checkpoint, next: Checkpoint, proof: readonly string[]): Promise<boolean> {
  try {
    return await isConsistent(old, next, hashesOf(proof));
  } catch (error) {
    // A proof that cannot be read proves nothing.
    sentenceOf(error);
    return false;
  }
}
