/** What a credential says of its holder, whichever kind of credential it is. */
import { bounds } from '../config/bounds.ts';
import { parsePermission } from '../core/permission.ts';
import { type BearerPrincipal, reservedPrincipalIds } from '../core/principal.ts';

export interface Identity {
  readonly principal: BearerPrincipal;
  /** Permissions that the credential itself carries, beside those of the principal's roles. */
  readonly permissions: readonly string[];
  /** The API key that was presented. */
  readonly keyId?: string;
  /** When the credential ends, in Unix milliseconds; whether clocks that differ are forgiven is its verifier's to say. */
  readonly expiresAtMs?: number;
}

const idCharsMax = 200;
const printable = /^[^\p{C}]+$/u;

/** Whether `value` can name a principal or a team: 1 to 200 printable characters. */
export function isName(value: unknown): value is string {
  return typeof value === 'string' && value.length <= idCharsMax && printable.test(value);
}

/** The same for a principal, which must not be one of the names that mean nobody or the gateway. */
export function isPrincipalId(value: unknown): value is string {
  return isName(value) && !reservedPrincipalIds.has(value);
}

/**
 * The permissions in a claim, in their normal form: a list of names, or one text with blanks between them. Whatever is no
 * permission is left out: a claim may hold what is meant for others.
 */
export function readPermissions(claim: unknown): readonly string[] {
  const names: unknown[] = typeof claim === 'string' ? claim.split(' ') : Array.isArray(claim) ? claim : [];
  const permissions = names.map((name) => (typeof name === 'string' ? parsePermission(name) : undefined));
  return [...new Set(permissions.filter((name) => name !== undefined))].slice(0, bounds.permissionsMax);
}
