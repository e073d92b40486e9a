/**
 * The `Authorization` header: an API key, a JWT of the administration or of the issuer, or a capability. By its form a
 * token is one of these or none, and each kind has a verifier that takes nothing else.
 */
import { bounds } from '../config/bounds.ts';
import { Secret } from '../config/secret.ts';
import { apiKeyPrefix } from '../core/api-key.ts';
import { type Denial, isDenial } from '../core/denial.ts';
import { TalosError } from '../core/errors.ts';
import { adminUser, devUser } from '../core/principal.ts';
import type { Attestation } from './attestation.ts';
import { accountOf, type Caller, type CapabilityHolder, known, subjectOf, unproven } from './caller.ts';
import { peekJws } from './compact-jws.ts';
import type { Identity } from './identity.ts';
import { isSubjectOf, type PossessionRule, possessionFault } from './present-capability.ts';

/** Throws `AUTH_INVALID`. */
type VerifyToken = (token: string) => Promise<Identity>;

export interface BearerOptions<Authority extends CapabilityHolder> extends PossessionRule {
  readonly mode: 'development' | 'production';
  /** What makes a caller an administrator; nothing does when there is none. */
  readonly adminSecret: Secret | undefined;
  readonly apiKeys: { readonly identify: VerifyToken };
  /** JWTs under the admin secret. */
  readonly adminTokens: { readonly verify: VerifyToken } | undefined;
  readonly oidc: { readonly issuer: string; readonly verify: VerifyToken } | undefined;
  /** The authority of a capability token, or why it has none. */
  readonly authorityOf: (token: string) => Promise<Authority | Denial>;
  /** For what development mode lets through. */
  readonly warn: (sentence: string) => void;
}

const schemePattern = /^bearer /i;
const bearerPattern = /^bearer +(\S+) *$/i;

function bearerToken(authorization: string): string {
  if (!schemePattern.test(authorization)) throw new TalosError('AUTH_SCHEME');
  const token = bearerPattern.exec(authorization)?.[1];
  if (token === undefined) throw new TalosError('AUTH_INVALID', { message: 'The Bearer header carries no token.' });
  return token;
}

// How base64url of a JSON object begins: `{` and then a quote, a closing brace or white space.
const objectPattern = /^e(y[A-DI-L]|w[k-r0-3]|3[0-3])[\w-]*$/;
const threeParts = /^[\w-]+\.[\w-]+\.[\w-]*$/;
// What clients of older gateways send in place of a capability.
const legacyPattern = /^cap_|talos_read|^allow/;

/** Throws `AUTH_SCHEME`, `AUTH_INVALID` and what the verifiers throw. */
export async function identifyBearer<Authority extends CapabilityHolder>(
  options: BearerOptions<Authority>,
  authorization: string,
  attestation: Attestation | undefined,
): Promise<Caller<Authority>> {
  const token = bearerToken(authorization);
  if (token.startsWith(apiKeyPrefix)) return known(await options.apiKeys.identify(token));
  if (objectPattern.test(token)) return await fromBearerCapability(options, token, attestation);
  if (threeParts.test(token)) return await fromJws(options, token, attestation);
  if (options.mode !== 'development') throw new TalosError('AUTH_INVALID');
  if (legacyPattern.test(token)) options.warn('development mode: an unsigned text was taken in place of a credential');
  return unproven(devUser);
}

/** The same on surfaces of the administration, where the secret itself is taken too and a wrong credential is a 403. */
export async function identifyAdmin<Authority extends CapabilityHolder>(
  options: BearerOptions<Authority>,
  authorization: string,
  attestation: Attestation | undefined,
): Promise<Caller<Authority>> {
  // The secret may be of any characters, so it is compared before anything is read from the header.
  const credential = authorization.replace(/^bearer +/i, '').trimEnd();
  if (schemePattern.test(authorization) && options.adminSecret?.equals(credential)) {
    return { ...unproven(adminUser), isAdmin: true };
  }
  try {
    return await identifyBearer(options, authorization, attestation);
  } catch (error) {
    if (!(error instanceof TalosError) || error.code !== 'AUTH_INVALID') throw error;
    const { details } = error;
    throw new TalosError('ADMIN_AUTH_INVALID', details === undefined ? {} : { details });
  }
}

const capabilityAlgorithms: readonly string[] = ['EdDSA', 'Ed25519'];

/** A token of three parts: whose it is, its header and its issuer say; whether that is true, the verifier. */
async function fromJws<Authority extends CapabilityHolder>(
  options: BearerOptions<Authority>,
  token: string,
  attestation: Attestation | undefined,
): Promise<Caller<Authority>> {
  const claim = peekJws(token, bounds.identityTokenCharsMax);
  const verify = verifierOf(options, claim);
  if (verify !== undefined) return { ...known(await verify(token)), token: new Secret(token) };
  if (claim === undefined || !capabilityAlgorithms.includes(claim.algorithm)) throw new TalosError('AUTH_INVALID');
  return await fromBearerCapability(options, token, attestation);
}

function verifierOf(
  { oidc, adminTokens }: Pick<BearerOptions<CapabilityHolder>, 'oidc' | 'adminTokens'>,
  claim: ReturnType<typeof peekJws>,
): VerifyToken | undefined {
  if (claim === undefined) return undefined;
  if (oidc !== undefined && claim.issuer === oidc.issuer) return oidc.verify;
  return claim.algorithm === 'HS256' ? adminTokens?.verify : undefined;
}

async function fromBearerCapability<Authority extends CapabilityHolder>(
  options: BearerOptions<Authority>,
  token: string,
  attestation: Attestation | undefined,
): Promise<Caller<Authority>> {
  const authority = await options.authorityOf(token);
  const denial = isDenial(authority) ? authority : possessionFault(options, authority.capability, attestation);
  if (isDenial(authority) || denial !== undefined) throw invalidCapability(denial);
  return {
    principal: subjectOf(authority.capability, isSubjectOf(authority.capability, attestation)),
    accountId: accountOf(authority.capability),
    authority,
    denial: undefined,
  };
}

function invalidCapability(denial: Denial | undefined): TalosError {
  if (denial === undefined) return new TalosError('AUTH_INVALID');
  return new TalosError('AUTH_INVALID', { message: denial.message, details: { denial_reason: denial.reason } });
}
