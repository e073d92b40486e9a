/**
 * Permissions: `<namespace>:<verb>`, optionally `:<detail>`, as roles, API keys and tokens hold them. What a request
 * needs is derived from the action of its surface, so that both speak of the same thing by one name.
 */

const pattern = /^[a-z0-9_*]+:[a-z0-9_*]+(?::[a-z0-9_*]+)?$/;
const dotted = /^[a-z0-9_]+(?:\.[a-z0-9_]+){1,2}$/;

/** The normal form of a permission; names with dots (`audit.read`) are the older spelling. Undefined when it is none. */
export function parsePermission(text: string): string | undefined {
  const normal = dotted.test(text) ? text.replaceAll('.', ':') : text;
  return normal.length <= permissionCharsMax && pattern.test(normal) ? normal : undefined;
}

const permissionCharsMax = 100;

/** What a request asks for. */
export interface RequestedPermission {
  readonly permission: string;
  /** Whether it is a matter of the administration. */
  readonly isAdministration: boolean;
}

/** What any method of a tool server asks for. */
export const invokeTool: RequestedPermission = { permission: 'mcp:invoke', isAdministration: false };

/** What seeing a tool in a list asks for. */
export const seeTool: RequestedPermission = { permission: 'mcp:read', isAdministration: false };

/** What one of the gateway's own actions asks for: `events.read` → `events:read`, `admin.rbac.write` → `rbac:write`. */
export function permissionOfAction(action: string): RequestedPermission {
  const isAdministration = action.startsWith('admin.');
  const name = isAdministration ? action.slice('admin.'.length) : action;
  return { permission: name.replaceAll('-', '_').replaceAll('.', ':'), isAdministration };
}

/** Names that existing clients ask for, with what they open here beside themselves. */
const included: Readonly<Record<string, readonly string[]>> = {
  'audit:read': ['events:read', 'telemetry:read', 'gateway:read'],
  'keys:read': ['secrets:read', 'rbac:read'],
  'keys:write': ['secrets:write'],
  'mcp:invoke': ['mcp:read'],
  'mcp:admin': ['mcp:read', 'mcp:write'],
};

/** Those names. */
export const widerPermissions: readonly string[] = Object.keys(included);

/** Whether `granted`, in normal form, gives what is asked: exactly, as `ns:*`, as `*:*`, or as an older wider name. */
export function permissionCovers(granted: string, { permission, isAdministration }: RequestedPermission): boolean {
  if (granted === permission || granted === '*:*') return true;
  if (granted.endsWith(':*') && permission.startsWith(granted.slice(0, -1))) return true;
  if (granted === 'platform:admin') return isAdministration;
  return included[granted]?.includes(permission) ?? false;
}

// What is not a matter of the administration, or not of it alone.
const ordinary = new Set(['events', 'messages', 'mcp', '*']);

/** Everything that whoever gets `granted` could ask for by its name, itself included. */
export function requestsWithin(granted: string): RequestedPermission[] {
  return [granted, ...(included[granted] ?? [])].map((permission) => ({
    permission,
    isAdministration: !ordinary.has(permission.split(':', 1)[0] ?? ''),
  }));
}
