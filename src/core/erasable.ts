/**
 * Erasable values: the record holds a salted commitment, `sha256:` + hex(sha256(salt ‖ value)), and the value with its
 * salt is kept beside the log. Once that is deleted nobody can learn the value from the record, or even test a guess,
 * while the record and every proof of it stay what they were.
 */
import { randomBytes } from 'node:crypto';
import { canonicalize } from './canonical-json.ts';
import { sha256Hex } from './hash.ts';
import type { JsonObject, JsonValue } from './json.ts';

export interface ErasableValue {
  readonly key: string;
  /** hex of 32 random bytes. */
  readonly salt: string;
  /** Canonical JSON of the value. */
  readonly value: string;
}

const saltBytes = 32;

/** What stands in the record in place of the value. */
export function commitment({ salt, value }: Pick<ErasableValue, 'salt' | 'value'>): string {
  return `sha256:${sha256Hex(Buffer.concat([Buffer.from(salt, 'hex'), Buffer.from(value, 'utf8')]))}`;
}

/** Takes the members with these keys out of `metadata`: commitments stay in their place, and the values come back apart. */
export function withCommitments(
  metadata: JsonObject,
  keys: ReadonlySet<string>,
): { metadata: JsonObject; erasable: ErasableValue[] } {
  const erasable: ErasableValue[] = [];
  const committed = Object.entries(metadata).map(([key, value]): [string, JsonValue] => {
    if (!keys.has(key)) return [key, value];
    const hidden = { key, salt: randomBytes(saltBytes).toString('hex'), value: canonicalize(value) };
    erasable.push(hidden);
    return [key, commitment(hidden)];
  });
  return { metadata: erasable.length === 0 ? metadata : Object.fromEntries(committed), erasable };
}
