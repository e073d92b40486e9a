/** Names as records can hold them. */
import { sha256Hex } from './hash.ts';

/** The name itself, or when it is longer than `charsMax` its beginning with a hash of the whole. */
export function recordName(name: string, charsMax: number): string {
  if (name.length <= charsMax) return name;
  return `${name.slice(0, charsMax - 17)}#${sha256Hex(name).slice(0, 16)}`.toWellFormed();
}
