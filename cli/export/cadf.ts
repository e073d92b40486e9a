/**
 * A record as a CADF event (DMTF DSP0262), for tools of the cloud auditing world. A view: what is hashed and proven is
 * the record itself, which the id and the attached hash lead back to.
 */
import { sha256Hex } from '../../src/core/hash.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { known, scalarText, textAt, viewOf } from './record-view.ts';
import type { ExportedRecord } from './source.ts';

const outcomes: Readonly<Record<string, string>> = { success: 'success', failure: 'failure', denied: 'failure' };

export function cadfEvent({ record, canon }: ExportedRecord, origin: string): JsonObject {
  const { text, http, meta, principal, resource } = viewOf(record);
  const isDenied = text('outcome') === 'denied';
  const isIntent = meta['phase'] === 'intent';
  return {
    typeURI: 'http://schemas.dmtf.org/cloud/audit/1.0/event',
    // A refusal is a decision of the gateway; all else is what somebody did.
    eventType: isDenied ? 'control' : 'activity',
    id: text('event_id'),
    eventTime: text('ts').replace('Z', '+00:00'),
    action: actionOf(textAt(http, 'method'), textAt(meta, 'tool_name'), textAt(meta, 'tool_class')),
    outcome: isIntent ? 'pending' : (outcomes[text('outcome')] ?? 'unknown'),
    observer: { id: origin, typeURI: 'service/security/audit', name: 'Talos Gateway' },
    initiator: {
      id: textAt(principal, 'principal_id'),
      typeURI: 'service/security/account/user',
      ...known({ project_id: textAt(principal, 'team_id') }),
    },
    target: {
      id: textAt(resource, 'resource_id') || 'unknown',
      typeURI: `service/talos/${textAt(resource, 'resource_type') || 'resource'}`,
      ...known({ name: textAt(meta, 'tool_name') }),
    },
    reason: {
      reasonType: 'HTTP',
      reasonCode: scalarText(http['status_code']),
      ...(isDenied ? { policyType: 'talos.capability', policyId: textAt(meta, 'denial_reason') || 'unknown' } : {}),
    },
    requestPath: textAt(http, 'path'),
    tags: [`surface?value=${text('surface_id')}`],
    attachments: [
      { name: 'event_hash', typeURI: 'sha256', content: sha256Hex(canon) },
      { name: 'meta', typeURI: 'application/json', content: meta },
    ],
  };
}

function actionOf(method: string, tool: string, toolClass: string): string {
  if (tool !== '') return toolClass === 'read' ? 'read' : 'invoke';
  return method === 'GET' ? 'read' : 'create';
}
