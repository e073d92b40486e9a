/**
 * Recorded calls, judged again under other capabilities, roles, keys and trust: what would be refused that was allowed, and
 * the other way round. Records hold hashes of arguments and not the arguments, so a condition on arguments cannot be judged.
 */
import { checkValidityNow } from '../core/capability.ts';
import type { RoleScope } from '../core/role-scope.ts';
import { scopeCovers } from '../core/scope.ts';
import type { KnownToolOf } from '../core/tool-class.ts';
import type { Authority } from './authority.ts';
import { constraintDenial, type ToolFacts } from './constraints.ts';
import { type Asker, type Decision, decideAction, decideByName } from './decide.ts';
import type { RoleView } from './grants.ts';
import { spendsOf } from './limits.ts';
import type { RecordedCall, Unclear } from './recorded-call.ts';
import type { TeamPolicyView } from './team-policies.ts';

/** An API key as the changed policy has it. */
export interface ReplayedKey {
  readonly id: string;
  readonly permissions: readonly string[];
  readonly isRevoked: boolean;
  /** The key that this one took the place of. */
  readonly replaces: string | undefined;
}

/** What calls are judged by; what is absent stays as it was. */
export interface ReplayPolicy {
  readonly authorities?: readonly Authority[];
  /** Whether a token of the chain is revoked. */
  readonly isRevoked?: (authority: Authority) => boolean;
  readonly roles?: RoleView;
  readonly apiKeys?: readonly ReplayedKey[];
  /** What teams may use. */
  readonly policies?: TeamPolicyView;
  readonly knownTool: KnownToolOf;
  readonly skewSec: number;
}

/** `same`: nothing of what is changed decides it. `unknown`: no token is given for it, its arguments decide, or its record does not say enough. */
export type Verdict =
  | { readonly kind: 'allow' | 'same' }
  | { readonly kind: 'deny'; readonly reason: string; readonly detail: string | undefined }
  | { readonly kind: 'unknown'; readonly because: 'no_token' | 'no_roles' | 'arguments' | Unclear };

/**
 * The verdict on a call. Made with a capability, it is judged by that one when it is among `authorities`, else by those for
 * the same subject, any of which may allow it. Made without one, it is judged by roles and by what its key carries, or by
 * a capability that its principal is given.
 */
export function judgeAgain(call: RecordedCall, policy: ReplayPolicy): Verdict {
  if (call.unclear !== undefined) return { kind: 'unknown', because: call.unclear };
  const key = keyOf(call, policy);
  if (key?.isRevoked) return { kind: 'deny', reason: 'AUTH_INVALID', detail: 'api_key_revoked' };
  const granted = judgeGrant(call, policy, key?.permissions ?? call.carried);
  if (granted.kind === 'deny' || policy.policies === undefined || call.kind === 'action') return granted;
  // They never give anything, and take what was granted.
  const denial = policy.policies.denialOf({ server: call.serverId, method: call.toolName }, call.principal);
  if (denial !== undefined) return { kind: 'deny', reason: denial.reason, detail: denial.detail };
  if (granted.kind !== 'same' || !call.wasDeniedByPolicy) return granted;
  // Roles are judged whole before policies are, and of a capability the names alone.
  return call.capabilityHash === undefined ? { kind: 'allow' } : { kind: 'unknown', because: 'arguments' };
}

function judgeGrant(call: RecordedCall, policy: ReplayPolicy, carried: readonly string[]): Verdict {
  const byToken = judgeByTokens(call, policy);
  const wasByToken = call.capabilityHash !== undefined || call.hadVoidCapability;
  if (wasByToken) return byToken ?? notAsked(policy.authorities, 'no_token');
  const byRoles = judgeByRoles(call, policy, carried);
  return byToken?.kind === 'deny' ? (byRoles ?? byToken) : (byToken ?? byRoles ?? notJudged(policy));
}

/** What of the policy is not there leaves a call as it was; what is there and says nothing about it leaves it unknown. */
function notAsked(part: unknown, because: 'no_token' | 'no_roles'): Verdict {
  return part === undefined ? { kind: 'same' } : { kind: 'unknown', because };
}

function notJudged({ authorities, apiKeys }: ReplayPolicy): Verdict {
  return authorities === undefined && apiKeys === undefined
    ? { kind: 'same' }
    : { kind: 'unknown', because: authorities === undefined ? 'no_roles' : 'no_token' };
}

/** The key that the call was made with, or the one that took its place; one that is listed nowhere counts as revoked. */
function keyOf(
  { apiKeyId }: RecordedCall,
  { apiKeys }: ReplayPolicy,
): Omit<ReplayedKey, 'id' | 'replaces'> | undefined {
  if (apiKeyId === undefined || apiKeys === undefined) return undefined;
  let key = apiKeys.find(({ id }) => id === apiKeyId);
  for (let next = key; next !== undefined; next = apiKeys.find(({ replaces }) => replaces === key?.id)) key = next;
  return key ?? { permissions: [], isRevoked: true };
}

function judgeByTokens(call: RecordedCall, policy: ReplayPolicy): Verdict | undefined {
  const { authorities = [] } = policy;
  const { principal } = call;
  const subject = principal.authMode === 'bearer' ? principal.id : undefined;
  const same = authorities.filter(({ capability }) => capability.hash === call.capabilityHash);
  const others = authorities.filter(({ capability }) => capability.subject === subject);
  const verdicts = (same.length > 0 ? same : others).map((one) => judgeBy(one, call, policy));
  const unlike = (kind: Verdict['kind']) => verdicts.find((verdict) => verdict.kind === kind);
  return unlike('allow') ?? unlike('unknown') ?? verdicts[0];
}

function judgeBy(authority: Authority, call: RecordedCall, policy: ReplayPolicy): Verdict {
  const untimely = checkValidityNow(authority.capability, call.timeSec, policy.skewSec);
  if (untimely !== undefined) return { kind: 'deny', reason: untimely.reason, detail: untimely.detail };
  if (policy.isRevoked?.(authority)) return { kind: 'deny', reason: 'REVOKED', detail: undefined };
  if (cannotSpend(call, authority)) return denied('constraint:max_calls');
  const decision = decide(call, { principal: call.principal, authority });
  if (!decision.allow) {
    if (isOfSomeResource(call, authority)) return { kind: 'unknown', because: 'arguments' };
    return { kind: 'deny', reason: decision.denial.reason, detail: decision.denial.detail };
  }
  if (call.kind === 'action') return { kind: 'allow' };
  const detail = definitionFault(authority, toolOf(call, policy.knownTool));
  if (detail !== undefined) return denied(detail);
  return needsArguments(authority) ? { kind: 'unknown', because: 'arguments' } : { kind: 'allow' };
}

/** Which resource was asked for is no part of a record. */
function isOfSomeResource({ kind, serverId, toolName }: RecordedCall, { capability }: Authority): boolean {
  if (kind !== 'method') return false;
  return capability.scopes.some(({ resource, ...scope }) => {
    return resource !== undefined && scopeCovers(scope, { server: serverId, method: toolName });
  });
}

function denied(detail: string): Verdict {
  return { kind: 'deny', reason: constraintDenial(detail).reason, detail };
}

/** Uses are counted with the intents of tool calls, and nothing else has one. */
function cannotSpend({ kind }: RecordedCall, authority: Authority): boolean {
  return (kind === 'method' || kind === 'action') && spendsOf(authority).length > 0;
}

/** Undefined when the roles are not given. */
function judgeByRoles(
  call: RecordedCall,
  { roles, apiKeys }: ReplayPolicy,
  carried: readonly string[],
): Verdict | undefined {
  if (roles === undefined && apiKeys === undefined) return undefined;
  const asker = { principal: call.principal, permissions: carried, authority: undefined };
  const decision = decide(call, asker, roles);
  if (decision.allow) return { kind: 'allow' };
  // What the roles would have said is not known.
  if (roles === undefined) return undefined;
  return { kind: 'deny', reason: decision.denial.reason, detail: decision.denial.detail };
}

function decide(call: RecordedCall, asker: Asker, roles?: RoleView): Decision {
  const mode = { ...strict, ...(roles === undefined ? {} : { roles }) };
  const { kind, serverId, toolName, isRead, secret } = call;
  if (kind !== 'action') return decideByName({ server: serverId, method: toolName }, asker, mode);
  const scopes: RoleScope[] = secret === undefined ? [] : [{ scope_type: 'secret', attributes: { secret } }];
  return decideAction(toolName, isRead ? 'read' : 'write', asker, mode, scopes);
}

const strict = { development: false, requireCapability: true };
const onArguments: ReadonlySet<string> = new Set(['paths', 'input_schema']);

function definitionFault({ links }: Authority, tool: ToolFacts): string | undefined {
  for (const { name, compiled } of links.flatMap(({ constraints }) => constraints)) {
    const detail = onArguments.has(name) ? undefined : compiled.byCall?.(tool, {});
    if (detail !== undefined) return detail;
  }
  return undefined;
}

function needsArguments({ links }: Authority): boolean {
  return links.some(({ constraints }) => constraints.some(({ name }) => onArguments.has(name)));
}

function toolOf(call: RecordedCall, knownTool: KnownToolOf): ToolFacts {
  const { kind, serverId, toolName, schemaHash, definitionHash } = call;
  // What is no tool reads, and has no definition.
  if (kind === 'method') return { class: 'read' };
  return {
    ...knownTool(serverId, toolName),
    ...(schemaHash === undefined ? {} : { schemaHash }),
    ...(definitionHash === undefined ? {} : { definitionHash }),
  };
}
