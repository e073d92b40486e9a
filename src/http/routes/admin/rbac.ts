/** Roles, permissions and bindings. */
import { type Static, Type } from '@fastify/type-provider-typebox';
import { permissionOfAction } from '../../../core/permission.ts';
import type { Role } from '../../../core/role.ts';
import { type SurfaceId, surfaceOf, surfaces } from '../../../core/surfaces.ts';
import type { AuthorizeAction } from '../../../gateway/authorize-action.ts';
import type { ManageRoles, PrincipalBindings } from '../../../gateway/manage-roles.ts';
import { type AuthenticateRequest, authenticated, callerOf, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { answered } from './answered.ts';
import { BindingsDocument, NewBindings, NewRole, RoleDocument } from './rbac-schemas.ts';

const AuditRef = Type.String({ description: 'The id of the record of this change.' });
const Removed = Type.Object({ success: Type.Boolean(), audit_ref: AuditRef });

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
      const roles = await manageRoles.roles({ caller: callerOf(request), facts: factsOf(request) });
      return { roles: roles.map(shownRole) };
    },
  );

  app.get(
    '/admin/v1/rbac/permissions',
    {
      config: route('admin.rbac.permissions.list'),
      schema: {
        tags,
        summary: 'Permissions that something here asks for',
        response: { 200: Type.Object({ permissions: Type.Array(Type.String()) }) },
      },
      onRequest,
    },
    async (request) => {
      await authorizeAction('admin.rbac.permissions.list', callerOf(request), factsOf(request));
      return { permissions: [...permissions] };
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
        response: { 200: Type.Intersect([RoleDocument, Type.Object({ audit_ref: AuditRef })]) },
      },
      onRequest,
    },
    async (request, reply) => {
      const asking = { caller: callerOf(request), facts: factsOf(request) };
      const { answer, auditRef } = answered(reply, await manageRoles.addRole(asking, request.body));
      return { ...shownRole(answer), audit_ref: auditRef };
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
      const asking = { caller: callerOf(request), facts: factsOf(request) };
      const { auditRef } = answered(reply, await manageRoles.deleteRole(asking, request.params.role_id));
      return { success: true, audit_ref: auditRef };
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
      const bindings = await manageRoles.bindings({ caller: callerOf(request), facts: factsOf(request) });
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
        response: { 200: Type.Intersect([BindingsDocument, Type.Object({ audit_ref: AuditRef })]) },
      },
      onRequest,
    },
    async (request, reply) => {
      const asking = { caller: callerOf(request), facts: factsOf(request) };
      const { answer, auditRef } = answered(reply, await manageRoles.addBindings(asking, request.body));
      return { ...shownBindings(answer), audit_ref: auditRef };
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
      const asking = { caller: callerOf(request), facts: factsOf(request) };
      const { principal_id: id } = request.params;
      const { auditRef } = answered(reply, await manageRoles.deleteBindings(asking, id, request.query.binding_id));
      return { success: true, audit_ref: auditRef };
    },
  );
}

function shownRole(role: Role): Static<typeof RoleDocument> {
  return { schema_id: 'talos.rbac.role', schema_version: 'v1', ...role, permissions: [...role.permissions] };
}

function shownBindings(of: PrincipalBindings): Static<typeof BindingsDocument> {
  return { schema_id: 'talos.rbac.binding', schema_version: 'v1', ...of, bindings: [...of.bindings] };
}

/** Every permission that some surface or tool call asks for. */
const permissions: readonly string[] = [
  ...new Set([
    ...Object.keys(surfaces).flatMap((id) => {
      const { action } = surfaceOf(id as SurfaceId);
      return action === undefined ? [] : [permissionOfAction(action).permission];
    }),
    'mcp:invoke',
    'mcp:read',
    'platform:admin',
  ]),
].sort();
