/**
 * One administrative change: authorised, made while no other is, and answered only when the record that carries it is
 * durable. What is refused for its content is on record too.
 */
import type { Recorder } from '../audit/recorder.ts';
import type { Companions, EventDraft } from '../core/audit-event.ts';
import { describeError, TalosError } from '../core/errors.ts';
import type { RoleScope } from '../core/role-scope.ts';
import { surfaceHttp } from '../core/surface-http.ts';
import type { SurfaceId } from '../core/surfaces.ts';
import type { ChangeLock } from '../storage/change-lock.ts';
import type { AuthorizeAction } from './authorize-action.ts';
import type { Caller, RequestFacts } from './caller.ts';
import { denialIn, denialMeta } from './refusal.ts';
import { rightMeta } from './right-meta.ts';

export interface AdminRequest {
  readonly caller: Caller;
  readonly facts: RequestFacts;
}

/** What is asked to be changed. */
export interface Change<T> {
  readonly surfaceId: SurfaceId;
  readonly resource: EventDraft['resource'];
  /** Scopes of roles that the request lies in beside the whole gateway. */
  readonly scopes?: readonly RoleScope[];
  /** Judges the change by what there is now. Throws the `TalosError` that it is refused with. */
  readonly prepare: () => Promise<Prepared<T>>;
}

/** What commits with the record, what the record says of it, and the answer. */
export interface Prepared<T> {
  readonly companions: Companions;
  readonly meta?: EventDraft['meta'];
  readonly details?: EventDraft['details'];
  readonly answer: T;
}

export interface Administered<T> {
  readonly answer: T;
  /** The id of the record. */
  readonly auditRef: string;
}

export interface AdministerOptions {
  readonly authorizeAction: AuthorizeAction;
  readonly recorder: Pick<Recorder, 'record'>;
  readonly changeLock: ChangeLock;
}

/** Throws the denial, what `prepare` throws, `STORE_UNAVAILABLE`, or `AUDIT_UNAVAILABLE` when nothing was changed. */
export type Administer = <T>(request: AdminRequest, change: Change<T>) => Promise<Administered<T>>;

export function createAdminister({ authorizeAction, recorder, changeLock }: AdministerOptions): Administer {
  return async (request, change) => {
    await authorizeAction(change.surfaceId, request.caller, request.facts, change.scopes);
    return await changeLock(async () => {
      const { companions, meta = {}, details, answer } = await judged(recorder, request, change, change.prepare);
      const { eventId } = await recorder.record({
        ...draftOf(request, change, 200),
        outcome: 'success',
        meta: { event_type: 'administration', ...rightMeta(request.caller), ...meta },
        companions,
        ...(details === undefined ? {} : { details }),
      });
      return { answer, auditRef: eventId };
    });
  };
}

/** What is asked, as the records name it. */
type Asked = Pick<Change<unknown>, 'surfaceId' | 'resource'>;

/** What `judge` gives. What it throws is on record before it is thrown on. */
export async function judged<T>(
  recorder: Pick<Recorder, 'record'>,
  request: AdminRequest,
  asked: Asked,
  judge: () => Promise<T>,
): Promise<T> {
  try {
    return await judge();
  } catch (error) {
    throw await onRecord(recorder, request, asked, error);
  }
}

/** The error with the reference of the record that tells of it. */
async function onRecord(
  recorder: Pick<Recorder, 'record'>,
  request: AdminRequest,
  asked: Asked,
  thrown: unknown,
): Promise<TalosError> {
  const error =
    thrown instanceof TalosError
      ? thrown
      : new TalosError('INTERNAL', { inside: describeError(thrown), cause: thrown });
  const denial = denialIn(error);
  const { eventId } = await recorder.record({
    ...draftOf(request, asked, error.status),
    outcome: denial === undefined ? 'failure' : 'denied',
    meta: {
      event_type: 'administration',
      code: error.code,
      ...(denial === undefined ? {} : denialMeta(denial, request.caller)),
    },
  });
  if (denial === undefined) return error.with({ auditRef: eventId });
  return error.with({ auditRef: eventId, details: { ...error.details, denial_reason: denial.reason } });
}

function draftOf(
  { caller, facts }: AdminRequest,
  { surfaceId, resource }: Asked,
  statusCode: number,
): Pick<EventDraft, 'surfaceId' | 'requestId' | 'principal' | 'http' | 'resource'> {
  return {
    surfaceId,
    requestId: facts.requestId,
    principal: caller.principal,
    http: surfaceHttp(surfaceId, statusCode, facts),
    resource,
  };
}

/** The record of what an administrator did that changes nothing here, or commits by itself. */
export function adminDraft(
  surfaceId: SurfaceId,
  request: AdminRequest,
  resource: EventDraft['resource'],
  eventType: string,
  meta: EventDraft['meta'],
): EventDraft {
  return {
    ...draftOf(request, { surfaceId, resource }, 200),
    outcome: 'success',
    meta: { event_type: eventType, ...rightMeta(request.caller), ...meta },
  };
}

/** The error of a change that what there is now does not allow. */
export function conflict(message: string): TalosError {
  return new TalosError('CONFLICT', { message });
}
