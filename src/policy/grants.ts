/**
 * What a caller may do without a capability: by the roles that it is bound to, and by the permissions that its key or
 * token carries. Deny by default; nothing here is cached, so a role that is taken away is gone with the next request.
 */

import { parsePermission, permissionCovers, type RequestedPermission } from '../core/permission.ts';
import type { BearerPrincipal, Principal } from '../core/principal.ts';
import { type RoleScope, scopeFit } from '../core/role-scope.ts';
import type { VisibleTeams } from '../core/visible-teams.ts';

/** One binding with the permissions of its role. */
export interface Grant {
  readonly bindingId: string;
  readonly scope: RoleScope;
  readonly permissions: readonly string[];
}

/** The roles of all principals as this process knows them. */
export interface RoleView {
  /** What the principal is bound to; undefined while the view is too old to be believed. */
  readonly grantsOf: (principal: BearerPrincipal) => readonly Grant[] | undefined;
}

/** Who asks, beside any capability. */
export interface Holder {
  readonly principal: Principal;
  /** What the caller's key or token carries, in any spelling; what is no permission grants nothing. */
  readonly permissions?: readonly string[] | undefined;
}

export type Judgement =
  | { readonly allow: true; readonly bindingId?: string }
  | { readonly allow: false; readonly detail: 'rbac_binding_not_found' | 'rbac_permission_denied' | 'rbac_stale' };

/** How closely the scope of a binding fits the request; undefined when it does not. */
export type Fit = (binding: RoleScope) => number | undefined;

/** The best fit in any of these scopes. */
export function fitsAny(scopes: readonly RoleScope[]): Fit {
  return (binding) => {
    const fits = scopes.map((required) => scopeFit(binding, required)).filter((score) => score !== undefined);
    return fits.length === 0 ? undefined : Math.max(...fits);
  };
}

/** Whether something grants the permission where the request lies; of several bindings the closest, then the first id. */
export function judgeGrants(
  holder: Holder,
  roles: RoleView | undefined,
  requested: RequestedPermission,
  closeness: Fit,
): Judgement {
  if (carries(holder, requested)) return { allow: true };
  const grants = grantsOf(holder, roles);
  if (grants === undefined) return { allow: false, detail: 'rbac_stale' };
  const bindingId = closest(grants.filter(hasPermission(requested)), closeness);
  if (bindingId !== undefined) return { allow: true, bindingId };
  const isBound = grants.length > 0 || (holder.permissions ?? []).length > 0;
  return { allow: false, detail: isBound ? 'rbac_permission_denied' : 'rbac_binding_not_found' };
}

/**
 * The teams in which the holder has the permission. A global binding means all; what a key carries means its own team,
 * unless it carries the permission `…:all` too.
 */
export function grantedTeams(
  holder: Holder,
  roles: RoleView | undefined,
  requested: RequestedPermission,
): VisibleTeams {
  const { principal } = holder;
  if (principal.authMode === 'anonymous') return [];
  if (carries(holder, { ...requested, permission: `${requested.permission}:all` })) return 'all';
  const scopes = (grantsOf(holder, roles) ?? []).filter(hasPermission(requested)).map(({ scope }) => scope);
  if (scopes.some(isEveryTeam)) return 'all';
  const own = carries(holder, requested) ? [principal.teamId] : [];
  return [...new Set([...own, ...scopes.flatMap(teamOf)])];
}

function carries({ permissions }: Holder, requested: RequestedPermission): boolean {
  return (permissions ?? []).some((text) => {
    const granted = parsePermission(text);
    return granted !== undefined && permissionCovers(granted, requested);
  });
}

function grantsOf({ principal }: Holder, roles: RoleView | undefined): readonly Grant[] | undefined {
  if (principal.authMode === 'anonymous' || roles === undefined) return [];
  return roles.grantsOf(principal);
}

function hasPermission(requested: RequestedPermission) {
  return ({ permissions }: Grant) => permissions.some((granted) => permissionCovers(granted, requested));
}

function closest(grants: readonly Grant[], closeness: Fit): string | undefined {
  let best: { readonly score: number; readonly id: string } | undefined;
  for (const { bindingId: id, scope } of grants) {
    const score = closeness(scope);
    if (score === undefined) continue;
    if (best === undefined || score > best.score || (score === best.score && id < best.id)) best = { score, id };
  }
  return best?.id;
}

function isEveryTeam(scope: RoleScope): boolean {
  return scope.scope_type === 'global' || teamOf(scope).includes('*');
}

function teamOf({ scope_type: type, attributes }: RoleScope): string[] {
  const { team, ...others } = attributes;
  // An attribute that no team has is never met.
  return type === 'team' && team !== undefined && Object.keys(others).length === 0 ? [team] : [];
}
