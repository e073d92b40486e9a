/** A change of the roles, as it commits with the record that tells of it. */
import type { Role, RoleBinding } from './role.ts';

/** Each applies to what is there when it commits; what is gone already stays gone. */
export type RoleChange =
  | { readonly kind: 'add_role'; readonly role: Role }
  | { readonly kind: 'delete_role'; readonly roleId: string }
  | { readonly kind: 'put_bindings'; readonly bindings: readonly RoleBinding[] }
  | { readonly kind: 'delete_bindings'; readonly bindingIds: readonly string[] }
  | { readonly kind: 'replace_all'; readonly roles: readonly Role[]; readonly bindings: readonly RoleBinding[] };
