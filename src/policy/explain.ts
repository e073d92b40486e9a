/** How each link and each condition of an authority stands to one call: for operators, never for callers. */
import type { JsonObject, JsonValue } from '../core/json.ts';
import { formatScope, type ScopeRequest, scopeCovers } from '../core/scope.ts';
import type { Authority, AuthorityLink } from './authority.ts';
import type { NamedConstraint, ToolFacts } from './constraints.ts';
import { describeConstraint } from './describe-capability.ts';

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

export interface ExplainedLink {
  readonly hash: string;
  readonly issuer: string;
  readonly subject: string;
  readonly scopes: readonly string[];
  readonly coversCall: boolean;
  readonly constraints: readonly ExplainedConstraint[];
}

/** A call as far as it is known. */
export interface CallFacts {
  readonly request: ScopeRequest;
  readonly tool: ToolFacts;
  readonly args: JsonObject;
}

/** Root first. */
export function explainAuthority({ links }: Authority, call: CallFacts): readonly ExplainedLink[] {
  return links.map((link) => explainLink(link, call));
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

function explainLink({ link, constraints }: AuthorityLink, call: CallFacts): ExplainedLink {
  return {
    hash: link.hash,
    issuer: link.issuer,
    subject: link.subject,
    scopes: link.scopes.map(formatScope),
    coversCall: link.scopes.some((scope) => scopeCovers(scope, call.request)),
    constraints: constraints.map((constraint) => explainConstraint(constraint, call)),
  };
}

function explainConstraint({ name, value, compiled }: NamedConstraint, call: CallFacts): ExplainedConstraint {
  const detail = compiled.byName?.(call.request) ?? compiled.byCall?.(call.tool, call.args);
  const demands = describeConstraint(name, value);
  return { name, value, holds: detail === undefined, ...(detail === undefined ? {} : { detail }), demands };
}
