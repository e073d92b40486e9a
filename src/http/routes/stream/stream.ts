/** Everything about live streams: the WebSocket, server-sent events, and what belongs to them. */
import type { App } from '../../fastify.ts';
import { createStreamCredentials } from '../../stream-credentials.ts';
import { type SessionRouteDeps, sessionRoutes } from './sessions.ts';
import { type SseRouteDeps, sseRoutes } from './sse.ts';
import { type SocketRouteDeps, socketRoute } from './websocket.ts';

export type StreamRouteDeps = Omit<SocketRouteDeps & SseRouteDeps & SessionRouteDeps, 'credentials'>;

export function streamRoutes(app: App, deps: StreamRouteDeps): void {
  const credentials = createStreamCredentials(deps.authenticate, deps.streamEvents);
  sseRoutes(app, { ...deps, credentials });
  socketRoute(app, { ...deps, credentials });
  sessionRoutes(app, deps);
}
