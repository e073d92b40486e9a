/** Issuing capabilities: fills the claims, checks them with the reader's own rules, and signs them. */
import { type KeyObject, sign } from 'node:crypto';
import { encodeBase64url } from './base64url.ts';
import { canonicalize } from './canonical-json.ts';
import { decodeCapability, signedBytesOf, type UnsignedClaims } from './capability-claims.ts';
import { isDenial } from './denial.ts';
import { TalosError } from './errors.ts';
import type { JsonObject } from './json.ts';

export interface Grant {
  /** The Ed25519 key that `issuer` names. */
  readonly privateKey: KeyObject;
  /** DID of the key. */
  readonly issuer: string;
  readonly subject: string;
  /** One scope, or several separated by single blanks. */
  readonly scope: string;
  readonly constraints?: JsonObject;
  readonly delegatable?: boolean;
  readonly nowSec: number;
  readonly ttlSec: number;
}

/**
 * A signed token. Throws `INVALID_REQUEST` when no gateway would read it: a subject that is empty or too long, a
 * constraint with a null or a fraction, a time out of range.
 */
export function grantCapability(grant: Grant): string {
  const claims = claimsOf(grant);
  const sig = encodeBase64url(sign(null, signedBytesOf(claims), grant.privateKey));
  const token = encodeBase64url(Buffer.from(canonicalize({ ...claims, sig } as unknown as JsonObject), 'utf8'));
  const decoded = decodeCapability(token, Number.POSITIVE_INFINITY);
  if (isDenial(decoded)) throw new TalosError('INVALID_REQUEST', { message: 'The claims do not make a valid token.' });
  return token;
}

function claimsOf(grant: Grant): UnsignedClaims {
  return {
    v: '1',
    iss: grant.issuer,
    sub: grant.subject,
    scope: grant.scope,
    iat: grant.nowSec,
    exp: grant.nowSec + grant.ttlSec,
    ...(grant.constraints === undefined ? {} : { constraints: grant.constraints }),
    ...(grant.delegatable === undefined ? {} : { delegatable: grant.delegatable }),
  };
}
