/** Makes a folder with its parents. The recursive `mkdir` of Node.js never returns where a file system makes none, such as `/proc`. */
import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errorCode } from './failure.ts';

/** Harmless when the folder is there; throws a system error when it cannot be made. */
export async function makeFolder(path: string, mode: number): Promise<void> {
  if (await isMadeOrThere(path, mode)) return;
  await makeFolder(dirname(path), mode);
  if (!(await isMadeOrThere(path, mode))) throw Object.assign(new Error(`cannot make ${path}`), { code: 'EACCES' });
}

/** False when a parent is missing. */
async function isMadeOrThere(path: string, mode: number): Promise<boolean> {
  try {
    await mkdir(path, { mode });
    return true;
  } catch (error) {
    if (errorCode(error) === 'EEXIST' && (await stat(path)).isDirectory()) return true;
    if (errorCode(error) === 'ENOENT' && dirname(path) !== path) return false;
    throw error;
  }
}
