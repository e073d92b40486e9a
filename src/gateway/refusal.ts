/** A denial, recorded and turned into the error that the caller gets: the record is durable before the error is thrown. */
import type { Recorder } from '../audit/recorder.ts';
import type { EventDraft } from '../core/audit-event.ts';
import { type Denial, denialCode } from '../core/denial.ts';
import { errorTable, TalosError } from '../core/errors.ts';
import { surfaceHttp } from '../core/surface-http.ts';
import type { SurfaceId } from '../core/surfaces.ts';
import type { Caller, RequestFacts } from './caller.ts';
import { rightMeta } from './right-meta.ts';

/** What a denial says in a record's `meta`. */
export function denialMeta(denial: Denial, caller: Caller): EventDraft['meta'] {
  return {
    denial_reason: denial.reason,
    denial_detail: denial.detail,
    ...rightMeta(caller),
  };
}

/** The error that a denial is answered with. */
export function denialError(denial: Denial, auditRef?: string): TalosError {
  return new TalosError(denialCode(denial.reason), {
    message: denial.message,
    details: { denial_reason: denial.reason },
    ...(denial.retryable === undefined ? {} : { retryable: denial.retryable }),
    ...(auditRef === undefined ? {} : { auditRef }),
  });
}

/**
 * Throws the denial's error; when the caller is known, only after the record of it is durable. `meta` says what was asked
 * for, where the surface alone does not.
 */
export type Refuse = (
  surfaceId: SurfaceId,
  denial: Denial,
  caller: Caller,
  facts: RequestFacts,
  meta?: EventDraft['meta'],
) => Promise<never>;

export function createRefuse(recorder: Pick<Recorder, 'record'>): Refuse {
  return async (surfaceId, denial, caller, facts, meta = {}) => {
    // A stranger's refusals must not be able to fill the log.
    if (caller.principal.authMode === 'anonymous') throw denialError(denial);
    const draft = refusalDraft(surfaceId, denial, caller, facts);
    const { eventId } = await recorder.record({ ...draft, meta: { ...meta, ...draft.meta } });
    throw denialError(denial, eventId);
  };
}

function refusalDraft(surfaceId: SurfaceId, denial: Denial, caller: Caller, facts: RequestFacts): EventDraft {
  const statusCode = errorTable[denialCode(denial.reason)].status;
  return {
    surfaceId,
    requestId: facts.requestId,
    outcome: 'denied',
    principal: caller.principal,
    http: surfaceHttp(surfaceId, statusCode, facts),
    resource: { type: 'surface', id: surfaceId },
    meta: { event_type: 'authorization', ...denialMeta(denial, caller) },
  };
}
