/** Surfaces of users who connect their account at a tool server. */
import { denialKeys, docs, internal, readMcp, type Surface } from './surface-kinds.ts';

const connectionKeys = [...denialKeys, 'server_id'] as const;

export const connectionSurfaces = {
  'mcp.connections.start': {
    method: 'POST',
    template: '/v1/mcp/servers/{server_id}/connection',
    auditMode: 'each',
    metaKeys: connectionKeys,
  },
  'mcp.connections.get': readMcp('/v1/mcp/servers/{server_id}/connection'),
  'mcp.connections.delete': {
    method: 'DELETE',
    template: '/v1/mcp/servers/{server_id}/connection',
    auditMode: 'each',
    metaKeys: connectionKeys,
  },
  'mcp.connections.client': docs('/v1/mcp/oauth/client/{server_id}'),
  // Whom a browser belongs to is said by the state that it brings back.
  'mcp.connections.arrive': {
    method: 'GET',
    template: '/v1/mcp/oauth/callback/{server_id}',
    auditMode: 'summary',
    metaKeys: [],
  },
  'mcp.connections.finish': {
    method: 'POST',
    template: '/v1/mcp/oauth/callback/{server_id}',
    auditMode: 'each',
    metaKeys: connectionKeys,
  },
  'mcp.clients.registered': internal('mcp.clients.registered', [
    ...connectionKeys,
    'registered_issuer',
    'registered_client',
  ]),
  'mcp.connections.lost': internal('mcp.connections.lost', [...connectionKeys, 'connection_of', 'connection_lost']),
} as const satisfies Record<string, Surface>;
