/**
 * May they? The one matcher, for a capability that was just verified and for one that is remembered. Names are judged
 * before the catalog is asked, so that a stranger learns nothing about tools; the call itself is judged after.
 */
import { type Denial, deny } from '../core/denial.ts';
import type { JsonObject } from '../core/json.ts';
import { gatewayServer, type ScopeRequest, scopeCovers, scopeReaches } from '../core/scope.ts';
import type { Authority } from './authority.ts';
import type { ToolFacts } from './constraints.ts';

export interface Allowed {
  readonly allow: true;
  /** Absent only in development mode, where a request without a capability is let through. */
  readonly authority?: Authority;
}

export interface Refused {
  readonly allow: false;
  readonly denial: Denial;
}

export type Decision = Allowed | Refused;

export interface PolicyMode {
  readonly development: boolean;
  /** Demand a capability in development mode too. */
  readonly requireCapability: boolean;
}

/** Step one, by names alone: the scope and the constraints on server and tool. */
export function decideByName(request: ScopeRequest, authority: Authority | undefined, mode: PolicyMode): Decision {
  if (authority === undefined) return withoutCapability(mode);
  if (!authority.capability.scopes.some((scope) => scopeCovers(scope, request))) return refuse('scope');
  return judgeNames(request, authority);
}

/**
 * Step two, once the tool's definition is known. It takes step one's decision, so that it cannot be taken alone. `args`
 * are the arguments exactly as they will be sent.
 */
export function decideCall(allowed: Allowed, tool: ToolFacts, args: JsonObject): Decision {
  for (const check of allowed.authority?.constraints.byCall ?? []) {
    const detail = check(tool, args);
    if (detail !== undefined) return refuse(detail);
  }
  return allowed;
}

/**
 * Both steps for one of the gateway's own actions (`events.read`), which has a class and no arguments. A constraint that
 * only a tool call can meet, such as `paths`, refuses it.
 */
export function decideAction(
  action: string,
  actionClass: 'read' | 'write',
  authority: Authority | undefined,
  mode: PolicyMode,
): Decision {
  const byName = decideByName({ server: gatewayServer, method: action }, authority, mode);
  return byName.allow ? decideCall(byName, { class: actionClass }, {}) : byName;
}

/**
 * Whether some grant reaches `server`: what listing it needs. Each listed item is then filtered by `decideByName`, which
 * alone sees the constraints.
 */
export function decideReach(server: string, authority: Authority | undefined, mode: PolicyMode): Decision {
  if (authority === undefined) return withoutCapability(mode);
  const reaches = authority.capability.scopes.some((scope) => scopeReaches(scope, server));
  return reaches ? { allow: true, authority } : refuse('scope');
}

function withoutCapability(mode: PolicyMode): Decision {
  if (mode.development && !mode.requireCapability) return { allow: true };
  return { allow: false, denial: deny('NO_CAPABILITY') };
}

function judgeNames(request: ScopeRequest, authority: Authority): Decision {
  for (const check of authority.constraints.byName) {
    const detail = check(request);
    if (detail !== undefined) return refuse(detail);
  }
  return { allow: true, authority };
}

function refuse(detail: string): Refused {
  return { allow: false, denial: deny('SCOPE_MISMATCH', detail) };
}
