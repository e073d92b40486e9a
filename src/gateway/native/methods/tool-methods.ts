/** Tools as the native endpoint lists and calls them, of one server or of all. */
import { isJsonObject, type JsonObject } from '../../../core/json.ts';
import type { CallInput } from '../../call-input.ts';
import type { ToolCallAnswer } from '../../call-tool.ts';
import { idempotencyKeyOf } from '../../idempotency-key.ts';
import { ownArguments, ownHeader, resultAmongAll } from '../aggregate/content.ts';
import { nameAmongAll } from '../aggregate/names.ts';
import { answerAmongAll, namedAmongAll, serverIdsFor } from '../aggregate/servers.ts';
import type { Outcome, RpcRequest } from '../answer.ts';
import type { Turn } from '../turn.ts';
import { invalidParams, type Method, type MethodOptions } from './method.ts';
import { passageOf } from './passage-of.ts';

export const toolsList: Method = async (options, turn) => {
  const { listTools } = options;
  const { serverId, caller, session } = turn;
  if (serverId !== undefined) {
    return { result: { tools: await listTools.tools({ ...turn, serverId, toolsAt: session?.toolsAt }) } };
  }
  const lists = await Promise.all(serverIdsFor(options, caller).map((id) => listFor(options, turn, id)));
  return { result: { tools: lists.flat() } };
};

/** One server's part of the list of all. */
async function listFor(options: MethodOptions, turn: Turn, serverId: string): Promise<JsonObject[]> {
  const tools = await answerAmongAll(options, turn, serverId, 'tools/list', (signal) =>
    options.listTools.tools({ ...turn, serverId, signal, toolsAt: turn.session?.toolsAt }),
  );
  return (tools ?? []).map((tool) => ({ ...tool, name: nameAmongAll(serverId, String(tool['name'])) }));
}

export const toolsCall: Method = async (options, turn, rpc) => {
  const { params, idempotencyKey: keyInMeta } = rpc;
  const { caller, facts, signal, session, waitSec, idempotencyKey: keyInHeader } = turn;
  const [name, args] = [params['name'], params['arguments'] ?? {}];
  if (typeof name !== 'string' || !isJsonObject(args)) {
    return invalidParams('tools/call needs a name, and arguments that are an object.');
  }
  const [serverId, toolName] = turn.serverId === undefined ? namedAmongAll(options, turn, name) : [turn.serverId, name];
  if (serverId === undefined || toolName === undefined) return invalidParams('Unknown tool.');
  const given = inputGiven(rpc);
  if (given === 'invalid') return invalidParams('inputResponses must be an object, and requestState a string.');
  const key = idempotencyKeyOf(keyInHeader, keyInMeta);
  const isAmongAll = turn.serverId === undefined;
  const headerOf = rpc.era === 'stateless' ? headersOf(turn, serverId) : undefined;
  const answer = await options.callTool({
    ...{ caller, facts, serverId, toolName, signal },
    input: isAmongAll ? ownArguments(serverId, args) : args,
    by: isAmongAll ? 'mcp.native.all' : 'mcp.native',
    passage: passageOf(options, turn, rpc),
    ...(given === undefined ? {} : { given }),
    ...(key === undefined ? {} : { idempotencyKey: key }),
    ...(headerOf === undefined ? {} : { headerOf }),
    ...(rpc.approvalId === undefined ? {} : { approvalId: rpc.approvalId }),
    ...(waitSec === undefined ? {} : { waitSec }),
    ...(session === undefined ? {} : { sessionId: session.name }),
  });
  const { result, ...rest } = outcomeOf(answer);
  const said = result !== undefined && isAmongAll ? resultAmongAll(serverId, result) : result;
  return { ...rest, ...(said === undefined ? {} : { result: said }), isReplay: answer.isReplay };
};

/** Headers repeat the arguments as the client sends them. */
function headersOf({ serverId: addressed, headers: { parameter } }: Turn, serverId: string) {
  if (addressed !== undefined || parameter === undefined) return parameter;
  return (name: string) => ownHeader(serverId, parameter(name));
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
