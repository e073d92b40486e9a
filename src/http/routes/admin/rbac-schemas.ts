/** Roles and bindings as they travel: supersets of the public schemas `talos.rbac.role` and `talos.rbac.binding`. */
import { Type } from '@fastify/type-provider-typebox';
import { bounds } from '../../../config/bounds.ts';
import { roleScopeTypes } from '../../../core/role-scope.ts';

const Name255 = Type.String({ minLength: 1, maxLength: 255 });

const Scope = Type.Object(
  {
    scope_type: Type.Enum([...roleScopeTypes]),
    attributes: Type.Record(Type.String(), Type.String({ maxLength: 255 }), { maxProperties: 8 }),
  },
  { additionalProperties: false },
);

const Permissions = Type.Array(Type.String({ minLength: 3, maxLength: 100 }), {
  maxItems: bounds.rolePermissionsMax,
  description: '`<namespace>:<verb>`, such as `events:read`; `*` for all.',
});
const RoleName = Type.String({ minLength: 1, maxLength: 100, pattern: '^[a-zA-Z0-9_-]+$' });
const Description = Type.Optional(Type.String({ maxLength: bounds.roleDescriptionCharsMax, pattern: '^[^\\u0000]*$' }));

export const Role = Type.Object({
  role_id: Type.String(),
  name: Type.String(),
  description: Description,
  permissions: Permissions,
  built_in: Type.Boolean(),
});

/** A role that says which schema it is of. */
export const RoleDocument = Type.Object({
  schema_id: Type.Literal('talos.rbac.role'),
  schema_version: Type.Literal('v1'),
  ...Role.properties,
});

export const NewRole = Type.Object({ name: RoleName, description: Description, permissions: Permissions });

/** A role of a snapshot. */
export const KeptRole = Type.Object({
  role_id: Type.Optional(
    Type.String({ pattern: '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$' }),
  ),
  name: RoleName,
  description: Description,
  permissions: Permissions,
  built_in: Type.Optional(Type.Boolean()),
});

export const BindingList = Type.Array(
  Type.Object({
    binding_id: Type.String(),
    role_id: Type.String(),
    team_id: Type.Optional(Type.String()),
    scope: Scope,
    created_at: Type.Optional(Type.String()),
  }),
);

export const Bindings = Type.Object({
  principal_id: Type.String(),
  bindings: BindingList,
});

export const BindingsDocument = Type.Object({
  schema_id: Type.Literal('talos.rbac.binding'),
  schema_version: Type.Literal('v1'),
  ...Bindings.properties,
});

export const NewBindings = Type.Object({
  principal_id: Name255,
  team_id: Type.Optional(Name255),
  bindings: Type.Array(
    Type.Object({
      binding_id: Type.Optional(Name255),
      role_id: Type.String({ minLength: 1, maxLength: 255, description: 'The id or the name of a role.' }),
      team_id: Type.Optional(Name255),
      scope: Type.Union([Type.String({ minLength: 1, maxLength: 255 }), Scope], {
        description: 'As an object, or `global`, or one attribute as `team:red`.',
      }),
    }),
    { maxItems: bounds.bindingsAtOnceMax },
  ),
});
