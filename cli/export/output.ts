/**
 * Where an export goes. Into a file it can be continued: beside the file stands what was asked and how far it is known
 * to be whole, and whatever was written after that is written again.
 */
import { type FileHandle, open, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { isJsonObject } from '../../src/core/json.ts';
import { UsageError } from '../usage-error.ts';
import type { ExportFrame } from './formats.ts';

/** How far an export is. */
export interface Milestone {
  /** What was asked for; another question cannot continue it. */
  readonly asked: string;
  readonly frame: ExportFrame;
  /** The first sequence number that has not been looked at. */
  readonly nextSeq: number;
  /** How many bytes of the file are whole. */
  readonly bytes: number;
  readonly records: number;
}

export interface ExportOutput {
  /** Takes lines; they may be lost until the next milestone. */
  readonly write: (text: string) => Promise<void>;
  /** All that was written is kept, and an export can go on from here. */
  readonly keep: (milestone: Omit<Milestone, 'bytes'>) => Promise<void>;
  /** The export is complete. */
  readonly finish: () => Promise<void>;
  /** Lets go of the file as it is. */
  readonly close: () => Promise<void>;
}

export function standardOutput(stream: NodeJS.WritableStream = process.stdout): ExportOutput {
  const write = (text: string) =>
    new Promise<void>((resolve, reject) => {
      stream.write(text, (error) => (error === null || error === undefined ? resolve() : reject(error)));
    });
  const nothing = async () => undefined;
  return { write, keep: nothing, finish: nothing, close: nothing };
}

/** A new file; refuses one that exists. */
export async function newFile(path: string): Promise<ExportOutput> {
  return fileOutput(path, await opened(path, 'wx'), 0);
}

/** The file of an export that was interrupted, cut to what is whole. */
export async function continuedFile(path: string, { bytes }: Milestone): Promise<ExportOutput> {
  const file = await opened(path, 'r+');
  const { size } = await file.stat();
  if (size < bytes) {
    await file.close();
    throw new UsageError(`${path} is shorter than it was; begin a new export.`);
  }
  await file.truncate(bytes);
  return fileOutput(path, file, bytes);
}

function fileOutput(path: string, file: FileHandle, from: number): ExportOutput {
  let bytes = from;
  return {
    async write(text) {
      const data = Buffer.from(text);
      await file.write(data, 0, data.length, bytes);
      bytes += data.length;
    },
    async keep(milestone) {
      await file.datasync();
      await replaceMilestone(path, { ...milestone, bytes });
    },
    async finish() {
      await file.sync();
      await rm(milestonePath(path), { force: true });
    },
    close: () => file.close(),
  };
}

function milestonePath(path: string): string {
  return `${path}.resume`;
}

async function replaceMilestone(path: string, milestone: Milestone): Promise<void> {
  const next = `${milestonePath(path)}.next`;
  await writeFile(next, JSON.stringify(milestone));
  await rename(next, milestonePath(path));
}

/** The milestone beside the file, or undefined when there is none: nothing was begun, or it is complete. */
export async function readMilestone(path: string): Promise<Milestone | undefined> {
  try {
    const milestone: unknown = JSON.parse(await readFile(milestonePath(path), 'utf8'));
    if (isJsonObject(milestone)) return milestone as unknown as Milestone;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
  }
  throw new UsageError(`${milestonePath(path)} cannot be read; delete it and the export, and begin a new one.`);
}

async function opened(path: string, flags: 'wx' | 'r+'): Promise<FileHandle> {
  try {
    return await open(path, flags, 0o600);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EEXIST') throw new UsageError(`${path} exists; --resume continues an export that was interrupted.`);
    throw new UsageError(`${path} cannot be written (${code}).`);
  }
}
