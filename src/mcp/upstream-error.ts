/**
 * How a call to a tool server fails. The sentence a caller sees is the table's and names neither address nor cause;
 * the technical cause travels inside.
 */
import { TalosError } from '../core/errors.ts';

/** Failures for want of a token that the server takes. */
export type CredentialErrorCode =
  | 'CONNECTION_REQUIRED'
  | 'CONNECTION_EXPIRED'
  | 'CALLER_TOKEN_REQUIRED'
  | 'CREDENTIAL_REFUSED'
  | 'CREDENTIAL_UNAVAILABLE'
  | 'UPSTREAM_SCOPE_INSUFFICIENT';

export type UpstreamErrorCode =
  | 'UPSTREAM_UNAVAILABLE'
  | 'UPSTREAM_TIMEOUT'
  | 'UPSTREAM_INVALID_RESPONSE'
  | 'UPSTREAM_RESPONSE_TOO_LARGE'
  | 'UPSTREAM_BUSY'
  | 'CALL_CANCELLED'
  | CredentialErrorCode;

export interface UpstreamErrorOptions {
  /** False only when surely nothing of the call reached the tool. */
  readonly dispatched: boolean;
  /** For the caller; never a credential, an argument or an address of the server. */
  readonly details?: Readonly<Record<string, unknown>>;
  /** For the operator; never a credential, an argument or a result. */
  readonly inside?: string;
  readonly cause?: unknown;
  /** In how many seconds the server is asked again, where that is known. */
  readonly retryAfterSec?: number;
  /** The gateway could not ask, whatever the server would have said. */
  readonly isOurs?: boolean;
}

export class UpstreamError extends TalosError {
  readonly dispatched: boolean;
  readonly isOurs: boolean;
  declare readonly code: UpstreamErrorCode;

  constructor(code: UpstreamErrorCode, options: UpstreamErrorOptions) {
    super(code, options);
    this.dispatched = options.dispatched;
    this.isOurs = options.isOurs ?? false;
  }
}

/** It cannot be asked, and nothing was sent. */
export function unavailable(inside: string): UpstreamError {
  return new UpstreamError('UPSTREAM_UNAVAILABLE', { dispatched: false, inside });
}

/** It answered something that is no answer, so it may have done what it was asked. */
export function invalidResponse(inside: string): UpstreamError {
  return new UpstreamError('UPSTREAM_INVALID_RESPONSE', { dispatched: true, inside });
}

/** The same of what comes before a call: the call itself was not sent. */
export function invalidBeforeCall(inside: string): UpstreamError {
  return new UpstreamError('UPSTREAM_INVALID_RESPONSE', { dispatched: false, inside });
}

/** For what is asked in a session that is no more: of the server itself it says nothing. */
export function sessionOver(): UpstreamError {
  return new UpstreamError('UPSTREAM_UNAVAILABLE', { dispatched: false, isOurs: true, inside: 'its session is over' });
}

/**
 * The same failure for a call that was not sent because of it: what came before the call (dialling, handshake, listing)
 * failed, so the tool surely did not run.
 */
export function undispatched(error: unknown): unknown {
  if (!(error instanceof UpstreamError) || !error.dispatched) return error;
  return withDispatched(error, false);
}

/** The same failure where something was sent before it: the tool may have run. */
export function dispatchedBefore(error: unknown): unknown {
  if (!(error instanceof UpstreamError) || error.dispatched) return error;
  return withDispatched(error, true);
}

function withDispatched(error: UpstreamError, dispatched: boolean): UpstreamError {
  const { code, cause, inside, details, isOurs, retryAfterSec } = error;
  return new UpstreamError(code, {
    ...{ dispatched, cause, isOurs },
    ...(inside !== undefined && { inside }),
    ...(details !== undefined && { details }),
    ...(retryAfterSec !== undefined && { retryAfterSec }),
  });
}
