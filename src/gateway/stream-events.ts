/**
 * A session that watches the log: only for those who may, with what they may see, and on record from its opening to its
 * closing. No record, no session.
 */
import type { Recorder } from '../audit/recorder.ts';
import { bounds } from '../config/bounds.ts';
import type { CommittedEvent, EventDraft } from '../core/audit-event.ts';
import { canonicalize } from '../core/canonical-json.ts';
import { type Denial, deny } from '../core/denial.ts';
import { TalosError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import type { JsonObject } from '../core/json.ts';
import { openTicket, sealTicket, ticketHash } from '../core/sealed-ticket.ts';
import { surfaceHttp } from '../core/surface-http.ts';
import type { SurfaceId } from '../core/surfaces.ts';
import type { PolicyMode } from '../policy/decide.ts';
import type { EventFilter } from '../storage/events.ts';
import type { SingleUseStore } from '../storage/single-use.ts';
import type { AuthorizeAction } from './authorize-action.ts';
import type { Caller } from './caller.ts';
import { type ReadRequest, teamFilter } from './read-events.ts';
import type { Refuse } from './refusal.ts';
import { rightMeta } from './right-meta.ts';

export type StreamSurface = Extract<SurfaceId, 'events.stream' | 'events.sse' | 'events.sse.api'>;

export interface WatchRequest extends ReadRequest {
  readonly surfaceId: StreamSurface | 'gateway.sessions';
}

export interface OpenStreamRequest extends ReadRequest {
  readonly surfaceId: StreamSurface;
  /** A UUID that the gateway made. */
  readonly sessionId: string;
  readonly transport: 'websocket' | 'sse';
  /** What the client asked for, as its record tells it. */
  readonly filter: object;
  /** The cursor that it goes on at. */
  readonly resumedFrom?: string;
  /** Good once for each principal. */
  readonly nonce?: string;
}

export interface ClosedStream {
  readonly endedBy: string;
  readonly eventsSent: number;
  readonly durationMs: number;
}

export type VisibleFilter = Pick<EventFilter, 'teams'>;

export interface StreamEvents {
  /** What the caller may see now. Throws the denial. */
  readonly authorise: (request: WatchRequest) => Promise<VisibleFilter>;
  /** The same, and the durable record of the session's opening: the stream is what comes after it. */
  readonly open: (request: OpenStreamRequest) => Promise<{ visible: VisibleFilter; opened: CommittedEvent }>;
  readonly closed: (request: OpenStreamRequest, closed: ClosedStream) => Promise<void>;
  /** Why the caller's capability does not hold any more; a look at the clock and at what is in memory. */
  readonly validity: (caller: Caller) => Denial | undefined;
  /** A ticket for the credentials, which are judged again when it is used. Throws the denial. */
  readonly issueTicket: (
    request: ReadRequest,
    credentials: JsonObject,
  ) => Promise<{ ticket: string; auditRef: string }>;
  /** The credentials that the ticket was issued for. Throws `AUTH_INVALID` for what is not a ticket, or not any more. */
  readonly redeemTicket: (ticket: string) => Promise<JsonObject>;
}

export interface StreamEventsOptions {
  readonly authorizeAction: AuthorizeAction;
  readonly policyMode: PolicyMode;
  readonly refuse: Refuse;
  readonly recorder: Pick<Recorder, 'record'>;
  readonly once: SingleUseStore;
  readonly validity: (caller: Caller) => Denial | undefined;
}

export function createStreamEvents(options: StreamEventsOptions): StreamEvents {
  const { authorizeAction, policyMode, refuse, recorder, once, validity } = options;

  async function authorise({ surfaceId, caller, facts }: WatchRequest): Promise<VisibleFilter> {
    await authorizeAction(surfaceId, caller, facts);
    return teamFilter('events.read', caller, policyMode);
  }

  return {
    authorise,
    validity,
    async open(request) {
      const { surfaceId, caller, facts, nonce } = request;
      const visible = await authorise(request);
      // Spent only by those who may: a stranger cannot spend the nonce of somebody else, nor fill the store.
      const isFresh = nonce === undefined || (await once.spend(nonceHash(caller, nonce), bounds.streamNonceKeptSec));
      if (!isFresh) await refuse(surfaceId, deny('REPLAY'), caller, facts);
      return { visible, opened: await recorder.record(openDraft(request)) };
    },
    async closed(request, closed) {
      await recorder.record(closeDraft(request, closed));
    },
    async issueTicket({ caller, facts }, credentials) {
      // Of the stream that it is for: asking for a ticket changes nothing that a read-only capability protects.
      await authorizeAction('events.stream', caller, facts);
      const { ticket, hash, sealed } = sealTicket(canonicalize(credentials));
      await once.put(hash, sealed, bounds.streamTicketSec);
      const { eventId } = await recorder.record(ticketDraft({ caller, facts }));
      return { ticket, auditRef: eventId };
    },
    async redeemTicket(ticket) {
      const sealed = await once.take(ticketHash(ticket));
      if (sealed === undefined) {
        throw new TalosError('AUTH_INVALID', { message: 'The ticket is not one, was used, or is too old.' });
      }
      return JSON.parse(openTicket(ticket, sealed)) as JsonObject;
    },
  };
}

function nonceHash({ principal }: Caller, nonce: string): string {
  const owner = principal.authMode === 'bearer' ? [principal.id, principal.teamId] : [];
  return sha256Hex(canonicalize(['stream', nonce, ...owner]));
}

const openStatus = { websocket: 101, sse: 200 } as const;

function openDraft(request: OpenStreamRequest): EventDraft {
  return {
    ...sessionDraft(request, openStatus[request.transport]),
    meta: {
      ...sessionMeta(request),
      event_type: 'session_open',
      stream_filter: filterText(request.filter),
      stream_resumed_from: request.resumedFrom,
    },
  };
}

function closeDraft(request: OpenStreamRequest, { endedBy, eventsSent, durationMs }: ClosedStream): EventDraft {
  return {
    ...sessionDraft(request, 200),
    meta: {
      ...sessionMeta(request),
      event_type: 'session_close',
      stream_ended_by: endedBy,
      stream_events_sent: eventsSent,
      stream_duration_ms: durationMs,
    },
  };
}

function sessionDraft({ surfaceId, caller, facts, sessionId }: OpenStreamRequest, statusCode: number) {
  return {
    surfaceId,
    requestId: facts.requestId,
    outcome: 'success',
    principal: caller.principal,
    http: surfaceHttp(surfaceId, statusCode, facts),
    resource: { type: 'session', id: sessionId },
  } as const;
}

function sessionMeta({ caller, sessionId, transport }: OpenStreamRequest): EventDraft['meta'] {
  return {
    session_id: sessionId,
    stream_transport: transport,
    ...rightMeta(caller),
  };
}

/** What was asked for, when it is not more than a record can hold. */
function filterText(filter: object): string | undefined {
  const text = JSON.stringify(filter);
  return text === '{}' || text.length > bounds.metaStringCharsMax ? undefined : text;
}

function ticketDraft({ caller, facts }: ReadRequest): EventDraft {
  return {
    surfaceId: 'events.ticket',
    requestId: facts.requestId,
    outcome: 'success',
    principal: caller.principal,
    http: surfaceHttp('events.ticket', 200, facts),
    resource: { type: 'ticket', id: 'events.stream' },
    meta: { event_type: 'ticket_issued', ...rightMeta(caller) },
  };
}
