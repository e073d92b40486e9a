/**
 * Base64url without padding (RFC 4648 section 5), canonical or refused: every byte string has exactly one spelling, so
 * that two texts of one token or signature cannot exist.
 */

const alphabetOnly = /^[A-Za-z0-9_-]*$/;

export function encodeBase64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url');
}

/** The bytes of `text`, or undefined when it is padded, holds other characters, or is not the canonical spelling. */
export function decodeBase64url(text: string): Buffer | undefined {
  if (!alphabetOnly.test(text)) return undefined;
  const bytes = Buffer.from(text, 'base64url');
  // Refuses a length of 4n+1 and unused trailing bits that are not zero.
  return bytes.toString('base64url') === text ? bytes : undefined;
}
