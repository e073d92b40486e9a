/**
 * The keys that sign checkpoints. They live in a file or a key service, never in the database, so that whoever can
 * change the records cannot sign the change. A key that this log does not know is refused: a second signer would be a
 * second history.
 */
import { createPublicKey } from 'node:crypto';
import { open, rm, writeFile } from 'node:fs/promises';
import { bounds } from '../config/bounds.ts';
import { describeError, TalosError } from '../core/errors.ts';
import {
  formatVerifierKey,
  generateNoteKey,
  type NoteSigner,
  type NoteVerifier,
  noteSignature,
  noteSigner,
  noteVerifier,
  parseSignerKey,
} from '../core/note-key.ts';
import type { CheckpointStore } from '../storage/checkpoints.ts';
import { runKeyCommand } from './log-key-command.ts';

export interface LogKey {
  /** The log's name, which is also the name of its keys. */
  readonly origin: string;
  /** The first is the log's key; others sign beside it, for verifiers who know only an older one. At least one. */
  readonly signers: readonly NoteSigner[];
  readonly verifiers: readonly NoteVerifier[];
  /** What verifiers are given, in the order of the signers. */
  readonly verifierKeys: readonly string[];
}

/** A file with the key, made when the log was never signed; or a program that prints it. */
export type LogKeySource = { readonly file: string } | { readonly command: readonly string[] };

export interface LogKeyOptions {
  readonly source: LogKeySource;
  /** The name that the log must have, when the operator chose one. */
  readonly origin: string | undefined;
  /** The name of a log that has none yet. */
  readonly freshOrigin: string;
  readonly store: CheckpointStore;
  /** Whether a key file that everybody may read stops the start. */
  readonly strict: boolean;
  readonly warn: (sentence: string) => void;
}

/**
 * The key of this log; when there is no file and the log was never signed, a new one. Throws an `Error` with one
 * sentence for the operator.
 */
export async function openLogKey(options: LogKeyOptions): Promise<LogKey> {
  const place = placeOf(options.source);
  const given = await readKey(options);
  const origin = await originOf(options, given, place);
  if (given === undefined) return await createKey(options, origin, place);
  await assertKnown(options.store, given, place);
  return given;
}

/** The signer keys in `text`, one a line. Throws an `Error` with one sentence that never shows them. */
export function parseLogKey(text: string, place: string): LogKey {
  const lines = text.split('\n').flatMap((line) => (line.trim() === '' ? [] : [line.trim()]));
  if (lines.length === 0) throw new Error(`${place} is empty: it should hold a log key.`);
  if (lines.length > bounds.logKeysMax) throw new Error(`${place} holds more than ${bounds.logKeysMax} keys.`);
  const keys = lines.map((line) => parseSigner(line, place));
  const [origin = ''] = keys.map(({ name }) => name);
  if (keys.some(({ name }) => name !== origin)) throw new Error(`${place} holds keys of different logs.`);
  const verifierKeys = keys.map(({ name, privateKey }) => formatVerifierKey(name, createPublicKey(privateKey)));
  if (new Set(verifierKeys).size < keys.length) throw new Error(`${place} holds a key twice.`);
  return {
    origin,
    signers: keys.map(({ name, privateKey }) => noteSigner(name, privateKey)),
    verifiers: keys.map(({ name, privateKey }) => noteVerifier(name, createPublicKey(privateKey))),
    verifierKeys,
  };
}

function parseSigner(line: string, place: string): ReturnType<typeof parseSignerKey> {
  try {
    const key = parseSignerKey(line);
    if (key.type === noteSignature) return key;
  } catch (error) {
    if (!(error instanceof TalosError)) throw error;
    throw new Error(`${place} does not hold a log key: ${error.message}`);
  }
  throw new Error(`${place} holds the key of a witness: a log needs one of its own.`);
}

function placeOf(source: LogKeySource): string {
  return 'file' in source ? `The file ${source.file}` : `What the log key command ${source.command[0]} prints`;
}

async function readKey(options: Pick<LogKeyOptions, 'source' | 'strict' | 'warn'>): Promise<LogKey | undefined> {
  const text = await readSignerKeys(options);
  return text === undefined ? undefined : parseLogKey(text, placeOf(options.source));
}

/** What the source holds, or undefined when its file is not there. A secret. Throws an `Error` with one sentence. */
export async function readSignerKeys({
  source,
  strict,
  warn,
}: Pick<LogKeyOptions, 'source' | 'strict' | 'warn'>): Promise<string | undefined> {
  return 'command' in source ? await runKeyCommand(source.command) : await readKeyFile(source.file, strict, warn);
}

async function readKeyFile(
  file: string,
  strict: boolean,
  warn: (sentence: string) => void,
): Promise<string | undefined> {
  try {
    const handle = await open(file, 'r');
    try {
      guardMode(file, (await handle.stat()).mode, strict, warn);
      const { bytesRead, buffer } = await handle.read(Buffer.alloc(bounds.logKeyBytesMax));
      return buffer.toString('utf8', 0, bytesRead);
    } finally {
      await handle.close();
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return undefined;
    if (code === undefined) throw error;
    throw new Error(`The log key ${file} cannot be read (${code}).`);
  }
}

// The group may read it: that is how containers are handed secrets.
const others = 0o007;

function guardMode(file: string, mode: number, strict: boolean, warn: (sentence: string) => void): void {
  if (process.platform === 'win32' || (mode & others) === 0) return;
  const sentence = `The log key ${file} is open to every account of this machine: chmod 600 it.`;
  if (strict) throw new Error(sentence);
  warn(sentence);
}

/** The name that database, key and operator agree on. */
async function originOf(
  { origin, freshOrigin, store }: LogKeyOptions,
  key: LogKey | undefined,
  place: string,
): Promise<string> {
  if (key !== undefined && origin !== undefined && key.origin !== origin) {
    throw new Error(`${place} is for the log ${key.origin}, but TALOS_LOG_ORIGIN says ${origin}.`);
  }
  const stored = await store.origin(key?.origin ?? origin ?? freshOrigin);
  if (key !== undefined && key.origin !== stored) {
    throw new Error(`${place} is for the log ${key.origin}, but the database holds ${stored}.`);
  }
  if (origin !== undefined && origin !== stored) {
    throw new Error(`The database holds the log ${stored}, but TALOS_LOG_ORIGIN says ${origin}: names never change.`);
  }
  return stored;
}

async function assertKnown(store: CheckpointStore, key: LogKey, place: string): Promise<void> {
  for (const verifierKey of key.verifierKeys) {
    if (await store.claimSigner(verifierKey)) continue;
    throw new Error(
      `${place} holds a key that has never signed this log: give the gateway the one that has (TALOS_LOG_KEY_FILE).`,
    );
  }
}

async function createKey({ source, store }: LogKeyOptions, origin: string, place: string): Promise<LogKey> {
  if (!('file' in source)) throw new Error(`${place} is empty: it should hold a log key.`);
  const { file } = source;
  if ((await store.signers()).length > 0) {
    throw new Error(
      `This log has been signed before, and its key is not in ${file}: put it there or set TALOS_LOG_KEY_FILE.`,
    );
  }
  const { skey } = generateNoteKey(origin);
  await writeKeyFile(file, [skey]);
  const key = parseLogKey(skey, place);
  // The file first: a log whose only key is lost in a crash here could never be signed.
  const [verifierKey = ''] = key.verifierKeys;
  if (await store.claimSigner(verifierKey)) return key;
  await rm(file);
  throw new Error(
    `Another gateway has just begun to sign this log: give this one a copy of its key in ${file} (TALOS_LOG_KEY_FILE).`,
  );
}

/** Writes signer keys to a new file that only its owner can read; it is never overwritten. */
export async function writeKeyFile(file: string, signerKeys: readonly string[]): Promise<void> {
  try {
    await writeFile(file, `${signerKeys.join('\n')}\n`, { flag: 'wx', mode: 0o600, flush: true });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason = code === 'EEXIST' ? 'it exists already' : describeError(error);
    throw new Error(`The key cannot be written to ${file}: ${reason}.`);
  }
}
