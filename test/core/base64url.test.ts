import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeBase64url, encodeBase64url } from '../../src/core/base64url.ts';
import { describeVectors, vector } from '../support/vectors.ts';

describe('decodeBase64url', () => {
  it.each([
    ['padding', 'Zg=='],
    ['the standard alphabet, plus', 'Zm+v'],
    ['the standard alphabet, slash', 'Zm/v'],
    ['a length of 4n+1', 'AAAAA'],
    ['spare bits that are set', 'Zh'],
    ['a line end', 'Zm9v\n'],
    ['a blank inside', 'Zm 9v'],
    ['a NUL', 'Zm9v\0'],
    ['a letter outside ASCII', 'Zm9ö'],
  ])('refuses %s', (_, text) => {
    expect(decodeBase64url(text)).toBeUndefined();
  });

  it('gives back what was encoded', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(decodeBase64url(encodeBase64url(bytes))).toEqual(Buffer.from(bytes));
      }),
    );
  });

  it('encodes a view of a larger buffer as that view', () => {
    expect(encodeBase64url(Buffer.from('xfoox').subarray(1, 4))).toBe('Zm9v');
  });

  it('accepts one spelling only of every byte string', () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 12 }), (text) => {
        const bytes = decodeBase64url(text);
        if (bytes !== undefined) expect(encodeBase64url(bytes)).toBe(text);
      }),
      { numRuns: 2_000 },
    );
  });
});

describeVectors('base64url vectors', () => {
  const read = () =>
    vector<{ valid: { bytes_hex: string; encoded: string }[]; invalid: string[] }>('contracts/base64url.json');

  it('encodes and decodes the valid ones', () => {
    for (const { bytes_hex, encoded } of read().valid) {
      expect(encodeBase64url(Buffer.from(bytes_hex, 'hex'))).toBe(encoded);
      expect(decodeBase64url(encoded)?.toString('hex')).toBe(bytes_hex);
    }
  });

  it('refuses the invalid ones', () => {
    for (const text of read().invalid) expect(decodeBase64url(text), JSON.stringify(text)).toBeUndefined();
  });
});
