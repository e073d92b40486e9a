/** What is revoked: one token by its hash, or all tokens that an issuer gave this id. Whatever was derived from it goes too. */

export interface Revocation {
  readonly kind: 'hash' | 'id';
  readonly value: string;
  /** When whatever it revokes has ended by itself, Unix seconds; absent where that is not known. */
  readonly endsAtSec?: number;
}

const hashPattern = /^[0-9a-f]{64}$/;
const idCharsMax = 200;

/** Whether the value is one that its kind can have. */
export function isRevocation({ kind, value }: Revocation): boolean {
  return kind === 'hash'
    ? hashPattern.test(value)
    : value !== '' && value.length <= idCharsMax && !/\p{Cc}/u.test(value);
}
