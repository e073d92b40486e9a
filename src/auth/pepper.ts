/**
 * The pepper under which API keys are hashed: without it a copy of the database is of no use to whoever wants to find a
 * key. It is configured; development makes one of its own in the data folder.
 */
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Secret } from '../config/secret.ts';
import { describeError } from '../core/errors.ts';

export interface PepperOptions {
  readonly configured: Secret | undefined;
  readonly dataDir: string;
  /** Whether a pepper may be made up. */
  readonly development: boolean;
}

/** Undefined when there is none, so that there can be no API keys. Throws an `Error` with one sentence. */
export async function openPepper({ configured, dataDir, development }: PepperOptions): Promise<Secret | undefined> {
  if (configured !== undefined || !development) return configured;
  const file = join(dataDir, 'api-keys.pepper');
  try {
    await mkdir(dataDir, { recursive: true });
    await makeOnce(file);
    return new Secret((await readFile(file, 'utf8')).trim());
  } catch (error) {
    throw new Error(`The pepper of the API keys in ${file} cannot be read: ${describeError(error)}.`);
  }
}

async function makeOnce(file: string): Promise<void> {
  try {
    const text = `${randomBytes(32).toString('base64url')}\n`;
    await writeFile(file, text, { flag: 'wx', mode: 0o600, flush: true });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}
