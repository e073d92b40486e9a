/** Roles, permissions and bindings. */
import { type Static, Type } from 'typebox';
import { knownPermissions } from '../../../core/known-permissions.ts';
import type { Role } from '../../../core/role.ts';
import type { SurfaceId } from '../../../core/surfaces.ts';
import type { AuthorizeAction } from '../../../gateway/authorize-action.ts';
import type { ManageRoles, PrincipalBindings } from '../../../gateway/manage-roles.ts';
import { type AuthenticateRequest, askerOf, authenticated, callerOf, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { answered, Removed, withAuditRef } from './answered.ts';
import { BindingsDocument, NewBindings, NewRole, RoleDocument } from './rbac-schemas.ts';

export interface RbacRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly authorizeAction: AuthorizeAction;
  readonly manageRoles: ManageRoles;
  readonly factsOf: FactsOf;
}

export function rbacRoutes(app: App, deps: RbacRouteDeps): void {
  roleRoutes(app, deps);
  bindingRoutes(app, deps);
}

const tags = ['Administration'];
const removed = () => ({ success: true });
const route = (surface: SurfaceId) => ({ surface, legacyErrorKey: 'detail' as const });

function roleRoutes(app: App, { authenticate, authorizeAction, manageRoles, factsOf }: RbacRouteDeps): void {
  const onRequest = authenticated(authenticate, 'admin');

  app.get(
    '/admin/v1/rbac/roles',
    {
      config: route('admin.rbac.roles.list'),
      schema: { tags, summary: 'Roles', response: { 200: Type.Object({ roles: Type.Array(RoleDocument) }) } },
      onRequest,
    },
    async (request) => {
      const roles = await manageRoles.roles(askerOf(request, factsOf));
      return { roles: roles.map(shownRole) };
    },
  );

  app.get(
    '/admin/v1/rbac/permissions',
    {
      config: route('admin.rbac.permissions.list'),
      schema: {
        tags,
        summary: 'Permissions that have a meaning here',
        response: { 200: Type.Object({ permissions: Type.Array(Type.String()) }) },
      },
      onRequest,
    },
    async (request) => {
      await authorizeAction('admin.rbac.permissions.list', callerOf(request), factsOf(request));
      return { permissions: [...knownPermissions] };
    },
  );

  app.post(
    '/admin/v1/rbac/roles',
    {
      config: route('admin.rbac.roles.create'),
      schema: {
        tags,
        summary: 'Make a role',
        body: NewRole,
        response: { 200: withAuditRef(RoleDocument) },
      },
      onRequest,
    },
    async (request, reply) => {
      return answered(reply, await manageRoles.addRole(askerOf(request, factsOf), request.body), shownRole);
    },
  );

  app.delete(
    '/admin/v1/rbac/roles/:role_id',
    {
      config: route('admin.rbac.roles.delete'),
      schema: {
        tags,
        summary: 'Delete a role that nobody holds',
        params: Type.Object({ role_id: Type.String({ maxLength: 255 }) }),
        response: { 200: Removed },
      },
      onRequest,
    },
    async (request, reply) => {
      const asker = askerOf(request, factsOf);
      return answered(reply, await manageRoles.deleteRole(asker, request.params.role_id), removed);
    },
  );
}

function bindingRoutes(app: App, { authenticate, manageRoles, factsOf }: RbacRouteDeps): void {
  const onRequest = authenticated(authenticate, 'admin');

  app.get(
    '/admin/v1/rbac/bindings',
    {
      config: route('admin.rbac.bindings.list'),
      schema: {
        tags,
        summary: 'Who holds which role',
        response: { 200: Type.Object({ bindings: Type.Array(BindingsDocument) }) },
      },
      onRequest,
    },
    async (request) => {
      const bindings = await manageRoles.bindings(askerOf(request, factsOf));
      return { bindings: bindings.map(shownBindings) };
    },
  );

  app.post(
    '/admin/v1/rbac/bindings',
    {
      config: route('admin.rbac.bindings.create'),
      schema: {
        tags,
        summary: 'Give roles to a principal',
        body: NewBindings,
        response: { 200: withAuditRef(BindingsDocument) },
      },
      onRequest,
    },
    async (request, reply) => {
      const asker = askerOf(request, factsOf);
      return answered(reply, await manageRoles.addBindings(asker, request.body), shownBindings);
    },
  );

  app.delete(
    '/admin/v1/rbac/bindings/:principal_id',
    {
      config: route('admin.rbac.bindings.delete'),
      schema: {
        tags,
        summary: 'Take roles from a principal',
        params: Type.Object({ principal_id: Type.String({ maxLength: 255 }) }),
        querystring: Type.Object({
          binding_id: Type.Optional(Type.String({ maxLength: 255, description: 'One of them; all if absent.' })),
        }),
        response: { 200: Removed },
      },
      onRequest,
    },
    async (request, reply) => {
      const asker = askerOf(request, factsOf);
      const { principal_id: id } = request.params;
      return answered(reply, await manageRoles.deleteBindings(asker, id, request.query.binding_id), removed);
    },
  );
}

function shownRole(role: Role): Static<typeof RoleDocument> {
  return { schema_id: 'talos.rbac.role', schema_version: 'v1', ...role, permissions: [...role.permissions] };
}

function shownBindings(of: PrincipalBindings): Static<typeof BindingsDocument> {
  return { schema_id: 'talos.rbac.binding', schema_version: 'v1', ...of, bindings: [...of.bindings] };
}
