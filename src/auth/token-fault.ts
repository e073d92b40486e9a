/** What is wrong with a JWT, told in the words of the error table: never more than that it does not hold, or is over. */
import { errors } from 'jose';
import { bounds } from '../config/bounds.ts';
import { TalosError } from '../core/errors.ts';

/** A token from the future is forged, or its issuer's clock is wrong. Throws `AUTH_INVALID`. */
export function assertIssuedBy(issuedAt: unknown, nowSec: number): void {
  if (issuedAt === undefined) return;
  if (typeof issuedAt !== 'number' || issuedAt > nowSec + bounds.clockSkewSec) throw new TalosError('AUTH_INVALID');
}

/** The error that a token is refused with; an error of our own passes through. */
export function invalidToken(error: unknown): unknown {
  if (error instanceof errors.JWTExpired) return new TalosError('AUTH_INVALID', { message: 'The token has expired.' });
  return error instanceof errors.JOSEError ? new TalosError('AUTH_INVALID', { cause: error }) : error;
}
