/** Roles and who holds them. The members are those of the public schemas `talos.rbac.role` and `talos.rbac.binding`. */
import type { RoleScope } from './role-scope.ts';

export interface Role {
  /** A UUIDv7. */
  readonly role_id: string;
  /** Unique; letters, digits, `_` and `-`. */
  readonly name: string;
  readonly description?: string;
  /** In normal form (`parsePermission`), each once. */
  readonly permissions: readonly string[];
  readonly built_in: boolean;
}

/** One role of one principal. */
export interface RoleBinding {
  readonly binding_id: string;
  readonly principal_id: string;
  /** When it is set, the binding holds only while the principal acts for this team. */
  readonly team_id?: string;
  readonly role_id: string;
  readonly scope: RoleScope;
  /** RFC 3339 in UTC with milliseconds. */
  readonly created_at?: string;
}

/** All roles but the built-in ones, and all bindings, as they are at `version`. */
export interface RoleBook {
  readonly version: number;
  readonly roles: readonly Role[];
  readonly bindings: readonly RoleBinding[];
}

const team = ['mcp:read', 'mcp:invoke', 'events:read', 'events:write', 'messages:send', 'messages:receive'];

/** Roles that every gateway has and nobody can change. */
export const builtInRoles: readonly Role[] = [
  builtIn(1, 'PlatformAdmin', 'Everything, tool calls and the events of every team included.', ['*:*']),
  builtIn(2, 'Operator', 'The administration, without tool calls and without the events of teams.', ['platform:admin']),
  builtIn(3, 'Auditor', 'Reads events, statistics and roles.', ['audit:read', 'rbac:read']),
  builtIn(4, 'TeamAdmin', 'Works with tools, reads the figures of the team, approves its calls.', [
    ...team,
    'audit:read',
    'approvals:read',
    'approvals:write',
  ]),
  builtIn(5, 'TeamMember', 'Calls tools, reads and writes events.', team),
  builtIn(6, 'TeamViewer', 'Sees tools and events.', ['mcp:read', 'events:read']),
];

function builtIn(number: number, name: string, description: string, permissions: readonly string[]): Role {
  const role_id = `01900000-0000-7000-8000-${String(number).padStart(12, '0')}`;
  return { role_id, name, description, permissions, built_in: true };
}
