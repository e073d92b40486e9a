/**
 * The memory of whoever watches a log: the last checkpoint that was believed, and what a new one means beside it. Holding
 * one small note is enough to see any change to what was logged before it.
 */
import { demand, hashesOf, isSame, Refusal } from './bytes.ts';
import { type Checkpoint, lookAtCheckpoint, readCheckpoint } from './checkpoint.ts';
import { Checklist, type Report } from './report.ts';
import { isConsistent } from './tree.ts';
import type { Trust } from './trust.ts';

/** What a new checkpoint means beside the last one. The first three are good. */
const sentences = {
  first: 'nothing was seen of this log before',
  unchanged: 'the log is as it was',
  grown: 'the log has grown and contains all that was seen',
  untrusted: 'The checkpoint is not signed as it must be.',
  other_log: 'The checkpoint is of another log.',
  rollback: 'The log is smaller than it was.',
  // The two notes together prove the guilt of the log to anyone.
  fork: 'The log has signed two histories of one size.',
  inconsistent: 'The log is not shown to contain what was seen.',
} as const;

export type Decision = keyof typeof sentences;

export interface MonitorReport extends Report {
  readonly decision: Decision;
  /** The note to remember: the new one when all is well, else the one that was seen before. */
  readonly seen: string | undefined;
}

/** Judges the note `next` beside `seen`, which the last report said to remember. `proof` is base64, from size to size. */
export async function monitor(
  seen: string | undefined,
  next: string,
  proof: readonly string[],
  trust: Trust,
): Promise<MonitorReport> {
  const list = new Checklist();
  const checkpoint = await lookAtCheckpoint(list, next, trust);
  let decision: Decision = 'untrusted';
  if (checkpoint !== undefined && list.ok) {
    decision = seen === undefined ? 'first' : await compare(readCheckpoint(seen), checkpoint, proof);
  }
  await list.look('history', () => sentenceOf(decision));
  return { ok: list.ok, decision, checks: list.checks, seen: list.ok ? next : seen };
}

/** Judges two checkpoints of one log and the proof (base64) that the old one is a prefix of the new one. */
export async function verifyConsistency(
  oldNote: string,
  newNote: string,
  proof: readonly string[],
  trust: Trust,
): Promise<Report> {
  const list = new Checklist();
  const old = await lookAtCheckpoint(list, oldNote, trust);
  const next = await lookAtCheckpoint(list, newNote, trust);
  await list.look('consistency', async () => {
    demand(old !== undefined && next !== undefined, 'There are not two checkpoints.');
    return sentenceOf(await compare(old, next, proof));
  });
  return { ok: list.ok, checks: list.checks };
}

function sentenceOf(decision: Decision): string {
  demand(decision === 'first' || decision === 'unchanged' || decision === 'grown', sentences[decision]);
  return sentences[decision];
}

async function compare(old: Checkpoint, next: Checkpoint, proof: readonly string[]): Promise<Decision> {
  if (old.origin !== next.origin) return 'other_log';
  if (next.size < old.size) return 'rollback';
  if (next.size === old.size) return isSame(old.root, next.root) ? 'unchanged' : 'fork';
  // Every log contains the empty one, and there is nothing to prove.
  if (old.size === 0) return proof.length === 0 ? 'grown' : 'inconsistent';
  try {
    return (await isConsistent(old, next, hashesOf(proof))) ? 'grown' : 'inconsistent';
  } catch (error) {
    // A proof that cannot be read proves nothing.
    if (error instanceof Refusal) return 'inconsistent';
    throw error;
  }
}
