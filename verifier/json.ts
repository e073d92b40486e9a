/** Canonical JSON (RFC 8785), to see that a record has the only form that it can be hashed in. */
import { Malformed } from './bytes.ts';

export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

export function canonical(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  if (typeof value === 'string' && !value.isWellFormed()) throw new Malformed('A text holds half of a character.');
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  // Keys in the order of their UTF-16 units, which is what sort() compares.
  const members = Object.keys(value).sort();
  return `{${members.map((key) => `${canonical(key)}:${canonical(value[key] as Json)}`).join(',')}}`;
}

/** The object that `text` is the canonical form of, so that no other reader can see another. Throws `Malformed`. */
export function parseCanonicalObject(text: string): JsonObject {
  const object = parseObject(text);
  if (canonical(object) !== text) throw new Malformed('The JSON is not in canonical form (RFC 8785).');
  return object;
}

/** The object in `text`, whose keys must be distinct in every object. Throws `Malformed`. */
export function parseDistinctObject(text: string): JsonObject {
  const object = parseObject(text);
  // JSON.parse drops all but the last of equal keys, and with each a string of the text.
  if (stringCount(text) !== stringCount(JSON.stringify(object))) throw new Malformed('The JSON has a key twice.');
  return object;
}

function parseObject(text: string): JsonObject {
  let value: Json;
  try {
    value = JSON.parse(text) as Json;
  } catch {
    throw new Malformed('It is not JSON.');
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Malformed('It is not an object.');
  return value;
}

function stringCount(json: string): number {
  return json.match(/"(?:[^"\\]|\\.)*"/g)?.length ?? 0;
}
