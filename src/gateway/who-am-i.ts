/** What the gateway knows of the caller: who they are and what they may do. */
import { parsePermission } from '../core/permission.ts';
import { devUser } from '../core/principal.ts';
import type { RoleBinding } from '../core/role.ts';
import { findRole } from '../core/role-rules.ts';
import { formatScope } from '../core/scope.ts';
import { isLenient, type PolicyMode } from '../policy/decide.ts';
import type { Roles } from '../policy/roles.ts';
import type { Caller } from './caller.ts';

export interface Identity {
  readonly id: string;
  readonly teamId: string | null;
  /** Names of the roles that the caller is bound to. */
  readonly roles: readonly string[];
  /** What these roles grant and what the key or token carries, whatever their scopes; in development everything. */
  readonly permissions: readonly string[];
  readonly bindings: readonly Omit<RoleBinding, 'principal_id'>[];
  /** Of the capability that came with the request: all that it may do then. */
  readonly capabilityScopes: readonly string[];
}

/** What an administrator by the secret is called and may do. */
const administration = { roles: ['admin', 'operator'], permissions: ['platform:admin'] };

export type WhoAmI = (caller: Caller) => Identity;

export function createWhoAmI(roles: Pick<Roles, 'book'>, mode: PolicyMode): WhoAmI {
  return (caller) => identityOf(caller, roles, mode);
}

function identityOf(caller: Caller, roles: Pick<Roles, 'book'>, mode: PolicyMode): Identity {
  const { principal, authority } = caller;
  const id = principal.authMode === 'bearer' ? principal.id : 'anonymous';
  const teamId = principal.authMode === 'bearer' ? principal.teamId : null;
  const book = roles.book();
  const bound = book.bindings.filter(
    ({ principal_id, team_id }) => principal_id === id && (team_id ?? teamId) === teamId,
  );
  const held = bound.flatMap(({ role_id }) => findRole(book.roles, role_id) ?? []);
  const carried = (caller.permissions ?? []).flatMap((text) => parsePermission(text) ?? []);
  const own = ownOf(caller, mode);
  return {
    id,
    teamId,
    roles: unique([...own.roles, ...held.map(({ name }) => name)]),
    permissions: unique([...own.permissions, ...held.flatMap(({ permissions }) => permissions), ...carried]).sort(),
    bindings: bound.map(({ principal_id: _, ...binding }) => binding),
    capabilityScopes: (authority?.capability.scopes ?? []).map(formatScope),
  };
}

/** What somebody has by being who they are. */
function ownOf({ isAdmin, principal, authority, denial }: Caller, mode: PolicyMode): typeof administration {
  if (isAdmin) return administration;
  if (!isLenient(mode) || authority !== undefined || denial !== undefined) return { roles: [], permissions: [] };
  return { roles: principal === devUser ? administration.roles : [], permissions: ['*:*'] };
}

function unique(texts: readonly string[]): string[] {
  return [...new Set(texts)];
}
