/**
 * Events that clients report themselves. They become records like any other, but a client can neither choose a surface
 * nor set a key that the gateway itself writes: it cannot forge a record of the gateway.
 */
import type { EventSink, Submitted } from '../audit/event-sink.ts';
import { bounds } from '../config/bounds.ts';
import type { EventDraft, Reservation } from '../core/audit-event.ts';
import { canonicalize } from '../core/canonical-json.ts';
import { withCommitments } from '../core/erasable.ts';
import { TalosError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import type { JsonObject, JsonScalar, JsonValue } from '../core/json.ts';
import { anonymous, type Principal, reservedPrincipalIds, teamDefault } from '../core/principal.ts';
import { surfaceHttp } from '../core/surface-http.ts';
import { gatewayMetaKeys } from '../core/surfaces.ts';
import type { AuthorizeAction } from './authorize-action.ts';
import type { Caller, RequestFacts } from './caller.ts';

/** An event as clients send it. */
export interface SubmittedEvent {
  readonly event_type: string;
  readonly actor: string;
  readonly action: string;
  readonly resource?: string | null;
  readonly metadata?: JsonObject | null;
}

export type SubmitSurface = 'events.submit' | 'events.submit.batch' | 'events.submit.log';

/** Who wants to submit, and how. */
export interface SubmitEventsRequest {
  readonly surfaceId: SubmitSurface;
  readonly caller: Caller;
  readonly facts: RequestFacts;
}

/** What is submitted. */
export interface Submission {
  readonly events: readonly SubmittedEvent[];
  /** Under the same key of the same caller the same body is recorded once; a day later the key is free again. */
  readonly idempotency?: { readonly key: string; readonly body: JsonValue };
}

export type { Submitted };

export interface SubmitEventsOptions {
  readonly authorizeAction: AuthorizeAction;
  /** Where the events go, by the policy for a log that cannot be written. */
  readonly submit: EventSink['submit'];
  /** Keys of metadata that records hold commitments to, while the values can be erased. */
  readonly erasable: ReadonlySet<string>;
}

/**
 * Records all of the events or none. Resolves once they are durable, with their places in the order given, or with what
 * the failure policy made of them. Throws `IDEMPOTENCY_CONFLICT`.
 */
export type Submit = (submission: Submission) => Promise<Submitted>;

/** Resolves when the caller may submit, so that it is known before anything of theirs is read; otherwise throws the denial. */
export type SubmitEvents = (request: SubmitEventsRequest) => Promise<Submit>;

export function createSubmitEvents(options: SubmitEventsOptions): SubmitEvents {
  return async (request) => {
    await options.authorizeAction(request.surfaceId, request.caller, request.facts);
    return async (submission) => {
      const drafts = submission.events.map((event) => eventDraft(request, event, options.erasable));
      const submitted = await options.submit(underKey(request, submission, drafts));
      const first = submitted.kind === 'recorded' ? submitted.committed[0] : undefined;
      if (first?.reservation === 'conflict') throw new TalosError('IDEMPOTENCY_CONFLICT', { auditRef: first.eventId });
      return submitted;
    };
  };
}

/** The drafts as one group under the caller's key, when there is one. */
function underKey(
  { surfaceId, caller }: SubmitEventsRequest,
  { idempotency }: Submission,
  drafts: readonly EventDraft[],
): readonly EventDraft[] {
  const [first, ...rest] = drafts;
  if (idempotency === undefined || first === undefined) return drafts;
  const { principal } = caller;
  const owner = principal.authMode === 'bearer' ? [principal.id, principal.teamId] : [];
  const reserves: Reservation = {
    keyHash: sha256Hex(canonicalize([surfaceId, idempotency.key, ...owner])),
    bodyHash: sha256Hex(canonicalize(idempotency.body)),
    records: drafts.length,
  };
  return [{ ...first, companions: { ...first.companions, reserves } }, ...rest];
}

function eventDraft(
  request: SubmitEventsRequest,
  event: SubmittedEvent,
  erasableKeys: ReadonlySet<string>,
): EventDraft {
  const { caller, facts, surfaceId } = request;
  const { metadata, erasable } = withCommitments(event.metadata ?? {}, erasableKeys);
  const { meta, details } = splitMetadata(metadata);
  return {
    surfaceId,
    requestId: facts.requestId,
    outcome: 'success',
    principal: actorOf(event.actor, caller.principal),
    http: surfaceHttp(surfaceId, 200, facts),
    resource: { type: 'event', id: event.resource ?? event.event_type },
    meta: { ...meta, event_type: event.event_type, action: event.action, submitted_by: submitter(caller.principal) },
    ...(details === undefined ? {} : { details }),
    ...(erasable.length === 0 ? {} : { companions: { erasable } }),
  };
}

/**
 * The actor is what the client says; who said so is in `meta.submitted_by`. Throws `INVALID_REQUEST` for a name that is the
 * gateway's alone, but for callers without a name, who may speak of themselves.
 */
function actorOf(actor: string, submitter: Principal): Principal {
  if (submitter.authMode === 'anonymous' && actor === 'anonymous') return anonymous;
  if (reservedPrincipalIds.has(actor)) {
    throw new TalosError('INVALID_REQUEST', {
      message: `actor must not be ${actor}: the gateway alone gives that name.`,
    });
  }
  return { authMode: 'bearer', id: actor, teamId: submitter.authMode === 'bearer' ? submitter.teamId : teamDefault };
}

function submitter(principal: Principal): string {
  return principal.authMode === 'bearer' ? principal.id : 'anonymous';
}

// Two keys of the gateway's are also for clients, to group their events by.
const sharedKeys: ReadonlySet<string> = new Set(['session_id', 'correlation_id']);

function isReserved(key: string): boolean {
  return gatewayMetaKeys.has(key) && !sharedKeys.has(key);
}

// Room for what the gateway adds: event_type, action, submitted_by, details_hash, spooled_at.
const ownKeys = 5;

/**
 * What fits `meta` goes there. When anything does not (nested, long, too much, reserved), the whole of the metadata is
 * kept as details, which the record is bound to by their hash: nothing that a client sent is dropped.
 */
function splitMetadata(metadata: JsonObject): { meta: Record<string, JsonScalar>; details: JsonObject | undefined } {
  const entries = Object.entries(metadata);
  const fitting = withRoom(entries.filter(fits).slice(0, bounds.metaKeysMax - ownKeys) as [string, JsonScalar][]);
  const details = fitting.length === entries.length ? undefined : metadata;
  return { meta: Object.fromEntries(fitting), details };
}

/** The first of them, as many as a record has room for. */
function withRoom(entries: readonly [string, JsonScalar][]): [string, JsonScalar][] {
  let bytes = 0;
  return entries.filter(([key, value]) => {
    bytes += Buffer.byteLength(canonicalize({ [key]: value }));
    return bytes <= bounds.metaBytesMax;
  });
}

function fits([key, value]: [string, JsonValue]): boolean {
  if (isReserved(key) || key === '__proto__') return false;
  if (typeof value === 'string') return value.length <= bounds.metaStringCharsMax;
  return typeof value === 'number' || typeof value === 'boolean' || value === null;
}
