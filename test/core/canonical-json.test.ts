import reference from 'canonicalize';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canonicalize, canonicalString } from '../../src/core/canonical-json.ts';
import { TalosError } from '../../src/core/errors.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import type { JsonValue } from '../../src/core/json.ts';
import { describeVectors, vector } from '../support/vectors.ts';

const unpaired = String.fromCharCode(0xd800);

describe('canonicalize refuses what I-JSON cannot hold', () => {
  it.each([
    ['NaN', Number.NaN, 'a number is not finite'],
    ['infinity', Number.POSITIVE_INFINITY, 'a number is not finite'],
    ['minus infinity, nested', { a: [Number.NEGATIVE_INFINITY] }, 'a number is not finite'],
    ['a high surrogate alone', unpaired, 'a string holds a lone surrogate'],
    ['a low surrogate alone', `x${String.fromCharCode(0xdfff)}`, 'a string holds a lone surrogate'],
    ['surrogates in the wrong order', String.fromCharCode(0xdc00, 0xd800), 'a string holds a lone surrogate'],
    ['a key with a lone surrogate', { [unpaired]: 1 }, 'a string holds a lone surrogate'],
    ['a hole in an array', new Array(1), 'a undefined has no JSON form'],
    ['undefined', undefined, 'a undefined has no JSON form'],
    ['a bigint', 1n, 'a bigint has no JSON form'],
    ['a function', { f: () => 1 }, 'a function has no JSON form'],
  ])('%s', (_, value, reason) => {
    const error = thrown(() => canonicalize(value as JsonValue));
    expect(error).toBeInstanceOf(TalosError);
    expect(error).toMatchObject({
      code: 'INVALID_JSON',
      message: `The value cannot be written as canonical JSON: ${reason}.`,
    });
  });
});

// RFC 8785 appendix B: IEEE 754 bits and the text that ECMAScript gives them.
const appendixB: readonly (readonly [string, string])[] = [
  ['0000000000000000', '0'],
  ['8000000000000000', '0'],
  ['0000000000000001', '5e-324'],
  ['8000000000000001', '-5e-324'],
  ['7fefffffffffffff', '1.7976931348623157e+308'],
  ['ffefffffffffffff', '-1.7976931348623157e+308'],
  ['4340000000000000', '9007199254740992'],
  ['c340000000000000', '-9007199254740992'],
  ['4430000000000000', '295147905179352830000'],
  ['44b52d02c7e14af5', '9.999999999999997e+22'],
  ['44b52d02c7e14af6', '1e+23'],
  ['44b52d02c7e14af7', '1.0000000000000001e+23'],
  ['444b1ae4d6e2ef4e', '999999999999999700000'],
  ['444b1ae4d6e2ef4f', '999999999999999900000'],
  ['444b1ae4d6e2ef50', '1e+21'],
  ['3eb0c6f7a0b5ed8c', '9.999999999999997e-7'],
  ['3eb0c6f7a0b5ed8d', '0.000001'],
  ['41b3de4355555553', '333333333.3333332'],
  ['41b3de4355555554', '333333333.33333325'],
  ['41b3de4355555555', '333333333.3333333'],
  ['41b3de4355555556', '333333333.3333334'],
  ['41b3de4355555557', '333333333.33333343'],
  ['becbf647612f3696', '-0.0000033333333333333333'],
  ['43143ff3c1cb0959', '1424953923781206.2'],
];

describe('numbers', () => {
  it.each(appendixB)('RFC 8785 appendix B: %s is %s', (bits, text) => {
    expect(canonicalize(Buffer.from(bits, 'hex').readDoubleBE())).toBe(text);
  });

  it.each([
    [1e21, '1e+21'],
    [1e-7, '1e-7'],
    [-0, '0'],
    [1.0, '1'],
    [2 ** 53 + 1, '9007199254740992'],
    [123456789012345680000, '123456789012345680000'],
    [0.1 + 0.2, '0.30000000000000004'],
  ])('%d is %s', (value, text) => {
    expect(canonicalize(value)).toBe(text);
  });
});

describe('strings and keys', () => {
  it('escapes as RFC 8785 section 3.2.2.2 says', () => {
    expect(canonicalString('\u0000\b\t\n\v\f\r\u001b"\\/\u007f')).toBe(
      '"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001b\\"\\\\/\u007f"',
    );
    expect(canonicalString('€$\u000f\nA\'B"\\\\"/')).toBe('"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"');
    expect(canonicalString('\u2028\u2029é😂')).toBe('"\u2028\u2029é😂"');
  });

  it('sorts keys by UTF-16 code units, not by code points', () => {
    // The example of RFC 8785 section 3.2.3: the emoji's first unit is below U+FB33.
    const object = { '€': 1, '\r': 2, '\ufb33': 3, '1': 4, '😀': 5, '\u0080': 6, ö: 7 };
    expect(canonicalize(object)).toBe('{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}');
  });

  it('sorts keys that look like integers as text', () => {
    expect(canonicalize({ '10': 1, '9': 2, '1': 3, '': 4, '-1': 5 })).toBe('{"":4,"-1":5,"1":3,"10":1,"9":2}');
  });

  it('writes a member named __proto__ like any other', () => {
    expect(canonicalize(JSON.parse('{"__proto__":{"b":1},"a":2}'))).toBe('{"__proto__":{"b":1},"a":2}');
  });

  it('leaves members out that are undefined, wherever they stand', () => {
    const value = { a: undefined, b: 1, c: undefined, d: null, e: undefined } as unknown as JsonValue;
    expect(canonicalize(value)).toBe('{"b":1,"d":null}');
    expect(canonicalize({ only: undefined } as unknown as JsonValue)).toBe('{}');
  });
});

describe('against the reference implementation', () => {
  it('gives the same text for any I-JSON', () => {
    fc.assert(
      fc.property(iJson(), (value) => {
        expect(canonicalize(value)).toBe(reference(value));
      }),
      { numRuns: 2_000 },
    );
  });

  it('gives the same text for any double', () => {
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(canonicalize(value)).toBe(reference(value));
      }),
      { numRuns: 5_000 },
    );
  });

  it('is a fixed point: parsing and writing again changes nothing', () => {
    fc.assert(
      fc.property(iJson(), (value) => {
        const text = canonicalize(value);
        expect(canonicalize(JSON.parse(text))).toBe(text);
      }),
      { numRuns: 1_000 },
    );
  });
});

interface SdkVector {
  readonly test_id: string;
  readonly inputs: { readonly unordered?: JsonValue; readonly pretty_printed?: string; readonly value?: JsonValue };
  readonly expected: { readonly canonical?: string; readonly canonical_number?: string };
}

interface HashVector {
  readonly name: string;
  readonly input: JsonValue;
  readonly expected_json: string;
}

describeVectors('public vectors', () => {
  it('contracts/sdk/canonical_json', () => {
    const { vectors } = vector<{ vectors: SdkVector[] }>('contracts/sdk/canonical_json.json');
    expect(vectors.length).toBeGreaterThan(0);
    for (const { test_id, inputs, expected } of vectors) {
      const input =
        inputs.pretty_printed === undefined ? (inputs.unordered ?? inputs.value) : JSON.parse(inputs.pretty_printed);
      expect(canonicalize(input as JsonValue), test_id).toBe(expected.canonical ?? expected.canonical_number);
    }
  });

  it('contracts/crypto/canonical_hash', () => {
    const { tests } = vector<{ tests: HashVector[] }>('contracts/crypto/canonical_hash.json');
    expect(tests.length).toBeGreaterThan(0);
    for (const { name, input, expected_json } of tests) expect(canonicalize(input), name).toBe(expected_json);
    expect(sha256Hex('{"a":2,"m":3,"z":1}')).toMatch(/^ebba85cf/);
  });
});

function iJson(): fc.Arbitrary<JsonValue> {
  return fc.jsonValue({ depthSize: 'medium', stringUnit: 'binary' }) as fc.Arbitrary<JsonValue>;
}

function thrown(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  return undefined;
}
