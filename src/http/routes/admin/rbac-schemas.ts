/** Roles and bindings as they travel: supersets of the public schemas `talos.rbac.role` and `talos.rbac.binding`. */
import { Type } from 'typebox';
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

export const NewRole = Type.Object({
  role_id: Type.Optional(
    Type.String({ maxLength: 255, description: 'A UUIDv7, kept in lower case. Made when it is absent.' }),
  ),
  name: RoleName,
  description: Description,
  permissions: Permissions,
});

/** A role of a snapshot: older gateways gave ids that are UUIDs of other versions. */
export const KeptRole = Type.Object({
  ...NewRole.properties,
  role_id: Type.Optional(Type.String({ maxLength: 255, description: 'A UUID. Made when it is absent.' })),
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

const NewBinding = Type.Object({
  binding_id: Type.Optional(Name255),
  role_id: Type.String({ minLength: 1, maxLength: 255, description: 'The id or the name of a role.' }),
  team_id: Type.Optional(Name255),
  scope: Type.Union([Type.String({ minLength: 1, maxLength: 255 }), Scope], {
    description: 'As an object, or `global`, or one attribute as `team:red`.',
  }),
});

export const NewBindings = Type.Object({
  principal_id: Name255,
  team_id: Type.Optional(Name255),
  bindings: Type.Array(NewBinding, { maxItems: bounds.bindingsAtOnceMax }),
});

/** All bindings of a principal in a snapshot, whenever they were given. */
export const KeptBindings = Type.Object({
  ...NewBindings.properties,
  bindings: Type.Array(NewBinding, { maxItems: bounds.roleBindingsMax }),
});
