/** Who watches the log or speaks MCP at this gateway, tickets for those who cannot send headers, and the peers of the network. */
import { Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import { isVisible } from '../../../core/visible-teams.ts';
import type { McpSessions, OpenSession } from '../../../gateway/native/sessions/sessions.ts';
import type { StreamEvents } from '../../../gateway/stream-events.ts';
import type { Session, Sessions } from '../../../stream/sessions.ts';
import { type AuthenticateRequest, askerOf, authenticated, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { credentialsToSeal } from '../../stream-credentials.ts';

const SessionItem = Type.Object({
  session_id: Type.String(),
  peer_id: Type.Null(),
  created_at: Type.String(),
  transport: Type.Union([Type.Literal('websocket'), Type.Literal('sse'), Type.Literal('mcp')]),
  principal: Type.String(),
  server_id: Type.Optional(
    Type.String({ description: 'Of MCP: the server it was opened with; absent at the address of all.' }),
  ),
  last_cursor: Type.Optional(Type.String({ description: 'Up to where it has been written to.' })),
  acknowledged_cursor: Type.Optional(
    Type.String({ description: 'Up to where the client says that it has everything, or empty.' }),
  ),
  events_sent: Type.Optional(Type.Integer()),
  paused: Type.Optional(Type.Boolean()),
});

export interface SessionRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly factsOf: FactsOf;
  readonly streamEvents: StreamEvents;
  readonly sessions: Sessions;
  readonly mcpClients: { readonly sessions: Pick<McpSessions, 'list'> };
}

export function sessionRoutes(app: App, deps: SessionRouteDeps): void {
  const onRequest = authenticated(deps.authenticate, 'open');

  app.get(
    '/sessions',
    {
      config: { surface: 'gateway.sessions' },
      schema: {
        tags: ['Status'],
        summary: 'Sessions at this gateway: those that watch the log, and those of MCP clients',
        response: { 200: Type.Object({ sessions: Type.Array(SessionItem) }) },
      },
      onRequest,
    },
    async (request) => {
      const asker = askerOf(request, deps.factsOf);
      const { teams = 'all' } = await deps.streamEvents.authorise({ surfaceId: 'gateway.sessions', ...asker });
      const isShown = ({ teamId }: { readonly teamId: string | undefined }) => isVisible(teams, teamId);
      const watching = deps.sessions.list().filter(isShown).map(itemOf);
      const speaking = deps.mcpClients.sessions.list().filter(isShown).map(mcpItemOf);
      return { sessions: [...watching, ...speaking].slice(0, bounds.listSessionsMax) };
    },
  );

  app.get(
    '/peers',
    {
      config: { surface: 'gateway.peers' },
      schema: {
        tags: ['Status'],
        summary: 'Peers of the network that this gateway is connected to',
        response: {
          200: Type.Object({
            peers: Type.Array(
              Type.Object({ peer_id: Type.String(), services: Type.Optional(Type.Array(Type.String())) }),
            ),
          }),
        },
      },
    },
    async () => ({ peers: [] }),
  );

  app.post(
    '/api/events/ticket',
    {
      config: { surface: 'events.ticket' },
      schema: {
        tags: ['Events'],
        summary: 'A ticket to open one stream with',
        description: 'For browsers, whose EventSource and WebSocket send no headers. Good once, as `?ticket=`.',
        response: {
          200: Type.Object({ ticket: Type.String(), expires_in: Type.Integer({ description: 'Seconds.' }) }),
        },
      },
      onRequest,
    },
    async (request, reply) => {
      const asker = askerOf(request, deps.factsOf);
      const { ticket, auditRef } = await deps.streamEvents.issueTicket(asker, credentialsToSeal(request));
      reply.header('x-talos-audit-ref', auditRef).header('cache-control', 'no-store');
      return { ticket, expires_in: bounds.streamTicketSec };
    },
  );
}

function itemOf(session: Session) {
  const { subscription } = session;
  return {
    session_id: session.id,
    peer_id: null,
    created_at: new Date(session.openedAtMs).toISOString(),
    transport: session.transport,
    principal: session.principalId,
    last_cursor: subscription.position.cursor,
    acknowledged_cursor: session.acknowledged(),
    events_sent: subscription.sent.events,
    paused: subscription.isPaused,
  };
}

/** By the name that records have for it: its id is for its client alone. */
function mcpItemOf({ name, openedAtMs, principalId, serverId }: OpenSession) {
  return {
    session_id: name,
    peer_id: null,
    created_at: new Date(openedAtMs).toISOString(),
    transport: 'mcp' as const,
    principal: principalId,
    ...(serverId === undefined ? {} : { server_id: serverId }),
  };
}
