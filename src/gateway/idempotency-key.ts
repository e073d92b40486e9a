/** A client's key for one piece of work, which is done once however often it is asked for. */
import { bounds } from '../config/bounds.ts';
import { TalosError } from '../core/errors.ts';
import type { JsonValue } from '../core/json.ts';

export const idempotencyKeyPattern = `^[\\x20-\\x7e]{1,${bounds.idempotencyKeyCharsMax}}$`;
const pattern = new RegExp(idempotencyKeyPattern);

/** The key that header and body of one request tell, undefined when neither does. Throws `INVALID_REQUEST`. */
export function idempotencyKeyOf(...told: readonly (JsonValue | undefined)[]): string | undefined {
  const keys = told.filter((key) => key !== undefined);
  const [key] = keys;
  if (key === undefined) return undefined;
  if (typeof key !== 'string' || !pattern.test(key)) {
    throw new TalosError('INVALID_REQUEST', {
      message: `An idempotency key is 1 to ${bounds.idempotencyKeyCharsMax} printable ASCII characters.`,
    });
  }
  if (keys.some((other) => other !== key)) {
    throw new TalosError('INVALID_REQUEST', { message: 'Header and body tell different idempotency keys.' });
  }
  return key;
}
