/** The one who asks, as every corridor sees them: identity, authority, and how their request came in. */
import type { ClientIpHash } from '../core/audit-event.ts';
import type { Denial } from '../core/denial.ts';
import type { Principal } from '../core/principal.ts';
import type { Authority } from '../policy/authority.ts';

export interface Caller {
  readonly principal: Principal;
  readonly authority: Authority | undefined;
  /** A capability was presented that is not valid: nothing that needs one is allowed. */
  readonly denial: Denial | undefined;
  /** Known by the admin secret: may do whatever the administration routes offer. */
  readonly isAdmin?: true;
  /** Permissions that the key or token of the caller itself carries; judged together with its roles. */
  readonly permissions?: readonly string[];
  /** The API key that was presented. */
  readonly keyId?: string;
  /** The key that signed this very request. */
  readonly attestedDid?: string;
  /** The session that stands for the capability in later requests of the same caller. */
  readonly sessionId?: string;
}

/** What a record says of the request it belongs to. */
export interface RequestFacts {
  readonly requestId: string;
  readonly clientIp?: ClientIpHash;
}
