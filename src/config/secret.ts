/**
 * Values that must never be shown: a string (`Secret`) and a map of them (`secretRecord`). Both print as `[secret]`
 * whichever way they are printed, so that logging a whole object by mistake gives nothing away.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { inspect } from 'node:util';

/** What is printed in place of a secret. */
export const secretMask = '[secret]';

/** A non-empty secret. Only `reveal` hands it out; `equals` compares without telling how far the match went. */
export class Secret {
  readonly #value: string;

  /** @throws RangeError when the value is empty: an empty secret would equal an absent one. */
  constructor(value: string) {
    if (value === '') throw new RangeError('A secret cannot be empty.');
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  /** Compares in a time that depends neither on where the two differ nor on the length of the secret. */
  equals(candidate: string): boolean {
    return timingSafeEqual(sha256(this.#value), sha256(candidate));
  }

  toString(): string {
    return secretMask;
  }

  toJSON(): string {
    return secretMask;
  }

  [inspect.custom](): string {
    return secretMask;
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text, 'utf8').digest();
}

/** Gives a plain record of secret values its printed face; its methods are not enumerable, so copies stay clean. */
class MaskedRecord {
  toJSON(): Record<string, string> {
    return mask(this);
  }

  [inspect.custom](): Record<string, string> {
    return mask(this);
  }
}

function mask(record: object): Record<string, string> {
  return Object.fromEntries(Object.keys(record).map((name) => [name, secretMask]));
}

/** A frozen record that reads like any other (headers, environment variables) but prints its values as `[secret]`. */
export function secretRecord(entries: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  return Object.freeze(Object.assign(Object.create(MaskedRecord.prototype), entries));
}
