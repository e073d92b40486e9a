/** By what right somebody asks, as records tell it: enough to judge the same request again under other rules. */
import { bounds } from '../config/bounds.ts';
import type { EventDraft } from '../core/audit-event.ts';
import type { Caller } from './caller.ts';

/** The capability, the API key, and the permissions that the key or token carried, which count only without a capability. */
export function rightMeta({ authority, keyId, permissions = [] }: Caller): EventDraft['meta'] {
  const carried = authority === undefined ? textOf(permissions) : '';
  return {
    capability_hash: authority?.capability.hash,
    by_api_key: keyId,
    carried_permissions: carried === '' ? undefined : carried,
  };
}

/** As many of them as a record holds. */
function textOf(permissions: readonly string[]): string {
  let text = '';
  for (const permission of permissions) {
    const longer = text === '' ? permission : `${text} ${permission}`;
    if (longer.length > bounds.metaStringCharsMax) break;
    text = longer;
  }
  return text;
}
