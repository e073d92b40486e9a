/** Every permission that has a meaning here: what somebody is given by another name opens nothing. */
import { permissionOfAction, widerPermissions } from './permission.ts';
import { type Surface, surfaces } from './surfaces.ts';

/** The gateway's own actions as capabilities name them. Nothing asks for those of messages between light clients yet. */
export const gatewayActions: ReadonlySet<string> = new Set([
  ...Object.values<Surface>(surfaces).flatMap(({ action }) => action ?? []),
  'messages.send',
  'messages.receive',
]);

/** In normal form, sorted; without those with `*`. */
export const knownPermissions: readonly string[] = [
  ...new Set([
    ...[...gatewayActions].map((action) => permissionOfAction(action).permission),
    ...widerPermissions,
    'events:read:all',
    'mcp:read',
    'platform:admin',
  ]),
].sort();

/** Whether a permission in normal form is one of them, or one with `*`. */
export function isKnownPermission(permission: string): boolean {
  return permission.includes('*') || knownPermissions.includes(permission);
}
