/** `/events` and `/api/events/sse`: the log as server-sent events. */

import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { decodeCursor } from '../../../core/cursor.ts';
import { TalosError } from '../../../core/errors.ts';
import { surfaceOf } from '../../../core/surfaces.ts';
import type { StreamSurface } from '../../../gateway/stream-events.ts';
import { callerOf, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';
import { EventStream } from '../../sse.ts';
import type { StreamCredentials } from '../../stream-credentials.ts';
import { openSession, type StreamDeps } from '../../stream-session.ts';
import { streamFilterMembers, streamFilterOf } from '../events/read.ts';

const StreamQuery = Type.Object({
  after_cursor: Type.Optional(Type.String({ description: 'A cursor: the stream goes on after it.' })),
  last_event_id: Type.Optional(Type.String({ description: 'The same; the header `Last-Event-ID` wins over both.' })),
  ticket: Type.Optional(Type.String({ maxLength: 128, description: 'In place of credentials in headers.' })),
  ...streamFilterMembers,
});

export interface SseRouteDeps extends StreamDeps {
  readonly credentials: StreamCredentials;
  readonly factsOf: FactsOf;
}

type StreamQueryValues = Static<typeof StreamQuery>;

export function sseRoutes(app: App, deps: SseRouteDeps): void {
  const routes = { '/events': 'events.sse', '/api/events/sse': 'events.sse.api' } as const;
  for (const [path, surfaceId] of Object.entries(routes) as [string, StreamSurface][]) {
    app.get(
      path,
      {
        config: { surface: surfaceId },
        schema: {
          tags: ['Events'],
          summary: `Watch the log as server-sent events${path === '/events' ? '' : ' (the same as /events)'}`,
          querystring: StreamQuery,
          response: { 200: Type.String({ description: 'text/event-stream; docs/streams.md tells of its frames.' }) },
        },
        exposeHeadRoute: false,
        onRequest: deps.credentials.hook,
      },
      (request, reply) => begin(deps, surfaceId, request, reply),
    );
  }
}

async function begin(
  deps: SseRouteDeps,
  surfaceId: StreamSurface,
  request: FastifyRequest<{ Querystring: StreamQueryValues }>,
  reply: FastifyReply,
): Promise<void> {
  const release = deps.sessions.reserve();
  if (release === undefined) throw new TalosError('STREAMS_FULL');
  const { query } = request;
  const stream = new EventStream(request, reply, deps.clock);
  void stream.closed.then(release);
  const caller = callerOf(request);
  const shown = deps.credentials.shownBy(request);
  const startedAtMs = deps.clock.monotonic();
  await openSession(
    deps,
    {
      ...{
        surfaceId,
        caller,
        facts: deps.factsOf(request),
        filter: streamFilterOf(query),
        after: cursorOfRequest(request),
      },
      reauthenticate: () => deps.credentials.reauthenticate(shown, caller),
    },
    stream,
  );
  const seconds = (deps.clock.monotonic() - startedAtMs) / 1000;
  const { method, template } = surfaceOf(surfaceId);
  deps.telemetry.requestAnswered({ method, endpoint: template, status: 200, seconds });
}

function cursorOfRequest({ headers, query }: FastifyRequest<{ Querystring: StreamQueryValues }>) {
  const header = headers['last-event-id'];
  const text =
    (typeof header === 'string' && header !== '' ? header : undefined) ?? query.last_event_id ?? query.after_cursor;
  return text === undefined || text === '' ? undefined : decodeCursor(text);
}
