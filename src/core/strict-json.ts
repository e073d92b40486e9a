/**
 * A JSON parser for bodies that will be hashed or signed. Unlike `JSON.parse` it refuses what two readers could
 * understand differently: duplicate keys, lone surrogates, integers beyond 2^53-1, and nesting beyond a bound (RFC 7493).
 * It refuses too many values as well: a body of tiny ones would hold up everything else for longer than its size tells.
 */
import { TalosError } from './errors.ts';
import type { JsonObject, JsonValue } from './json.ts';

const depthMaxDefault = 32;
const valuesMaxDefault = 100_000;

/** Counts values, containers included, over all texts that share it. */
export interface ValueCount {
  readonly max: number;
  used: number;
}

export interface ParseOptions {
  /** How deep arrays and objects may be nested. */
  readonly depthMax?: number;
  readonly values?: ValueCount;
}

interface Scanner {
  readonly text: string;
  readonly depthMax: number;
  readonly values: ValueCount;
  position: number;
}

/**
 * Parses `text` as I-JSON. Throws `INVALID_JSON` with the reason and the position (in UTF-16 units) of the first fault, and
 * `PAYLOAD_TOO_LARGE` when there are too many values.
 */
export function parseJsonStrict(text: string, options: ParseOptions = {}): JsonValue {
  const { depthMax = depthMaxDefault, values = { max: valuesMaxDefault, used: 0 } } = options;
  const scanner: Scanner = { text, depthMax, values, position: 0 };
  skipSpace(scanner);
  const value = parseValue(scanner, 0);
  skipSpace(scanner);
  if (scanner.position < text.length) throw fault(scanner, 'unexpected text after the value');
  return value;
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The same for bytes, which must be UTF-8 without a byte order mark. */
export function parseJsonBytesStrict(bytes: Uint8Array, options: ParseOptions = {}): JsonValue {
  let text: string;
  try {
    text = utf8.decode(bytes);
  } catch {
    throw new TalosError('INVALID_JSON', { message: 'The body is not valid UTF-8.' });
  }
  return parseJsonStrict(text, options);
}

const quote = 0x22;
const backslash = 0x5c;
const comma = 0x2c;
const colon = 0x3a;
const openBrace = 0x7b;
const closeBrace = 0x7d;
const openBracket = 0x5b;
const closeBracket = 0x5d;

function parseValue(scanner: Scanner, depth: number): JsonValue {
  if (++scanner.values.used > scanner.values.max) throw tooMany(scanner.values);
  switch (scanner.text.charCodeAt(scanner.position)) {
    case quote:
      return parseString(scanner);
    case openBrace:
      return parseObject(scanner, depth + 1);
    case openBracket:
      return parseArray(scanner, depth + 1);
    case 0x74:
      return parseWord(scanner, 'true', true);
    case 0x66:
      return parseWord(scanner, 'false', false);
    case 0x6e:
      return parseWord(scanner, 'null', null);
    default:
      return parseNumber(scanner);
  }
}

function parseObject(scanner: Scanner, depth: number): JsonObject {
  enter(scanner, depth);
  const object: Record<string, JsonValue> = {};
  if (closes(scanner, closeBrace)) return object;
  for (;;) {
    if (scanner.text.charCodeAt(scanner.position) !== quote) throw fault(scanner, 'expected a key in quotes');
    const keyPosition = scanner.position;
    const key = parseString(scanner);
    if (Object.hasOwn(object, key)) throw fault(scanner, `duplicate key ${JSON.stringify(shown(key))}`, keyPosition);
    expect(scanner, colon, "expected ':'");
    setMember(object, key, parseValue(scanner, depth));
    if (ends(scanner, closeBrace, "expected ',' or '}'")) return object;
  }
}

// Assigning to `__proto__` would change the prototype instead of adding a member.
function setMember(object: Record<string, JsonValue>, key: string, value: JsonValue): void {
  if (key !== '__proto__') object[key] = value;
  else Object.defineProperty(object, key, { value, enumerable: true, configurable: true, writable: true });
}

function parseArray(scanner: Scanner, depth: number): JsonValue[] {
  enter(scanner, depth);
  const values: JsonValue[] = [];
  if (closes(scanner, closeBracket)) return values;
  for (;;) {
    values.push(parseValue(scanner, depth));
    if (ends(scanner, closeBracket, "expected ',' or ']'")) return values;
  }
}

function parseString(scanner: Scanner): string {
  const { text } = scanner;
  const start = scanner.position;
  let escaped = false;
  for (let at = start + 1; ; at++) {
    const code = text.charCodeAt(at);
    if (code === quote) {
      scanner.position = at + 1;
      return escaped ? unescaped(scanner, start) : checkedSlice(scanner, start, at);
    }
    if (code === backslash) {
      escaped = true;
      at++;
    } else if (Number.isNaN(code) || code < 0x20) {
      if (Number.isNaN(code)) throw fault(scanner, 'the string does not end', text.length);
      throw fault(scanner, 'a control character in a string', at);
    }
  }
}

function unescaped(scanner: Scanner, start: number): string {
  let value: string;
  try {
    value = JSON.parse(scanner.text.slice(start, scanner.position)) as string;
  } catch {
    throw fault(scanner, 'an escape sequence is not valid', start);
  }
  if (!value.isWellFormed()) throw fault(scanner, 'a string holds a lone surrogate', start);
  return value;
}

function checkedSlice(scanner: Scanner, start: number, end: number): string {
  const value = scanner.text.slice(start + 1, end);
  if (!value.isWellFormed()) throw fault(scanner, 'a string holds a lone surrogate', start);
  return value;
}

const numberPattern = /-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?/y;

function parseNumber(scanner: Scanner): number {
  numberPattern.lastIndex = scanner.position;
  const match = numberPattern.exec(scanner.text);
  if (match === null)
    throw fault(scanner, scanner.position < scanner.text.length ? 'unexpected text' : 'it ends too early');
  const value = Number(match[0]);
  const isIntegerLiteral = match[1] === undefined && match[2] === undefined;
  if (!Number.isFinite(value)) throw fault(scanner, 'a number is too large');
  if (isIntegerLiteral && !Number.isSafeInteger(value)) throw fault(scanner, 'an integer is beyond ±(2^53-1)');
  scanner.position += match[0].length;
  return value;
}

function parseWord<T>(scanner: Scanner, word: string, value: T): T {
  if (!scanner.text.startsWith(word, scanner.position)) throw fault(scanner, 'unexpected text');
  scanner.position += word.length;
  return value;
}

function enter(scanner: Scanner, depth: number): void {
  if (depth > scanner.depthMax) throw fault(scanner, `nested deeper than ${scanner.depthMax} levels`);
  scanner.position++;
  skipSpace(scanner);
}

function closes(scanner: Scanner, closing: number): boolean {
  if (scanner.text.charCodeAt(scanner.position) !== closing) return false;
  scanner.position++;
  return true;
}

function ends(scanner: Scanner, closing: number, expected: string): boolean {
  skipSpace(scanner);
  if (closes(scanner, closing)) return true;
  expect(scanner, comma, expected);
  return false;
}

function expect(scanner: Scanner, code: number, message: string): void {
  skipSpace(scanner);
  if (scanner.text.charCodeAt(scanner.position) !== code) throw fault(scanner, message);
  scanner.position++;
  skipSpace(scanner);
}

function skipSpace(scanner: Scanner): void {
  const { text } = scanner;
  for (;;) {
    const code = text.charCodeAt(scanner.position);
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
    scanner.position++;
  }
}

const shownCharsMax = 64;

function shown(key: string): string {
  return key.length <= shownCharsMax ? key : `${key.slice(0, shownCharsMax)}…`;
}

function tooMany({ max }: ValueCount): TalosError {
  return new TalosError('PAYLOAD_TOO_LARGE', { message: `The JSON holds more than ${max} values. Send it in parts.` });
}

function fault(scanner: Scanner, reason: string, position = scanner.position): TalosError {
  return new TalosError('INVALID_JSON', { message: `The JSON is not valid at position ${position}: ${reason}.` });
}
