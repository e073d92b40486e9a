/** What roles and bindings must be before they are kept: names that can be stored, permissions in their normal form. */
import { TalosError } from './errors.ts';
import { parsePermission } from './permission.ts';
import { builtInRoles, type Role } from './role.ts';
import { globalScope, type RoleScope, roleScopeTypes } from './role-scope.ts';

/** The permissions in normal form, sorted, each once. Throws `INVALID_REQUEST` for what is none. */
export function normalPermissions(texts: readonly string[]): string[] {
  const permissions = texts.map((text) => {
    const permission = parsePermission(text);
    if (permission !== undefined) return permission;
    throw new TalosError('INVALID_REQUEST', {
      message: 'A permission is written <namespace>:<verb>, of a-z, 0-9, _ and *, at most 100 characters.',
    });
  });
  return [...new Set(permissions)].sort();
}

const reservedNames = new Set(['anonymous', 'gateway']);

/** Throws `INVALID_REQUEST` for a name that records give to nobody or to the gateway, or that cannot be stored. */
export function assertPrincipalId(id: string): void {
  if (isPlainText(id) && !reservedNames.has(id)) return;
  throw new TalosError('INVALID_REQUEST', {
    message: 'A principal is named by 1 to 255 printable characters, and not anonymous or gateway.',
  });
}

/** 1 to 255 characters without control characters and halves of surrogate pairs. */
export function isPlainText(text: string): boolean {
  return text !== '' && text.length <= 255 && text.isWellFormed() && !/\p{Cc}/u.test(text);
}

const scopeText = /^([a-z]+):(.+)$/;

/** A scope as an object, or as the older text: `global`, `team:red`. Throws `INVALID_REQUEST`. */
export function parseRoleScope(
  given: string | { readonly scope_type: string; readonly attributes: object },
): RoleScope {
  const scope = typeof given === 'string' ? scopeOfText(given) : given;
  const type = roleScopeTypes.find((known) => known === scope?.scope_type);
  const attributes = Object.entries(scope?.attributes ?? {});
  const isSound = attributes.every(
    ([name, value]) => isPlainText(name) && typeof value === 'string' && isPlainText(value),
  );
  const isGlobalAlone = (type === 'global') === (attributes.length === 0);
  if (type !== undefined && isSound && isGlobalAlone)
    return { scope_type: type, attributes: Object.fromEntries(attributes) };
  throw new TalosError('INVALID_REQUEST', {
    message: `A scope has a scope_type (${roleScopeTypes.join(', ')}) and attributes, which every type but global needs.`,
  });
}

function scopeOfText(text: string): RoleScope | { scope_type: string; attributes: object } | undefined {
  if (text === 'global') return globalScope;
  const [, type = '', value = ''] = scopeText.exec(text) ?? [];
  return type === '' ? undefined : { scope_type: type, attributes: { [type]: value } };
}

/** The role of an id, in whatever case, or a name. */
export function findRole(roles: readonly Role[], idOrName: string): Role | undefined {
  const id = idOrName.toLowerCase();
  return [...builtInRoles, ...roles].find(({ role_id, name }) => role_id === id || name === idOrName);
}
