/**
 * Envelopes v1: bytes under AES-256-GCM, bound to what they are for by the additional data. Whoever changes a bit of one,
 * or puts one in another's place, makes it unreadable.
 */
import { aeadKeyBytes, aeadNonceBytes, aeadTagBytes, seal, unseal } from './aead.ts';
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

export const envelopeKeyBytes = aeadKeyBytes;
export const envelopeNonceBytes = aeadNonceBytes;

/** `nonce` must be 12 fresh random bytes. */
export function sealEnvelope(key: EnvelopeKey, nonce: Uint8Array, plaintext: Uint8Array, aad: string): Envelope {
  const { ciphertext, tag } = seal(key.key, nonce, plaintext, aad);
  return {
    kek_id: key.id,
    nonce_b64u: encodeBase64url(nonce),
    ciphertext_b64u: encodeBase64url(ciphertext),
    tag_b64u: encodeBase64url(tag),
    aad_b64u: encodeBase64url(Buffer.from(aad)),
  };
}

/** The plaintext, or undefined when the envelope is not one of this key for `aad`, or was changed. */
export function openEnvelope(key: EnvelopeKey, envelope: Envelope, aad: string): Buffer | undefined {
  const [nonce, ciphertext, tag] = [envelope.nonce_b64u, envelope.ciphertext_b64u, envelope.tag_b64u].map(
    decodeBase64url,
  );
  if (nonce?.length !== aeadNonceBytes || tag?.length !== aeadTagBytes || ciphertext === undefined) return undefined;
  if (envelope.kek_id !== key.id) return undefined;
  if (envelope.aad_b64u !== undefined && envelope.aad_b64u !== encodeBase64url(Buffer.from(aad))) return undefined;
  try {
    return unseal(key.key, { nonce, ciphertext, tag }, aad);
  } catch {
    return undefined;
  }
}
