/** Who a request comes from, and the authority that it brings along, whatever policy takes that to be. */
import type { Denial } from './denial.ts';
import type { Principal } from './principal.ts';

export interface CallerWith<Authority> {
  readonly principal: Principal;
  readonly authority: Authority | undefined;
  /** The capability that was presented beside the identity is not valid; whatever needs one is denied with this. */
  readonly denial: Denial | undefined;
  /** The admin secret was presented, on a surface of the administration: may do whatever these offer. */
  readonly isAdmin?: true;
  /** Permissions that the key or token itself carries; judged together with the caller's roles. */
  readonly permissions?: readonly string[];
  /**
   * Who is counted for the caller where limits are by caller: when nobody vouches for the name, whoever the capability was
   * issued to first, because its holders can give it to any number of names. Absent where that is the principal.
   */
  readonly accountId?: string;
  /** The API key that was presented. */
  readonly keyId?: string;
  /** When the key or token that names the caller ends, in Unix milliseconds. */
  readonly expiresAtMs?: number;
  /** The JWT that names the caller, in a form that does not print. */
  readonly token?: { readonly reveal: () => string };
  /** The DID whose key signed this very request. */
  readonly attestedDid?: string;
  /** The session that stands for the capability in later requests of the same caller. */
  readonly sessionId?: string;
}
