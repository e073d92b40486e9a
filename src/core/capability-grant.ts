/**
 * Issuing capabilities and passing them on: fills the claims, checks them with the reader's own rules, and signs them.
 * Passing on needs no gateway: the parent travels within the child.
 */
import { createPublicKey, type KeyObject, sign } from 'node:crypto';
import { encodeBase64url } from './base64url.ts';
import { canonicalize } from './canonical-json.ts';
import { chainLinkOf } from './capability.ts';
import { everyTeam, lineageOf, linkFault, namesSameKey, teamOf } from './capability-chain.ts';
import { type DecodedCapability, decodeCapability, signedBytesOf } from './capability-claims.ts';
import type { UnsignedClaims } from './capability-forms.ts';
import { isDenial } from './denial.ts';
import { didKeyFromPublicKey } from './did.ts';
import { TalosError } from './errors.ts';
import type { JsonObject } from './json.ts';
import { teamDefault } from './principal.ts';

/** What is granted, and to whom. */
export interface GrantTerms {
  readonly subject: string;
  /** One scope, or several separated by single blanks. */
  readonly scope: string;
  readonly constraints?: JsonObject;
  readonly delegatable?: boolean;
  readonly nowSec: number;
  readonly ttlSec: number;
}

export interface Grant extends GrantTerms {
  /** The Ed25519 key that `issuer` names. */
  readonly privateKey: KeyObject;
  /** DID of the key. */
  readonly issuer: string;
}

/**
 * A signed token. Throws `INVALID_REQUEST` when no gateway would read it: a subject that is empty or too long, a
 * constraint with a null or a fraction, a time out of range.
 */
export function grantCapability(grant: Grant): string {
  return signed(claimsOf(grant, grant.issuer), grant.privateKey);
}

export interface Delegation extends Omit<GrantTerms, 'scope'> {
  /** The Ed25519 key of the parent's subject. */
  readonly privateKey: KeyObject;
  /** The token that is passed on. */
  readonly parent: string;
  /** The parent's, unless a narrower one is given. */
  readonly scope?: string;
}

/**
 * A child of `parent`, which carries its parent with it. It acts for the parent's team unless its constraints say otherwise,
 * and ends no later than its parent. Throws `INVALID_REQUEST` with the reason when no gateway would accept the link; whether
 * the parent itself is accepted, only a gateway can tell.
 */
export function delegateCapability(delegation: Delegation): string {
  const parent = decodeCapability(delegation.parent, Number.POSITIVE_INFINITY);
  if (isDenial(parent)) throw refuse('The parent is not a capability token.');
  const claims = childClaims(delegation, parent);
  const holder = didKeyFromPublicKey(createPublicKey(delegation.privateKey));
  if (!namesSameKey(parent.claims.sub, holder)) throw refuse("The key is not that of the parent's subject.");
  const token = signed(claims, delegation.privateKey);
  const fault = linkFault(chainLinkOf(parent.claims), chainLinkOf(claims));
  if (fault !== undefined) throw refuse(faultSentences[fault.detail ?? ''] ?? fault.message);
  return token;
}

function childClaims(delegation: Delegation, { claims: parent }: DecodedCapability): UnsignedClaims {
  const constraints = { ...inheritedTeam(parent.constraints), ...delegation.constraints };
  // The older spelling of a scope names server and tool in constraints, so that it cannot be taken over alone.
  const { scope = parent.scope, ...terms } = delegation;
  const claims = claimsOf({ ...terms, scope, ...(isEmpty(constraints) ? {} : { constraints }) }, parent.sub);
  return { ...claims, exp: Math.min(claims.exp, parent.exp), delegation_chain: [delegation.parent] };
}

function inheritedTeam(constraints: JsonObject | undefined): JsonObject {
  const team = teamOf(constraints);
  return team === teamDefault || team === everyTeam ? {} : { team_id: team };
}

function isEmpty(object: JsonObject): boolean {
  return Object.keys(object).length === 0;
}

const faultSentences: Readonly<Record<string, string>> = {
  not_delegatable: 'The parent does not allow its subject to pass it on.',
  issuer_not_subject: "The key is not that of the parent's subject.",
  scope_widened: 'The scope grants more than that of the parent.',
  expiry_later: 'The child would outlive its parent.',
  team_changed: 'The parent acts for one team, and the child may not change it.',
  chain_too_long: 'The parent was passed on as often as a capability may be.',
};

function claimsOf(terms: GrantTerms, issuer: string): UnsignedClaims {
  return {
    v: '1',
    iss: issuer,
    sub: terms.subject,
    scope: terms.scope,
    iat: terms.nowSec,
    exp: terms.nowSec + terms.ttlSec,
    ...(terms.constraints === undefined ? {} : { constraints: terms.constraints }),
    ...(terms.delegatable === undefined ? {} : { delegatable: terms.delegatable }),
  };
}

function signed(claims: UnsignedClaims, privateKey: KeyObject): string {
  const sig = encodeBase64url(sign(null, signedBytesOf(claims), privateKey));
  const token = encodeBase64url(Buffer.from(canonicalize({ ...claims, sig } as unknown as JsonObject), 'utf8'));
  const decoded = decodeCapability(token, Number.POSITIVE_INFINITY);
  if (isDenial(decoded)) throw refuse('The claims do not make a valid token.');
  const lineage = lineageOf(decoded, Number.POSITIVE_INFINITY);
  if (!isDenial(lineage)) return token;
  throw refuse(faultSentences[lineage.detail ?? ''] ?? lineage.message);
}

function refuse(message: string): TalosError {
  return new TalosError('INVALID_REQUEST', { message });
}
