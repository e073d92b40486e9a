/** How keys that clients choose are stored in the columns that find records. */
import { sha256Hex } from '../core/hash.ts';

const keyCharsMax = 256;
const keyHashChars = 64;

/**
 * A key as it is stored and searched: no longer than an index entry can hold and without the NUL that no column can.
 * What must be changed for that ends in its hash, so that two keys never find each other's records.
 */
export function projectedKey(key: string): string {
  if (key.length <= keyCharsMax && !key.includes('\0')) return key;
  return `${key.slice(0, keyCharsMax - keyHashChars - 1).replaceAll('\0', '\ufffd')}#${sha256Hex(key)}`;
}
