/** A denial, recorded and turned into the error that the caller gets: the record is durable before the error is thrown. */
import type { Recorder } from '../audit/recorder.ts';
import type { EventDraft } from '../core/audit-event.ts';
import { type Denial, denialCode, deny } from '../core/denial.ts';
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

/** A denial on its way to whoever records it, for what a caller asks and not for who asks. */
export class DeniedError extends TalosError {
  readonly denial: Denial;

  constructor(denial: Denial) {
    super(denialCode(denial.reason), { message: denial.message, details: { denial_reason: denial.reason } });
    this.denial = denial;
  }
}

/** The error of what nobody may do as it is asked. `detail` is the word of the record. */
export function notTheirs(detail: string, message: string): DeniedError {
  return new DeniedError({ ...deny('SCOPE_MISMATCH', detail), message });
}

/** The denial that an error says; undefined for one that is none. */
export function denialIn(error: TalosError): Denial | undefined {
  if (error instanceof DeniedError) return error.denial;
  return error.status === 403 ? deny('SCOPE_MISMATCH', error.code.toLowerCase()) : undefined;
}

/**
 * Throws the denial's error; when the caller is known, only after the record of it is durable. `meta` says what was asked
 * for, where the surface alone does not, and `by` at which address, where that is another surface's.
 */
export type Refuse = (
  surfaceId: SurfaceId,
  denial: Denial,
  caller: Caller,
  facts: RequestFacts,
  meta?: EventDraft['meta'],
  by?: SurfaceId,
) => Promise<never>;

export function createRefuse(recorder: Pick<Recorder, 'record'>): Refuse {
  return async (surfaceId, denial, caller, facts, meta = {}, by = surfaceId) => {
    // A stranger's refusals must not be able to fill the log.
    if (caller.principal.authMode === 'anonymous') throw denialError(denial);
    const draft = refusalDraft(surfaceId, denial, caller, facts);
    const http = surfaceHttp(by, errorTable[denialCode(denial.reason)].status, facts);
    const { eventId } = await recorder.record({ ...draft, http, meta: { ...meta, ...draft.meta } });
    throw denialError(denial, eventId);
  };
}

function refusalDraft(
  surfaceId: SurfaceId,
  denial: Denial,
  caller: Caller,
  facts: RequestFacts,
): Omit<EventDraft, 'http'> {
  return {
    surfaceId,
    requestId: facts.requestId,
    outcome: 'denied',
    principal: caller.principal,
    resource: { type: 'surface', id: surfaceId },
    meta: { event_type: 'authorization', ...denialMeta(denial, caller) },
  };
}
