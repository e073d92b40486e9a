/**
 * Tokens of an OpenID Connect issuer, judged offline by the issuer's public keys. The algorithms are a list of
 * asymmetric ones, so that a public key can never serve as a shared secret.
 */
import type { OidcAlgorithm } from '../config/identity-settings.ts';
import { TalosError } from '../core/errors.ts';
import { adminUser, devUser, teamDefault } from '../core/principal.ts';
import { type Identity, isName, isPrincipalId, readPermissions } from './identity.ts';
import { OidcKeys, type OidcKeysOptions } from './oidc-keys.ts';
import { type JwtPayload, verifyJwt } from './verify-jwt.ts';

export interface OidcOptions extends OidcKeysOptions {
  readonly audience: string;
  readonly algorithms: readonly OidcAlgorithm[];
  /** Names of the claims that say who it is, of which team, and what they may do; dots lead into objects. */
  readonly claims: { readonly principal: string; readonly team: string; readonly permissions: string };
}

/** Throws `AUTH_INVALID`, or `IDENTITY_PROVIDER_UNAVAILABLE` when the issuer's keys cannot be had. */
export type VerifyOidcToken = (token: string) => Promise<Identity>;

export function createOidcVerifier(options: OidcOptions): VerifyOidcToken {
  const keys = new OidcKeys(options);
  return async (token) => {
    const { issuer, audience, algorithms, clock } = options;
    return identityOf(await verifyJwt(token, keys.keyOf, { issuer, audience, algorithms, clock }), options.claims);
  };
}

function identityOf(payload: JwtPayload, claims: OidcOptions['claims']): Identity {
  const id = claimAt(payload, claims.principal);
  const teamId = claimAt(payload, claims.team) ?? teamDefault;
  if (!isPrincipalId(id) || isOurs(id) || !isName(teamId)) {
    throw new TalosError('AUTH_INVALID', { message: 'The token does not say who its bearer is.' });
  }
  return {
    principal: { authMode: 'bearer', id, teamId },
    permissions: readPermissions(claimAt(payload, claims.permissions)),
    expiresAtMs: payload.exp * 1000,
  };
}

/** Names that this gateway gives: an issuer's users, who may choose theirs, must not become somebody else by them. */
function isOurs(id: string): boolean {
  return id === adminUser.id || id === devUser.id || id.startsWith('did:') || id.startsWith('key:');
}

/** The claim of that very name, else the one that the dots lead to. */
function claimAt(payload: JwtPayload, path: string): unknown {
  if (Object.hasOwn(payload, path)) return payload[path];
  let value: unknown = payload;
  for (const name of path.split('.')) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined;
    value = (value as Record<string, unknown>)[name];
  }
  return value;
}
