/** Checkpoints (C2SP tlog-checkpoint in a signed note): who signed that the log had this root at this size. */
import { type Bytes, concat, fromBase64, hashOf, hex, Malformed, utf8 } from './bytes.ts';
import { type Check, check } from './report.ts';
import type { TreeHead } from './tree.ts';
import type { Key, Trust } from './trust.ts';

export interface Checkpoint extends TreeHead {
  readonly origin: string;
}

export interface CheckpointReport {
  /** Absent when the note could not be read. To be believed only when all checks are ok. */
  readonly checkpoint?: Checkpoint;
  readonly checks: readonly Check[];
  /** The witnesses whose cosignature is right, with the time that they signed, in Unix seconds. */
  readonly witnessedAtSec: Readonly<Record<string, number>>;
}

const signaturesMax = 100;
const noteCharsMax = 1024 * 1024;

/** Judges a checkpoint: its form, a signature of a trusted log that bears its origin, and the quorum of witnesses. */
export async function verifyCheckpoint(note: string, trust: Trust): Promise<CheckpointReport> {
  let read: Note & { checkpoint: Checkpoint };
  try {
    read = readNote(note);
  } catch (error) {
    return { checks: [check('checkpoint', false, sentenceOf(error))], witnessedAtSec: {} };
  }
  const { checkpoint, text, signatures } = read;
  const logs = trust.logs.filter((key) => key.name === checkpoint.origin);
  const signed = await judge(text, signatures, logs, async (bytes, key) =>
    (await isSigned(bytes, key, text)) ? 0 : undefined,
  );
  const witnessed = await judge(text, signatures, [...trust.witnesses.values()], cosignedAt);
  const names = [...trust.witnesses].filter(([, key]) => witnessed.times.has(key)).map(([name]) => name);
  return {
    checkpoint,
    checks: [
      check('checkpoint', true, `${checkpoint.origin} at ${checkpoint.size} records`),
      check('log_signature', signed.times.size > 0 && !signed.isWrong, logSentence(signed, logs, checkpoint.origin)),
      check('witnesses', trust.isQuorum(new Set(names)) && !witnessed.isWrong, witnessSentence(witnessed, names)),
    ],
    witnessedAtSec: Object.fromEntries([...witnessed.times].map(([key, timeSec]) => [key.name, timeSec])),
  };
}

function logSentence(signed: Verdicts, logs: readonly Key[], origin: string): string {
  if (signed.isWrong) return 'a signature of a trusted key is wrong';
  if (logs.length === 0) return `no trusted key is named after the origin ${origin}`;
  return signed.times.size > 0 ? `signed by ${origin}` : 'not signed by a trusted key';
}

function witnessSentence(witnessed: Verdicts, names: readonly string[]): string {
  if (witnessed.isWrong) return 'a cosignature of a trusted witness is wrong';
  return names.length === 0 ? 'no trusted witness has cosigned' : `cosigned by ${names.join(', ')}`;
}

interface Verdicts {
  /** The keys whose signature is right, with its time. */
  readonly times: Map<Key, number>;
  readonly isWrong: boolean;
}

/** Each key counts once, by its first line; a wrong signature of a known key spoils the note (C2SP signed-note). */
async function judge(
  text: string,
  signatures: Note['signatures'],
  keys: readonly Key[],
  timeOf: (bytes: Bytes, key: Key, text: string) => Promise<number | undefined>,
): Promise<Verdicts> {
  const times = new Map<Key, number>();
  for (const { name, id, bytes } of signatures) {
    const key = keys.find((known) => known.name === name && known.id === id);
    if (key === undefined || times.has(key)) continue;
    const timeSec = await timeOf(bytes, key, text);
    if (timeSec === undefined) return { times, isWrong: true };
    times.set(key, timeSec);
  }
  return { times, isWrong: false };
}

async function isSigned(bytes: Bytes, key: Key, message: string): Promise<boolean> {
  return bytes.length === 64 && (await key.verify(bytes, utf8(message)));
}

/** The time in a `cosignature/v1` (C2SP tlog-cosignature), or undefined when it is wrong. */
async function cosignedAt(bytes: Bytes, key: Key, text: string): Promise<number | undefined> {
  if (bytes.length !== 72) return undefined;
  const timeSec = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0));
  const message = `cosignature/v1\ntime ${timeSec}\n${text}`;
  return Number.isSafeInteger(timeSec) && (await isSigned(bytes.slice(8), key, message)) ? timeSec : undefined;
}

interface Note {
  readonly text: string;
  readonly signatures: readonly { readonly name: string; readonly id: string; readonly bytes: Bytes }[];
}

function readNote(note: string): Note & { checkpoint: Checkpoint } {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: notes may hold none but newlines.
  if (note.length > noteCharsMax || !note.isWellFormed() || /[\x00-\x09\x0b-\x1f]/.test(note)) {
    throw new Malformed('the note is too long or holds control characters');
  }
  const split = note.lastIndexOf('\n\n');
  const lines = note.slice(split + 2).split('\n');
  if (split < 0 || lines.pop() !== '' || lines.length > signaturesMax) throw new Malformed('it is not a signed note');
  const text = note.slice(0, split + 1);
  return { text, signatures: lines.map(readSignature), checkpoint: readCheckpoint(text) };
}

/** The checkpoint in a note, without believing it. Throws `Malformed`. */
export function readCheckpointNote(note: string): Checkpoint {
  return readNote(note).checkpoint;
}

function readSignature(line: string): Note['signatures'][number] {
  const [, name, encoded] = /^— ([^+\p{White_Space}]+) ([A-Za-z0-9+/=]+)$/u.exec(line) ?? [];
  const bytes = fromBase64(encoded ?? '');
  if (name === undefined || bytes === undefined || bytes.length < 5)
    throw new Malformed('a signature line is malformed');
  return { name, id: hex(bytes.slice(0, 4)), bytes: concat(bytes.slice(4)) };
}

function readCheckpoint(text: string): Checkpoint {
  const [origin = '', size = '', root, ...extensions] = text.slice(0, -1).split('\n');
  if (origin === '' || extensions.includes('')) throw new Malformed('it is not a checkpoint: a line is empty');
  if (!/^(?:0|[1-9][0-9]{0,15})$/.test(size) || !Number.isSafeInteger(Number(size))) {
    throw new Malformed('it is not a checkpoint: the second line is no tree size');
  }
  return { origin, size: Number(size), root: hashOf(root) };
}

export function sentenceOf(error: unknown): string {
  if (error instanceof Malformed) return error.message;
  throw error;
}
