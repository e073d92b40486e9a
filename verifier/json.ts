/** Canonical JSON (RFC 8785), to see that a record has the only form that it can be hashed in. */
import { demand } from './bytes.ts';

export type Json = null | boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

const depthMax = 100;

export function canonical(value: Json, depth = 0): string {
  demand(depth <= depthMax, `The JSON is nested deeper than ${depthMax} levels.`);
  if (typeof value === 'string') demand(value.isWellFormed(), 'A text holds half of a character.');
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((item) => canonical(item, depth + 1)).join(',')}]`;
  // Keys in the order of their UTF-16 units, which is what sort() compares.
  const members = Object.keys(value).sort();
  return `{${members.map((key) => `${canonical(key)}:${canonical(value[key] as Json, depth + 1)}`).join(',')}}`;
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The object that `text` is the canonical form of, so that no other reader can see another in it. */
export function parseCanonical(text: string): JsonObject {
  const object = parseObject(text);
  demand(canonical(object) === text, 'The JSON is not in canonical form (RFC 8785).');
  return object;
}

/** The object in `text`, in which no object may have a key twice and the outermost none but `members`. */
export function parseClosed(text: string, members: readonly string[]): JsonObject {
  const object = parseObject(text);
  // JSON.parse drops all but the last of equal keys, and with each a string of the text.
  demand(stringCount(text) === stringCount(canonical(object)), 'The JSON has a key twice.');
  const unknown = Object.keys(object).find((key) => !members.includes(key));
  demand(unknown === undefined, `There is an unknown member: ${unknown?.slice(0, 40)}.`);
  return object;
}

/** The object in `text`, as `JSON.parse` sees it. */
export function parseObject(text: string): JsonObject {
  let value: Json | undefined;
  try {
    value = JSON.parse(text) as Json;
  } catch {
    // Said below, as of everything that is no object.
  }
  demand(isObject(value), 'It is not a JSON object.');
  return value;
}

function stringCount(json: string): number {
  return json.match(/"(?:[^"\\]|\\.)*"/g)?.length ?? 0;
}
