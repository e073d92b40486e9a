/** The one who asks, as every corridor sees them: identity, authority, and how their request came in. */
import type { ClientIpHash } from '../core/audit-event.ts';
import type { CallerWith } from '../core/caller.ts';
import type { Authority } from '../policy/authority.ts';

export type Caller = CallerWith<Authority>;

/** What a record says of the request it belongs to. */
export interface RequestFacts {
  readonly requestId: string;
  readonly clientIp?: ClientIpHash;
}

/** Who a caller is, in words that nobody else shares. */
export function ownerKey({ principal }: Pick<Caller, 'principal'>): string {
  return principal.authMode === 'anonymous' ? '' : JSON.stringify([principal.id, principal.teamId]);
}

/** Whom the sessions of a caller are counted against: names that a holder can make up at will are one. */
export function accountKey(caller: Caller): string {
  return caller.accountId ?? ownerKey(caller);
}

/** The same caller with the same capability. */
export function isSameCaller(one: Caller, other: Caller): boolean {
  return ownerKey(one) === ownerKey(other) && one.authority?.capability.hash === other.authority?.capability.hash;
}
