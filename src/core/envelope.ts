/**
 * Envelopes v1: bytes under AES-256-GCM, bound to what they are for by the additional data. Whoever changes a bit of one,
 * or puts one in another's place, makes it unreadable.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto';
import { decodeBase64url, encodeBase64url } from './base64url.ts';

/** As the public schema `talos.secrets.envelope.v1` has it. */
export interface Envelope {
  /** Names the key; never the key itself. */
  readonly kek_id: string;
  readonly nonce_b64u: string;
  readonly ciphertext_b64u: string;
  readonly tag_b64u: string;
  readonly aad_b64u?: string;
}

export interface EnvelopeKey {
  readonly id: string;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

export const envelopeKeyBytes = 32;
export const envelopeNonceBytes = 12;
const tagBytes = 16;
const algorithm = 'aes-256-gcm';

/** `nonce` must be 12 fresh random bytes: two envelopes of one key with one nonce give both away. */
export function sealEnvelope(key: EnvelopeKey, nonce: Uint8Array, plaintext: Uint8Array, aad: string): Envelope {
  const cipher = createCipheriv(algorithm, key.key, nonce, { authTagLength: tagBytes });
  const additional = Buffer.from(aad, 'utf8');
  cipher.setAAD(additional);
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return {
    kek_id: key.id,
    nonce_b64u: encodeBase64url(nonce),
    ciphertext_b64u: encodeBase64url(ciphertext),
    tag_b64u: encodeBase64url(cipher.getAuthTag()),
    aad_b64u: encodeBase64url(additional),
  };
}

/** The plaintext, or undefined when the envelope is not one of this key for `aad`, or was changed. */
export function openEnvelope(key: EnvelopeKey, envelope: Envelope, aad: string): Buffer | undefined {
  const [nonce, ciphertext, tag] = [envelope.nonce_b64u, envelope.ciphertext_b64u, envelope.tag_b64u].map(
    decodeBase64url,
  );
  if (nonce?.length !== envelopeNonceBytes || tag?.length !== tagBytes || ciphertext === undefined) return undefined;
  const additional = Buffer.from(aad, 'utf8');
  if (envelope.kek_id !== key.id) return undefined;
  if (envelope.aad_b64u !== undefined && envelope.aad_b64u !== encodeBase64url(additional)) return undefined;
  const decipher = createDecipheriv(algorithm, key.key, nonce, { authTagLength: tagBytes });
  decipher.setAAD(additional);
  decipher.setAuthTag(tag);
  try {
    return Buffer.concat([decipher.update(ciphertext), decipher.final()]);
  } catch {
    return undefined;
  }
}
