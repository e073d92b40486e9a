/** Keys that a gateway makes up for itself: a file that is made once, and never again while it is there. */
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

/** A line of `keyBytes` random bytes as base64url, for the owner alone. Leaves a file that is there as it is. */
export async function makeKeyFile(file: string, keyBytes: number): Promise<void> {
  try {
    await mkdir(dirname(file), { recursive: true });
    const text = `${randomBytes(keyBytes).toString('base64url')}\n`;
    await writeFile(file, text, { flag: 'wx', mode: 0o600, flush: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
