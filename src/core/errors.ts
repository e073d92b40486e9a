/**
 * Every error the gateway can answer with, in one table: HTTP status, the sentence a caller sees, and whether the same
 * request may succeed later. Deeper rooms throw a `TalosError` by code and know no HTTP; only `http/` and the records
 * read the status. `docs/errors.md` lists the same table and a test compares the two.
 */

interface ErrorSpec {
  readonly status: number;
  /** The outside sentence when the thrower gives no better one. Must not reveal inside detail. */
  readonly message: string;
  readonly retryable: boolean;
}

export const errorTable = {
  // The request itself
  INVALID_JSON: { status: 400, message: 'The body is not valid JSON.', retryable: false },
  INVALID_REQUEST: { status: 400, message: 'The request is not valid.', retryable: false },
  VALIDATION_FAILED: { status: 422, message: 'The request does not match its schema.', retryable: false },
  TALOS_INVALID_CURSOR: { status: 400, message: 'The cursor is not one that this gateway issued.', retryable: false },
  PAYLOAD_TOO_LARGE: { status: 413, message: 'The body is larger than this route accepts.', retryable: false },
  UNSUPPORTED_MEDIA_TYPE: { status: 415, message: 'Send the body as application/json.', retryable: false },
  NOT_FOUND: { status: 404, message: 'Not Found', retryable: false },
  MISDIRECTED_REQUEST: {
    status: 421,
    message: 'In development mode the gateway answers only to localhost and to addresses.',
    retryable: false,
  },
  METHOD_NOT_ALLOWED: { status: 405, message: 'Method Not Allowed', retryable: false },
  REQUEST_TIMEOUT: { status: 408, message: 'The request took too long to arrive.', retryable: true },
  HEADERS_TOO_LARGE: { status: 431, message: 'The request headers are too large.', retryable: false },

  UPGRADE_REQUIRED: { status: 426, message: 'This address speaks WebSocket only.', retryable: false },

  // Who is it, may they
  AUTH_MISSING: { status: 401, message: 'Missing Authorization header', retryable: false },
  AUTH_SCHEME: { status: 401, message: 'Invalid authorization scheme', retryable: false },
  AUTH_INVALID: { status: 401, message: 'The credential is not valid.', retryable: false },
  REPLAY_DETECTED: { status: 401, message: 'The attested request has been seen before.', retryable: false },
  IDENTITY_PROVIDER_UNAVAILABLE: {
    status: 503,
    message: 'The issuer of the token cannot be asked for its keys. Try again.',
    retryable: true,
  },
  API_KEYS_DISABLED: {
    status: 501,
    message: 'This gateway has no pepper to keep API keys under (TALOS_API_KEY_PEPPER).',
    retryable: false,
  },
  ISSUER_NOT_CONFIGURED: {
    status: 501,
    message: 'This gateway has no key to sign capabilities with (TALOS_ISSUER_KEY_FILE).',
    retryable: false,
  },
  ADMIN_SECRET_MISSING: {
    status: 500,
    message: 'This gateway has no admin secret to sign tokens with (AUTH_ADMIN_SECRET).',
    retryable: false,
  },
  ADMIN_AUTH_INVALID: { status: 403, message: 'Invalid authentication credentials', retryable: false },
  ORIGIN_NOT_ALLOWED: { status: 403, message: 'Pages of this origin may not connect here.', retryable: false },
  TALOS_DENIED: { status: 403, message: 'The capability does not allow this.', retryable: false },
  TALOS_INVALID_CAPABILITY: { status: 403, message: 'The capability is not valid.', retryable: false },
  EVENT_SUBMISSION_DISABLED: {
    status: 403,
    message: 'Direct audit submission disabled in production. Audits are generated as side-effects.',
    retryable: false,
  },

  // How often, and who counts
  RATE_LIMITED: { status: 429, message: 'Too many requests', retryable: true },
  RATE_LIMITER_UNAVAILABLE: {
    status: 503,
    message: 'The limits cannot be checked, so nothing was done. Try again.',
    retryable: true,
  },

  // Roles, secrets and the configuration
  ROLE_BUILT_IN: { status: 403, message: 'A built-in role cannot be changed.', retryable: false },
  SECRET_READ_ONLY: {
    status: 403,
    message: 'This is a variable of the environment of the gateway, which cannot be changed from here.',
    retryable: false,
  },
  CONFLICT: { status: 409, message: 'This does not go with what is there.', retryable: false },
  CONFIG_SNAPSHOT_INVALID: { status: 400, message: 'Invalid config snapshot', retryable: false },
  CONFIG_CHANGE_REFUSED: {
    status: 409,
    message: 'The snapshot changes what only a restart can change.',
    retryable: false,
  },
  SECRETS_UNREADABLE: { status: 503, message: 'The keys of the secrets cannot be used.', retryable: false },

  // The tool servers behind us
  SERVER_NOT_FOUND: { status: 404, message: 'The server is not in the gateway registry.', retryable: false },
  TOOL_NOT_FOUND: { status: 404, message: 'Tool not found', retryable: false },
  UPSTREAM_UNAVAILABLE: { status: 502, message: 'The tool server could not be reached.', retryable: true },
  UPSTREAM_INVALID_RESPONSE: {
    status: 502,
    message: 'The tool server answered something that is not a valid response.',
    retryable: false,
  },
  UPSTREAM_RESPONSE_TOO_LARGE: {
    status: 502,
    message: 'The tool server answered more than the gateway accepts.',
    retryable: false,
  },
  UPSTREAM_TIMEOUT: { status: 504, message: 'The tool server did not answer in time.', retryable: true },
  CALL_CANCELLED: { status: 499, message: 'The caller left before the tool server answered.', retryable: true },
  UPSTREAM_BUSY: { status: 503, message: 'Too many calls to this tool server are in flight.', retryable: true },
  CONNECTION_REQUIRED: {
    status: 403,
    message: 'This tool server is used with your own account there, and none is connected: see details.connect.',
    retryable: false,
  },
  CONNECTION_EXPIRED: {
    status: 403,
    message: 'Your account at this tool server has to be connected again: see details.connect.',
    retryable: false,
  },
  CONSENT_INVALID: {
    status: 400,
    message: 'This way to connect an account is not good, or no longer: start again from where you came.',
    retryable: false,
  },
  CALLER_TOKEN_REQUIRED: {
    status: 403,
    message: 'This tool server is used by who presents a token (JWT) of their own, from which one for it is made.',
    retryable: false,
  },
  CREDENTIAL_REFUSED: {
    status: 403,
    message: 'The authorization server of this tool server gives no token for this caller.',
    retryable: false,
  },
  CREDENTIAL_UNAVAILABLE: {
    status: 503,
    message: 'The token for this tool server cannot be had now. Nothing was sent; try again.',
    retryable: true,
  },
  UPSTREAM_SCOPE_INSUFFICIENT: {
    status: 403,
    message: 'The tool server wants a token with more scopes for this.',
    retryable: false,
  },

  // The record
  AUDIT_UNAVAILABLE: {
    status: 503,
    message: 'The audit log cannot be written, so nothing was done. Try again.',
    retryable: true,
  },
  AUDIT_OVERLOADED: {
    status: 503,
    message: 'The audit log has more waiting than it accepts, so nothing was done. Try again.',
    retryable: true,
  },
  STORE_FULL: {
    status: 503,
    message: 'The store is nearly full, so nothing that needs a record is accepted. Nothing was done.',
    retryable: true,
  },
  OUTCOME_UNRECORDED: {
    status: 500,
    message: 'The tool may have run, but its outcome could not be recorded. Do not repeat the call blindly.',
    retryable: false,
  },
  IDEMPOTENCY_CONFLICT: {
    status: 409,
    message: 'The Idempotency-Key was used before, for another body.',
    retryable: false,
  },
  IDEMPOTENCY_IN_FLIGHT: {
    status: 409,
    message: 'The call under this Idempotency-Key is still at work. Try again for its result.',
    retryable: true,
  },
  IDEMPOTENCY_KEY_REQUIRED: {
    status: 400,
    message: 'This tool is called with an Idempotency-Key only.',
    retryable: false,
  },
  RESULT_NOT_KEPT: {
    status: 409,
    message: 'The call under this Idempotency-Key was made, but its result is not kept. It was not made again.',
    retryable: false,
  },
  APPROVAL_PENDING: {
    status: 409,
    message: 'A human has to approve this call, and nobody has decided yet. Ask again with the approval_id.',
    retryable: true,
  },
  APPROVALS_FULL: {
    status: 429,
    message: 'As many calls of this caller as may wait for an approval wait already.',
    retryable: true,
  },
  OUTCOME_UNKNOWN: {
    status: 500,
    message:
      'The gateway stopped during the call under this Idempotency-Key: the tool may have run. It was not called again.',
    retryable: false,
  },
  RECORD_TOO_LARGE: { status: 413, message: 'The event is larger than a record may be.', retryable: false },
  RECORD_PRUNED: {
    status: 410,
    message: 'The retention of this log has dropped records of that time; only their hashes are kept.',
    retryable: false,
  },
  STORE_UNAVAILABLE: { status: 503, message: 'The store cannot be read. Try again.', retryable: true },

  // Clients of MCP, and their sessions
  HEADER_MISMATCH: {
    status: 400,
    message: 'A header does not tell what the body tells.',
    retryable: false,
  },
  SESSION_NOT_FOUND: {
    status: 404,
    message: 'The session is not known here, or it has ended. Initialize again.',
    retryable: false,
  },
  CLIENT_UNANSWERED: {
    status: 504,
    message: 'The client did not answer what the tool server asked of it.',
    retryable: false,
  },
  CALL_NOT_WAITING: {
    status: 409,
    message: 'No call waits for this input here. Call the tool again from the start, without it.',
    retryable: false,
  },
  SESSIONS_FULL: {
    status: 429,
    message: 'As many sessions as one caller, or this gateway, may have are open. End some, or try again later.',
    retryable: true,
  },

  // The gateway
  SESSION_OWNER_LOST: {
    status: 502,
    message: 'The gateway that has this session was lost before it answered. What was asked for may have been done.',
    retryable: false,
  },
  STREAMS_FULL: {
    status: 503,
    message: 'As many streams as this gateway serves are open. Try again.',
    retryable: true,
  },
  SERVER_SHUTTING_DOWN: { status: 503, message: 'Server is shutting down', retryable: true },
  INTERNAL: {
    status: 500,
    message: 'An internal error occurred. The log names it by its request id.',
    retryable: false,
  },
} as const satisfies Record<string, ErrorSpec>;

export type ErrorCode = keyof typeof errorTable;

export interface TalosErrorOptions {
  /** Outside sentence, in place of the table's. */
  readonly message?: string;
  /** Outside structured detail; never holds secrets, argument values or addresses. */
  readonly details?: Readonly<Record<string, unknown>>;
  /** Inside sentence for the operator's log only. */
  readonly inside?: string;
  /** The id of the durable record that tells of this error. */
  readonly auditRef?: string;
  /** In place of the table's word, where more is known. */
  readonly retryable?: boolean;
  /** In how many seconds the same request may succeed, where that is known. */
  readonly retryAfterSec?: number;
  /** It is what an earlier request under the same idempotency key came to. */
  readonly isReplay?: boolean;
  readonly cause?: unknown;
}

/** An error with an outside face (`code`, `message`, `details`) and an inside one (`inside`, `cause`). */
export class TalosError extends Error {
  override readonly name = 'TalosError';
  readonly code: ErrorCode;
  readonly details: Readonly<Record<string, unknown>> | undefined;
  readonly inside: string | undefined;
  readonly auditRef: string | undefined;
  /** Whether the same request may succeed later without doing harm. */
  readonly retryable: boolean;
  readonly retryAfterSec: number | undefined;
  readonly isReplay: boolean;

  constructor(code: ErrorCode, options: TalosErrorOptions = {}) {
    super(options.message ?? errorTable[code].message, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.details = options.details;
    this.inside = options.inside;
    this.auditRef = options.auditRef;
    this.retryable = options.retryable ?? errorTable[code].retryable;
    this.retryAfterSec = options.retryAfterSec;
    this.isReplay = options.isReplay ?? false;
  }

  /** The same error, as far as a caller sees it, with what is now known about it. */
  with(known: {
    readonly auditRef?: string;
    readonly retryable?: boolean;
    readonly details?: Readonly<Record<string, unknown>>;
  }): TalosError {
    const { message, details, inside, auditRef, retryable, retryAfterSec, isReplay, cause } = this;
    return new TalosError(this.code, {
      message,
      retryable,
      isReplay,
      cause,
      ...(details === undefined ? {} : { details }),
      ...(inside === undefined ? {} : { inside }),
      ...(auditRef === undefined ? {} : { auditRef }),
      ...(retryAfterSec === undefined ? {} : { retryAfterSec }),
      ...known,
    });
  }

  get status(): number {
    return errorTable[this.code].status;
  }
}

/** The sentence of whatever was thrown, for the operator's log. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const inside = error instanceof TalosError && error.inside !== undefined ? ` (${error.inside})` : '';
  const cause = error.cause === undefined ? '' : `: ${describeError(error.cause)}`;
  return `${error.message}${inside}${cause}`;
}
