/** `GET /api/events`, one event with its strict record, and the count of a period. */
import { type Static, Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import type { Outcome } from '../../../core/audit-event.ts';
import { cursorOf, decodeCursor } from '../../../core/cursor.ts';
import { clientOutcomes, toItem, toRecord } from '../../../core/event-item.ts';
import type { EventFilter, ReadEvents, StoredEvent } from '../../../gateway/read-events.ts';
import type { StreamFilter } from '../../../stream/filter.ts';
import { type AuthenticateRequest, askerOf, authenticated, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';

const Text = Type.Optional(Type.String({ minLength: 1, maxLength: bounds.metaStringCharsMax }));
const Seconds = Type.Number({ description: 'Unix seconds, inclusive.' });

/** What events can be filtered by, as members of a query. */
export const filterMembers = {
  session_id: Text,
  correlation_id: Text,
  outcome: Type.Optional(
    Type.Enum(['OK', 'ERROR', 'DENY', 'success', 'failure', 'denied'], { description: 'In either spelling.' }),
  ),
  event_type: Text,
  agent_id: Text,
  tool: Text,
  server_id: Text,
  from: Type.Optional(Seconds),
  to: Type.Optional(Seconds),
};
const FilterQuery = Type.Object(filterMembers);

/** What streams can be filtered by, as members of a query or a message. */
const { from: _from, to: _to, ...equalities } = filterMembers;
export const streamFilterMembers = {
  ...equalities,
  denial_reason: Type.Optional(
    Type.String({ pattern: '^[A-Z_]{1,64}$', description: 'Of what was denied: such as `EXPIRED`.' }),
  ),
};
const StreamFilterQuery = Type.Object(streamFilterMembers);

const ListQuery = Type.Object({
  limit: Type.Optional(Type.Integer({ description: `Clamped to 1..${bounds.listEventsMax}.` })),
  before: Type.Optional(Type.String({ description: 'A cursor: only older events. Wins over the others.' })),
  cursor: Type.Optional(Type.String({ description: 'The same as `before`.' })),
  after_cursor: Type.Optional(Type.String({ description: 'A cursor: only newer events, oldest first.' })),
  ...filterMembers,
});

const Item = Type.Unsafe<object>({ type: 'object', additionalProperties: true });

const Page = Type.Object({
  items: Type.Array(Item),
  next_cursor: Type.Union([Type.String(), Type.Null()]),
  has_more: Type.Boolean(),
});

export interface ReadRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly readEvents: ReadEvents;
  readonly factsOf: FactsOf;
}

export function readEventRoutes(app: App, deps: ReadRouteDeps): void {
  const { readEvents, factsOf } = deps;
  const onRequest = authenticated(deps.authenticate, 'open');

  app.get(
    '/api/events',
    {
      config: { surface: 'events.list', legacyErrorKey: 'detail' },
      schema: { tags: ['Events'], summary: 'List events', querystring: ListQuery, response: { 200: Page } },
      onRequest,
    },
    async (request) => {
      const { events, hasMore } = await readEvents.list({
        ...askerOf(request, factsOf),
        ...pageOf(request.query),
      });
      return pageBody(events, hasMore);
    },
  );

  app.get(
    '/api/events/stats',
    {
      config: { surface: 'events.stats', legacyErrorKey: 'detail' },
      schema: {
        tags: ['Events'],
        summary: 'Count the events of a period',
        querystring: Type.Object({ from: Seconds, to: Seconds }),
        response: { 200: Type.Object({ count: Type.Integer() }) },
      },
      onRequest,
    },
    async (request) => ({
      count: await readEvents.count({
        ...askerOf(request, factsOf),
        filter: periodOf(request.query),
      }),
    }),
  );

  app.get(
    '/api/events/:event_id',
    {
      config: { surface: 'events.get', legacyErrorKey: 'detail' },
      schema: {
        tags: ['Events'],
        summary: 'One event and the strict record that is hashed',
        params: Type.Object({ event_id: Type.String() }),
        response: { 200: Type.Object({ seq: Type.Integer(), item: Item, record: Item }) },
      },
      onRequest,
    },
    async (request) => {
      const { event_id: eventId } = request.params;
      const event = await readEvents.get({ ...askerOf(request, factsOf), eventId });
      return { seq: event.seq, item: toItem(event), record: toRecord(event) };
    },
  );
}

function pageOf(query: Static<typeof ListQuery>) {
  const before = query.before ?? query.cursor;
  const after = before === undefined ? query.after_cursor : undefined;
  return {
    filter: filterOf(query),
    limit: Math.min(Math.max(query.limit ?? bounds.listEventsDefault, 1), bounds.listEventsMax),
    ...(before === undefined ? {} : { before: decodeCursor(before) }),
    ...(after === undefined ? {} : { after: decodeCursor(after) }),
  };
}

export function streamFilterOf({
  denial_reason: denialReason,
  ...query
}: Static<typeof StreamFilterQuery>): StreamFilter {
  return { ...filterOf(query), ...(denialReason === undefined ? {} : { denialReason }) };
}

export function filterOf(query: Static<typeof FilterQuery>): EventFilter {
  const outcome = query.outcome === undefined ? undefined : recordOutcome(query.outcome);
  return {
    ...defined({
      sessionId: query.session_id,
      correlationId: query.correlation_id,
      eventType: query.event_type,
      agentId: query.agent_id,
      tool: query.tool,
      serverId: query.server_id,
    }),
    ...(outcome === undefined ? {} : { outcome }),
    ...periodOf(query),
  };
}

function defined(values: Record<string, string | undefined>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(values).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

function recordOutcome(text: string): Outcome {
  const byClientName = Object.entries(clientOutcomes).find(([, name]) => name === text)?.[0];
  return (byClientName ?? text) as Outcome;
}

/** Seconds as clients see them in items: an event of second `to` is still inside. */
function periodOf(query: { readonly from?: number; readonly to?: number }): Pick<EventFilter, 'fromMs' | 'toMs'> {
  return {
    ...(query.from === undefined ? {} : { fromMs: Math.ceil(query.from) * 1000 }),
    ...(query.to === undefined ? {} : { toMs: (Math.floor(query.to) + 1) * 1000 }),
  };
}

function pageBody(events: readonly StoredEvent[], hasMore: boolean): Static<typeof Page> {
  const last = events.at(-1);
  return {
    items: events.map(toItem),
    next_cursor: hasMore && last !== undefined ? cursorOf(last.eventId) : null,
    has_more: hasMore,
  };
}
