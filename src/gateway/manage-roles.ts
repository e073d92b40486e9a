/** Roles and who holds them: read and changed by those who may, and nobody gives more than they have. */
import { randomUUID } from 'node:crypto';
import { bounds } from '../config/bounds.ts';
import type { Clock } from '../core/clock.ts';
import { TalosError } from '../core/errors.ts';
import { builtInRoles, type Role, type RoleBinding, type RoleBook } from '../core/role.ts';
import { assertPrincipalId, findRole, isPlainText, normalPermissions, parseRoleScope } from '../core/role-rules.ts';
import type { RoleScope } from '../core/role-scope.ts';
import { isUuid, isUuidv7, uuidv7 } from '../core/uuidv7.ts';
import type { PolicyMode } from '../policy/decide.ts';
import { mayGiveEverywhere } from '../policy/may-give.ts';
import type { Roles } from '../policy/roles.ts';
import { type Administer, type Administered, type AdminRequest, type Change, conflict } from './administer.ts';
import type { AuthorizeAction } from './authorize-action.ts';
import type { Caller } from './caller.ts';
import { notTheirs } from './refusal.ts';

export interface NewRole {
  /** A UUIDv7, in whatever case. Made when it is absent. */
  readonly role_id?: string;
  readonly name: string;
  readonly description?: string;
  readonly permissions: readonly string[];
}

export interface NewBinding {
  /** Made when it is absent. */
  readonly binding_id?: string;
  /** The id or the name of a role. */
  readonly role_id: string;
  /** In place of the principal's below. */
  readonly team_id?: string;
  readonly scope: string | { readonly scope_type: string; readonly attributes: object };
}

/** All bindings of one principal. */
export interface PrincipalBindings {
  readonly principal_id: string;
  readonly bindings: readonly Omit<RoleBinding, 'principal_id'>[];
}

export interface NewBindings {
  readonly principal_id: string;
  /** Of the bindings that name no team themselves. */
  readonly team_id?: string;
  readonly bindings: readonly NewBinding[];
}

/** Roles and bindings of a snapshot. */
export interface RoleSnapshot {
  readonly roles: readonly (NewRole & { readonly built_in?: boolean })[];
  readonly bindings: readonly NewBindings[];
}

export interface ManageRoles {
  /** The built-in ones first. */
  readonly roles: (request: AdminRequest) => Promise<readonly Role[]>;
  readonly bindings: (request: AdminRequest) => Promise<PrincipalBindings[]>;
  /** Throws `INVALID_REQUEST`, or `CONFLICT` when the name or the id is taken or there are too many. */
  readonly addRole: (request: AdminRequest, role: NewRole) => Promise<Administered<Role>>;
  /** Throws `NOT_FOUND`, `ROLE_BUILT_IN`, or `CONFLICT` while somebody holds it. */
  readonly deleteRole: (request: AdminRequest, roleId: string) => Promise<Administered<Role>>;
  /** Adds to what the principal has; one with the id of an older one takes its place. */
  readonly addBindings: (request: AdminRequest, bindings: NewBindings) => Promise<Administered<PrincipalBindings>>;
  /** All of the principal's, or the one that is named. Throws `NOT_FOUND` when there is none. */
  readonly deleteBindings: (
    request: AdminRequest,
    principalId: string,
    bindingId?: string,
  ) => Promise<Administered<number>>;
}

export interface ManageRolesOptions {
  readonly authorizeAction: AuthorizeAction;
  readonly administer: Administer;
  readonly roles: Roles;
  readonly policyMode: PolicyMode;
  readonly clock: Clock;
}

export function createManageRoles(options: ManageRolesOptions): ManageRoles {
  const { authorizeAction, administer, roles } = options;

  // Under the lock nobody else changes them, so what is read now is what the change meets.
  async function book(): Promise<RoleBook> {
    await roles.refresh();
    return roles.book();
  }

  async function make<T>(request: AdminRequest, change: Change<T>): Promise<Administered<T>> {
    const done = await administer(request, change);
    // The change is made; a gateway that cannot read it now reads it with its next poll.
    await roles.refresh().catch(() => undefined);
    return done;
  }

  return {
    async roles({ caller, facts }) {
      await authorizeAction('admin.rbac.roles.list', caller, facts);
      return [...builtInRoles, ...roles.book().roles];
    },
    async bindings({ caller, facts }) {
      await authorizeAction('admin.rbac.bindings.list', caller, facts);
      return byPrincipal(roles.book().bindings);
    },
    addRole: (request, role) =>
      make(request, {
        surfaceId: 'admin.rbac.roles.create',
        resource: { type: 'role', id: role.name },
        async prepare() {
          if (role.role_id !== undefined && !isUuidv7(role.role_id.toLowerCase())) throw noRoleId('a UUIDv7');
          const added = newRole(options, request.caller, role, await book());
          return { companions: { roles: { kind: 'add_role', role: added } }, details: { ...added }, answer: added };
        },
      }),
    deleteRole: (request, roleId) =>
      make(request, {
        surfaceId: 'admin.rbac.roles.delete',
        resource: { type: 'role', id: roleId },
        async prepare() {
          const role = deletable(roleId, await book());
          return { companions: { roles: { kind: 'delete_role', roleId: role.role_id } }, answer: role };
        },
      }),
    addBindings: (request, given) =>
      make(request, {
        surfaceId: 'admin.rbac.bindings.create',
        resource: { type: 'principal', id: given.principal_id },
        async prepare() {
          const known = await book();
          const bindings = newBindings(options, request.caller, given, known);
          const answer = bindingsOf(given.principal_id, [...withoutThose(known.bindings, bindings), ...bindings]);
          return {
            companions: { roles: { kind: 'put_bindings', bindings } },
            details: { bindings: bindings.map(detailsOf) },
            answer,
          };
        },
      }),
    deleteBindings: (request, principalId, bindingId) =>
      make(request, {
        surfaceId: 'admin.rbac.bindings.delete',
        resource: { type: 'principal', id: principalId },
        async prepare() {
          const ids = (await book()).bindings
            .filter(
              ({ principal_id, binding_id }) =>
                principal_id === principalId && (bindingId ?? binding_id) === binding_id,
            )
            .map(({ binding_id }) => binding_id);
          if (ids.length === 0) throw new TalosError('NOT_FOUND', { message: 'There is no such binding.' });
          return { companions: { roles: { kind: 'delete_bindings', bindingIds: ids } }, answer: ids.length };
        },
      }),
  };
}

/** What decides whether roles and bindings can be kept as they are given. */
export type BookRules = Pick<ManageRolesOptions, 'policyMode' | 'clock'>;

/** The whole book of a snapshot, judged as its parts are. Throws `INVALID_REQUEST`, `CONFLICT` or the denial. */
export function bookOf(options: BookRules, caller: Caller, snapshot: RoleSnapshot): Omit<RoleBook, 'version'> {
  let book: RoleBook = { version: 0, roles: [], bindings: [] };
  for (const role of snapshot.roles) {
    // Those that every gateway has are in every export.
    if (builtInRoles.some(({ role_id }) => role_id === role.role_id?.toLowerCase())) continue;
    book = { ...book, roles: [...book.roles, newRole(options, caller, role, book)] };
  }
  for (const given of snapshot.bindings) {
    book = { ...book, bindings: [...book.bindings, ...newBindings(options, caller, given, book)] };
  }
  assertOnce(book.bindings);
  return book;
}

function newRole(options: BookRules, caller: Caller, given: NewRole, book: RoleBook): Role {
  if (book.roles.length >= bounds.rolesMax) throw conflict('There are as many roles as this gateway keeps.');
  if (findRole(book.roles, given.name) !== undefined) throw conflict('There is a role of this name.');
  const { name, description, role_id = uuidv7({ ms: options.clock.now(), counter: 0 }) } = given;
  if (findRole(book.roles, role_id) !== undefined) throw conflict('There is a role of this id.');
  // Those of older gateways are of other versions.
  if (!isUuid(role_id.toLowerCase())) throw noRoleId('a UUID');
  const permissions = normalPermissions(given.permissions);
  assertMayGive(options, caller, permissions);
  const texts = { role_id: role_id.toLowerCase(), name, ...(description === undefined ? {} : { description }) };
  return { ...texts, permissions, built_in: false };
}

function noRoleId(form: string): TalosError {
  return new TalosError('INVALID_REQUEST', { message: `A role_id is ${form}.` });
}

function deletable(roleId: string, { roles, bindings }: RoleBook): Role {
  const role = findRole(roles, roleId);
  if (role === undefined) throw new TalosError('NOT_FOUND', { message: 'There is no such role.' });
  if (role.built_in) throw new TalosError('ROLE_BUILT_IN');
  const holders = bindings.filter(({ role_id }) => role_id === role.role_id).length;
  if (holders > 0) throw conflict(`The role is held by ${holders} bindings: delete those first.`);
  return role;
}

function newBindings(options: BookRules, caller: Caller, given: NewBindings, book: RoleBook): RoleBinding[] {
  assertPrincipalId(given.principal_id);
  const bindings = given.bindings.map((binding) => newBinding(options, caller, given, binding, book));
  assertOnce(bindings);
  if (withoutThose(book.bindings, bindings).length + bindings.length > bounds.roleBindingsMax) {
    throw conflict('There are as many bindings as this gateway keeps.');
  }
  return bindings;
}

function newBinding(
  options: BookRules,
  caller: Caller,
  { principal_id, team_id: teamOfAll }: NewBindings,
  { binding_id = randomUUID(), role_id, team_id = teamOfAll, scope }: NewBinding,
  book: RoleBook,
): RoleBinding {
  if (!isPlainText(binding_id))
    throw new TalosError('INVALID_REQUEST', { message: 'A binding_id has 1 to 255 printable characters.' });
  if (team_id !== undefined && !isPlainText(team_id)) throw new TalosError('INVALID_REQUEST');
  const role = findRole(book.roles, role_id);
  if (role === undefined) throw new TalosError('NOT_FOUND', { message: 'There is no such role.' });
  const taken = book.bindings.find((known) => known.binding_id === binding_id);
  if (taken !== undefined && taken.principal_id !== principal_id)
    throw conflict('The binding_id is that of another principal.');
  assertMayGive(options, caller, role.permissions);
  return {
    binding_id,
    principal_id,
    ...(team_id === undefined ? {} : { team_id }),
    role_id: role.role_id,
    scope: parseRoleScope(scope),
    created_at: new Date(options.clock.now()).toISOString(),
  };
}

function assertMayGive({ policyMode }: BookRules, caller: Caller, permissions: readonly string[]): void {
  if (mayGiveEverywhere(permissions, caller, policyMode)) return;
  throw notTheirs('escalation', 'Nobody gives permissions that they do not have themselves.');
}

function assertOnce(bindings: readonly RoleBinding[]): void {
  const ids = new Set(bindings.map(({ binding_id }) => binding_id));
  if (ids.size < bindings.length) throw conflict('A binding_id is there twice.');
}

function withoutThose(bindings: readonly RoleBinding[], those: readonly RoleBinding[]): RoleBinding[] {
  const ids = new Set(those.map(({ binding_id }) => binding_id));
  return bindings.filter(({ binding_id }) => !ids.has(binding_id));
}

/** Bindings as clients read them: one document a principal. */
export function byPrincipal(bindings: readonly RoleBinding[]): PrincipalBindings[] {
  return [...new Set(bindings.map(({ principal_id }) => principal_id))].map((id) => bindingsOf(id, bindings));
}

function bindingsOf(principalId: string, bindings: readonly RoleBinding[]): PrincipalBindings {
  const own = bindings.filter(({ principal_id }) => principal_id === principalId);
  return { principal_id: principalId, bindings: own.map(({ principal_id: _, ...binding }) => binding) };
}

function detailsOf({ binding_id, role_id, scope }: RoleBinding): {
  binding_id: string;
  role_id: string;
  scope: { scope_type: string; attributes: RoleScope['attributes'] };
} {
  return { binding_id, role_id, scope: { ...scope } };
}
