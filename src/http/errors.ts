/**
 * The one place where an error becomes an answer. Inherited routes keep the key that their clients read, beside the shared
 * envelope (code, message, retryable, request_id); a 5xx never carries inside detail.
 */
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { bounds } from '../config/bounds.ts';
import { describeError, type ErrorCode, TalosError } from '../core/errors.ts';
import { unreadBody } from '../gateway/native/answer.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { LegacyErrorKey } from './fastify.ts';
import { challengeOf } from './protected-resource.ts';
import { endpointOf } from './surfaces.ts';

const retryAfterSec = 1;

/** Answers `thrown` on `reply`, and tells the operator when it is the gateway's own fault. */
export function answerError(thrown: unknown, request: FastifyRequest, reply: FastifyReply, telemetry: Telemetry): void {
  const error = toTalosError(thrown);
  request.failure = error;
  if (error.status >= 500) {
    telemetry.requestFailed({ requestId: request.id, endpoint: endpointOf(request), reason: describeError(thrown) });
  }
  if (error.retryAfterSec !== undefined || error.status === 503) {
    reply.header('retry-after', String(error.retryAfterSec ?? retryAfterSec));
  }
  const challenge = challengeOf(error, request);
  if (challenge !== undefined) reply.header('www-authenticate', challenge);
  if (error.auditRef !== undefined) reply.header('x-talos-audit-ref', error.auditRef);
  if (error.isReplay) reply.header('idempotent-replayed', 'true');
  void reply.code(error.status).send(unreadOf(error, request) ?? errorBody(error, request.id, legacyKeyOf(request)));
}

function unreadOf(error: TalosError, { id, routeOptions }: FastifyRequest): object | undefined {
  const config = routeOptions.config as FastifyRequest['routeOptions']['config'] | undefined;
  return config?.speaksJsonRpc === true ? unreadBody(error, id) : undefined;
}

// What no route matches answers as the frameworks of existing clients expect.
function legacyKeyOf(request: FastifyRequest): LegacyErrorKey | undefined {
  const config = request.routeOptions.config as FastifyRequest['routeOptions']['config'] | undefined;
  return config?.surface === undefined ? 'detail' : config.legacyErrorKey;
}

/** The body of an error: the legacy key of the route first, then the shared envelope. */
export function errorBody(error: TalosError, requestId: string, legacyKey?: LegacyErrorKey): object {
  const envelope = {
    code: error.code,
    message: error.message,
    retryable: error.retryable,
    request_id: requestId,
    ...(error.auditRef === undefined ? {} : { audit_ref: error.auditRef }),
  };
  // Validation speaks FastAPI's dialect on every route: an array under `detail`.
  if (error.code === 'VALIDATION_FAILED') return { detail: error.details?.['faults'] ?? [], ...envelope };
  const details = error.details === undefined ? {} : { details: error.details };
  if (error.code === 'SERVER_SHUTTING_DOWN') return { error: error.code, detail: error.message, ...envelope };
  return { ...legacyMember(error, legacyKey), ...limitMembers(error), ...envelope, ...details };
}

/** The keys that clients read of a limiter's answer, on every route. */
function limitMembers({ code }: TalosError): object {
  if (code === 'RATE_LIMITED') return { error: code };
  return code === 'RATE_LIMITER_UNAVAILABLE' ? { error: code, detail: 'rate_limiter_unavailable' } : {};
}

function legacyMember(error: TalosError, key: LegacyErrorKey | undefined): object {
  if (key === undefined) return {};
  // The audit service's clients read the code of a bad cursor inside `detail`.
  const isCursor = key === 'detail' && error.code === 'TALOS_INVALID_CURSOR';
  return { [key]: isCursor ? { code: error.code, message: error.message } : error.message };
}

const fastifyCodes: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'PAYLOAD_TOO_LARGE',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'UNSUPPORTED_MEDIA_TYPE',
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: 'INVALID_REQUEST',
  FST_ERR_CTP_EMPTY_JSON_BODY: 'INVALID_JSON',
  FST_ERR_BAD_URL: 'INVALID_REQUEST',
  FST_ERR_MAX_PARAM_LENGTH: 'INVALID_REQUEST',
  FST_ERR_ASYNC_CONSTRAINT: 'INVALID_REQUEST',
  FST_ERR_NOT_FOUND: 'NOT_FOUND',
};

function toTalosError(thrown: unknown): TalosError {
  if (thrown instanceof TalosError) return thrown;
  const { code, validation, validationContext, statusCode } = thrown as Partial<FastifyError>;
  if (Array.isArray(validation)) return validationError(validation, validationContext ?? 'body');
  const known = code === undefined ? undefined : fastifyCodes[code];
  if (known !== undefined) return new TalosError(known, { cause: thrown });
  const isCallersFault = statusCode !== undefined && statusCode >= 400 && statusCode < 500;
  return new TalosError(isCallersFault ? 'INVALID_REQUEST' : 'INTERNAL', { cause: thrown });
}

interface SchemaFault {
  readonly keyword?: string;
  readonly instancePath?: string;
  readonly message?: string;
  readonly params?: object;
}

/** 422 with FastAPI's `{loc, msg, type}` for each fault. */
function validationError(faults: readonly SchemaFault[], part: string): TalosError {
  const where = part === 'querystring' ? 'query' : part;
  const details = faults.slice(0, bounds.requestFaultsMax).flatMap((fault) => faultDetails(fault, where));
  const first = details[0];
  const message = first === undefined ? undefined : `${first.loc.join('.')}: ${first.msg}`;
  return new TalosError('VALIDATION_FAILED', {
    ...(message === undefined ? {} : { message }),
    details: { faults: details },
  });
}

function faultDetails(fault: SchemaFault, where: string): { loc: (string | number)[]; msg: string; type: string }[] {
  const loc = [where, ...pointerParts(fault.instancePath ?? '')];
  const missing = (fault.params as { requiredProperties?: string[] } | undefined)?.requiredProperties;
  if (fault.keyword === 'required' && missing !== undefined) {
    return missing.map((name) => ({ loc: [...loc, name], msg: 'Field required', type: 'missing' }));
  }
  return [{ loc, msg: fault.message ?? 'is not valid', type: fault.keyword ?? 'invalid' }];
}

function pointerParts(pointer: string): (string | number)[] {
  return pointer
    .split('/')
    .slice(1)
    .map((part) => (/^\d+$/.test(part) ? Number(part) : part.replaceAll('~1', '/').replaceAll('~0', '~')));
}
