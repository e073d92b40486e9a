/** The one who sends a request, as far as authentication knows them. */

import { bounds } from '../config/bounds.ts';
import type { CallerWith } from '../core/caller.ts';
import type { VerifiedCapability } from '../core/capability.ts';
import type { Principal } from '../core/principal.ts';
import { recordName } from '../core/record-name.ts';
import type { Identity } from './identity.ts';

/** A verified capability, with whatever policy keeps beside it. */
export interface CapabilityHolder {
  readonly capability: VerifiedCapability;
}

export type Caller<Authority extends CapabilityHolder> = CallerWith<Authority>;

/**
 * Whoever a capability was issued to. The name is the issuer's word, and the last issuer of a chain is a holder like any
 * other, who could give out capabilities in the name of somebody else: so unless the caller has proven to be the subject,
 * the name is kept apart from others by the key that gave it.
 */
export function subjectOf(capability: VerifiedCapability, isProven: boolean): Principal {
  const { subject, issuer, teamId, links } = capability;
  const id = links.length === 1 || isProven ? subject : recordName(`${subject}@${issuer}`, bounds.recordNameCharsMax);
  return { authMode: 'bearer', id, teamId };
}

/** Who is counted for those whom a holder of the capability may have named: whoever it was issued to first. */
export function accountOf({ links, subject }: VerifiedCapability): string {
  return links[0]?.subject ?? subject;
}

/** A caller whose token says who they are. */
export function known({ principal, ...carried }: Identity) {
  return { ...unproven(principal), ...carried };
}

/** A caller who brings nothing but a name. */
export function unproven(principal: Principal): { principal: Principal; authority: undefined; denial: undefined } {
  return { principal, authority: undefined, denial: undefined };
}
