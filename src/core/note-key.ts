/**
 * Keys of signed notes (C2SP signed-note), all Ed25519: the text forms of signer and verifier keys, and what signs and
 * verifies with them. A key is known by its name and its key id, which also fixes the signature type.
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign, verify } from 'node:crypto';
import { decodeBase64, encodeBase64 } from './base64.ts';
import { TalosError } from './errors.ts';
import { sha256 } from './hash.ts';

/** The signature type byte: a plain note signature, or a witness's timestamped cosignature (C2SP tlog-cosignature). */
export type NoteKeyType = 1 | 4;

export const noteSignature = 1;
export const cosignature = 4;

/** What is known of a key without holding it. */
export interface NoteKeyId {
  /** Not empty, without Unicode spaces and plus signs; for a log its origin. */
  readonly name: string;
  /** The first four bytes of SHA-256(name ‖ 0x0A ‖ type ‖ public key), big-endian. */
  readonly keyId: number;
}

export interface NoteVerifier extends NoteKeyId {
  readonly type: NoteKeyType;
  /** True when `signature` is what this key made of the note text `text`. */
  readonly verify: (text: string, signature: Uint8Array) => boolean;
}

export interface NoteSigner extends NoteKeyId {
  /** The signature of the note text, without the key id. May ask a key service. */
  readonly sign: (text: string) => Buffer | Promise<Buffer>;
}

const keyBytes = 32;
const keyCharsMax = 1_024;
const notInName = /[\p{White_Space}+]/u;

/** Not empty, well-formed, and without the characters that end a name: Unicode spaces and plus signs. */
export function isNoteKeyName(name: string): boolean {
  return name !== '' && name.isWellFormed() && !notInName.test(name) && !hasControlCharacter(name);
}

/** A note holds no ASCII control characters other than newline, so a name can hold none at all. */
function hasControlCharacter(text: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  return /[\x00-\x1f]/.test(text);
}

export function noteKeyId(name: string, type: NoteKeyType, publicKey: Uint8Array): number {
  return sha256(Buffer.concat([Buffer.from(`${name}\n`), Buffer.from([type]), publicKey])).readUInt32BE(0);
}

/** `<name>+<key id in hex>+<base64 of type and public key>`: the form that is handed to whoever verifies. */
export function formatVerifierKey(name: string, publicKey: KeyObject, type: NoteKeyType = noteSignature): string {
  const raw = rawPublicKey(publicKey);
  return `${checkedName(name)}+${hex(noteKeyId(name, type, raw))}+${encodeBase64(Buffer.concat([Buffer.from([type]), raw]))}`;
}

/** The parts of a verifier key. Throws `INVALID_REQUEST` unless it is one of a known type whose key id is right. */
export function parseVerifierKey(text: string): NoteKeyId & { type: NoteKeyType; publicKey: KeyObject } {
  const { name, keyId, type, key } = splitKey(text);
  if (noteKeyId(name, type, key) !== keyId) throw refuse('has a key id that is not the hash of its name and key');
  const publicKey = createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: key.toString('base64url') },
    format: 'jwk',
  });
  return { name, keyId, type, publicKey };
}

/** `PRIVATE+KEY+<name>+<key id in hex>+<base64 of type and seed>`: a secret, for a file that only its owner can read. */
export function formatSignerKey(name: string, privateKey: KeyObject, type: NoteKeyType = noteSignature): string {
  const seed = Buffer.from(privateKey.export({ format: 'jwk' }).d ?? '', 'base64url');
  const keyId = noteKeyId(checkedName(name), type, rawPublicKey(createPublicKey(privateKey)));
  return `${signerPrefix}${name}+${hex(keyId)}+${encodeBase64(Buffer.concat([Buffer.from([type]), seed]))}`;
}

/** The parts of a signer key. Throws `INVALID_REQUEST` when it is none; the sentence never shows it. */
export function parseSignerKey(text: string): NoteKeyId & { type: NoteKeyType; privateKey: KeyObject } {
  if (!text.startsWith(signerPrefix)) throw refuse(`does not start with ${signerPrefix}`);
  const { name, keyId, type, key } = splitKey(text.slice(signerPrefix.length));
  const privateKey = privateKeyOfSeed(key);
  if (noteKeyId(name, type, rawPublicKey(createPublicKey(privateKey))) !== keyId) {
    throw refuse('has a key id that is not the hash of its name and key');
  }
  return { name, keyId, type, privateKey };
}

/** A fresh pair in text form. */
export function generateNoteKey(name: string, type: NoteKeyType = noteSignature): { skey: string; vkey: string } {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return { skey: formatSignerKey(name, privateKey, type), vkey: formatVerifierKey(name, publicKey, type) };
}

/** Signs note texts with an Ed25519 key (type 1). Throws `INVALID_REQUEST` for a name that no note can carry. */
export function noteSigner(name: string, privateKey: KeyObject): NoteSigner {
  const publicKey = rawPublicKey(createPublicKey(privateKey));
  return {
    name: checkedName(name),
    keyId: noteKeyId(name, noteSignature, publicKey),
    sign: (text) => sign(null, Buffer.from(text), privateKey),
  };
}

/** Verifies note texts with an Ed25519 key (type 1). */
export function noteVerifier(name: string, publicKey: KeyObject): NoteVerifier {
  return {
    name: checkedName(name),
    keyId: noteKeyId(name, noteSignature, rawPublicKey(publicKey)),
    type: noteSignature,
    verify: (text, signature) => verify(null, Buffer.from(text), publicKey, signature),
  };
}

/** The 32 bytes of an Ed25519 public key. Throws `INVALID_REQUEST` for another kind of key. */
export function rawPublicKey(publicKey: KeyObject): Buffer {
  if (publicKey.asymmetricKeyType !== 'ed25519') throw refuse('is not an Ed25519 key');
  return Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
}

const signerPrefix = 'PRIVATE+KEY+';
// The DER of a PKCS#8 Ed25519 private key up to its seed (RFC 8410).
const pkcs8Prefix = Buffer.from('302e020100300506032b657004220420', 'hex');

function privateKeyOfSeed(seed: Buffer): KeyObject {
  return createPrivateKey({ key: Buffer.concat([pkcs8Prefix, seed]), format: 'der', type: 'pkcs8' });
}

function splitKey(text: string): { name: string; keyId: number; type: NoteKeyType; key: Buffer } {
  // Names hold no plus sign, base64 may.
  const [, name, id, encoded] = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/.exec(text.slice(0, keyCharsMax)) ?? [];
  if (name === undefined || id === undefined || encoded === undefined || text.length > keyCharsMax) {
    throw refuse('is not <name>+<8 hex digits>+<base64>');
  }
  const bytes = decodeBase64(encoded);
  const type = bytes?.[0];
  if (type !== noteSignature && type !== cosignature) throw refuse('is not of a signature type that is known here');
  if (bytes?.length !== 1 + keyBytes) throw refuse('has a key of the wrong length');
  return { name: checkedName(name), keyId: Number.parseInt(id, 16), type, key: bytes.subarray(1) };
}

function checkedName(name: string): string {
  if (!isNoteKeyName(name)) throw refuse('has a name that is empty or holds spaces or plus signs');
  return name;
}

function hex(keyId: number): string {
  return keyId.toString(16).padStart(8, '0');
}

function refuse(reason: string): TalosError {
  return new TalosError('INVALID_REQUEST', { message: `The note key ${reason}.` });
}
