/** The one way in which a JWT is judged. What is wrong with it is told in the words of the error table, and no more. */
import { errors, type JWTVerifyGetKey, type JWTVerifyOptions, jwtVerify } from 'jose';
import { bounds } from '../config/bounds.ts';
import type { Clock } from '../core/clock.ts';
import { TalosError } from '../core/errors.ts';

/** `exp` is required of every token. */
export type JwtPayload = Readonly<Record<string, unknown>> & { readonly exp: number };

export interface JwtRules extends Pick<JWTVerifyOptions, 'issuer' | 'audience'> {
  /** No other is taken. */
  readonly algorithms: readonly string[];
  readonly clock: Pick<Clock, 'now'>;
}

/** The claims of a token that is signed and in force. Throws `AUTH_INVALID`, and what `keyOf` throws of ours. */
export async function verifyJwt(token: string, keyOf: JWTVerifyGetKey, rules: JwtRules): Promise<JwtPayload> {
  const { clock, algorithms, ...expected } = rules;
  const nowSec = Math.floor(clock.now() / 1000);
  try {
    const { payload } = await jwtVerify<Record<string, unknown>>(token, keyOf, {
      ...expected,
      algorithms: [...algorithms],
      requiredClaims: ['exp'],
      clockTolerance: bounds.clockSkewSec,
      currentDate: new Date(nowSec * 1000),
    });
    assertIssuedBy(payload['iat'], nowSec);
    const { exp } = payload;
    if (exp === undefined) throw new TalosError('AUTH_INVALID');
    return { ...payload, exp };
  } catch (error) {
    throw invalidToken(error);
  }
}

/** A token from the future is forged, or its issuer's clock is wrong. */
function assertIssuedBy(issuedAt: unknown, nowSec: number): void {
  if (issuedAt === undefined) return;
  if (typeof issuedAt !== 'number' || issuedAt > nowSec + bounds.clockSkewSec) throw new TalosError('AUTH_INVALID');
}

/** The error that a token is refused with; an error of our own passes through. */
function invalidToken(error: unknown): unknown {
  if (error instanceof errors.JWTExpired) return new TalosError('AUTH_INVALID', { message: 'The token has expired.' });
  return error instanceof errors.JOSEError ? new TalosError('AUTH_INVALID', { cause: error }) : error;
}
