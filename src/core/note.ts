/**
 * Signed notes (C2SP signed-note): a text, a blank line, and one line for each signature. Nothing of a note is to be
 * believed before `openNote` has found a signature of a known key on it.
 */
import { decodeBase64, encodeBase64 } from './base64.ts';
import { TalosError } from './errors.ts';
import { isNoteKeyName, type NoteKeyId, type NoteSigner, type NoteVerifier } from './note-key.ts';

export interface NoteSignature extends NoteKeyId {
  /** What the key made of the text, without the key id. */
  readonly bytes: Buffer;
}

export interface Note {
  /** Ends with a newline. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

/** A note of which at least one signature is known and right. */
export interface OpenedNote {
  readonly text: string;
  /** In the order of the note, one for each key at most. */
  readonly verified: readonly NoteSignature[];
  /** Signatures of keys that nobody named; they mean nothing. */
  readonly unknown: readonly NoteSignature[];
}

// The specification demands at least 16; its reference implementation allows 100.
const signaturesMax = 100;
const noteCharsMax = 1024 * 1024;
const keyIdBytes = 4;
const linePrefix = '— ';

/**
 * Signs `text`, which must end with a newline. Signatures that the note has already stay before the new ones, but for
 * those of the same keys, which the new ones replace.
 */
export async function signNote(note: Note, signers: readonly NoteSigner[]): Promise<string> {
  const fresh: NoteSignature[] = [];
  for (const { name, keyId, sign } of signers) fresh.push({ name, keyId, bytes: await sign(note.text) });
  const kept = note.signatures.filter((old) => !fresh.some((signature) => isSameKey(old, signature)));
  return formatNote({ text: note.text, signatures: [...kept, ...fresh] });
}

/** The note as it is stored and sent. Throws `INVALID_REQUEST` for what `parseNote` would not give back. */
export function formatNote({ text, signatures }: Note): string {
  if (!text.endsWith('\n')) throw refuse('has a text that does not end with a newline');
  const note = `${text}\n${signatures.map(formatSignature).join('')}`;
  parseNote(note);
  return note;
}

/** Reads a note without believing it. Throws `INVALID_REQUEST` when it is malformed. */
export function parseNote(note: string): Note {
  if (note.length > noteCharsMax) throw refuse(`is longer than ${noteCharsMax} characters`);
  if (!note.isWellFormed() || hasForbiddenControl(note)) throw refuse('holds control characters or broken text');
  // Empty lines may stand in the text: the last one separates it from the signatures.
  const split = note.lastIndexOf('\n\n');
  if (split < 0 || !note.endsWith('\n') || note.length === split + 2) throw refuse('has no signature lines at its end');
  const lines = note.slice(split + 2, -1).split('\n');
  if (lines.length > signaturesMax) throw refuse(`has more than ${signaturesMax} signatures`);
  return { text: note.slice(0, split + 1), signatures: lines.map(parseSignature) };
}

/**
 * Reads a note and judges its signatures. A key that signed twice counts once, by its first line. Throws
 * `INVALID_REQUEST` when the note is malformed, a signature of a known key is wrong, two verifiers share name and key
 * id, or no signature is of a known key.
 */
export function openNote(note: string, verifiers: readonly NoteVerifier[]): OpenedNote {
  const { text, signatures } = parseNote(note);
  const verified: NoteSignature[] = [];
  const unknown: NoteSignature[] = [];
  for (const signature of signatures) {
    const verifier = verifierOf(signature, verifiers);
    if (verifier === undefined) addOnce(unknown, signature, isSameSignature);
    else if (verified.some((seen) => isSameKey(seen, signature))) continue;
    else if (verifier.verify(text, signature.bytes)) verified.push(signature);
    else throw refuse(`has a wrong signature of ${signature.name}`);
  }
  if (verified.length === 0) throw refuse('has no signature of a known key');
  return { text, verified, unknown };
}

function verifierOf(signature: NoteKeyId, verifiers: readonly NoteVerifier[]): NoteVerifier | undefined {
  const known = verifiers.filter((verifier) => isSameKey(verifier, signature));
  if (known.length > 1) throw refuse(`is signed by ${signature.name}, which two of the known keys answer to`);
  return known[0];
}

function formatSignature({ name, keyId, bytes }: NoteSignature): string {
  const id = Buffer.alloc(keyIdBytes);
  id.writeUInt32BE(keyId);
  return `${linePrefix}${name} ${encodeBase64(Buffer.concat([id, bytes]))}\n`;
}

function parseSignature(line: string): NoteSignature {
  const [dash, name, encoded, ...more] = line.split(' ');
  if (dash !== '—' || name === undefined || encoded === undefined || more.length > 0) {
    throw refuse('has a signature line that is not "— <name> <base64>"');
  }
  const bytes = decodeBase64(encoded);
  if (!isNoteKeyName(name) || bytes === undefined || bytes.length <= keyIdBytes) {
    throw refuse('has a signature line with a wrong name or signature');
  }
  return { name, keyId: bytes.readUInt32BE(0), bytes: bytes.subarray(keyIdBytes) };
}

function addOnce<T>(list: T[], item: T, isSame: (a: T, b: T) => boolean): void {
  if (!list.some((known) => isSame(known, item))) list.push(item);
}

function isSameKey(a: NoteKeyId, b: NoteKeyId): boolean {
  return a.name === b.name && a.keyId === b.keyId;
}

function isSameSignature(a: NoteSignature, b: NoteSignature): boolean {
  return isSameKey(a, b) && a.bytes.equals(b.bytes);
}

function hasForbiddenControl(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  return /[\x00-\x09\x0b-\x1f]/.test(text);
}

function refuse(reason: string): TalosError {
  return new TalosError('INVALID_REQUEST', { message: `The signed note ${reason}.` });
}
