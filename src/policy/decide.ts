/**
 * May they? The one matcher, for a capability that was just verified and for one that is remembered. A capability that
 * is presented is always enforced; without one, roles and the permissions of a key or token may grant what is asked.
 * Names are judged before the catalog is asked, so that a stranger learns nothing about tools; the call itself is judged
 * after.
 */
import { type Denial, deny } from '../core/denial.ts';
import type { JsonObject } from '../core/json.ts';
import { invokeTool, permissionOfAction, type RequestedPermission, seeTool } from '../core/permission.ts';
import { devUser } from '../core/principal.ts';
import { globalScope, type RoleScope } from '../core/role-scope.ts';
import { gatewayServer, type ScopeRequest, scopeCovers, scopeReaches } from '../core/scope.ts';
import type { VisibleTeams } from '../core/visible-teams.ts';
import type { Authority } from './authority.ts';
import { constraintDenial, type ToolFacts } from './constraints.ts';
import { type Fit, fitsAny, grantedTeams, type Holder, type Judgement, judgeGrants, type RoleView } from './grants.ts';
import type { TeamPolicyView } from './team-policies.ts';

/** Who asks, as far as decisions need to know: a `Caller` is one. */
export interface Asker extends Holder {
  readonly authority: Authority | undefined;
  /** Known by the admin secret: may do whatever the administration routes offer, unless a capability says less. */
  readonly isAdmin?: true | undefined;
}

export interface Allowed {
  readonly allow: true;
  /** Absent when a role or a permission allows it, and in development mode. */
  readonly authority?: Authority;
}

export interface Refused {
  readonly allow: false;
  readonly denial: Denial;
}

export type Decision = Allowed | Refused;

export interface PolicyMode {
  readonly development: boolean;
  /** Demand a capability, or a role, in development mode too. */
  readonly requireCapability: boolean;
  /** Absent when nobody has a role. */
  readonly roles?: RoleView;
  /** Absent when no team has a policy. */
  readonly policies?: TeamPolicyView;
}

/**
 * Step one, by names alone: the scope, the constraints on server and tool, and the policies of the team. `scopes` are those of roles that the
 * request lies in beside its tool and its team, such as the secret that it names.
 */
export function decideByName(
  request: ScopeRequest,
  asker: Asker,
  mode: PolicyMode,
  scopes: readonly RoleScope[] = [],
): Decision {
  return withinPolicies(decideGranted(request, asker, mode, scopes), request, asker, mode);
}

function decideGranted(request: ScopeRequest, asker: Asker, mode: PolicyMode, scopes: readonly RoleScope[]): Decision {
  const { authority } = asker;
  if (authority === undefined) return withoutCapability(request, asker, mode, scopes);
  if (!authority.capability.scopes.some((scope) => scopeCovers(scope, request))) return refuse('scope');
  return judgeNames(request, authority);
}

/** What is granted, less what the policies of the team forbid: they never give anything. */
function withinPolicies(
  decision: Decision,
  request: ScopeRequest,
  { principal }: Asker,
  { policies }: PolicyMode,
): Decision {
  if (!decision.allow || policies === undefined || request.server === gatewayServer) return decision;
  const denial = policies.denialOf(request, principal);
  return denial === undefined ? decision : { allow: false, denial };
}

/** Whether a tool may be shown: to those who may call it, and to those whose role lets them see it. */
export function decideSee(request: ScopeRequest, asker: Asker, mode: PolicyMode): Decision {
  if (asker.authority !== undefined) return decideByName(request, asker, mode);
  const decision = settle(judgeGrants(asker, mode.roles, seeTool, fitsAny(toolScopes(request, asker))), mode);
  return withinPolicies(decision, request, asker, mode);
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
  asker: Asker,
  mode: PolicyMode,
  scopes: readonly RoleScope[] = [],
): Decision {
  const byName = decideByName({ server: gatewayServer, method: action }, asker, mode, scopes);
  return byName.allow ? decideCall(byName, { class: actionClass }, {}) : byName;
}

/**
 * Whether some grant reaches `server`: what listing it needs. Each listed item is then filtered by `decideSee`, which
 * alone sees the constraints.
 */
export function decideReach(server: string, asker: Asker, mode: PolicyMode): Decision {
  return withinPolicies(reach(server, asker, mode), { server }, asker, mode);
}

function reach(server: string, asker: Asker, mode: PolicyMode): Decision {
  const { authority } = asker;
  if (authority === undefined) return settle(judgeGrants(asker, mode.roles, seeTool, fitsServer(server, asker)), mode);
  const reaches = authority.capability.scopes.some((scope) => scopeReaches(scope, server));
  return reaches ? { allow: true, authority } : refuse('scope');
}

/**
 * The teams on whose matters those who may do an action may do it. A capability shows its own team's, or with `*` all; the
 * admin secret and the nameless users of development mode see all.
 */
export function visibleTeams(action: string, asker: Asker, mode: PolicyMode): VisibleTeams {
  const { authority, principal } = asker;
  if (authority !== undefined) return authority.capability.teamId === '*' ? 'all' : [authority.capability.teamId];
  if (asker.isAdmin) return 'all';
  const teams = grantedTeams(asker, mode.roles, permissionOfAction(action));
  if (teams === 'all' || teams.length > 0 || !isLenient(mode)) return teams;
  return principal.authMode === 'anonymous' || principal === devUser ? 'all' : [principal.teamId];
}

function withoutCapability(
  request: ScopeRequest,
  asker: Asker,
  mode: PolicyMode,
  scopes: readonly RoleScope[],
): Decision {
  if (request.server !== gatewayServer) {
    const closeness = fitsAny([...toolScopes(request, asker), ...scopes]);
    return settle(judgeGrants(asker, mode.roles, invokeTool, closeness), mode);
  }
  const action = request.method ?? '';
  const requested = permissionOfAction(action);
  if (byTeam.has(action)) return settle(judgeInTeams(asker, mode, requested), mode);
  // The administration belongs to no team.
  const places = requested.isAdministration ? [globalScope] : own(asker);
  return settle(judgeGrants(asker, mode.roles, requested, fitsAny([...places, ...scopes])), mode);
}

/** Actions on each team's matters, for whoever may do it in that team, be it their own or another one. */
const byTeam: ReadonlySet<string> = new Set([
  ...['events.read', 'admin.audit.read', 'admin.telemetry.read'],
  ...['admin.approvals.read', 'admin.approvals.write'],
]);

function judgeInTeams(asker: Asker, { roles }: PolicyMode, requested: RequestedPermission): Judgement {
  const teams = grantedTeams(asker, roles, requested);
  if (teams === 'all' || teams.length > 0) return { allow: true };
  return judgeGrants(asker, roles, requested, () => undefined);
}

/** Lets through what is granted, and in development mode everything; the rest is a denial that says what is missing. */
function settle(judgement: Judgement, mode: PolicyMode): Decision {
  if (judgement.allow || isLenient(mode)) return { allow: true };
  const { detail } = judgement;
  if (detail === 'rbac_binding_not_found') return { allow: false, denial: deny('NO_CAPABILITY') };
  return { allow: false, denial: { ...deny('SCOPE_MISMATCH', detail), message: roleMessages[detail] } };
}

const roleMessages = {
  rbac_permission_denied: 'No role and no permission of the caller allows this.',
  rbac_stale: 'The roles cannot be read now, so nothing is allowed by them.',
} as const;

/** Development mode lets through what nothing allows. */
export function isLenient(mode: PolicyMode): boolean {
  return mode.development && !mode.requireCapability;
}

function toolScopes({ server, method }: ScopeRequest, asker: Holder): RoleScope[] {
  const attributes = { server, ...(method === undefined ? {} : { tool: method }) };
  return [{ scope_type: 'path', attributes }, ...own(asker)];
}

/** Fits every binding that holds for something on the server: one for a single tool reaches its server too. */
function fitsServer(server: string, asker: Holder): Fit {
  const closeness = fitsAny(toolScopes({ server }, asker));
  return ({ scope_type, attributes: { tool: _, ...attributes } }) => closeness({ scope_type, attributes });
}

function own({ principal }: Holder): RoleScope[] {
  return principal.authMode === 'anonymous' ? [] : [{ scope_type: 'team', attributes: { team: principal.teamId } }];
}

function judgeNames(request: ScopeRequest, authority: Authority): Decision {
  for (const check of authority.constraints.byName) {
    const detail = check(request);
    if (detail !== undefined) return refuse(detail);
  }
  return { allow: true, authority };
}

function refuse(detail: string): Refused {
  return { allow: false, denial: constraintDenial(detail) };
}
