/**
 * Files that are replaced wholly or not at all, and the one among them that holds the last signed checkpoint: the copy
 * outside the database that a rolled back or replaced database is found out by.
 */
import { open, readFile, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parseCheckpoint } from '../core/checkpoint.ts';
import { describeError } from '../core/errors.ts';
import { parseNote } from '../core/note.ts';

/** A checkpoint that was found outside the database. */
export interface FoundCheckpoint {
  /** Where, for a sentence. */
  readonly place: string;
  readonly origin: string;
  readonly size: number;
  readonly root: Buffer;
}

let writes = 0;

/** Durable when it resolves. A crash at any point leaves the old content or the new. */
export async function replaceFile(file: string, text: string): Promise<void> {
  // Of this call alone: two that shared it would write into each other's.
  const next = `${file}.${process.pid}-${++writes}.next`;
  try {
    await writeWhole(next, text);
    await rename(next, file);
  } catch (error) {
    await rm(next, { force: true });
    throw error;
  }
  await syncFolder(dirname(file));
}

async function writeWhole(file: string, text: string): Promise<void> {
  const handle = await open(file, 'w', 0o600);
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** A rename or a new file is durable only when its folder is. */
async function syncFolder(folder: string): Promise<void> {
  // Windows cannot open folders, and makes renames durable by itself.
  if (process.platform === 'win32') return;
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** The checkpoint in the file, or undefined when there is no file. Throws an `Error` with one sentence. */
export async function readKept(file: string): Promise<FoundCheckpoint | undefined> {
  try {
    return foundIn(file, await readFile(file, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(`The last signed checkpoint in ${file} cannot be read: ${describeError(error)}`);
  }
}

/**
 * Keeps the checkpoint unless the file has a larger one: another gateway with the same folder may have been faster. Of two
 * that write at the same moment either may stay; both were signed.
 */
export async function keepCheckpoint(file: string, { size, note }: { size: number; note: string }): Promise<void> {
  const kept = await readKept(file);
  if (kept === undefined || kept.size < size) await replaceFile(file, note);
}

/** Reads a checkpoint note without judging its signatures. Throws `INVALID_REQUEST`. */
export function foundIn(place: string, note: string): FoundCheckpoint {
  const { origin, size, root } = parseCheckpoint(parseNote(note).text);
  return { place, origin, size, root };
}
