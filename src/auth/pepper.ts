/**
 * The pepper under which API keys are hashed: without it a copy of the database is of no use to whoever wants to find a
 * key. It is configured; development makes one of its own in the data folder.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { makeKeyFile } from '../config/key-file.ts';
import { Secret } from '../config/secret.ts';
import { describeError } from '../core/errors.ts';

export interface PepperOptions {
  readonly configured: Secret | undefined;
  readonly dataDir: string;
  /** Whether a pepper may be made up. */
  readonly development: boolean;
}

const pepperBytes = 32;

/** Undefined when there is none, so that there can be no API keys. Throws an `Error` with one sentence. */
export async function openPepper({ configured, dataDir, development }: PepperOptions): Promise<Secret | undefined> {
  if (configured !== undefined || !development) return configured;
  const file = join(dataDir, 'api-keys.pepper');
  try {
    await makeKeyFile(file, pepperBytes);
    return new Secret((await readFile(file, 'utf8')).trim());
  } catch (error) {
    throw new Error(`The pepper of the API keys in ${file} cannot be read: ${describeError(error)}.`);
  }
}
