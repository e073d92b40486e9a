/** Why a session ends, in the words of its protocol: the code of the error message, and the close code of the WebSocket. */
import { TalosError } from '../core/errors.ts';
import type { Ending, EndReason } from '../stream/ending.ts';

export type StreamErrorCode =
  | 'AUTH_FAILED'
  | 'CAPABILITY_EXPIRED'
  | 'INVALID_MESSAGE'
  | 'RATE_LIMITED'
  | 'SLOW_CONSUMER'
  | 'INTERNAL_ERROR';

interface EndingSpec {
  /** Undefined when there is no error, or nobody to be told of it. */
  readonly code: StreamErrorCode | undefined;
  readonly closeCode: number;
  /** The reason in the close frame. */
  readonly name: string;
}

/** By `EndReason`. */
export const endings: Readonly<Record<EndReason, EndingSpec>> = {
  slow_consumer: { code: 'SLOW_CONSUMER', closeCode: 4000, name: 'SLOW_CONSUMER' },
  auth_failed: { code: 'AUTH_FAILED', closeCode: 4001, name: 'AUTH_FAILED' },
  capability_expired: { code: 'CAPABILITY_EXPIRED', closeCode: 4002, name: 'CAPABILITY_EXPIRED' },
  invalid_message: { code: 'INVALID_MESSAGE', closeCode: 4003, name: 'INVALID_FORMAT' },
  internal_error: { code: 'INTERNAL_ERROR', closeCode: 4004, name: 'INTERNAL_ERROR' },
  rate_limited: { code: 'RATE_LIMITED', closeCode: 4005, name: 'POLICY_VIOLATION' },
  shutdown: { code: undefined, closeCode: 1001, name: 'SERVER_SHUTTING_DOWN' },
  client_left: { code: undefined, closeCode: 1000, name: '' },
  silent: { code: undefined, closeCode: 1001, name: '' },
};

/** What a session ends with when something threw. */
export function endingOfError(error: unknown): Ending {
  if (!(error instanceof TalosError)) return internalError;
  const { message, details, status } = error;
  if (details?.['denial_reason'] === 'EXPIRED') return { reason: 'capability_expired', message };
  if (details?.['denial_reason'] === 'NO_CAPABILITY') return { reason: 'auth_failed', message: missingScope };
  if (details?.['denial_reason'] === 'SCOPE_MISMATCH') return { reason: 'auth_failed', message: missingScope };
  if (status === 401 || status === 403) return { reason: 'auth_failed', message };
  if (status === 429) return { reason: 'rate_limited', message };
  if (status >= 400 && status < 500) return { reason: 'invalid_message', message };
  return status === 500 ? internalError : { reason: 'internal_error', message };
}

// The words that existing clients know.
const missingScope = 'Missing required capability scope';

const internalError: Ending = { reason: 'internal_error', message: 'An internal error occurred.' };
