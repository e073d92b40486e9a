/**
 * What a record's `meta` may hold is said by its surface. A key that the surface does not list is dropped before the
 * record is hashed, and the record says that this happened.
 */
import type { EventDraft } from '../core/audit-event.ts';
import { type SurfaceId, surfaceOf, surfaces } from '../core/surfaces.ts';

const allowed = new Map<string, ReadonlySet<string> | 'any'>(
  Object.keys(surfaces).map((id) => {
    const keys = surfaceOf(id as SurfaceId).metaKeys;
    return [id, keys === 'any' ? keys : new Set(keys)];
  }),
);
// Of a surface that is not in the table nothing is known to be harmless.
const none: ReadonlySet<string> = new Set();

/** The draft with only the `meta` keys that its surface lists. */
export function filterMeta(draft: EventDraft): EventDraft {
  const keys = allowed.get(draft.surfaceId) ?? none;
  if (keys === 'any') return draft;
  const dropped = Object.keys(draft.meta).filter((key) => draft.meta[key] !== undefined && !keys.has(key));
  if (dropped.length === 0) return draft;
  const kept = Object.fromEntries(Object.entries(draft.meta).filter(([key]) => keys.has(key)));
  const redacted = dropped.sort().join(', ');
  return { ...draft, meta: { ...kept, meta_redaction_applied: true, meta_redacted_keys: redacted } };
}
