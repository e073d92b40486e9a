/** AES-256-GCM, by which everything is sealed here. Whoever changes a bit of what is sealed, or of what it is bound to, makes it unreadable. */
import { createCipheriv, createDecipheriv } from 'node:crypto';

export interface Sealed {
  readonly nonce: Uint8Array;
  readonly ciphertext: Uint8Array;
  readonly tag: Uint8Array;
}

export const aeadKeyBytes = 32;
export const aeadNonceBytes = 12;
export const aeadTagBytes = 16;
const algorithm = 'aes-256-gcm';
const form = { authTagLength: aeadTagBytes };

/** `nonce` must be 12 fresh random bytes: two texts under one key and one nonce give both away. */
export function seal(key: Uint8Array, nonce: Uint8Array, plaintext: Uint8Array, boundTo = ''): Sealed {
  const cipher = createCipheriv(algorithm, key, nonce, form);
  cipher.setAAD(Buffer.from(boundTo));
  const ciphertext = Buffer.concat([cipher.update(plaintext), cipher.final()]);
  return { nonce, ciphertext, tag: cipher.getAuthTag() };
}

/** Throws when it was not sealed under this key and bound to this, or was changed. */
export function unseal(key: Uint8Array, { nonce, ciphertext, tag }: Sealed, boundTo = ''): Buffer {
  const decipher = createDecipheriv(algorithm, key, nonce, form);
  decipher.setAAD(Buffer.from(boundTo));
  decipher.setAuthTag(tag);
  return Buffer.concat([decipher.update(ciphertext), decipher.final()]);
}
