/** `POST /api/events`, its batch form, and the alias `POST /api/events/log` of older scripts. */

import type { FastifyReply, FastifyRequest } from 'fastify';
import { type Static, Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import type { CommittedEvent } from '../../../core/audit-event.ts';
import { denialCode } from '../../../core/denial.ts';
import { TalosError } from '../../../core/errors.ts';
import type { JsonObject, JsonValue } from '../../../core/json.ts';
import type {
  Submission,
  Submit,
  SubmitEvents,
  SubmitSurface,
  Submitted,
  SubmittedEvent,
} from '../../../gateway/submit-events.ts';
import { type AuthenticateRequest, authenticated, callerOf, type FactsOf } from '../../caller.ts';
import type { App } from '../../fastify.ts';

const Metadata = Type.Optional(
  Type.Union([Type.Record(Type.String(), Type.Unknown()), Type.Null()], {
    description: 'Scalars are part of the record; what does not fit is kept beside it and bound to it by its hash.',
  }),
);
const Resource = Type.Optional(
  Type.Union([Type.String({ minLength: 1, maxLength: bounds.recordNameCharsMax }), Type.Null()]),
);

/** One event, as clients send it. */
export const SubmittedEventBody = Type.Object({
  event_type: Type.String({ minLength: 1, maxLength: bounds.recordNameCharsMax }),
  actor: Type.String({ minLength: 1, maxLength: bounds.recordNameCharsMax }),
  action: Type.String({ minLength: 1, maxLength: bounds.metaStringCharsMax }),
  resource: Resource,
  metadata: Metadata,
});

const LogEntry = Type.Object({
  event_type: Type.String({ minLength: 1, maxLength: bounds.recordNameCharsMax }),
  action: Type.String({ minLength: 1, maxLength: bounds.metaStringCharsMax }),
  resource: Resource,
  run_id: Type.Optional(Type.String({ maxLength: bounds.metaStringCharsMax })),
  metadata: Metadata,
});

const Accepted = Type.Object({
  event_id: Type.String(),
  timestamp: Type.Integer({ description: 'Unix seconds.' }),
  event_type: Type.String(),
  actor: Type.String(),
  action: Type.String(),
  resource: Type.Union([Type.String(), Type.Null()]),
  integrity_hash: Type.String({ description: 'hex sha256 of the canonical record.' }),
  seq: Type.Integer({ description: 'Index of the record in the log, from 0, without gaps.' }),
  cursor: Type.String(),
});

const BatchAccepted = Type.Object({
  count: Type.Integer(),
  events: Type.Array(
    Type.Object({ event_id: Type.String(), seq: Type.Integer(), cursor: Type.String(), integrity_hash: Type.String() }),
  ),
});

const NotRecorded = Type.Object({
  status: Type.Union([Type.Literal('spooled'), Type.Literal('unrecorded')], {
    description:
      'The log cannot be written. `spooled`: the events are on disk and will be in the log, once. `unrecorded`: they may be lost; this is no acknowledgement.',
  }),
  request_id: Type.String(),
});

const IdempotencyHeader = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: bounds.idempotencyKeyCharsMax,
      pattern: '^[\\x20-\\x7e]+$',
      description:
        'Repeated within a day with the same body, the request is answered as the first time, with `Idempotent-Replayed: true`; with another body it is refused with 409.',
    }),
  ),
});

export interface SubmitRouteDeps {
  readonly authenticate: AuthenticateRequest;
  readonly submitEvents: SubmitEvents;
  readonly factsOf: FactsOf;
}

export function submitEventRoutes(app: App, deps: SubmitRouteDeps): void {
  const admission = new WeakMap<FastifyRequest, Submit>();
  const authentication = authenticated(deps.authenticate, 'open');
  // Who may not submit is told so before a body is read that may be large.
  const admitted = (surfaceId: SubmitSurface) => [
    authentication,
    async (request: FastifyRequest) => void admission.set(request, await admit(deps, request, surfaceId)),
  ];

  app.post(
    '/api/events',
    {
      config: { surface: 'events.submit', legacyErrorKey: 'error' },
      schema: {
        tags: ['Events'],
        summary: 'Submit an event',
        headers: IdempotencyHeader,
        body: SubmittedEventBody,
        response: { 200: Accepted, 202: NotRecorded },
      },
      onRequest: admitted('events.submit'),
    },
    async (request, reply) => {
      const submitted = await submit(admission.get(request), request, reply, [request.body]);
      if (submitted.kind !== 'recorded') return reply.code(202).send(notRecorded(request, submitted.kind));
      return accepted(reply, request.body, submitted.committed[0] as CommittedEvent);
    },
  );

  app.post(
    '/api/events/log',
    {
      config: { surface: 'events.submit.log', legacyErrorKey: 'error' },
      schema: {
        tags: ['Events'],
        summary: 'Submit an event (older form)',
        headers: IdempotencyHeader,
        body: LogEntry,
        response: { 200: Accepted, 202: NotRecorded },
      },
      onRequest: admitted('events.submit.log'),
    },
    async (request, reply) => {
      const event = fromLogEntry(request.body, callerOf(request).principal);
      const submitted = await submit(admission.get(request), request, reply, [event]);
      if (submitted.kind !== 'recorded') return reply.code(202).send(notRecorded(request, submitted.kind));
      return accepted(reply, event, submitted.committed[0] as CommittedEvent);
    },
  );

  app.post(
    '/api/events/batch',
    {
      config: { surface: 'events.submit.batch', legacyErrorKey: 'error' },
      bodyLimit: bounds.batchBodyBytesMax,
      schema: {
        tags: ['Events'],
        summary: 'Submit up to 1,000 events, all or none',
        description: 'A JSON array, or NDJSON with the content type `application/x-ndjson`.',
        headers: IdempotencyHeader,
        body: Type.Array(SubmittedEventBody, { minItems: 1, maxItems: bounds.batchEventsMax }),
        response: { 200: BatchAccepted, 202: NotRecorded },
      },
      onRequest: admitted('events.submit.batch'),
    },
    async (request, reply) => {
      const submitted = await submit(admission.get(request), request, reply, request.body);
      if (submitted.kind !== 'recorded') return reply.code(202).send(notRecorded(request, submitted.kind));
      const { committed } = submitted;
      // The others follow it in the log without a gap.
      reply.header('x-talos-audit-ref', (committed[0] as CommittedEvent).eventId);
      return {
        count: committed.length,
        events: committed.map(({ eventId, seq, cursor, eventHash }) => ({
          event_id: eventId,
          seq,
          cursor,
          integrity_hash: eventHash,
        })),
      };
    },
  );
}

async function admit(deps: SubmitRouteDeps, request: FastifyRequest, surfaceId: SubmitSurface): Promise<Submit> {
  try {
    return await deps.submitEvents({ surfaceId, caller: callerOf(request), facts: deps.factsOf(request) });
  } catch (error) {
    throw withLegacySentence(error);
  }
}

async function submit(
  admitted: Submit | undefined,
  request: FastifyRequest,
  reply: FastifyReply,
  events: readonly (Static<typeof SubmittedEventBody> | SubmittedEvent)[],
): Promise<Submitted> {
  if (admitted === undefined) throw new Error('The route does not admit its caller.');
  const submitted = await admitted({ events: events as readonly SubmittedEvent[], ...idempotencyOf(request) });
  const isReplayed = submitted.kind === 'recorded' && submitted.committed[0]?.reservation === 'replayed';
  if (isReplayed) reply.header('idempotent-replayed', 'true');
  return submitted;
}

function notRecorded(request: FastifyRequest, status: 'spooled' | 'unrecorded'): Static<typeof NotRecorded> {
  return { status, request_id: request.id };
}

function idempotencyOf({ headers, body }: FastifyRequest): Pick<Submission, 'idempotency'> {
  const key = headers['idempotency-key'];
  return typeof key === 'string' ? { idempotency: { key, body: body as JsonValue } } : {};
}

// Existing clients tell this refusal by its words.
function withLegacySentence(error: unknown): unknown {
  const isNoCapability = error instanceof TalosError && error.details?.['denial_reason'] === 'NO_CAPABILITY';
  if (!isNoCapability || error.code !== denialCode('NO_CAPABILITY')) return error;
  const { details, auditRef } = error;
  return new TalosError('EVENT_SUBMISSION_DISABLED', {
    ...(details === undefined ? {} : { details }),
    ...(auditRef === undefined ? {} : { auditRef }),
  });
}

function fromLogEntry(entry: Static<typeof LogEntry>, principal: { authMode: string; id?: string }): SubmittedEvent {
  const { run_id: runId, metadata, ...event } = entry;
  const runMember = runId === undefined ? {} : { run_id: runId };
  return {
    ...event,
    actor: principal.id ?? 'anonymous',
    metadata: { ...(metadata as JsonObject | null | undefined), ...runMember },
  } as SubmittedEvent;
}

function accepted(
  reply: { header: (name: string, value: string) => unknown },
  event: Static<typeof SubmittedEventBody> | SubmittedEvent,
  committed: CommittedEvent,
): Static<typeof Accepted> {
  reply.header('x-talos-audit-ref', committed.eventId);
  return {
    event_id: committed.eventId,
    timestamp: Math.floor(committed.timeMs / 1000),
    event_type: event.event_type,
    actor: event.actor,
    action: event.action,
    resource: event.resource ?? null,
    integrity_hash: committed.eventHash,
    seq: committed.seq,
    cursor: committed.cursor,
  };
}
