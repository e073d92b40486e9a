/** The one who sends a request, as far as authentication knows them. */
import type { VerifiedCapability } from '../core/capability.ts';
import type { Denial } from '../core/denial.ts';
import type { Principal } from '../core/principal.ts';
import type { Identity } from './identity.ts';

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
  /** Permissions that the key or token itself carries. */
  readonly permissions?: readonly string[];
  /** The API key that was presented. */
  readonly keyId?: string;
  /** Whose key signed this very request. */
  readonly attestedDid?: string;
  /** The session that stands for the capability from now on. */
  readonly sessionId?: string;
}

/** Whoever a capability was issued to. */
export function subjectOf(capability: VerifiedCapability): Principal {
  return { authMode: 'bearer', id: capability.subject, teamId: capability.teamId };
}

/** A caller whose token says who they are. */
export function known({ principal, permissions, keyId }: Identity) {
  return { ...unproven(principal), permissions, ...(keyId === undefined ? {} : { keyId }) };
}

/** A caller who brings nothing but a name. */
export function unproven(principal: Principal): { principal: Principal; authority: undefined; denial: undefined } {
  return { principal, authority: undefined, denial: undefined };
}
