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
