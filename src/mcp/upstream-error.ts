/**
 * How a call to a tool server fails. The sentence a caller sees is the table's and names neither address nor cause;
 * the technical cause travels inside.
 */
import { TalosError } from '../core/errors.ts';

export type UpstreamErrorCode =
  | 'UPSTREAM_UNAVAILABLE'
  | 'UPSTREAM_TIMEOUT'
  | 'UPSTREAM_INVALID_RESPONSE'
  | 'UPSTREAM_RESPONSE_TOO_LARGE'
  | 'UPSTREAM_BUSY'
  | 'CALL_CANCELLED';

export interface UpstreamErrorOptions {
  /** False only when surely nothing of the call reached the tool. */
  readonly dispatched: boolean;
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

/**
 * The same failure for a call that was not sent because of it: what came before the call (dialling, handshake, listing)
 * failed, so the tool surely did not run.
 */
export function undispatched(error: unknown): unknown {
  if (!(error instanceof UpstreamError) || !error.dispatched) return error;
  return new UpstreamError(error.code, {
    dispatched: false,
    cause: error.cause,
    ...(error.inside && { inside: error.inside }),
  });
}
