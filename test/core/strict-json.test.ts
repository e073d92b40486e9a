import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { TalosError } from '../../src/core/errors.ts';
import { parseJsonBytesStrict, parseJsonStrict } from '../../src/core/strict-json.ts';

function thrown(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  return undefined;
}

describe('parseJsonStrict refuses', () => {
  it.each<[string, string, number, string]>([
    ['nothing', '', 0, 'it ends too early'],
    ['only space', ' \n\t\r', 4, 'it ends too early'],
    ['a second value', '1 2', 2, 'unexpected text after the value'],
    ['a byte order mark', '\ufeff{}', 0, 'unexpected text'],
    ['a no-break space', '\u00a0{}', 0, 'unexpected text'],
    ['a vertical tab', '[\v1]', 1, 'unexpected text'],
    ['a word of JavaScript', 'undefined', 0, 'unexpected text'],
    ['NaN', '{"a":NaN}', 5, 'unexpected text'],
    ['Infinity', '-Infinity', 0, 'unexpected text'],
    ['half a word', 'tru', 0, 'unexpected text'],
    ['a word in capitals', 'True', 0, 'unexpected text'],
    ['a word with more after it', 'nullx', 4, 'unexpected text after the value'],
    ['a comment', '/* */1', 0, 'unexpected text'],
    ['an object that does not end', '{', 1, 'expected a key in quotes'],
    ['a key without quotes', '{a:1}', 1, 'expected a key in quotes'],
    ['a key in single quotes', "{'a':1}", 1, 'expected a key in quotes'],
    ['a comma before the brace', '{"a":1,}', 7, 'expected a key in quotes'],
    ['a key without a value', '{"a"}', 4, "expected ':'"],
    ['a missing value', '{"a":}', 5, 'unexpected text'],
    ['a missing comma', '{"a":1 "b":2}', 7, "expected ',' or '}'"],
    ['the wrong closing of an object', '{"a":1]', 6, "expected ',' or '}'"],
    ['the wrong closing of an array', '[1}', 2, "expected ',' or ']'"],
    ['an array that does not end', '[1,2', 4, "expected ',' or ']'"],
    ['a comma before the bracket', '[1,]', 3, 'unexpected text'],
    ['a comma alone', '[,1]', 1, 'unexpected text'],
    ['a string that does not end', '"abc', 4, 'the string does not end'],
    ['a string that ends in a backslash', '"abc\\', 5, 'the string does not end'],
    ['a closing quote that is escaped', '"abc\\"', 6, 'the string does not end'],
    ['a raw line end in a string', '"a\nb"', 2, 'a control character in a string'],
    ['a raw tab in a string', '["\t"]', 2, 'a control character in a string'],
    ['a raw NUL in a string', '"\0"', 1, 'a control character in a string'],
    ['an unknown escape', '[1,"\\x41"]', 3, 'an escape sequence is not valid'],
    ['a short unicode escape', '"\\u12"', 0, 'an escape sequence is not valid'],
    ['an escaped raw line end', '"\\\n"', 0, 'an escape sequence is not valid'],
    ['a lone high surrogate', `{"a":"${String.fromCharCode(0xd800)}"}`, 5, 'a string holds a lone surrogate'],
    ['a lone low surrogate by escape', '{"a":"\\udc00"}', 5, 'a string holds a lone surrogate'],
    ['a lone surrogate in a key', '{"\\ud800":1}', 1, 'a string holds a lone surrogate'],
    ['half a pair by escape and half raw', '"\\ud83dx"', 0, 'a string holds a lone surrogate'],
    ['a duplicate key', '{"a":1,"a":1}', 7, 'duplicate key "a"'],
    ['a duplicate through an escape', '{"a":1,"\\u0061":2}', 7, 'duplicate key "a"'],
    ['a duplicate deep inside', '[{"x":{"k":1,"j":2,"k":3}}]', 19, 'duplicate key "k"'],
    ['__proto__ twice', '{"__proto__":1,"__proto__":2}', 15, 'duplicate key "__proto__"'],
    ['the empty key twice', '{"":1,"":2}', 6, 'duplicate key ""'],
    ['an integer beyond 2^53-1', '9007199254740993', 0, 'an integer is beyond ±(2^53-1)'],
    ['2^53 itself', '[9007199254740992]', 1, 'an integer is beyond ±(2^53-1)'],
    ['a negative one', '{"n":-9007199254740992}', 5, 'an integer is beyond ±(2^53-1)'],
    ['a number beyond every double', '1e309', 0, 'a number is too large'],
    ['a very long integer', `[1${'0'.repeat(400)}]`, 1, 'a number is too large'],
    ['a leading zero', '01', 1, 'unexpected text after the value'],
    ['a leading plus', '+1', 0, 'unexpected text'],
    ['a minus alone', '-', 0, 'unexpected text'],
    ['a point without digits', '1.', 1, 'unexpected text after the value'],
    ['a point first', '.5', 0, 'unexpected text'],
    ['an exponent without digits', '[1e]', 2, "expected ',' or ']'"],
    ['hexadecimal', '0x10', 1, 'unexpected text after the value'],
    ['33 arrays', '['.repeat(33) + ']'.repeat(33), 32, 'nested deeper than 32 levels'],
    ['33 objects', `${'{"a":'.repeat(33)}1${'}'.repeat(33)}`, 160, 'nested deeper than 32 levels'],
    ['a hundred thousand arrays', '['.repeat(100_000), 32, 'nested deeper than 32 levels'],
  ])('%s', (_, text, position, reason) => {
    const error = thrown(() => parseJsonStrict(text));
    expect(error).toBeInstanceOf(TalosError);
    expect(error).toMatchObject({
      code: 'INVALID_JSON',
      message: `The JSON is not valid at position ${position}: ${reason}.`,
    });
  });

  it('a duplicate key of any length, shown short', () => {
    const key = '🔑'.repeat(1_000);
    const error = thrown(() => parseJsonStrict(`{"${key}":1,"${key}":2}`)) as TalosError;
    expect(error.message).toBe(`The JSON is not valid at position 2006: duplicate key "${'🔑'.repeat(32)}…".`);
    const odd = `x${key}`;
    expect((thrown(() => parseJsonStrict(`{"${odd}":1,"${odd}":2}`)) as TalosError).message.isWellFormed()).toBe(true);
  });

  it('more levels than the caller allows', () => {
    expect(thrown(() => parseJsonStrict('[[1]]', { depthMax: 1 }))).toMatchObject({ code: 'INVALID_JSON' });
    expect(thrown(() => parseJsonStrict('[1]', { depthMax: 0 }))).toMatchObject({ code: 'INVALID_JSON' });
    expect(parseJsonStrict('1', { depthMax: 0 })).toBe(1);
    expect(parseJsonStrict('[[1]]', { depthMax: 2 })).toEqual([[1]]);
  });
});

describe('parseJsonStrict accepts', () => {
  it.each([
    ['32 levels', '['.repeat(32) + ']'.repeat(32)],
    ['NUL by escape', '{"a\\u0000b":"\\u0000"}'],
    ['a pair by escapes', '"\\ud83d\\ude00"'],
    ['a pair, raw', '"😀"'],
    ['U+2028, DEL and a BOM inside a string', '"\u2028\u007f\ufeff"'],
    ['every escape', '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\uFFFF"'],
    ['minus zero', '-0'],
    ['the largest integers', '[9007199254740991,-9007199254740991]'],
    ['a float beyond them, which is a float by its form', '[1e22,1.0,1E+2,9.5e15,1e-400]'],
    ['space around everything', ' \t\r\n{ "a" : [ 1 , 2 ] , "b" : { } , "c" : [ ] } \n'],
  ])('%s', (_, text) => {
    expect(parseJsonStrict(text)).toEqual(JSON.parse(text));
    expect(parseJsonBytesStrict(Buffer.from(text))).toEqual(JSON.parse(text));
  });

  it('keeps __proto__ as a member and the prototype as it was', () => {
    const value = parseJsonStrict('{"__proto__":{"polluted":true},"constructor":1,"toString":2,"hasOwnProperty":3}');
    expect(Object.keys(value as object)).toEqual(['__proto__', 'constructor', 'toString', 'hasOwnProperty']);
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    expect((value as { polluted?: boolean }).polluted).toBeUndefined();
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  it('any JSON that was written by JSON.stringify, with the same result', () => {
    fc.assert(
      fc.property(jsonWithSpace(), ([text, value]) => {
        expect(JSON.stringify(parseJsonStrict(text))).toBe(JSON.stringify(value));
      }),
      { numRuns: 1_500 },
    );
  });
});

describe('parseJsonBytesStrict refuses', () => {
  it.each([
    ['a lone continuation byte', [0x22, 0x80, 0x22]],
    ['an overlong slash', [0x22, 0xc0, 0xaf, 0x22]],
    ['a surrogate in UTF-8', [0x22, 0xed, 0xa0, 0x80, 0x22]],
    ['a cut sequence', [0x22, 0xe2, 0x82]],
    ['a code point beyond U+10FFFF', [0x22, 0xf4, 0x90, 0x80, 0x80, 0x22]],
    ['UTF-16 with its mark', [0xff, 0xfe, 0x31, 0x00]],
  ])('%s', (_, bytes) => {
    expect(thrown(() => parseJsonBytesStrict(Buffer.from(bytes)))).toMatchObject({
      code: 'INVALID_JSON',
      message: 'The body is not valid UTF-8.',
    });
  });

  it('a byte order mark', () => {
    expect(thrown(() => parseJsonBytesStrict(Buffer.from('\ufeff{}')))).toMatchObject({
      code: 'INVALID_JSON',
      message: 'The JSON is not valid at position 0: unexpected text.',
    });
  });
});

describe('garbage', () => {
  it('is refused with INVALID_JSON and nothing else, and never accepted where JSON.parse refuses', () => {
    fc.assert(
      fc.property(garbage(), (text) => {
        const error = thrown(() => parseJsonStrict(text));
        if (error === undefined) expect(JSON.stringify(parseJsonStrict(text))).toBe(JSON.stringify(JSON.parse(text)));
        else expect(error).toMatchObject({ name: 'TalosError', code: 'INVALID_JSON' });
      }),
      { numRuns: 5_000 },
    );
  });

  it('in bytes too', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const error = thrown(() => parseJsonBytesStrict(bytes));
        if (error !== undefined) expect(error).toMatchObject({ name: 'TalosError', code: 'INVALID_JSON' });
      }),
      { numRuns: 2_000 },
    );
  });
});

/** Valid I-JSON as text, dense or indented, with its value. */
function jsonWithSpace(): fc.Arbitrary<[string, unknown]> {
  return fc
    .tuple(fc.jsonValue({ depthSize: 'medium', stringUnit: 'binary' }), fc.constantFrom(0, 1, '\t', ' \r\n'))
    .filter(([value]) => holdsNoUnsafeInteger(value))
    .map(([value, space]) => [JSON.stringify(value, undefined, space), value]);
}

function holdsNoUnsafeInteger(value: unknown): boolean {
  if (typeof value === 'number') return !/^-?[0-9]+$/.test(String(value)) || Number.isSafeInteger(value);
  if (typeof value !== 'object' || value === null) return true;
  return Object.values(value).every(holdsNoUnsafeInteger);
}

/** Fragments of JSON in any order, which comes closer to valid text than random characters do. */
function garbage(): fc.Arbitrary<string> {
  const fragments = [
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    '"',
    '\\',
    '"a"',
    '"b"',
    '1',
    '-',
    '.5',
    'e9',
    'true',
    'null',
    ' ',
    '\\u',
    'd800',
  ];
  const pieces = fc.oneof(fc.constantFrom(...fragments), fc.string({ unit: 'binary', maxLength: 2 }));
  return fc.array(pieces, { maxLength: 14 }).map((parts) => parts.join(''));
}

describe('too many values', () => {
  const list = (count: number) => `[${Array.from({ length: count }, () => '0').join(',')}]`;

  it.each([
    ['a list', list(3), 4],
    ['an object', '{"a":1,"b":{"c":[]}}', 4],
    ['texts, words and numbers', '["a",true,null,1]', 5],
  ])('are counted with what they are in: %s', (_, text, count) => {
    const exact = { max: count, used: 0 };
    expect(parseJsonStrict(text, { values: exact })).toEqual(JSON.parse(text));
    expect(exact.used).toBe(count);
    expect(thrown(() => parseJsonStrict(text, { values: { max: count - 1, used: 0 } }))).toMatchObject({
      code: 'PAYLOAD_TOO_LARGE',
      message: `The JSON holds more than ${count - 1} values. Send it in parts.`,
    });
  });

  it('are counted over all texts that share the count', () => {
    const values = { max: 5, used: 0 };
    parseJsonStrict(list(2), { values });
    expect(thrown(() => parseJsonStrict(list(2), { values }))).toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
  });

  it('are refused where nobody says how many are', () => {
    expect(parseJsonStrict(list(99_999))).toHaveLength(99_999);
    expect(thrown(() => parseJsonStrict(list(100_000)))).toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
  });
});
