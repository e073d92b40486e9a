/**
 * Canonical JSON: the serialiser of RFC 8785 (JCS), which everything hashed or signed passes through. Same value, same
 * bytes, on every machine. The parser that feeds it is `strict-json.ts`.
 */
import { TalosError } from './errors.ts';
import type { JsonObject, JsonValue } from './json.ts';

/**
 * Serialises `value` by RFC 8785: keys sorted by UTF-16 code units, ECMAScript numbers, no white space. Members whose
 * value is `undefined` are absent. Throws `INVALID_JSON` for what I-JSON (RFC 7493) forbids: numbers that are not
 * finite and strings with lone surrogates.
 */
export function canonicalize(value: JsonValue): string {
  if (typeof value === 'string') return canonicalString(value);
  if (typeof value === 'number') return canonicalNumber(value);
  if (typeof value === 'boolean') return value ? 'true' : 'false';
  if (value === null) return 'null';
  if (typeof value !== 'object') throw notJson(`a ${typeof value} has no JSON form`);
  return Array.isArray(value) ? canonicalArray(value) : canonicalObject(value as JsonObject);
}

// What needs no escape: printable ASCII but for the quote and the backslash.
const plain = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/;

/** A JSON string by RFC 8785 section 3.2.2.2. `JSON.stringify` escapes exactly so, but lets lone surrogates pass. */
export function canonicalString(text: string): string {
  if (plain.test(text)) return `"${text}"`;
  if (!text.isWellFormed()) throw notJson('a string holds a lone surrogate');
  return JSON.stringify(text);
}

function canonicalNumber(value: number): string {
  if (!Number.isFinite(value)) throw notJson('a number is not finite');
  return Object.is(value, -0) ? '0' : String(value);
}

function canonicalArray(values: readonly JsonValue[]): string {
  let out = '[';
  for (let i = 0; i < values.length; i++) {
    if (i > 0) out += ',';
    out += canonicalize(values[i] as JsonValue);
  }
  return `${out}]`;
}

function canonicalObject(object: JsonObject): string {
  // Sorting keys into a new object would be wrong: engines list integer-like keys first, in numeric order.
  const keys = Object.keys(object).sort();
  let out = '{';
  for (const key of keys) {
    const member = object[key];
    if (member === undefined) continue;
    if (out.length > 1) out += ',';
    out += `${canonicalString(key)}:${canonicalize(member)}`;
  }
  return `${out}}`;
}

function notJson(reason: string): TalosError {
  return new TalosError('INVALID_JSON', { message: `The value cannot be written as canonical JSON: ${reason}.` });
}
