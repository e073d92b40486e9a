/**
 * The fork guard: whatever was signed before must be what the database begins with. Anything else is a second history
 * under the same key, and no gateway may sign that.
 */
import { TalosError } from '../core/errors.ts';
import { type NodeReader, rootOf } from '../core/merkle-proof.ts';
import type { TreeHead } from '../storage/checkpoints.ts';
import type { FoundCheckpoint } from './checkpointer-file.ts';

/** The database is not the one whose records were signed. */
export class LogForked extends Error {
  override readonly name = 'LogForked';
}

/** The log of `size` records must have had this root when it had as many as were signed. Throws `LogForked`. */
export async function assertContinues(nodes: NodeReader, signed: TreeHead, size: number): Promise<void> {
  if (size < signed.size) {
    throw new LogForked(
      `The database holds ${size} records, but ${signed.size} were signed: it is an old copy. Restore the newest one.`,
    );
  }
  if (signed.size === 0 || (await rootAt(nodes, signed.size)).equals(signed.root)) return;
  throw new LogForked(
    `The first ${signed.size} records are not the ones that were signed: the database was changed or replaced.`,
  );
}

/** The head must be that of its records: what is signed is the root that it tells. Throws `LogForked`. */
export async function assertHeadIsSound(nodes: NodeReader, head: TreeHead): Promise<void> {
  if (head.size === 0 || (await rootAt(nodes, head.size)).equals(head.root)) return;
  throw new LogForked(`The root that the database tells is not that of its ${head.size} records: it was changed.`);
}

/** A checkpoint from outside must be of this log, and the database must continue it. Throws `LogForked`. */
export async function assertContinuesFound(
  nodes: NodeReader,
  found: FoundCheckpoint,
  origin: string,
  size: number,
): Promise<void> {
  if (found.origin !== origin) {
    throw new LogForked(`${found.place} is of the log ${found.origin}, but the database holds ${origin}.`);
  }
  await assertContinues(nodes, found, size);
}

async function rootAt(nodes: NodeReader, size: number): Promise<Buffer> {
  try {
    return await rootOf(size, nodes);
  } catch (error) {
    // A store that cannot be reached says nothing about what is in it.
    if (error instanceof TalosError) throw error;
    throw new LogForked(`Records or tiles of the first ${size} that were signed are missing.`, { cause: error });
  }
}
