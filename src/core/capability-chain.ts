/**
 * Delegation: a token whose issuer is the subject of another token, which it carries with it. Each link may only narrow
 * what the one before grants. Constraints are never compared with each other, since those of all links must hold.
 */
import { type DecodedCapability, decodeCapability } from './capability-claims.ts';
import { type Denial, deny, isDenial } from './denial.ts';
import { didSet } from './did.ts';
import { TalosError } from './errors.ts';
import { teamDefault } from './principal.ts';
import { type Scope, scopeWithin } from './scope.ts';

/** How many parents a token may have. */
const delegationDepthMax = 3;

/** One token of a chain, by what decides of what follows it. */
export interface ChainLink {
  readonly issuer: string;
  readonly subject: string;
  /** Undefined when the scope has no meaning here. */
  readonly scopes: readonly Scope[] | undefined;
  readonly teamId: string;
  readonly expiresAtSec: number;
  readonly isDelegatable: boolean;
}

/** `*` is every team. */
export const everyTeam = '*';

/**
 * The token with all its ancestors, root first. `delegation_chain` names them root first; those that an ancestor carries
 * itself need not be repeated, and must not differ when they are. DELEGATION_INVALID when there are more than
 * `delegationDepthMax`, or when one cannot be read.
 */
export function lineageOf(token: DecodedCapability, charsMax: number): readonly DecodedCapability[] | Denial {
  return lineage(token, charsMax, delegationDepthMax);
}

function lineage(token: DecodedCapability, charsMax: number, depthMax: number): readonly DecodedCapability[] | Denial {
  const parents = token.claims.delegation_chain ?? [];
  if (parents.length > depthMax) return invalid('chain_too_long');
  let line: readonly DecodedCapability[] = [];
  for (const text of parents) {
    const parent = decodeCapability(text, charsMax);
    if (isDenial(parent)) return invalid('chain_malformed');
    // One level less for each parent, so that a token within a token within a token comes to an end.
    const own = lineage(parent, charsMax, depthMax - 1);
    if (isDenial(own)) return own;
    const continued = continueWith(line, own);
    if (isDenial(continued)) return continued;
    line = continued;
  }
  return line.length > depthMax ? invalid('chain_too_long') : [...line, token];
}

/** The line with the last of `own`, whose ancestors, when it names any, must be those of the line. */
function continueWith(
  line: readonly DecodedCapability[],
  own: readonly DecodedCapability[],
): readonly DecodedCapability[] | Denial {
  if (line.length === 0) return own;
  const ancestors = own.slice(0, -1);
  const isSame =
    ancestors.length === 0 ||
    (ancestors.length === line.length && ancestors.every((a, at) => a.hash === line[at]?.hash));
  return isSame ? [...line, ...own.slice(-1)] : invalid('chain_inconsistent');
}

/** Why `child` may not follow `parent`; undefined when it may. Signatures are for the caller to verify. */
export function linkFault(parent: ChainLink, child: ChainLink): Denial | undefined {
  if (!parent.isDelegatable) return invalid('not_delegatable');
  if (!namesSameKey(parent.subject, child.issuer)) return invalid('issuer_not_subject');
  if (!isWithin(child.scopes, parent.scopes)) return invalid('scope_widened');
  if (child.expiresAtSec > parent.expiresAtSec) return invalid('expiry_later');
  if (parent.teamId !== everyTeam && child.teamId !== parent.teamId) return invalid('team_changed');
  return undefined;
}

/** What `team_id` says, or the team of those who name none. */
export function teamOf(constraints: { readonly team_id?: unknown } = {}): string {
  return typeof constraints.team_id === 'string' ? constraints.team_id : teamDefault;
}

function isWithin(child: readonly Scope[] | undefined, parent: readonly Scope[] | undefined): boolean {
  // A child whose scope has no meaning grants nothing, which is said of it later.
  return (child ?? []).every((scope) => parent?.some((granted) => scopeWithin(scope, granted)));
}

/** Whether both DIDs are the same key, in whichever way each spells it. False when the first is no key. */
export function namesSameKey(subject: string, issuer: string): boolean {
  if (subject === issuer) return true;
  try {
    return didSet([subject]).has(issuer);
  } catch (error) {
    if (error instanceof TalosError) return false;
    throw error;
  }
}

/** Refusal of a chain. */
export function invalid(detail: string): Denial {
  return deny('DELEGATION_INVALID', detail);
}
