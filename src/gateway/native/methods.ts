/** The methods of MCP as the native endpoint serves them, each by the corridor of its REST twin. */
import { TalosError } from '../../core/errors.ts';
import { isJsonObject, type JsonObject } from '../../core/json.ts';
import { clientHello, servedVersions, sessionVersions } from '../../mcp/protocol/inbound.ts';
import { rpcCodes } from '../../mcp/protocol/json-rpc.ts';
import type { PolicyMode } from '../../policy/decide.ts';
import type { CallInput } from '../call-input.ts';
import type { CallTool, ToolCallAnswer } from '../call-tool.ts';
import type { Caller } from '../caller.ts';
import { idempotencyKeyOf } from '../idempotency-key.ts';
import type { ListTools } from '../list-tools.ts';
import type { Passage } from '../passage.ts';
import type { RelayAnswer, RelayMethod } from '../relay-method.ts';
import type { ServerFor } from '../server-for.ts';
import type { Outcome, RpcRequest } from './answer.ts';
import { offeredTo } from './client-offer.ts';
import type { ElicitAccountOptions } from './elicit-account.ts';
import type { ParkedCalls } from './parked-calls.ts';
import type { PatientLists } from './patient-lists.ts';
import type { Peers } from './peers.ts';
import type { Hello } from './server-hello.ts';
import type { McpSessions } from './sessions.ts';
import type { Subscriptions } from './subscriptions.ts';
import type { Turn } from './turn.ts';

export interface MethodOptions extends ElicitAccountOptions {
  readonly listTools: ListTools;
  readonly callTool: CallTool;
  readonly relayMethod: RelayMethod;
  readonly hello: Hello;
  readonly lists: PatientLists;
  readonly serverFor: ServerFor;
  readonly sessions: McpSessions;
  readonly subscriptions: Subscriptions;
  readonly peers: Peers;
  readonly parkedCalls: ParkedCalls;
  readonly policyMode: PolicyMode;
}

export type Method = (options: MethodOptions, turn: Turn, rpc: RpcRequest) => Promise<Outcome>;

const initialize: Method = async ({ hello, sessions }, turn, { params }) => {
  if (turn.session !== undefined) {
    throw new TalosError('INVALID_REQUEST', { message: 'This session is initialized already.' });
  }
  const requested = params['protocolVersion'];
  const isServed = typeof requested === 'string' && sessionVersions.includes(requested);
  const protocolVersion = isServed ? requested : (sessionVersions[0] ?? '');
  const about = await hello(turn, 'session');
  const { caller, facts, serverId, reauthenticate } = turn;
  const session = await sessions.open({
    ...{ caller, facts, reauthenticate, protocolVersion },
    client: clientHello(params['clientInfo'], params['capabilities']),
    ...(serverId === undefined ? {} : { serverId }),
  });
  return { result: { protocolVersion, ...about }, sessionId: session.id };
};

const discover: Method = async ({ hello }, turn) => {
  const { serverInfo, ...about } = await hello(turn, 'stateless');
  const _meta = { 'io.modelcontextprotocol/serverInfo': serverInfo };
  return { result: { supportedVersions: [...servedVersions], ...about, _meta } };
};

const ping: Method = async () => ({ result: {} });

const toolsList: Method = async (options, turn) => {
  const { listTools } = options;
  const { serverId, caller } = turn;
  if (serverId !== undefined) return { result: { tools: await listTools.tools({ ...turn, serverId }) } };
  const lists = await Promise.all(listTools.servers(caller).map(({ id }) => listFor(options, turn, id)));
  return { result: { tools: lists.flat() } };
};

const separator = '__';

/** One server's part of the list of all. Whoever leaves it does not take it from the others who wait for it. */
async function listFor(options: MethodOptions, turn: Turn, serverId: string): Promise<JsonObject[]> {
  const { listTools, lists, serverFor } = options;
  const server = serverFor(serverId, turn.caller);
  if (server instanceof TalosError) return [];
  const { signal } = new AbortController();
  const tools = await lists.listOf(server, () => listTools.tools({ ...turn, serverId, signal }));
  return tools.map((tool) => ({ ...tool, name: `${serverId}${separator}${String(tool['name'])}` }));
}

const toolsCall: Method = async (options, turn, rpc) => {
  const { params, idempotencyKey: keyInMeta } = rpc;
  const { caller, facts, signal, session, idempotencyKey: keyInHeader } = turn;
  const [name, args] = [params['name'], params['arguments'] ?? {}];
  if (typeof name !== 'string' || !isJsonObject(args)) {
    return invalidParams('tools/call needs a name, and arguments that are an object.');
  }
  const target = turn.serverId === undefined ? targetOf(options.listTools, caller, name) : [turn.serverId, name];
  const [serverId, toolName] = target;
  if (serverId === undefined || toolName === undefined) return invalidParams('Unknown tool.');
  const given = inputGiven(rpc);
  if (given === 'invalid') return invalidParams('inputResponses must be an object, and requestState a string.');
  const key = idempotencyKeyOf(keyInHeader, keyInMeta);
  const headerOf = rpc.era === 'stateless' ? turn.headers.parameter : undefined;
  const answer = await options.callTool({
    ...{ caller, facts, serverId, toolName, input: args, signal },
    by: turn.serverId === undefined ? 'mcp.native.all' : 'mcp.native',
    passage: passageOf(options, turn, rpc),
    ...(given === undefined ? {} : { given }),
    ...(key === undefined ? {} : { idempotencyKey: key }),
    ...(headerOf === undefined ? {} : { headerOf }),
    ...(rpc.approvalId === undefined ? {} : { approvalId: rpc.approvalId }),
    ...(session === undefined ? {} : { sessionId: session.name }),
  });
  return { ...outcomeOf(answer), isReplay: answer.isReplay };
};

/** The server and the tool that a name of the endpoint of all servers means: the longest id that it begins with. */
function targetOf(listTools: ListTools, caller: Caller, name: string): readonly string[] {
  const ids = listTools.servers(caller).map(({ id }) => id);
  const [id] = ids.filter((each) => name.startsWith(each + separator)).sort((a, b) => b.length - a.length);
  return id === undefined ? [] : [id, name.slice(id.length + separator.length)];
}

/** What a client gives to a tool that asked for input, which only the stateless era knows. */
function inputGiven({ era, params }: RpcRequest): CallInput | undefined | 'invalid' {
  const { inputResponses, requestState } = params as JsonObject & { inputResponses?: unknown; requestState?: unknown };
  if (era === 'session' || (inputResponses === undefined && requestState === undefined)) return undefined;
  if (inputResponses !== undefined && !isJsonObject(inputResponses)) return 'invalid';
  if (requestState !== undefined && typeof requestState !== 'string') return 'invalid';
  return {
    ...(inputResponses === undefined ? {} : { inputResponses }),
    ...(requestState === undefined ? {} : { requestState }),
  };
}

/** By a session of the client's own where it has one; else what the server needs to know goes along. */
function passageOf(
  { peers, parkedCalls, policyMode }: MethodOptions,
  turn: Turn,
  { meta, client }: RpcRequest,
): Passage {
  const { session, reply, caller } = turn;
  const peer = session === undefined && !reply.takesMessages ? {} : { peerFor: peers.ofRequest.bind(undefined, turn) };
  const goesAlong = meta === undefined ? peer : { ...peer, meta };
  if (session !== undefined) return { ...goesAlong, lineTo: (server) => session.upstream(server) };
  if (client === undefined) return goesAlong;
  const stayFor = parkedCalls.stayFor({ turn, client, meta });
  return { ...goesAlong, stayFor, clientFor: ({ id }) => offeredTo(id, client, caller, policyMode) };
}

/** What became of a tool call: what the tool itself reports stays its result, so that a model can read and mend it. */
function outcomeOf({ result, auditRef, asksInput }: ToolCallAnswer): Outcome {
  if ('output' in result) return { result: result.output, auditRef, ...(asksInput === true ? { asksInput } : {}) };
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

function invalidParams(message: string): Outcome {
  return { error: { code: rpcCodes.invalidParams, message } };
}

const relay: Method = async (options, turn, rpc) => {
  const { caller, facts, signal, session, serverId = '' } = turn;
  const { method, params } = rpc;
  const { answer, auditRef } = await options.relayMethod({
    ...{ caller, facts, serverId, method, params, signal },
    passage: passageOf(options, turn, rpc),
    ...(session === undefined ? {} : { sessionName: session.name }),
  });
  return { ...relayed(answer), auditRef };
};

function relayed(answer: RelayAnswer['answer']): Outcome {
  if (answer.kind === 'error') return { error: { ...answer.error } };
  return { result: answer.result, asksInput: answer.kind === 'input_required' };
}

const listen: Method = ({ subscriptions }, turn, rpc) => subscriptions.listen(turn, rpc);

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

/** What changes something that lasts, which only a session does. */
const ofSessions: ReadonlyMap<string, Method> = new Map(
  ['logging/setLevel', 'resources/subscribe', 'resources/unsubscribe'].map((method) => [method, relay]),
);

const methods = {
  session: new Map<string, Method>([['initialize', initialize], ['ping', ping], ...everywhere, ...relayedMethods]),
  stateless: new Map<string, Method>([
    ['server/discover', discover],
    ['subscriptions/listen', listen],
    ...everywhere,
    ...relayedMethods,
  ]),
};

// The endpoint of all servers relays nothing: addresses of resources do not say whose they are.
export function methodOf({ era, method }: RpcRequest, { serverId, session }: Turn): Method | undefined {
  const found = methods[era].get(method) ?? (session === undefined ? undefined : ofSessions.get(method));
  return found === relay && serverId === undefined ? undefined : found;
}
