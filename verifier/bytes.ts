/** Bytes, their text forms and SHA-256, with nothing but what Node and browsers share (Web Crypto, TextEncoder, atob). */

export type Bytes = Uint8Array<ArrayBuffer>;

/** Something is not as it must be; the sentence says what. Everything else that is thrown is a fault of ours. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
}

export function demand(condition: unknown, sentence: string): asserts condition {
  if (!condition) throw new Refusal(sentence);
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

/** The bytes of standard base64 in its one canonical spelling. */
export function fromBase64(text: string): Bytes {
  const isBase64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/.test(text);
  const binary = isBase64 ? atob(text) : '';
  demand(btoa(binary) === text, 'Something is not base64 in its canonical form.');
  return Uint8Array.from(binary, (unit) => unit.charCodeAt(0));
}

export function toBase64(bytes: Uint8Array): string {
  return btoa(String.fromCharCode(...bytes));
}

/** A list of at most 64 SHA-256 hashes in base64. */
export function hashesOf(list: unknown): Bytes[] {
  demand(Array.isArray(list) && list.length <= 64, 'A proof is not a list of at most 64 hashes.');
  return list.map((text) => {
    const hash = typeof text === 'string' ? fromBase64(text) : undefined;
    demand(hash?.length === 32, 'A hash is not base64 of 32 bytes.');
    return hash;
  });
}

/** A count that JSON carries exactly. */
export function countOf(value: unknown, what: string): number {
  demand(typeof value === 'number' && Number.isSafeInteger(value) && value >= 0, `The ${what} is not a count.`);
  return value;
}

/** A count in decimal without leading zeroes. */
export function decimalOf(text: string | undefined, what: string): number {
  return countOf(/^(?:0|[1-9][0-9]{0,15})$/.test(text ?? '') ? Number(text) : undefined, what);
}
