/** Why a stream ends for good. Everything else is mended by connecting again. */

/**
 * What the gateway said (`AUTH_FAILED`, `CAPABILITY_EXPIRED`, `INVALID_MESSAGE`), or that what was to be shown to it
 * could not be had (`CREDENTIALS_UNAVAILABLE`).
 */
export type StreamErrorCode = 'AUTH_FAILED' | 'CAPABILITY_EXPIRED' | 'INVALID_MESSAGE' | 'CREDENTIALS_UNAVAILABLE';

export class StreamError extends Error {
  override readonly name = 'StreamError';
  readonly code: StreamErrorCode;

  constructor(code: StreamErrorCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
  }
}
