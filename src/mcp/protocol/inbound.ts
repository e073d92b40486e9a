/**
 * What a client posts to the gateway's own MCP endpoint: which era it speaks, and whether headers and body tell the
 * same. The body decides; headers that contradict it are refused, because whoever stands between client and gateway
 * may have judged by them (MCP 2026-07-28, Streamable HTTP, "Standard Request Headers").
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.ts';
import { decodeHeaderValue, mirroredName, sessionVersions, statelessVersion } from './era.ts';
import { serverInfoKey } from './hello.ts';
import { type RpcError, rpcCodes } from './json-rpc.ts';
import type { ClientHello, PeerReply } from './peer.ts';

export type InboundEra = 'session' | 'stateless';

export type RpcId = string | number;

/** The headers that MCP defines for requests. */
export interface InboundHeaders {
  readonly protocolVersion: string | undefined;
  readonly method: string | undefined;
  readonly name: string | undefined;
  /** `Mcp-Param-*`, which tell what arguments tell; by names in lower case. */
  readonly parameter?: (name: string) => string | undefined;
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
      /** What the caller was told when a human had to approve the call. */
      readonly approvalId?: string;
      /** What of `_meta` is meant for the server: a progress token, a log level, a trace, and what nobody here knows. */
      readonly meta?: JsonObject;
      /** The client as its envelope tells of it; in the session era `initialize` does. */
      readonly client?: ClientHello;
    }
  | { readonly kind: 'notification'; readonly method: string; readonly params: JsonObject }
  /** To a request that the client was sent. */
  | { readonly kind: 'response'; readonly id: RpcId; readonly reply: PeerReply }
  | { readonly kind: 'refused'; readonly id: RpcId | null; readonly error: RpcError };

export { sessionVersions };

/** All protocol versions that a client may speak to us, the newest first. */
export const servedVersions: readonly string[] = [statelessVersion, ...sessionVersions];

const versionKey = 'io.modelcontextprotocol/protocolVersion';
const capabilitiesKey = 'io.modelcontextprotocol/clientCapabilities';
const clientInfoKey = 'io.modelcontextprotocol/clientInfo';
const idempotencyKey = 'org.talosprotocol/idempotencyKey';
const approvalKey = 'org.talosprotocol/approvalId';

/** Members of `_meta` that are between client and gateway. */
const ownKeys: ReadonlySet<string> = new Set([
  versionKey,
  capabilitiesKey,
  clientInfoKey,
  idempotencyKey,
  approvalKey,
  serverInfoKey,
  'io.modelcontextprotocol/subscriptionId',
]);

/** Reads a posted message; a batch is none. */
export function readInbound(body: JsonValue | undefined, headers: InboundHeaders): Inbound {
  if (!isJsonObject(body) || body['jsonrpc'] !== '2.0') return refused(null, rpcCodes.invalidRequest, notOneMessage);
  const [method, id, params] = [body['method'], body['id'], body['params'] ?? {}];
  if (method === undefined && id !== undefined && isAnswer(body)) return readResponse(id, body);
  if (typeof method !== 'string') return refused(null, rpcCodes.invalidRequest, notOneMessage);
  if (id === undefined) return { kind: 'notification', method, params: isJsonObject(params) ? params : {} };
  if (!isRpcId(id)) return refused(null, rpcCodes.invalidRequest, 'The id must be a string or a whole number.');
  if (!isJsonObject(params)) return refused(id, rpcCodes.invalidParams, 'The params must be an object.');
  const { _meta: meta, ...rest } = params as JsonObject & { readonly _meta?: JsonValue };
  const claim = isJsonObject(meta) ? meta[versionKey] : undefined;
  const isStateless = claim !== undefined || headers.protocolVersion === statelessVersion;
  const fault = isStateless ? statelessFault(method, rest, meta, headers) : sessionFault(headers);
  if (fault !== undefined) return { kind: 'refused', id, error: fault };
  const known = { kind: 'request', era: isStateless ? 'stateless' : 'session', id, method, params: rest } as const;
  return isJsonObject(meta) ? { ...known, ...readMeta(meta, isStateless) } : known;
}

function readMeta(meta: JsonObject, isStateless: boolean): Partial<Extract<Inbound, { kind: 'request' }>> {
  const [key, approvalId] = [meta[idempotencyKey], meta[approvalKey]];
  const passedOn = Object.entries(meta).filter(([name]) => !ownKeys.has(name));
  return {
    ...(key === undefined ? {} : { idempotencyKey: key }),
    ...(typeof approvalId === 'string' ? { approvalId } : {}),
    ...(passedOn.length === 0 ? {} : { meta: Object.fromEntries(passedOn) }),
    ...(isStateless ? { client: clientHello(meta[clientInfoKey], meta[capabilitiesKey]) } : {}),
  };
}

/** What a client says of itself; one that gives no name has none. */
export function clientHello(info: JsonValue | undefined, capabilities: JsonValue | undefined): ClientHello {
  return {
    clientInfo: isJsonObject(info) ? info : { name: 'unknown', version: '0' },
    capabilities: isJsonObject(capabilities) ? capabilities : {},
  };
}

function readResponse(
  id: JsonValue,
  { result, error }: JsonObject & { result?: JsonValue; error?: JsonValue },
): Inbound {
  const reply = isJsonObject(result) ? { result } : isRpcError(error) ? { error } : undefined;
  if (reply === undefined || !isRpcId(id)) return refused(null, rpcCodes.invalidRequest, 'The response is not valid.');
  return { kind: 'response', id, reply };
}

function isRpcError(error: JsonValue | undefined): error is JsonObject & RpcError {
  return isJsonObject(error) && Number.isSafeInteger(error['code']) && typeof error['message'] === 'string';
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
  if (name !== undefined && (headers.name === undefined || decodeHeaderValue(headers.name) !== name))
    return mismatch('Mcp-Name', headers.name);
  return undefined;
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
