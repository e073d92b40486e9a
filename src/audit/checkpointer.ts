/**
 * Signs what the log has committed. A checkpoint is signed only after the commit, and only when the tree it speaks of
 * continues the last one that was signed: there is never a second history under this key.
 *
 * The last signed checkpoint is also kept in a file outside the database, so that a database that was rolled back to an
 * old backup, or replaced, is found out at the start.
 */
import { open, readFile, rename } from 'node:fs/promises';
import { formatCheckpoint, parseCheckpoint } from '../core/checkpoint.ts';
import { describeError } from '../core/errors.ts';
import { rootOf } from '../core/merkle-proof.ts';
import { parseNote, signNote } from '../core/note.ts';
import type { CheckpointStore, StoredCheckpoint, TreeHead } from '../storage/checkpoints.ts';
import type { TileReader } from '../storage/tiles.ts';
import type { Log } from '../telemetry/telemetry.ts';
import type { LogKey } from './log-key.ts';

export interface CheckpointerOptions {
  readonly key: LogKey;
  readonly store: CheckpointStore;
  readonly tiles: TileReader;
  /** Where the last signed checkpoint is kept outside the database. */
  readonly file: string;
  readonly intervalMs: number;
  readonly log: Log;
}

export interface Checkpointer {
  /** The newest checkpoint; at the first call of an empty log, one of size 0. */
  readonly latest: () => Promise<StoredCheckpoint>;
  /** A checkpoint of at least `size` leaves, signed now if need be. */
  readonly covering: (size: number) => Promise<StoredCheckpoint>;
  /** Tells that something was committed: a checkpoint follows within the interval. */
  readonly committed: () => void;
  readonly close: () => Promise<void>;
}

/** Throws an `Error` with one sentence when the database does not continue what was signed before. */
export async function createCheckpointer(options: CheckpointerOptions): Promise<Checkpointer> {
  await guardAgainstFork(options);
  let newest = await options.store.latest();
  let signing: Promise<StoredCheckpoint> | undefined;
  let timer: NodeJS.Timeout | undefined;

  async function sign(): Promise<StoredCheckpoint> {
    const stored = await options.store.latest();
    if (stored !== undefined && stored.size > (newest?.size ?? -1)) newest = stored;
    const head = await options.store.head();
    if (newest === undefined || head.size > newest.size) newest = await signHead(options, newest, head);
    return newest;
  }

  function signOnce(): Promise<StoredCheckpoint> {
    signing ??= sign().finally(() => {
      signing = undefined;
    });
    return signing;
  }

  async function covering(size: number): Promise<StoredCheckpoint> {
    if (newest !== undefined && newest.size >= size) return newest;
    // One that is being signed may have read the head before `size` was committed.
    const first = await signOnce();
    return first.size >= size ? first : await signOnce();
  }

  function committed(): void {
    timer ??= setTimeout(() => {
      timer = undefined;
      signOnce().catch((error) => options.log.error(`no checkpoint could be signed: ${describeError(error)}`));
    }, options.intervalMs);
  }

  async function close(): Promise<void> {
    clearTimeout(timer);
    await signOnce().catch(() => undefined);
  }

  return { latest: () => covering(0), covering, committed, close };
}

async function signHead(
  options: CheckpointerOptions,
  previous: StoredCheckpoint | undefined,
  head: TreeHead,
): Promise<StoredCheckpoint> {
  if (previous !== undefined) await assertContinues(options, previous, head.size);
  const { origin, signer } = options.key;
  const text = formatCheckpoint({ origin, size: head.size, root: head.root });
  const checkpoint = { ...head, note: await signNote({ text, signatures: [] }, [signer]) };
  // Outside first: a checkpoint that anybody has seen is also known there.
  await keep(options.file, checkpoint.note);
  await options.store.add(checkpoint);
  return checkpoint;
}

/** The tree as it is now must have had this root at that size. */
async function assertContinues(options: CheckpointerOptions, signed: TreeHead, size: number): Promise<void> {
  if (size < signed.size) {
    throw new Error(
      `The database holds ${size} records, but ${signed.size} were signed: it is an old copy. Restore the newest one.`,
    );
  }
  if (signed.size === 0) return;
  const root = await rootOf(signed.size, options.tiles.nodes);
  if (root.equals(signed.root)) return;
  throw new Error(
    `The first ${signed.size} records are not the ones that were signed: the database was changed or replaced.`,
  );
}

async function guardAgainstFork(options: CheckpointerOptions): Promise<void> {
  const { size } = await options.store.head();
  const stored = await options.store.latest();
  if (stored !== undefined) await assertContinues(options, stored, size);
  const kept = await readKept(options.file);
  if (kept === undefined) return;
  if (kept.origin !== options.key.origin) {
    throw new Error(`${options.file} is of the log ${kept.origin}, but the database holds ${options.key.origin}.`);
  }
  await assertContinues(options, kept, size);
}

async function readKept(file: string): Promise<{ origin: string; size: number; root: Buffer } | undefined> {
  try {
    return parseCheckpoint(parseNote(await readFile(file, 'utf8')).text);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(`The last signed checkpoint in ${file} cannot be read: ${describeError(error)}`);
  }
}

/** Replaces the file wholly or not at all. */
async function keep(file: string, note: string): Promise<void> {
  const next = `${file}.next`;
  const handle = await open(next, 'w', 0o600);
  try {
    await handle.writeFile(note);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(next, file);
}
