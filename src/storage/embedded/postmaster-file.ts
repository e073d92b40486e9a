/** What a running server writes about itself into `postmaster.pid` in its data folder. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface PostmasterFile {
  readonly path: string;
  readonly pid: number;
  readonly socketFolder: string;
  readonly ready: boolean;
}

/** Undefined when there is none, or when it is only half written. */
export async function readPostmasterFile(dataFolder: string): Promise<PostmasterFile | undefined> {
  const path = join(dataFolder, 'postmaster.pid');
  const text = await readFile(path, 'utf8').catch(() => '');
  // Lines: pid, data folder, start time, port, socket folder, listen address, shared memory, status.
  const lines = text.split('\n');
  const pid = Number(lines[0]);
  if (!Number.isSafeInteger(pid) || pid <= 1) return undefined;
  return { path, pid, socketFolder: lines[4] ?? '', ready: lines[7]?.trim() === 'ready' };
}
