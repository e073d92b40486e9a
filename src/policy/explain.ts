/** How each link and each condition of an authority stands to one call: for operators, never for callers. */
import type { Denial } from '../core/denial.ts';
import type { JsonObject, JsonValue } from '../core/json.ts';
import { formatScope, type ScopeRequest, scopeCovers } from '../core/scope.ts';
import type { Authority } from './authority.ts';
import type { NamedConstraint, ToolFacts } from './constraints.ts';
import { describeConstraint } from './describe-capability.ts';
import { type ReadLink, type RevokedLink, revokedFault } from './refused-links.ts';

export interface ExplainedConstraint {
  readonly name: string;
  readonly value: JsonValue;
  /** A condition on how often is not asked here, and counts as held. */
  readonly holds: boolean;
  /** The word that a refusal would have. */
  readonly detail?: string;
  /** What satisfies it, in words. */
  readonly demands: string;
}

/** What is wrong with a link, whatever is called. */
export interface ExplainedFault {
  readonly denial: Denial;
  /** The record that says so, of a revocation. */
  readonly auditRef?: string;
}

export interface ExplainedLink {
  readonly hash: string;
  readonly issuer: string;
  readonly subject: string;
  readonly scopes: readonly string[];
  readonly coversCall: boolean;
  readonly constraints: readonly ExplainedConstraint[];
  /** Empty for a link of a capability that counts. */
  readonly faults: readonly ExplainedFault[];
}

/** A call as far as it is known. */
export interface CallFacts {
  readonly request: ScopeRequest;
  readonly tool: ToolFacts;
  readonly args: JsonObject;
}

/** Root first. */
export function explainAuthority({ links }: Authority, call: CallFacts): readonly ExplainedLink[] {
  return links.map(({ link, constraints }) => explainLink({ ...link, constraints }, call, []));
}

/** Of a token that does not count, by what its links say. `revocationOf` finds what is known of the revocation of one. */
export function explainRefused(
  links: readonly ReadLink[],
  revocationOf: (link: ReadLink) => (RevokedLink & { readonly eventId: string }) | undefined,
  call: CallFacts,
): readonly ExplainedLink[] {
  return links.map((link) => {
    const revocation = revocationOf(link);
    const revoked =
      revocation === undefined ? [] : [{ denial: revokedFault(revocation), auditRef: revocation.eventId }];
    return explainLink(link, call, [...revoked, ...link.faults.map((denial) => ({ denial }))]);
  });
}

/** What would have to be otherwise, one sentence for each link and condition that refuses. */
export function remediesOf(links: readonly ExplainedLink[]): readonly string[] {
  return links.flatMap(({ hash, scopes, coversCall, constraints }) => {
    const link = `link ${hash.slice(0, 16)}`;
    const failing = constraints.filter(({ holds }) => !holds);
    return [
      ...(coversCall ? [] : [`${link}: a scope that covers the call; it grants ${scopes.join(', ')}`]),
      ...failing.map(({ name, demands }) => `${link}, constraint ${name}: ${demands}`),
    ];
  });
}

type Stated = Pick<ReadLink, 'hash' | 'issuer' | 'subject' | 'scopes' | 'constraints'>;

function explainLink(link: Stated, call: CallFacts, faults: readonly ExplainedFault[]): ExplainedLink {
  return {
    hash: link.hash,
    issuer: link.issuer,
    subject: link.subject,
    scopes: link.scopes.map(formatScope),
    coversCall: link.scopes.some((scope) => scopeCovers(scope, call.request)),
    constraints: link.constraints.map((constraint) => explainConstraint(constraint, call)),
    faults,
  };
}

function explainConstraint({ name, value, compiled }: NamedConstraint, call: CallFacts): ExplainedConstraint {
  const detail = compiled.byName?.(call.request) ?? compiled.byCall?.(call.tool, call.args);
  const demands = describeConstraint(name, value);
  return { name, value, holds: detail === undefined, ...(detail === undefined ? {} : { detail }), demands };
}
