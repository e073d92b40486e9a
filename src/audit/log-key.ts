/**
 * The key that signs checkpoints. It lives in a file, never in the database, so that whoever can change the records
 * cannot sign the change. A key that this log does not know is refused: a second signer would be a second history.
 */
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { describeError, TalosError } from '../core/errors.ts';
import { formatSignerKey, formatVerifierKey, type NoteSigner, noteSigner, parseSignerKey } from '../core/note-key.ts';
import type { CheckpointStore } from '../storage/checkpoints.ts';

export interface LogKey {
  /** The log's name, which is also the name of its key. */
  readonly origin: string;
  readonly signer: NoteSigner;
  /** What verifiers are given. */
  readonly verifierKey: string;
}

const ownerOnly = 0o600;

/**
 * The key in `file`; when there is no file and the log was never signed, a new one. Throws an `Error` with one sentence
 * for the operator.
 */
export async function openLogKey(file: string, proposedOrigin: string, store: CheckpointStore): Promise<LogKey> {
  const origin = await store.origin(proposedOrigin);
  const signers = await store.signers();
  const text = (await readKey(file)) ?? (await createKey(file, origin, signers));
  const key = readSigner(text, file);
  if (key.origin !== origin)
    throw new Error(`The key in ${file} is for the log ${key.origin}, but this is the log ${origin}.`);
  if (signers.length > 0 && !signers.includes(key.verifierKey)) {
    throw new Error(
      `The key in ${file} has never signed this log: give the gateway the key that has (TALOS_LOG_KEY_FILE).`,
    );
  }
  await store.addSigner(key.verifierKey);
  return key;
}

async function readKey(file: string): Promise<string | undefined> {
  try {
    return (await readFile(file, 'utf8')).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(`The log key ${file} cannot be read: ${describeError(error)}`);
  }
}

async function createKey(file: string, origin: string, signers: readonly string[]): Promise<string> {
  if (signers.length > 0) {
    throw new Error(
      `This log has been signed before, and its key is not in ${file}: put it there or set TALOS_LOG_KEY_FILE.`,
    );
  }
  const text = formatSignerKey(origin, generateKeyPairSync('ed25519').privateKey);
  await writeFile(file, `${text}\n`, { flag: 'wx', mode: ownerOnly, flush: true });
  return text;
}

function readSigner(text: string, file: string): LogKey {
  try {
    const { name, privateKey } = parseSignerKey(text);
    return {
      origin: name,
      signer: noteSigner(name, privateKey),
      verifierKey: formatVerifierKey(name, createPublicKey(privateKey)),
    };
  } catch (error) {
    if (!(error instanceof TalosError)) throw error;
    throw new Error(`The file ${file} does not hold a log key: ${error.message}`);
  }
}
