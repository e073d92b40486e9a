/**
 * What a client posts to the gateway's own MCP endpoint: which era it speaks, and whether headers and body tell the
 * same. The body decides; headers that contradict it are refused, because whoever stands between client and gateway
 * may have judged by them (MCP 2026-07-28, Streamable HTTP, "Standard Request Headers").
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../core/json.ts';
import { mirroredName, sessionVersions, statelessVersion } from './era.ts';
import { methodNotFound, type RpcError } from './json-rpc.ts';

export type InboundEra = 'session' | 'stateless';

export type RpcId = string | number;

/** The headers that MCP defines for requests. */
export interface InboundHeaders {
  readonly protocolVersion: string | undefined;
  readonly method: string | undefined;
  readonly name: string | undefined;
}

export type Inbound =
  | {
      readonly kind: 'request';
      readonly era: InboundEra;
      readonly id: RpcId;
      readonly method: string;
      /** Without `_meta`. */
      readonly params: JsonObject;
      /** What `_meta` tells as the idempotency key. */
      readonly idempotencyKey?: JsonValue;
    }
  /** A notification or a response, which nobody answers. */
  | { readonly kind: 'unanswered' }
  | { readonly kind: 'refused'; readonly id: RpcId | null; readonly error: RpcError };

export const rpcCodes = {
  invalidRequest: -32_600,
  methodNotFound,
  invalidParams: -32_602,
  internal: -32_603,
  /** Errors that the gateway itself defines; `data.code` names them. */
  gateway: -32_000,
  headerMismatch: -32_020,
  unsupportedVersion: -32_022,
} as const;

export { sessionVersions };

/** All protocol versions that a client may speak to us, the newest first. */
export const servedVersions: readonly string[] = [statelessVersion, ...sessionVersions];

const versionKey = 'io.modelcontextprotocol/protocolVersion';
const capabilitiesKey = 'io.modelcontextprotocol/clientCapabilities';
const idempotencyKey = 'org.talosprotocol/idempotencyKey';

/** Reads a posted message. Batches, which only the revision 2025-03-26 had, are refused. */
export function readInbound(body: JsonValue | undefined, headers: InboundHeaders): Inbound {
  if (!isJsonObject(body) || body['jsonrpc'] !== '2.0') return refused(null, rpcCodes.invalidRequest, notOneMessage);
  const [method, id, params] = [body['method'], body['id'], body['params'] ?? {}];
  if (method === undefined && id !== undefined && isAnswer(body)) return { kind: 'unanswered' };
  if (typeof method !== 'string') return refused(null, rpcCodes.invalidRequest, notOneMessage);
  if (id === undefined) return { kind: 'unanswered' };
  if (!isRpcId(id)) return refused(null, rpcCodes.invalidRequest, 'The id must be a string or a whole number.');
  if (!isJsonObject(params)) return refused(id, rpcCodes.invalidParams, 'The params must be an object.');
  const { _meta: meta, ...rest } = params as JsonObject & { readonly _meta?: JsonValue };
  const claim = isJsonObject(meta) ? meta[versionKey] : undefined;
  const isStateless = claim !== undefined || headers.protocolVersion === statelessVersion;
  const fault = isStateless ? statelessFault(method, rest, meta, headers) : sessionFault(headers);
  if (fault !== undefined) return { kind: 'refused', id, error: fault };
  const key = isJsonObject(meta) ? meta[idempotencyKey] : undefined;
  return {
    kind: 'request',
    era: isStateless ? 'stateless' : 'session',
    id,
    method,
    params: rest,
    ...(key === undefined ? {} : { idempotencyKey: key }),
  };
}

const notOneMessage = 'The body must be one JSON-RPC 2.0 message.';

function isAnswer(body: JsonObject): boolean {
  return body['result'] !== undefined || body['error'] !== undefined;
}

function isRpcId(id: JsonValue): id is RpcId {
  return typeof id === 'string' || (typeof id === 'number' && Number.isSafeInteger(id));
}

function sessionFault({ protocolVersion }: InboundHeaders): RpcError | undefined {
  // Clients of 2025-03-26 and before send none.
  if (protocolVersion === undefined || sessionVersions.includes(protocolVersion)) return undefined;
  return unsupported(protocolVersion);
}

function statelessFault(
  method: string,
  params: JsonObject,
  meta: JsonValue | undefined,
  headers: InboundHeaders,
): RpcError | undefined {
  const envelope = isJsonObject(meta) ? meta : {};
  const version = envelope[versionKey];
  if (typeof version !== 'string') return invalidEnvelope(versionKey);
  if (!isJsonObject(envelope[capabilitiesKey])) return invalidEnvelope(capabilitiesKey);
  if (headers.protocolVersion !== version) return mismatch('MCP-Protocol-Version', headers.protocolVersion);
  if (version !== statelessVersion) return unsupported(version);
  if (headers.method !== method) return mismatch('Mcp-Method', headers.method);
  const name = mirroredName(method, params);
  if (name !== undefined && decodeHeader(headers.name) !== name) return mismatch('Mcp-Name', headers.name);
  return undefined;
}

const sentinel = /^=\?base64\?([A-Za-z0-9+/]*={0,2})\?=$/;

function decodeHeader(value: string | undefined): string | undefined {
  const encoded = value === undefined ? undefined : sentinel.exec(value)?.[1];
  return encoded === undefined ? value : Buffer.from(encoded, 'base64').toString('utf8');
}

function mismatch(header: string, value: string | undefined): RpcError {
  const how = value === undefined ? 'is missing' : 'does not say what the body says';
  return { code: rpcCodes.headerMismatch, message: `The header ${header} ${how}.` };
}

function invalidEnvelope(key: string): RpcError {
  return { code: rpcCodes.invalidParams, message: `params._meta lacks '${key}', or it is of the wrong type.` };
}

function unsupported(requested: string): RpcError {
  return {
    code: rpcCodes.unsupportedVersion,
    message: 'The protocol version is not supported.',
    data: { supported: [...servedVersions], requested: requested.slice(0, 64) },
  };
}

function refused(id: RpcId | null, code: number, message: string): Inbound {
  return { kind: 'refused', id, error: { code, message } };
}
