/**
 * What somebody may give to others: nothing that they do not have themselves. Whoever was given the matter by a capability,
 * or has the admin secret, was trusted with it as a whole.
 */
import {
  invokeTool,
  permissionCovers,
  permissionOfAction,
  type RequestedPermission,
  requestsWithin,
} from '../core/permission.ts';
import { globalScope } from '../core/role-scope.ts';
import { gatewayServer, type Scope } from '../core/scope.ts';
import { type Asker, isLenient, type PolicyMode } from './decide.ts';
import { fitsAny, grantedTeams, judgeGrants } from './grants.ts';

/** Whether all of the permissions are theirs, for whatever is given to hold where they hold for the giver: a key of their own. */
export function mayGive(permissions: readonly string[], asker: Asker, mode: PolicyMode): boolean {
  return (
    isTrusted(asker, mode) || permissions.flatMap(requestsWithin).every((requested) => has(requested, asker, mode))
  );
}

/** The same for what holds wherever it is bound to, a role: then what lets its holder see teams must let the giver see all. */
export function mayGiveEverywhere(permissions: readonly string[], asker: Asker, mode: PolicyMode): boolean {
  if (isTrusted(asker, mode)) return true;
  const reads = teamMatters.filter((matter) => permissions.some((permission) => permissionCovers(permission, matter)));
  return mayGive(permissions, asker, mode) && reads.every((matter) => isOfTeam('*', matter, asker, mode));
}

/** Whether a capability of these scopes, for this team (`*`: all), allows nothing that the granter may not do. */
export function mayGrant(scopes: readonly Scope[], teamId: string, asker: Asker, mode: PolicyMode): boolean {
  if (isTrusted(asker, mode)) return true;
  return scopes.map(requestedBy).every((requested) => {
    return has(requested, asker, mode) && isOfTeam(teamId, requested, asker, mode);
  });
}

const everything: RequestedPermission = { permission: '*:*', isAdministration: false };

/** Matters of the administration by which rights are given: who has a capability for one is trusted with all of them. */
const givesRights: ReadonlySet<unknown> = new Set([
  'admin.rbac.write',
  'admin.keys.write',
  'admin.capabilities.write',
  'admin.config.write',
  'admin.secrets.write',
  'admin.mcp.write',
]);

/** What is seen by team. */
const teamMatters = ['events.read', 'admin.audit.read', 'admin.telemetry.read', 'admin.approvals.read'].map(
  permissionOfAction,
);

function requestedBy({ server, method }: Scope): RequestedPermission {
  if (server !== gatewayServer) return invokeTool;
  return typeof method !== 'string' || givesRights.has(method) ? everything : permissionOfAction(method);
}

function isTrusted(asker: Asker, mode: PolicyMode): boolean {
  return asker.authority !== undefined || asker.isAdmin === true || isLenient(mode);
}

function has(requested: RequestedPermission, asker: Asker, { roles }: PolicyMode): boolean {
  return judgeGrants(asker, roles, requested, fitsAny([globalScope])).allow;
}

function isOfTeam(teamId: string, requested: RequestedPermission, asker: Asker, { roles }: PolicyMode): boolean {
  const teams = grantedTeams(asker, roles, requested);
  return teams === 'all' || (teamId !== '*' && teams.includes(teamId));
}
