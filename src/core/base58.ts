/** Base58 in the Bitcoin alphabet, as multibase `z` uses it. Quadratic in the length, so callers bound the text first. */

const alphabet = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz';
const base = 58n;

export function encodeBase58(bytes: Uint8Array): string {
  let value = toInteger(bytes);
  let digits = '';
  while (value > 0n) {
    digits = alphabet.charAt(Number(value % base)) + digits;
    value /= base;
  }
  return alphabet.charAt(0).repeat(leadingZeros(bytes)) + digits;
}

/** The bytes of `text`, or undefined when a character is outside the alphabet. Every text has one byte string. */
export function decodeBase58(text: string): Buffer | undefined {
  let value = 0n;
  for (const character of text) {
    const digit = alphabet.indexOf(character);
    if (digit < 0) return undefined;
    value = value * base + BigInt(digit);
  }
  const zeros = /^1*/.exec(text)?.[0].length ?? 0;
  return Buffer.concat([Buffer.alloc(zeros), fromInteger(value)]);
}

function leadingZeros(bytes: Uint8Array): number {
  const first = bytes.findIndex((byte) => byte !== 0);
  return first < 0 ? bytes.length : first;
}

function toInteger(bytes: Uint8Array): bigint {
  return bytes.length === 0 ? 0n : BigInt(`0x${Buffer.from(bytes).toString('hex')}`);
}

function fromInteger(value: bigint): Buffer {
  if (value === 0n) return Buffer.alloc(0);
  const hex = value.toString(16);
  return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex');
}
