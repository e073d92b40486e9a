/** Roles and bindings. They change with the record that tells of it, and every change counts their version up. */
import type pg from 'pg';
import type { PreparedEvent } from '../core/audit-event.ts';
import type { Role, RoleBinding, RoleBook } from '../core/role.ts';
import type { RoleChange } from '../core/role-change.ts';
import type { RoleScope } from '../core/role-scope.ts';
import { read } from './db.ts';
import { countUpSql, readVersion, versionSql } from './state-version.ts';
import { sqlText } from './unwritable.ts';

/** All throw `STORE_UNAVAILABLE`. */
export interface RoleStore {
  readonly version: () => Promise<number>;
  /** Everything, as it was at one moment. */
  readonly load: () => Promise<RoleBook>;
}

// One statement, so that all of it is of one moment.
const loadSql = `SELECT (${versionSql('roles')}) AS version,
  (SELECT coalesce(json_agg(r ORDER BY r.name), '[]') FROM rbac_role r) AS roles,
  (SELECT coalesce(json_agg(b ORDER BY b.principal_id, b.binding_id), '[]') FROM rbac_binding b) AS bindings`;

interface RoleRow {
  readonly role_id: string;
  readonly name: string;
  readonly description: string | null;
  readonly permissions: readonly string[];
}

interface BindingRow {
  readonly binding_id: string;
  readonly principal_id: string;
  readonly team_id: string | null;
  readonly role_id: string;
  readonly scope_type: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly created_at: string;
}

export function createRoleStore(pool: pg.Pool): RoleStore {
  return {
    version: () => readVersion(pool, 'roles'),
    async load() {
      const [row] = await read<{ version: string; roles: RoleRow[]; bindings: BindingRow[] }>(pool, loadSql);
      if (row === undefined) throw new Error('The store gave no roles.');
      return { version: Number(row.version), roles: row.roles.map(roleOf), bindings: row.bindings.map(bindingOf) };
    },
  };
}

function roleOf({ role_id, name, description, permissions }: RoleRow): Role {
  return { role_id, name, ...(description === null ? {} : { description }), permissions, built_in: false };
}

function bindingOf({
  binding_id,
  principal_id,
  team_id,
  role_id,
  scope_type,
  attributes,
  created_at,
}: BindingRow): RoleBinding {
  return {
    binding_id,
    principal_id,
    ...(team_id === null ? {} : { team_id }),
    role_id,
    // Nothing else was ever written.
    scope: { scope_type: scope_type as RoleScope['scope_type'], attributes },
    created_at: new Date(created_at).toISOString(),
  };
}

/** SQL for the changes of a batch, for the transaction that appends it. */
export function changeRoles(events: readonly PreparedEvent[]): string {
  const changes = events.flatMap(({ companions }) => companions?.roles ?? []);
  if (changes.length === 0) return '';
  return `${changes.map(changeSql).join('')}${countUpSql('roles')};`;
}

// None of these statements may fail whatever the tables hold: records of others commit with them.
function changeSql(change: RoleChange): string {
  switch (change.kind) {
    case 'add_role':
      return insertRoles([change.role]);
    case 'delete_role':
      return `DELETE FROM rbac_role WHERE role_id = ${sqlText(change.roleId)};`;
    case 'put_bindings':
      return insertBindings(change.bindings);
    case 'delete_bindings':
      return `DELETE FROM rbac_binding WHERE binding_id IN (${list(change.bindingIds)});`;
    case 'replace_all':
      return `DELETE FROM rbac_binding; DELETE FROM rbac_role;${insertRoles(change.roles)}${insertBindings(change.bindings)}`;
  }
}

function insertRoles(roles: readonly Role[]): string {
  if (roles.length === 0) return '';
  const rows = roles.map(({ role_id, name, description, permissions }) => {
    const held = permissions.length === 0 ? "'{}'" : `ARRAY[${list(permissions)}]`;
    return `(${list([role_id, name])}, ${description === undefined ? 'NULL' : sqlText(description)}, ${held})`;
  });
  return `INSERT INTO rbac_role (role_id, name, description, permissions) VALUES ${rows.join(', ')} ON CONFLICT DO NOTHING;`;
}

function insertBindings(bindings: readonly RoleBinding[]): string {
  if (bindings.length === 0) return '';
  const rows = bindings.map(({ binding_id, principal_id, team_id, role_id, scope, created_at }) => {
    const team = team_id === undefined ? 'NULL' : sqlText(team_id);
    const { scope_type, attributes } = scope;
    const since = created_at === undefined ? 'now()' : `${sqlText(created_at)}::timestamptz`;
    return `(${list([binding_id, principal_id])}, ${team}, ${list([role_id, scope_type, JSON.stringify(attributes)])}::jsonb, ${since})`;
  });
  return `INSERT INTO rbac_binding AS b (binding_id, principal_id, team_id, role_id, scope_type, attributes, created_at)
    VALUES ${rows.join(', ')} ON CONFLICT (binding_id) DO UPDATE SET team_id = excluded.team_id,
    role_id = excluded.role_id, scope_type = excluded.scope_type, attributes = excluded.attributes
    WHERE b.principal_id = excluded.principal_id;`;
}

function list(texts: readonly string[]): string {
  return texts.map(sqlText).join(', ');
}
