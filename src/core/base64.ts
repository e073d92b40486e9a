/**
 * Standard base64 with padding (RFC 4648 section 4), canonical or refused: the encoding of signed notes, checkpoints and
 * proofs, where every byte string must have exactly one spelling.
 */

const alphabetOnly = /^[A-Za-z0-9+/]*={0,2}$/;

export function encodeBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
}

/** The bytes of `text`, or undefined when it holds other characters or is not the canonical spelling. */
export function decodeBase64(text: string): Buffer | undefined {
  if (!alphabetOnly.test(text)) return undefined;
  const bytes = Buffer.from(text, 'base64');
  // Refuses missing padding and unused trailing bits that are not zero.
  return bytes.toString('base64') === text ? bytes : undefined;
}

/** The 32 bytes of a base64 SHA-256 hash, or undefined. */
export function decodeBase64Hash(text: string): Buffer | undefined {
  const bytes = decodeBase64(text);
  return bytes?.length === 32 ? bytes : undefined;
}
