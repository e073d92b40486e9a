/**
 * Every route and method of the gateway in one table: it feeds authorisation, records and the docs. A route that has no
 * entry here stops the start. The opcodes `mcp.tools.call` and the like are inherited names that clients sign.
 */
import { connectionSurfaces } from './connection-surfaces.ts';
import {
  deleteAdmin,
  denialKeys,
  docs,
  health,
  internal,
  readAdmin,
  readEvents,
  readLog,
  readMcp,
  rightKeys,
  type Surface,
  writeAdmin,
  writeEvents,
} from './surface-kinds.ts';
import { toolRuleSurfaces } from './tool-rule-surfaces.ts';

export type { Surface } from './surface-kinds.ts';

const callKeys = [
  ...denialKeys,
  'server_id',
  'tool_name',
  'tool_class',
  'latency_ms',
  'error',
  'request_hash',
  'response_hash',
  'schema_hash',
  'definition_hash',
  'session_id',
  'correlation_id',
  'phase',
  'intent_id',
  'reason',
  'idempotency_key_hash',
  'replay_of',
  'approval_id',
  'asked_for',
  'result_schema',
] as const;

const relayKeys = [
  ...denialKeys,
  'server_id',
  'rpc_method',
  'latency_ms',
  'error',
  'request_hash',
  'response_hash',
  'session_id',
  'asked_for',
] as const;

const sessionKeys = [
  ...rightKeys,
  'event_type',
  'server_id',
  'session_id',
  'mcp_protocol_version',
  'session_ended_by',
  'session_duration_ms',
] as const;

// Names of their own, so that they take none from clients, who may not use the keys of the gateway.
const summaryKeys = ['event_type', 'summarised_count', 'summarised_from', 'summarised_to'] as const;

const streamEvents = (template: string): Surface => ({
  method: 'GET',
  template,
  auditMode: 'each',
  action: 'events.read',
  metaKeys: [
    ...denialKeys,
    'session_id',
    'stream_transport',
    'stream_filter',
    'stream_resumed_from',
    'stream_ended_by',
    'stream_events_sent',
    'stream_duration_ms',
  ],
});

export const surfaces = {
  'health.healthz': health('/healthz'),
  'health.health': health('/health'),
  'health.live': health('/health/live'),
  'health.ready': health('/health/ready'),
  'health.readyz': health('/readyz'),
  'health.ollama': health('/health/ollama'),
  'health.tga': health('/health/tga'),
  'gateway.version': health('/version'),
  'gateway.metrics': health('/metrics'),
  'gateway.metrics.summary': health('/metrics/summary'),
  'gateway.status': health('/api/gateway/status'),

  'oauth.resource': docs('/.well-known/oauth-protected-resource'),
  'oauth.resource.of': docs('/.well-known/oauth-protected-resource/{resource_path}'),

  'docs.openapi': docs('/openapi.json'),
  'docs.ui': docs('/docs'),

  'log.checkpoint': readLog('/log/checkpoint'),
  'log.keys': readLog('/log/keys'),
  'log.tile': readLog('/log/tile/{level}/{tile}'),
  'log.entries': readEvents('/log/tile/entries/{tile}'),
  'log.consistency': readLog('/log/consistency'),
  'log.root': readLog('/root'),
  'log.proof': readEvents('/proof/{event_id}'),

  'events.proof': readEvents('/api/events/{event_id}/proof'),
  'events.list': readEvents('/api/events'),
  'events.stats': readEvents('/api/events/stats'),
  'events.records': readEvents('/api/events/records'),
  'events.get': readEvents('/api/events/{event_id}'),
  'events.stream': streamEvents('/api/events/stream'),
  'events.sse': streamEvents('/events'),
  'events.sse.api': streamEvents('/api/events/sse'),
  'events.ticket': { ...streamEvents('/api/events/ticket'), method: 'POST' },
  'gateway.sessions': readEvents('/sessions'),
  'gateway.peers': health('/peers'),
  'events.submit': writeEvents('/api/events'),
  'events.submit.batch': writeEvents('/api/events/batch'),
  'events.submit.log': writeEvents('/api/events/log'),

  'admin.audit.stats': readAdmin('/admin/v1/audit/stats', 'admin.audit.read'),
  'admin.telemetry.stats': readAdmin('/admin/v1/telemetry/stats', 'admin.telemetry.read'),
  'admin.me': { method: 'GET', template: '/admin/v1/me', auditMode: 'summary', metaKeys: [] },
  'admin.gateway.status': readAdmin('/admin/v1/gateway/status', 'admin.gateway.read'),
  'admin.config.export': readAdmin('/admin/v1/config:export', 'admin.config.read'),
  'admin.config.apply': writeAdmin('/admin/v1/config:apply', 'admin.config.write'),
  'admin.rbac.roles.list': readAdmin('/admin/v1/rbac/roles', 'admin.rbac.read'),
  'admin.rbac.roles.create': writeAdmin('/admin/v1/rbac/roles', 'admin.rbac.write'),
  'admin.rbac.roles.delete': deleteAdmin('/admin/v1/rbac/roles/{role_id}', 'admin.rbac.write'),
  'admin.rbac.permissions.list': readAdmin('/admin/v1/rbac/permissions', 'admin.rbac.read'),
  'admin.rbac.bindings.list': readAdmin('/admin/v1/rbac/bindings', 'admin.rbac.read'),
  'admin.rbac.bindings.create': writeAdmin('/admin/v1/rbac/bindings', 'admin.rbac.write'),
  'admin.rbac.bindings.delete': deleteAdmin('/admin/v1/rbac/bindings/{principal_id}', 'admin.rbac.write'),
  'admin.mcp.servers.list': readAdmin('/admin/v1/mcp/servers', 'admin.mcp.read'),
  'admin.mcp.servers.get': readAdmin('/admin/v1/mcp/servers/{server_id}', 'admin.mcp.read'),
  'admin.mcp.servers.add': writeAdmin('/admin/v1/mcp/servers', 'admin.mcp.write'),
  'admin.mcp.servers.change': {
    ...writeAdmin('/admin/v1/mcp/servers/{server_id}', 'admin.mcp.write'),
    method: 'PATCH',
  },
  'admin.mcp.servers.remove': deleteAdmin('/admin/v1/mcp/servers/{server_id}', 'admin.mcp.write'),
  'admin.mcp.servers.test': writeAdmin('/admin/v1/mcp/servers/{server_id}:test', 'admin.mcp.write', [
    'server_id',
    'tested_result',
  ]),
  ...toolRuleSurfaces,
  'admin.secrets.list': readAdmin('/admin/v1/secrets', 'admin.secrets.read'),
  'admin.secrets.set': writeAdmin('/admin/v1/secrets', 'admin.secrets.write'),
  'admin.secrets.delete': deleteAdmin('/admin/v1/secrets/{name}', 'admin.secrets.write'),
  'admin.secrets.kek': readAdmin('/admin/v1/secrets/kek-status', 'admin.secrets.read'),
  'admin.secrets.rotate': writeAdmin('/admin/v1/secrets/rotate-all', 'admin.secrets.write', ['kek_id']),
  'admin.secrets.rotation': readAdmin('/admin/v1/secrets/rotation-status/{op_id}', 'admin.secrets.read'),

  'admin.auth.token': {
    method: 'POST',
    template: '/admin/v1/auth/token',
    auditMode: 'each',
    metaKeys: ['event_type', 'token_ttl_sec'],
  },
  'admin.keys.list': readAdmin('/admin/v1/api-keys', 'admin.keys.read'),
  'admin.keys.create': writeAdmin('/admin/v1/api-keys', 'admin.keys.write', ['api_key_id']),
  'admin.keys.rotate': writeAdmin('/admin/v1/api-keys/{key_id}/rotate', 'admin.keys.write', ['api_key_id']),
  'admin.keys.revoke': deleteAdmin('/admin/v1/api-keys/{key_id}', 'admin.keys.write'),

  'admin.capabilities.grant': writeAdmin('/admin/v1/capabilities', 'admin.capabilities.write', [
    'granted_hash',
    'granted_subject',
    'granted_scope',
    'granted_until',
  ]),
  'admin.capabilities.revoke': writeAdmin('/admin/v1/capabilities/revoke', 'admin.capabilities.write', [
    'revoked_hash',
    'revoked_id',
    'revoked_because',
  ]),
  'admin.capabilities.revocations': readAdmin('/admin/v1/capabilities/revocations', 'admin.capabilities.read'),
  'admin.capabilities.inspect': {
    ...readAdmin('/admin/v1/capabilities/inspect', 'admin.capabilities.read'),
    method: 'POST',
  },
  'admin.policy.explain': writeAdmin('/admin/v1/policy/explain', 'admin.policy.read', [
    'explained_server',
    'explained_tool',
    'explained_principal',
    'explained_hash',
    'explained_decision',
  ]),

  'mcp.servers.list': readMcp('/v1/mcp/servers'),
  'mcp.tools.list': readMcp('/v1/mcp/servers/{server_id}/tools'),
  'mcp.tools.schema': readMcp('/v1/mcp/servers/{server_id}/tools/{tool_name}/schema'),
  'mcp.tools.call': {
    method: 'POST',
    template: '/v1/mcp/servers/{server_id}/tools/{tool_name}:call',
    auditMode: 'each',
    metaKeys: callKeys,
  },
  ...connectionSurfaces,
  'mcp.tools.chat': {
    method: 'POST',
    template: '/mcp/tools/chat',
    auditMode: 'each',
    metaKeys: [...callKeys, 'model', 'msg_count'],
  },
  // What is done by way of these two has records of its own; the rest of it is counted.
  'mcp.native': { method: 'POST', template: '/mcp/{server_id}', auditMode: 'summary', metaKeys: denialKeys },
  'mcp.native.all': { method: 'POST', template: '/mcp', auditMode: 'summary', metaKeys: denialKeys },
  // The streams of sessions, and their end.
  'mcp.native.listen': { method: 'GET', template: '/mcp/{server_id}', auditMode: 'summary', metaKeys: denialKeys },
  'mcp.native.listen.all': { method: 'GET', template: '/mcp', auditMode: 'summary', metaKeys: denialKeys },
  'mcp.native.end': { method: 'DELETE', template: '/mcp/{server_id}', auditMode: 'summary', metaKeys: denialKeys },
  'mcp.native.end.all': { method: 'DELETE', template: '/mcp', auditMode: 'summary', metaKeys: denialKeys },
  // The transport before Streamable HTTP.
  'mcp.native.sse': { method: 'GET', template: '/mcp/{server_id}/sse', auditMode: 'summary', metaKeys: denialKeys },
  'mcp.native.messages': {
    method: 'POST',
    template: '/mcp/{server_id}/messages',
    auditMode: 'summary',
    metaKeys: denialKeys,
  },
  'mcp.session.open': internal('mcp.session.open', sessionKeys),
  'mcp.session.close': internal('mcp.session.close', sessionKeys),
  'mcp.server.request': internal('mcp.server.request', relayKeys),
  'mcp.methods.relay': { method: 'POST', template: '/mcp/{server_id}', auditMode: 'each', metaKeys: relayKeys },
  'mcp.tools.reconcile': internal('mcp.tools.reconcile', callKeys),
  'gateway.summary': internal('gateway.summary', [
    ...summaryKeys,
    'summarised_surface',
    'summarised_principal',
    'summarised_errors',
  ]),
  'gateway.refusals': internal('gateway.refusals', [...summaryKeys, ...denialKeys, 'error']),
  'audit.gap': internal('audit.gap', ['event_type', 'gap_from', 'gap_to', 'gap_count', 'gap_count_is_minimum']),
  'log.retention.prune': internal('log.retention.prune', [
    'event_type',
    'pruned_from',
    'pruned_to',
    'pruned_policy',
    'pruned_root',
  ]),
  'log.erasure': internal('log.erasure', [
    'event_type',
    'erased_event_id',
    'erased_agent_id',
    'erased_key',
    'erased_count',
  ]),
  'mcp.servers.reload': internal('mcp.servers.reload', [
    'event_type',
    'servers_added',
    'servers_changed',
    'servers_removed',
  ]),
  'secrets.rotated': internal('secrets.rotated', [
    'event_type',
    'kek_id',
    'secrets_scanned',
    'secrets_rotated',
    'secrets_failed',
  ]),
  'log.epoch.begin': internal('log.epoch.begin', ['event_type', 'previous_origin', 'previous_size', 'previous_root']),
  'log.key.rotate': internal('log.key.rotate', ['event_type', 'old_key_ids', 'new_key_id', 'old_keys_kept']),
} as const satisfies Record<string, Surface>;

// What the gateway adds to records whose `meta` is otherwise the client's.
const addedKeys = [
  ...['action', 'submitted_by', 'spooled_at', 'details_hash'],
  ...['meta_redaction_applied', 'meta_redacted_keys'],
];

/** Every `meta` key that the gateway itself writes into its records. */
export const gatewayMetaKeys: ReadonlySet<string> = new Set([
  ...Object.values<Surface>(surfaces).flatMap(({ metaKeys }) => (metaKeys === 'any' ? [] : metaKeys)),
  ...addedKeys,
]);

export type SurfaceId = keyof typeof surfaces;

/** The same table, typed for look-ups that do not know the entry. */
export function surfaceOf(id: SurfaceId): Surface {
  return surfaces[id];
}
