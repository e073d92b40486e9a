/** Bytes, their text forms and SHA-256, with nothing but what Node and browsers share (Web Crypto, TextEncoder, atob). */

export type Bytes = Uint8Array<ArrayBuffer>;

/** What was given is not in the form that it must have; the sentence says why. */
export class Malformed extends Error {
  override readonly name = 'Malformed';
}

const encoder = new TextEncoder();

export function utf8(text: string): Bytes {
  return encoder.encode(text);
}

export function concat(...parts: readonly Uint8Array[]): Bytes {
  const all = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

export async function sha256(bytes: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at]);
}

/** The bytes of standard base64 in its one canonical spelling, else undefined. */
export function fromBase64(text: string): Bytes | undefined {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) return undefined;
  const binary = atob(text);
  return btoa(binary) === text ? Uint8Array.from(binary, (unit) => unit.charCodeAt(0)) : undefined;
}

/** A SHA-256 hash in base64. Throws `Malformed`. */
export function hashOf(text: unknown): Bytes {
  const bytes = typeof text === 'string' ? fromBase64(text) : undefined;
  if (bytes?.length !== 32) throw new Malformed('A hash is not base64 of 32 bytes.');
  return bytes;
}

/** A list of at most 64 hashes in base64. Throws `Malformed`. */
export function hashesOf(list: unknown): Bytes[] {
  if (!Array.isArray(list) || list.length > 64) throw new Malformed('A proof is not a list of at most 64 hashes.');
  return list.map(hashOf);
}

/** A count that JSON carries exactly. Throws `Malformed`. */
export function countOf(value: unknown, what: string): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw new Malformed(`The ${what} is not a count.`);
  return value as number;
}
