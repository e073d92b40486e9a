/**
 * Who is it: turns the credentials of a request into a caller. A credential that is recognisably ours must be valid in
 * every mode; development mode only forgives the absence of one, or a string that cannot be one.
 */
import type { VerifiedCapability } from '../core/capability.ts';
import { type Denial, isDenial } from '../core/denial.ts';
import { didSet } from '../core/did.ts';
import { TalosError } from '../core/errors.ts';
import { anonymous, devUser, teamDefault } from '../core/principal.ts';
import type { Attestation, AttestedRequest, Attester } from './attestation.ts';
import { type BearerOptions, identifyAdmin, identifyBearer } from './bearer.ts';
import { accountOf, type Caller, type CapabilityHolder, subjectOf, unproven } from './caller.ts';
import {
  honour,
  isSubjectOf,
  type PossessionRule,
  possessionFault,
  resume,
  type Signer,
} from './present-capability.ts';
import type { Sessions } from './sessions.ts';

/** What a request carries, unjudged. */
export interface Credentials {
  /** The `Authorization` header. */
  readonly authorization: string | undefined;
  /** The `X-Talos-Capability` header. */
  readonly capability: string | undefined;
  /** The `X-Talos-Session` header; a capability beside it is what counts. */
  readonly session?: string | undefined;
  /** The request with its attestation headers, when there is at least one of them. */
  readonly attestation?: AttestedRequest | undefined;
}

/**
 * `bearer`: an identity is demanded in every mode. `open`: nobody need say who they are; what the surface allows to
 * strangers is for policy to say. `admin`: as `bearer`, but the admin secret is taken too, and a wrong credential is a 403.
 */
export type AuthenticationDemand = 'bearer' | 'open' | 'admin';

export interface AuthenticatorOptions<Authority extends CapabilityHolder> extends BearerOptions<Authority> {
  readonly attester: Pick<Attester, 'verify' | 'spend'>;
  /** Keys that name their holder by an attestation alone, as `didSet` gives them. */
  readonly attestationKeys: ReadonlySet<string>;
  /** Why an authority that was once given counts no more. */
  readonly stillValid: (authority: Authority) => Denial | undefined;
  readonly sessions: Sessions<Authority>;
}

export type Authenticate<Authority extends CapabilityHolder> = (
  credentials: Credentials,
  demand: AuthenticationDemand,
) => Promise<Caller<Authority>>;

/**
 * Throws `AUTH_MISSING`, `AUTH_SCHEME`, `AUTH_INVALID` or `REPLAY_DETECTED`, all 401; on admin surfaces
 * `ADMIN_AUTH_INVALID` for a wrong Bearer credential; `IDENTITY_PROVIDER_UNAVAILABLE` and `STORE_UNAVAILABLE` when it
 * cannot be said.
 */
export function createAuthenticator<Authority extends CapabilityHolder>(
  options: AuthenticatorOptions<Authority>,
): Authenticate<Authority> {
  const { attester } = options;
  return async (credentials, demand) => {
    const { authorization, capability, session, attestation: attested } = credentials;
    // Each wait costs; most requests bring nothing to wait for but their identity.
    const attestation = attested === undefined ? undefined : await attester.verify(attested);
    const identity = await identify(options, authorization, demand, attestation);
    const hasMore = capability !== undefined || session !== undefined;
    const caller = hasMore ? await withAuthority(options, identity, credentials, attestation) : identity;
    if (attestation !== undefined) {
      if (authorization === undefined) assertKnown(options, caller, attestation);
      // Late, so that a request that is refused anyway takes no nonce from the one whose it is.
      await attester.spend(attestation);
    }
    const proven = attestation === undefined ? caller : { ...caller, attestedDid: attestation.did };
    return hasMore ? await inSession(options, proven, identity, credentials) : proven;
  };
}

/** The caller with the session that stands from now on for the capability that was shown: the caller's own, by identity. */
async function inSession<Authority extends CapabilityHolder>(
  { sessions }: AuthenticatorOptions<Authority>,
  caller: Caller<Authority>,
  identity: Caller<Authority>,
  { capability, session }: Credentials,
): Promise<Caller<Authority>> {
  if (caller.authority === undefined) return caller;
  if (capability === undefined) return session === undefined ? caller : { ...caller, sessionId: session };
  const sessionId = await sessions.open(identity.principal, caller.authority, capability);
  return sessionId === undefined ? caller : { ...caller, sessionId };
}

export type PresentCapability<Authority extends CapabilityHolder> = (
  caller: Caller<Authority>,
  token: string,
) => Promise<Caller<Authority>>;

/**
 * For capabilities that come in a body: the caller, who is known by the headers already, with the authority of this
 * token or with the denial that it meets.
 */
export function createPresentCapability<Authority extends CapabilityHolder>(
  options: AuthenticatorOptions<Authority>,
): PresentCapability<Authority> {
  return async (caller, token) => {
    return await withAuthority(options, caller, { authorization: undefined, capability: token }, signerOf(caller));
  };
}

type Asker = Pick<Caller<CapabilityHolder>, 'principal' | 'attestedDid'>;

/** For capabilities that were verified at an earlier request: why whoever sends this one may not use it, if so. */
export type PossessionCheck = (caller: Asker, capability: VerifiedCapability) => Denial | undefined;

export function createPossessionCheck(rule: PossessionRule): PossessionCheck {
  return (caller, capability) => possessionFault(rule, capability, signerOf(caller), caller.principal);
}

/** The signature over the request was verified with its headers; whose it is, is all that counts afterwards. */
function signerOf({ attestedDid }: Pick<Asker, 'attestedDid'>): Signer | undefined {
  return attestedDid === undefined ? undefined : { key: attestedDid };
}

/** Anybody can make a key: in production one that nobody has vouched for is a stranger's. Throws `AUTH_INVALID`. */
function assertKnown<Authority extends CapabilityHolder>(
  { mode, attestationKeys }: AuthenticatorOptions<Authority>,
  { authority, denial }: Caller<Authority>,
  { key }: Attestation,
): void {
  if (mode === 'development' || authority !== undefined || attestationKeys.has(key)) return;
  throw new TalosError('AUTH_INVALID', {
    message: 'The key that signed the request is not known, and no valid capability says whose it is.',
    ...(denial === undefined ? {} : { details: { denial_reason: denial.reason } }),
  });
}

async function identify<Authority extends CapabilityHolder>(
  options: AuthenticatorOptions<Authority>,
  authorization: string | undefined,
  demand: AuthenticationDemand,
  attestation: Attestation | undefined,
): Promise<Caller<Authority>> {
  if (authorization === undefined) return withoutBearer(options, demand, attestation);
  if (demand === 'admin') return await identifyAdmin(options, authorization, attestation);
  return await identifyBearer(options, authorization, attestation);
}

function withoutBearer<Authority extends CapabilityHolder>(
  { mode }: AuthenticatorOptions<Authority>,
  demand: AuthenticationDemand,
  attestation: Attestation | undefined,
): Caller<Authority> {
  if (attestation !== undefined) return unproven({ authMode: 'bearer', id: attestation.did, teamId: teamDefault });
  if (demand !== 'open') throw new TalosError('AUTH_MISSING');
  return unproven(mode === 'development' ? devUser : anonymous);
}

/** The caller with the authority that it shows beside its identity. */
async function withAuthority<Authority extends CapabilityHolder>(
  options: AuthenticatorOptions<Authority>,
  identity: Caller<Authority>,
  credentials: Credentials,
  signer: Signer | undefined,
): Promise<Caller<Authority>> {
  const authority = await present(options, identity, credentials, signer);
  if (authority === undefined) return identity;
  if (isDenial(authority)) return { ...identity, authority: undefined, denial: authority };
  const { principal } = identity;
  const isNameless = principal.authMode === 'anonymous' || principal === devUser;
  const isProven = isSubjectOf(authority.capability, signer);
  const isKnownByKey = credentials.authorization === undefined && isProven;
  // Whoever the capability was issued to is a better name than none, and than that of a key.
  const named = isNameless || isKnownByKey ? subjectOf(authority.capability, isProven) : principal;
  const account = isVouchedFor(options, identity, signer) ? {} : { accountId: accountOf(authority.capability) };
  return { ...identity, principal: named, ...account, authority, denial: undefined };
}

/** Anybody can make a key, so what a signature alone names is a name among any number. */
function isVouchedFor<Authority extends CapabilityHolder>(
  { attestationKeys }: AuthenticatorOptions<Authority>,
  { principal, accountId }: Caller<Authority>,
  signer: Signer | undefined,
): boolean {
  if (principal.authMode === 'anonymous' || principal === devUser || accountId !== undefined) return false;
  const isNamedByKey = signer !== undefined && didSet([signer.key]).has(principal.id);
  return !isNamedByKey || attestationKeys.has(signer.key);
}

async function present<Authority extends CapabilityHolder>(
  options: AuthenticatorOptions<Authority>,
  { principal }: Caller<Authority>,
  { capability, session }: Credentials,
  signer: Signer | undefined,
): Promise<Authority | Denial | undefined> {
  if (capability !== undefined) {
    return honour(options, await options.authorityOf(capability), principal, signer);
  }
  return session === undefined ? undefined : await resume(options, session, principal, signer);
}
