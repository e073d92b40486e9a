/**
 * Witness cosignatures (C2SP tlog-cosignature, `cosignature/v1`): a witness's word that, at a moment, a checkpoint was
 * consistent with all it had seen of the log. On the note it is a signature line of type 4: time, then Ed25519.
 */
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto';
import { TalosError } from './errors.ts';
import {
  cosignature,
  isNoteKeyName,
  type NoteSigner,
  type NoteVerifier,
  noteKeyId,
  noteVerifier,
  parseVerifierKey,
  rawPublicKey,
} from './note-key.ts';

const timestampBytes = 8;
const signatureBytes = 64;

/** Cosigns checkpoint texts; `nowSec` gives the moment in Unix seconds. */
export function cosignatureSigner(name: string, privateKey: KeyObject, nowSec: () => number): NoteSigner {
  const keyId = cosignatureKeyId(name, createPublicKey(privateKey));
  return {
    name,
    keyId,
    sign: (text) => {
      const timeSec = nowSec();
      const timestamp = Buffer.alloc(timestampBytes);
      timestamp.writeBigUInt64BE(BigInt(timeSec));
      return Buffer.concat([timestamp, sign(null, signedMessage(timeSec, text), privateKey)]);
    },
  };
}

/** Verifies cosignatures. Whether their time is acceptable is the caller's to judge: see `cosignedAtSec`. */
export function cosignatureVerifier(name: string, publicKey: KeyObject): NoteVerifier {
  const keyId = cosignatureKeyId(name, publicKey);
  return {
    name,
    keyId,
    type: cosignature,
    verify: (text, bytes) => {
      const timeSec = cosignedAtSec(bytes);
      if (timeSec === undefined) return false;
      return verify(null, signedMessage(timeSec, text), publicKey, bytes.subarray(timestampBytes));
    },
  };
}

/** What verifies with a verifier key in text form, of either type. Throws `INVALID_REQUEST` when it is none. */
export function verifierOfKey(vkey: string): NoteVerifier {
  const { name, type, publicKey } = parseVerifierKey(vkey);
  return type === cosignature ? cosignatureVerifier(name, publicKey) : noteVerifier(name, publicKey);
}

/** The time that a cosignature carries, in Unix seconds, or undefined when the bytes are none. */
export function cosignedAtSec(bytes: Uint8Array): number | undefined {
  if (bytes.length !== timestampBytes + signatureBytes) return undefined;
  const timeSec = Number(Buffer.from(bytes.subarray(0, timestampBytes)).readBigUInt64BE());
  // Beyond 2^53 the number would not be the one that was signed.
  return Number.isSafeInteger(timeSec) ? timeSec : undefined;
}

function signedMessage(timeSec: number, text: string): Buffer {
  return Buffer.from(`cosignature/v1\ntime ${timeSec}\n${text}`);
}

function cosignatureKeyId(name: string, publicKey: KeyObject): number {
  if (isNoteKeyName(name)) return noteKeyId(name, cosignature, rawPublicKey(publicKey));
  throw new TalosError('INVALID_REQUEST', {
    message: 'The name of the witness is empty or holds spaces or plus signs.',
  });
}
