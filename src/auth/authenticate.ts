/**
 * Who is it: turns the credentials of a request into a caller. A credential that is recognisably ours must be valid in
 * every mode; development mode only forgives the absence of one, or a string that cannot be one.
 */
import type { Secret } from '../config/secret.ts';
import type { VerifiedCapability } from '../core/capability.ts';
import { type Denial, deny, isDenial } from '../core/denial.ts';
import { TalosError } from '../core/errors.ts';
import { adminUser, anonymous, devUser, type Principal } from '../core/principal.ts';

/** What a request carries, unjudged. */
export interface Credentials {
  /** The `Authorization` header. */
  readonly authorization: string | undefined;
  /** The `X-Talos-Capability` header. */
  readonly capability: string | undefined;
}

/** A verified capability, with whatever policy keeps beside it. */
export interface CapabilityHolder {
  readonly capability: VerifiedCapability;
}

/** Who a request comes from and the authority that it brings along. */
export interface Caller<Authority extends CapabilityHolder> {
  readonly principal: Principal;
  readonly authority: Authority | undefined;
  /** The capability that was presented beside the identity is not valid; whatever needs one is denied with this. */
  readonly denial: Denial | undefined;
  /** The admin secret was presented, on a surface of the administration. */
  readonly isAdmin?: true;
}

/**
 * `bearer`: a Bearer header is demanded in every mode. `open`: nobody need say who they are; what the surface allows to
 * strangers is for policy to say. `admin`: as `bearer`, but the admin secret is taken too, and a wrong credential is a 403.
 */
export type AuthenticationDemand = 'bearer' | 'open' | 'admin';

export interface AuthenticatorOptions<Authority extends CapabilityHolder> {
  readonly mode: 'development' | 'production';
  /** What makes a caller an administrator; nothing does when there is none. */
  readonly adminSecret: Secret | undefined;
  /** Whether a capability whose subject is somebody else than the caller is honoured. */
  readonly bearerCapabilities: boolean;
  /** The authority of a capability token, or why it has none. */
  readonly authorityOf: (token: string) => Promise<Authority | Denial>;
}

export type Authenticate<Authority extends CapabilityHolder> = (
  credentials: Credentials,
  demand: AuthenticationDemand,
) => Promise<Caller<Authority>>;

/** Throws `AUTH_MISSING`, `AUTH_SCHEME` or `AUTH_INVALID`, all 401; on admin surfaces `ADMIN_AUTH_INVALID` for the last. */
export function createAuthenticator<Authority extends CapabilityHolder>(
  options: AuthenticatorOptions<Authority>,
): Authenticate<Authority> {
  return async (credentials, demand) => {
    const identity = await identify(options, credentials.authorization, demand);
    if (credentials.capability === undefined) return identity;
    return withCapability(options.bearerCapabilities, identity, await options.authorityOf(credentials.capability));
  };
}

async function identify<Authority extends CapabilityHolder>(
  options: AuthenticatorOptions<Authority>,
  authorization: string | undefined,
  demand: AuthenticationDemand,
): Promise<Caller<Authority>> {
  const isDevelopment = options.mode === 'development';
  if (authorization === undefined) {
    if (demand !== 'open') throw new TalosError('AUTH_MISSING');
    return unproven(isDevelopment ? devUser : anonymous);
  }
  if (demand === 'admin') return await identifyAdmin(options, authorization);
  const token = bearerToken(authorization);
  if (looksLikeCapability(token)) return fromBearerCapability(await options.authorityOf(token));
  if (looksLikeOurs(token) || !isDevelopment) throw new TalosError('AUTH_INVALID');
  return unproven(devUser);
}

async function identifyAdmin<Authority extends CapabilityHolder>(
  options: AuthenticatorOptions<Authority>,
  authorization: string,
): Promise<Caller<Authority>> {
  // The secret may be of any characters, so it is compared before anything is read from the header.
  const credential = authorization.replace(/^bearer +/i, '').trimEnd();
  if (schemePattern.test(authorization) && options.adminSecret?.equals(credential)) {
    return { ...unproven(adminUser), isAdmin: true };
  }
  try {
    return await identify(options, authorization, 'bearer');
  } catch (error) {
    if (!(error instanceof TalosError) || error.code !== 'AUTH_INVALID') throw error;
    const { details } = error;
    throw new TalosError('ADMIN_AUTH_INVALID', details === undefined ? {} : { details });
  }
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

function looksLikeCapability(token: string): boolean {
  return objectPattern.test(token);
}

/** An API key, or a JWS of three parts. */
function looksLikeOurs(token: string): boolean {
  return token.startsWith('tlk_') || /^[\w-]+\.[\w-]+\.[\w-]*$/.test(token);
}

function fromBearerCapability<Authority extends CapabilityHolder>(checked: Authority | Denial): Caller<Authority> {
  if (isDenial(checked)) {
    throw new TalosError('AUTH_INVALID', { message: checked.message, details: { denial_reason: checked.reason } });
  }
  return { principal: subjectOf(checked.capability), authority: checked, denial: undefined };
}

function withCapability<Authority extends CapabilityHolder>(
  bearerCapabilities: boolean,
  identity: Caller<Authority>,
  checked: Authority | Denial,
): Caller<Authority> {
  const { principal } = identity;
  if (isDenial(checked)) return { principal, authority: undefined, denial: checked };
  const { capability } = checked;
  // The development user is nobody: whoever the capability was issued to is a better name for the record.
  if (principal.authMode === 'anonymous' || principal === devUser) {
    return { principal: subjectOf(capability), authority: checked, denial: undefined };
  }
  if (principal.id === capability.subject || bearerCapabilities) {
    return { principal, authority: checked, denial: undefined };
  }
  return { principal, authority: undefined, denial: deny('SCOPE_MISMATCH', 'subject_mismatch') };
}

function subjectOf(capability: VerifiedCapability): Principal {
  return { authMode: 'bearer', id: capability.subject, teamId: capability.teamId };
}

function unproven(principal: Principal): { principal: Principal; authority: undefined; denial: undefined } {
  return { principal, authority: undefined, denial: undefined };
}
