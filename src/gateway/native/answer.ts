/** What a request of MCP came to, as its client reads it: the JSON-RPC response in the client's era, and the status beside it. */
import type { TalosError } from '../../core/errors.ts';
import type { JsonObject, JsonValue } from '../../core/json.ts';
import type { Inbound, RpcId } from '../../mcp/protocol/inbound.ts';
import { rpcCodes } from '../../mcp/protocol/json-rpc.ts';
import type { RequestFacts } from '../caller.ts';

export type RpcRequest = Extract<Inbound, { kind: 'request' }>;

/** What a method came to: a result, or an error of the protocol. */
export interface Outcome {
  readonly result?: JsonObject;
  readonly error?: JsonObject;
  /** The result asks for input before there is one. */
  readonly asksInput?: boolean;
  readonly auditRef?: string | undefined;
  readonly isReplay?: boolean;
  /** The session that was opened. */
  readonly sessionId?: string;
  readonly status?: NativeAnswer['status'];
  readonly retryAfterSec?: number | undefined;
}

export interface NativeAnswer {
  readonly status: 200 | 202 | 400 | 404 | 406 | 429;
  /** A JSON-RPC response; absent where there is none. */
  readonly body?: JsonObject;
  /** Those to a batch, in place of one. */
  readonly batch?: readonly JsonObject[];
  /** The id of the record of what was done, where there is one of its own. */
  readonly auditRef?: string | undefined;
  /** Whether it is what an earlier call under the same idempotency key came to. */
  readonly isReplay?: boolean;
  /** Of the session that was opened. */
  readonly sessionId?: string;
  readonly retryAfterSec?: number | undefined;
  /** It has gone out on the sink of its request. */
  readonly isStreamed?: true;
}

export function answerOf(rpc: RpcRequest, outcome: Outcome): NativeAnswer {
  const { auditRef, isReplay = false, sessionId, retryAfterSec } = outcome;
  const said = outcome.result === undefined ? { error: outcome.error ?? {} } : { result: resultOf(rpc, outcome) };
  return {
    status: outcome.status ?? statusOf(rpc, outcome),
    body: { jsonrpc: '2.0', id: rpc.id, ...said },
    auditRef,
    isReplay,
    retryAfterSec,
    ...(sessionId === undefined ? {} : { sessionId }),
  };
}

/** A response to a message that is refused as such. */
export function refusal(status: NativeAnswer['status'], id: RpcId | null, error: JsonObject): NativeAnswer {
  return { status, body: { jsonrpc: '2.0', id, error } };
}

/** A method that nobody serves: 404 in the stateless era, where the status says so too. */
export function notServed({ id, era }: RpcRequest): NativeAnswer {
  return refusal(era === 'stateless' ? 404 : 200, id, { code: rpcCodes.methodNotFound, message: 'Method not found' });
}

export function internalError({ id }: RpcRequest): JsonObject {
  return { jsonrpc: '2.0', id, error: { code: rpcCodes.internal, message: 'Internal error' } };
}

function statusOf({ era }: RpcRequest, { error }: Outcome): 200 | 400 {
  return era === 'stateless' && error?.['code'] === rpcCodes.missingCapability ? 400 : 200;
}

/** Results that clients of the stateless era may keep, and for how long. */
const cacheable: ReadonlySet<string> = new Set([
  'server/discover',
  'tools/list',
  'prompts/list',
  'resources/list',
  'resources/templates/list',
  'resources/read',
]);

/** The result as the client's era has it, whichever era its server speaks, with the record that tells of it. */
function resultOf({ era, method }: RpcRequest, { result = {}, auditRef, asksInput = false }: Outcome): JsonObject {
  const { resultType: _, ttlMs, cacheScope: __, ...plain } = result as JsonObject & { ttlMs?: JsonValue };
  // Clients hold an empty result to its word.
  const isEmpty = Object.keys(plain).length === 0;
  const said = auditRef === undefined || isEmpty ? plain : { ...plain, _meta: withAuditRef(plain['_meta'], auditRef) };
  if (era === 'session') return said;
  if (asksInput) return { ...said, resultType: 'input_required' };
  // Whatever a server allows: here every caller sees their own.
  const cache = cacheable.has(method) ? { ttlMs: typeof ttlMs === 'number' ? ttlMs : 0, cacheScope: 'private' } : {};
  return { ...said, resultType: 'complete', ...cache };
}

/** Clients whose answer came on a stream, or who see no headers, find it there. */
function withAuditRef(meta: JsonValue | undefined, auditRef: string): JsonObject {
  return { ...(meta as JsonObject | undefined), 'org.talosprotocol/auditRef': auditRef };
}

/** What the gateway refuses or fails at, as an error that a model or its user can read. */
export function gatewayError(error: TalosError, { requestId }: Pick<RequestFacts, 'requestId'>): Outcome {
  const { code, message, retryable, auditRef, isReplay, retryAfterSec } = error;
  return {
    error: {
      code: rpcCodeOf(error),
      message,
      data: {
        code,
        retryable,
        request_id: requestId,
        ...detailsOf(error),
        ...(retryAfterSec === undefined ? {} : { retry_after: retryAfterSec }),
        ...(auditRef === undefined ? {} : { audit_ref: auditRef }),
      },
    },
    auditRef,
    isReplay,
    retryAfterSec,
    ...statusFor(error),
  };
}

function rpcCodeOf({ code }: TalosError): number {
  if (code === 'TOOL_NOT_FOUND' || code === 'CALL_NOT_WAITING') return rpcCodes.invalidParams;
  if (code === 'INVALID_JSON') return rpcCodes.parse;
  if (code === 'INVALID_REQUEST' || isRefusedUnread(code)) return rpcCodes.invalidRequest;
  if (code === 'HEADER_MISMATCH') return rpcCodes.headerMismatch;
  return code === 'SESSION_NOT_FOUND' ? rpcCodes.sessionNotFound : rpcCodes.gateway;
}

/** A response to a body of which no message could be read; undefined for any other error. */
export function unreadBody(error: TalosError, requestId: string): JsonObject | undefined {
  if (error.code !== 'INVALID_JSON' && !isRefusedUnread(error.code)) return undefined;
  return { jsonrpc: '2.0', id: null, error: gatewayError(error, { requestId }).error ?? {} };
}

function isRefusedUnread(code: TalosError['code']): boolean {
  return code === 'PAYLOAD_TOO_LARGE' || code === 'UNSUPPORTED_MEDIA_TYPE';
}

/** What of the details is for clients of this protocol. */
function detailsOf({ details = {} }: TalosError): JsonObject {
  const told = Object.entries(details).filter(([name]) => toldDetails.has(name));
  return Object.fromEntries(told) as JsonObject;
}

const toldDetails: ReadonlySet<string> = new Set(['denial_reason', 'approval_id', 'connect']);

/** Where clients act on the status. */
function statusFor({ code }: TalosError): { readonly status?: 400 | 404 | 429 } {
  if (code === 'SESSION_NOT_FOUND') return { status: 404 };
  if (code === 'SESSIONS_FULL') return { status: 429 };
  return code === 'INVALID_REQUEST' || code === 'HEADER_MISMATCH' ? { status: 400 } : {};
}
