/**
 * The native MCP endpoint: the gateway as if it were the tool server itself (`/mcp/{server_id}`), or as one server with
 * the tools of all that a caller may use (`/mcp`, named `<server>__<tool>`). It keeps no session: every message is judged
 * by itself, in both protocol eras, and takes the same corridors as its REST twin.
 */
import { bounds } from '../config/bounds.ts';
import { deny } from '../core/denial.ts';
import { TalosError } from '../core/errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../core/json.ts';
import {
  type Inbound,
  type InboundHeaders,
  readInbound,
  rpcCodes,
  servedVersions,
  sessionVersions,
} from '../mcp/inbound.ts';
import type { UpstreamAnswer } from '../mcp/registry.ts';
import type { CallTool, ToolCallAnswer } from './call-tool.ts';
import type { Caller, RequestFacts } from './caller.ts';
import { idempotencyKeyOf } from './idempotency-key.ts';
import type { ListTools } from './list-tools.ts';
import type { Refuse } from './refusal.ts';
import type { RelayMethod } from './relay-method.ts';

export interface NativeRequest {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  /** Absent at the endpoint of all servers. */
  readonly serverId?: string;
  /** The parsed body. */
  readonly body: JsonValue | undefined;
  readonly headers: InboundHeaders;
  /** The header `Idempotency-Key`. */
  readonly idempotencyKey?: string;
  /** Aborted when the caller goes away. */
  readonly signal: AbortSignal;
}

export interface NativeAnswer {
  readonly status: 200 | 202 | 400 | 404;
  /** A JSON-RPC response; absent with 202. */
  readonly body?: JsonObject;
  /** The id of the record of what was done, where there is one of its own. */
  readonly auditRef?: string;
  /** Whether it is what an earlier call under the same idempotency key came to. */
  readonly isReplay?: boolean;
}

/** Resolves with a JSON-RPC response for whatever becomes of the message; never throws for what it says. */
export type NativeMcp = (request: NativeRequest) => Promise<NativeAnswer>;

export interface NativeMcpOptions {
  readonly listTools: ListTools;
  readonly callTool: CallTool;
  readonly relayMethod: RelayMethod;
  readonly refuse: Refuse;
  /** Of the gateway, for `serverInfo`. */
  readonly version: string;
}

type RpcRequest = Extract<Inbound, { kind: 'request' }>;

/** What a method came to: a result, or an error of the protocol. */
interface Reply {
  readonly result?: JsonObject;
  readonly error?: JsonObject;
  readonly auditRef?: string | undefined;
  readonly isReplay?: boolean;
}

/** A method of MCP as this endpoint serves it. */
type Method = (options: NativeMcpOptions, request: NativeRequest, rpc: RpcRequest) => Promise<Reply>;

export function createNativeMcp(options: NativeMcpOptions): NativeMcp {
  return async (request) => {
    const inbound = readInbound(request.body, request.headers);
    if (inbound.kind === 'unanswered') return { status: 202 };
    if (inbound.kind === 'refused') {
      return { status: 400, body: { jsonrpc: '2.0', id: inbound.id, error: { ...inbound.error } } };
    }
    const method = methodOf(inbound, request);
    if (method === undefined) return notServed(inbound);
    const { result, error, auditRef, isReplay = false } = await attempt(method, options, request, inbound);
    return {
      status: 200,
      body: { jsonrpc: '2.0', id: inbound.id, ...(result === undefined ? { error: error ?? {} } : { result }) },
      ...(auditRef === undefined ? {} : { auditRef }),
      isReplay,
    };
  };
}

/** A method that nobody serves: 404 in the stateless era, where the status says so too. */
function notServed({ id, era }: RpcRequest): NativeAnswer {
  const error = { code: rpcCodes.methodNotFound, message: 'Method not found' };
  return { status: era === 'stateless' ? 404 : 200, body: { jsonrpc: '2.0', id, error } };
}

async function attempt(
  method: Method,
  options: NativeMcpOptions,
  request: NativeRequest,
  rpc: RpcRequest,
): Promise<Reply> {
  try {
    const reply = await method(options, request, rpc);
    return reply.result === undefined ? reply : { ...reply, result: inEra(rpc, reply.result) };
  } catch (error) {
    if (error instanceof TalosError) return gatewayError(error, request.facts);
    throw error;
  }
}

/** What the gateway refuses or fails at, as an error that a model or its user can read. */
function gatewayError(error: TalosError, { requestId }: RequestFacts): Reply {
  const { code, message, retryable, details, auditRef, isReplay } = error;
  const denialReason = details?.['denial_reason'];
  return {
    error: {
      code: code === 'TOOL_NOT_FOUND' ? rpcCodes.invalidParams : rpcCodes.gateway,
      message,
      data: {
        code,
        retryable,
        request_id: requestId,
        ...(typeof denialReason === 'string' ? { denial_reason: denialReason } : {}),
        ...(auditRef === undefined ? {} : { audit_ref: auditRef }),
      },
    },
    auditRef,
    isReplay,
  };
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

/** The result as the client's era has it, whichever era its server speaks. */
function inEra({ era, method }: RpcRequest, result: JsonObject): JsonObject {
  const { resultType: _, ttlMs, cacheScope: __, ...plain } = result as JsonObject & { ttlMs?: JsonValue };
  if (era === 'session') return plain;
  // Whatever a server allows: here every caller sees their own.
  const cache = cacheable.has(method) ? { ttlMs: typeof ttlMs === 'number' ? ttlMs : 0, cacheScope: 'private' } : {};
  return { ...plain, resultType: 'complete', ...cache };
}

const initialize: Method = async (options, request, { params }) => {
  const requested = params['protocolVersion'];
  const isServed = typeof requested === 'string' && sessionVersions.includes(requested);
  const hello = await helloOf(options, request);
  return { result: { protocolVersion: isServed ? requested : (sessionVersions[0] ?? ''), ...hello } };
};

const discover: Method = async (options, request) => ({
  result: { supportedVersions: [...servedVersions], ...(await helloOf(options, request)) },
});

/** What the endpoint says of itself: what the caller may use of what the server has. */
async function helloOf({ listTools, refuse, version }: NativeMcpOptions, request: NativeRequest): Promise<JsonObject> {
  const { serverId, caller, facts } = request;
  const gateway = { name: 'talos-gateway', version };
  if (serverId !== undefined) return { serverInfo: gateway, ...(await listTools.hello({ ...request, serverId })) };
  if (listTools.servers(caller).length === 0) {
    await refuse('mcp.native.all', caller.denial ?? deny('NO_CAPABILITY'), caller, facts);
  }
  return { serverInfo: gateway, capabilities: { tools: {} } };
}

const ping: Method = async () => ({ result: {} });

const toolsList: Method = async ({ listTools }, request) => {
  const { serverId, caller } = request;
  if (serverId !== undefined) return { result: { tools: await listTools.tools({ ...request, serverId }) } };
  const lists = await Promise.all(listTools.servers(caller).map(({ id }) => listFor(listTools, request, id)));
  return { result: { tools: lists.flat() } };
};

const separator = '__';

/** One server's part of the list of all; a server that is down or slow has none, and holds up nobody. */
async function listFor(listTools: ListTools, request: NativeRequest, serverId: string): Promise<JsonObject[]> {
  const signal = AbortSignal.any([request.signal, AbortSignal.timeout(bounds.aggregateListWaitMs)]);
  try {
    const tools = await listTools.tools({ ...request, serverId, signal });
    return tools.map((tool) => ({ ...tool, name: `${serverId}${separator}${String(tool['name'])}` }));
  } catch (error) {
    if (error instanceof TalosError) return [];
    throw error;
  }
}

const toolsCall: Method = async ({ callTool, listTools }, request, { params, idempotencyKey: keyInMeta }) => {
  const [name, args] = [params['name'], params['arguments'] ?? {}];
  if (typeof name !== 'string' || !isJsonObject(args)) {
    return invalidParams('tools/call needs a name, and arguments that are an object.');
  }
  const target = request.serverId === undefined ? targetOf(listTools, request.caller, name) : [request.serverId, name];
  const [serverId, toolName] = target;
  if (serverId === undefined || toolName === undefined) return invalidParams('Unknown tool.');
  const by = request.serverId === undefined ? 'mcp.native.all' : 'mcp.native';
  const { idempotencyKey: keyInHeader, ...asked } = request;
  const idempotencyKey = idempotencyKeyOf(keyInHeader, keyInMeta);
  const key = idempotencyKey === undefined ? {} : { idempotencyKey };
  const answer = await callTool({ ...asked, serverId, toolName, input: args, by, ...key });
  return { ...replyOf(answer), isReplay: answer.isReplay };
};

/** The server and the tool that a name of the endpoint of all servers means: the longest id that it begins with. */
function targetOf(listTools: ListTools, caller: Caller, name: string): readonly string[] {
  const ids = listTools.servers(caller).map(({ id }) => id);
  const [id] = ids.filter((each) => name.startsWith(each + separator)).sort((a, b) => b.length - a.length);
  return id === undefined ? [] : [id, name.slice(id.length + separator.length)];
}

/** What became of a tool call: what the tool itself reports stays its result, so that a model can read and mend it. */
function replyOf({ result, auditRef }: ToolCallAnswer): Reply {
  if ('output' in result) return { result: result.output, auditRef };
  const { code, message, category, details } = result.error;
  if (category === 'MCP_PROTOCOL') {
    const data = details?.['data'];
    return { error: { code, message, ...(data === undefined ? {} : { data }) }, auditRef };
  }
  const said = details?.['result'];
  return { result: isJsonObject(said) ? said : errorResult(message), auditRef };
}

function errorResult(text: string): JsonObject {
  return { content: [{ type: 'text', text }], isError: true };
}

function invalidParams(message: string): Reply {
  return { error: { code: rpcCodes.invalidParams, message } };
}

const relay: Method = async ({ relayMethod }, request, { method, params }) => {
  const { answer, auditRef } = await relayMethod({ ...request, serverId: request.serverId ?? '', method, params });
  return { ...relayed(answer), auditRef };
};

function relayed(answer: UpstreamAnswer): Reply {
  return answer.kind === 'error' ? { error: { ...answer.error } } : { result: answer.result };
}

const everywhere: readonly [string, Method][] = [
  ['tools/list', toolsList],
  ['tools/call', toolsCall],
];
const relayedMethods = [
  'resources/list',
  'resources/templates/list',
  'resources/read',
  'prompts/list',
  'prompts/get',
  'completion/complete',
].map((method): [string, Method] => [method, relay]);

const methods = {
  session: new Map<string, Method>([['initialize', initialize], ['ping', ping], ...everywhere, ...relayedMethods]),
  stateless: new Map<string, Method>([['server/discover', discover], ...everywhere, ...relayedMethods]),
};

// The endpoint of all servers relays nothing: addresses of resources do not say whose they are.
function methodOf({ era, method }: RpcRequest, { serverId }: NativeRequest): Method | undefined {
  const found = methods[era].get(method);
  return found === relay && serverId === undefined ? undefined : found;
}
