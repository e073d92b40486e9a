/** Why a session ends. */
export type EndReason =
  | 'client_left'
  | 'slow_consumer'
  | 'auth_failed'
  | 'capability_expired'
  | 'invalid_message'
  | 'rate_limited'
  | 'internal_error'
  | 'silent'
  | 'shutdown';

export interface Ending {
  readonly reason: EndReason;
  /** The sentence that the client sees. */
  readonly message: string;
  /** For `shutdown`: when to connect again. */
  readonly retryAfterMs?: number;
}
