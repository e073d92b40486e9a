/**
 * May this caller use this capability? A capability belongs to its subject. That the caller is the subject is proven by a
 * signature over the request or by an identity of the same name; without a proof it is a bearer token, which counts only
 * where the deployment and every link of its chain allow it.
 */
import type { VerifiedCapability } from '../core/capability.ts';
import { type Denial, deny, isDenial } from '../core/denial.ts';
import { didSet } from '../core/did.ts';
import type { Principal } from '../core/principal.ts';
import type { CapabilityHolder } from './caller.ts';
import type { Sessions } from './sessions.ts';

/** Whose key signed the request, in one spelling of its DID. */
export interface Signer {
  readonly key: string;
}

export interface PossessionRule {
  /** Whether a capability is honoured from somebody who has not proven to be its subject. */
  readonly bearerCapabilities: boolean;
}

interface PresentOptions<Authority extends CapabilityHolder> extends PossessionRule {
  readonly sessions: Sessions<Authority>;
  readonly stillValid: (authority: Authority) => Denial | undefined;
}

/** A capability that was sent with the request, judged as a token already. */
export function honour<Authority extends CapabilityHolder>(
  options: PossessionRule,
  authority: Authority | Denial,
  principal: Principal,
  attestation: Signer | undefined,
): Authority | Denial {
  if (isDenial(authority)) return authority;
  return possessionFault(options, authority.capability, attestation, principal) ?? authority;
}

/** A capability that was sent with an earlier request. Throws `STORE_UNAVAILABLE`. */
export async function resume<Authority extends CapabilityHolder>(
  options: PresentOptions<Authority>,
  sessionId: string,
  principal: Principal,
  attestation: Signer | undefined,
): Promise<Authority | Denial> {
  const { sessions, stillValid } = options;
  const authority = await sessions.find(sessionId, principal);
  if (authority === undefined) return deny('NO_CAPABILITY', 'session_unknown');
  const denial = isDenial(authority) ? authority : stillValid(authority);
  if (isDenial(authority) || denial !== undefined) {
    // Nobody can tell now is no reason to end it.
    if (denial?.retryable === undefined) await sessions.close(sessionId);
    return denial ?? authority;
  }
  return honour(options, authority, principal, attestation);
}

/** Why the caller may not use it, if so. Possession is proven by the signature of this very request and nothing else. */
export function possessionFault(
  { bearerCapabilities }: PossessionRule,
  capability: VerifiedCapability,
  attestation: Signer | undefined,
  principal?: Principal,
): Denial | undefined {
  if (isSubjectOf(capability, attestation)) return undefined;
  if (capability.requiresPossession) return deny('SCOPE_MISMATCH', 'possession_unproven');
  const isNamesake = principal?.authMode === 'bearer' && principal.id === capability.subject;
  return isNamesake || bearerCapabilities ? undefined : deny('SCOPE_MISMATCH', 'subject_mismatch');
}

/** Whether the request was signed by the subject's key, in whichever way the two spell its DID. */
export function isSubjectOf({ subject }: VerifiedCapability, attestation: Signer | undefined): boolean {
  return attestation !== undefined && didSet([attestation.key]).has(subject);
}
