/**
 * A record as an OCSF event of the class API Activity (6003), for tools that read the Open Cybersecurity Schema. A view:
 * what is hashed and proven is the record itself, which `metadata.uid` and the hash in `unmapped` lead back to.
 */
import { sha256Hex } from '../../src/core/hash.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { known, scalarText, textAt, viewOf } from './record-view.ts';
import type { ExportedRecord } from './source.ts';

const classUid = 6003;
const categoryUid = 6;
const schemaVersion = '1.6.0';
const statusIds: Readonly<Record<string, number>> = { success: 1, failure: 2, denied: 2 };

/** 2 Read for what only reads, 99 Other for calls of tools and what the gateway itself does, else 1 Create. */
function activityOf(method: string, surfaceId: string, toolClass: string): { id: number; name: string } {
  if (method === 'GET' || toolClass === 'read') return { id: 2, name: 'Read' };
  return surfaceId.startsWith('events.') ? { id: 1, name: 'Create' } : { id: 99, name: surfaceId };
}

export function ocsfEvent({ record, canon, leafIndex }: ExportedRecord, origin: string): JsonObject {
  const { text, http, meta, principal, resource } = viewOf(record);
  const outcome = text('outcome');
  const isDenied = outcome === 'denied';
  const activity = activityOf(textAt(http, 'method'), text('surface_id'), textAt(meta, 'tool_class'));
  return {
    class_uid: classUid,
    class_name: 'API Activity',
    category_uid: categoryUid,
    category_name: 'Application Activity',
    activity_id: activity.id,
    activity_name: activity.name,
    type_uid: classUid * 100 + activity.id,
    time: Date.parse(text('ts')),
    severity_id: isDenied ? 3 : 1,
    status_id: statusIds[outcome] ?? 0,
    status: outcome,
    ...known({ status_code: scalarText(http['status_code']), status_detail: textAt(meta, 'denial_reason') }),
    ...known({ duration: meta['latency_ms'] }),
    metadata: {
      version: schemaVersion,
      product: { name: 'Talos Gateway', vendor_name: 'Talos' },
      uid: text('event_id'),
      event_code: textAt(meta, 'event_type') || text('surface_id'),
      log_name: origin,
      sequence: leafIndex,
      ...known({ correlation_uid: textAt(meta, 'correlation_id') }),
    },
    actor: {
      user: known({ uid: textAt(principal, 'principal_id'), org: orgOf(textAt(principal, 'team_id')) }),
      ...known({ session: sessionOf(textAt(meta, 'session_id')) }),
    },
    api: {
      operation: textAt(meta, 'tool_name') || textAt(meta, 'action') || text('surface_id'),
      ...known({ service: serviceOf(textAt(meta, 'server_id')) }),
      request: { uid: text('request_id') },
      response: { code: http['status_code'] ?? 0 },
    },
    http_request: { http_method: textAt(http, 'method'), url: { path: textAt(http, 'path') } },
    // Of the address only a keyed hash is known.
    src_endpoint: known({ uid: textAt(http, 'client_ip_hash') || 'unknown' }),
    resources: [known({ uid: textAt(resource, 'resource_id'), type: textAt(resource, 'resource_type') })],
    unmapped: { event_hash: sha256Hex(canon), meta },
  };
}

const orgOf = (teamId: string) => (teamId === '' ? undefined : { ou_uid: teamId });
const sessionOf = (uid: string) => (uid === '' ? undefined : { uid });
const serviceOf = (name: string) => (name === '' ? undefined : { name });
