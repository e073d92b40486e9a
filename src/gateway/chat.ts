/**
 * The corridor of the chat tool: a conversation passed to the tool `chat` of the connector, for callers whose session is
 * bound to a capability for it. Four records tell of each request: received, called, what came back, answered.
 */
import type { Recorder } from '../audit/recorder.ts';
import { bounds } from '../config/bounds.ts';
import type { CommittedEvent, EventDraft } from '../core/audit-event.ts';
import type { Denial } from '../core/denial.ts';
import { TalosError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../core/json.ts';
import type { TakeCharges } from '../core/limit.ts';
import { surfaceHttp } from '../core/surface-http.ts';
import type { McpServer, UpstreamAnswer } from '../mcp/registry.ts';
import { UpstreamError } from '../mcp/upstream-error.ts';
import { constraintDenial } from '../policy/constraints.ts';
import { spendsOf } from '../policy/limits.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { RequestFacts } from './caller.ts';
import { type ChatAuthority, type ChatCaller, chatTool, connectorId } from './chat-authority.ts';
import { overLimit } from './over-limit.ts';
import { denialMeta } from './refusal.ts';
import { requestHash } from './request-hash.ts';
import { rightMeta } from './right-meta.ts';
import type { ServerFor } from './server-for.ts';

export interface ChatRequest extends ChatCaller {
  readonly facts: RequestFacts;
  readonly timeoutMs: number;
  /** Aborted when the caller goes away. */
  readonly signal: AbortSignal;
}

export interface ChatAnswer {
  readonly auditRef: string;
  /** The completion, or the code and the sentence of what went wrong behind the gateway. */
  readonly result:
    | { readonly completion: JsonObject }
    | { readonly error: { readonly code: JsonValue; readonly message: string } };
}

export interface ChatOptions {
  readonly serverFor: ServerFor;
  readonly authority: ChatAuthority;
  readonly take: TakeCharges;
  readonly recorder: Pick<Recorder, 'record'>;
  /** Told of a call whose outcome this process could not record. */
  readonly abandonIntent: (intentId: string) => void;
  readonly telemetry: Telemetry;
}

/** Throws `TALOS_DENIED` when the session is not bound, `AUDIT_UNAVAILABLE` and `OUTCOME_UNRECORDED`. */
export type Chat = (request: ChatRequest) => Promise<ChatAnswer>;

export function createChat(options: ChatOptions): Chat {
  return async (asked) => {
    const judged = await options.authority(asked);
    const request = { ...asked, caller: judged.caller };
    options.telemetry.decided(judged.denial);
    // A stranger's refusals must not be able to fill the log.
    if (judged.denial !== undefined && request.caller.principal.authMode === 'anonymous') throw refusal(judged.denial);
    await record(options, request, 'CHAT_REQUEST_RECEIVED', { statusCode: 100, meta: aboutConversation(request) });
    if (judged.denial !== undefined) return await refuse(options, request, judged.denial);
    return await converse(options, request);
  };
}

/** Answers in the words that clients compare. */
async function refuse(options: ChatOptions, request: ChatRequest, denial: Denial): Promise<never> {
  const { eventId } = await record(options, request, 'CHAT_RESPONSE_SENT', {
    outcome: 'denied',
    statusCode: 403,
    meta: denialMeta(denial, request.caller),
  });
  throw refusal(denial, eventId);
}

function refusal(denial: Denial, auditRef?: string): TalosError {
  return new TalosError('TALOS_DENIED', {
    message: 'Capability verification failed',
    details: { denial_reason: denial.reason },
    ...(auditRef === undefined ? {} : { auditRef }),
  });
}

async function converse(options: ChatOptions, request: ChatRequest): Promise<ChatAnswer> {
  const server = options.serverFor(connectorId, request.caller);
  const limited = server instanceof TalosError ? undefined : await overLimit(options.take, request.caller, server);
  if (limited !== undefined) return await refuseTooMuch(options, request, limited);
  const spends = spendsOf(request.caller.authority);
  const intent = await record(options, request, 'CHAT_TOOL_CALL', {
    statusCode: 100,
    meta: { phase: 'intent', request_hash: requestHash(chatTool, request.args) },
    companions: { opensIntent: true, ...(spends.length === 0 ? {} : { spends }) },
  });
  if (intent.reservation === 'exhausted')
    return await refuse(options, request, constraintDenial('constraint:max_calls'));
  const said = await ask(server, request);
  const outcome = 'error' in said.result ? ('failure' as const) : ('success' as const);
  const statusCode = outcome === 'success' ? 200 : 500;
  try {
    const meta = { phase: 'outcome', intent_id: intent.eventId, ...said.meta };
    const companions = { closesIntent: intent.eventId };
    await record(options, request, 'CHAT_TOOL_RESULT', { outcome, statusCode, meta, companions });
    const { eventId } = await record(options, request, 'CHAT_RESPONSE_SENT', { outcome, statusCode, meta: {} });
    return { auditRef: eventId, result: said.result };
  } catch (error) {
    options.abandonIntent(intent.eventId);
    throw new TalosError('OUTCOME_UNRECORDED', { cause: error });
  }
}

interface Said {
  readonly result: ChatAnswer['result'];
  readonly meta: EventDraft['meta'];
}

/** A call too many is an error, not a denial: the same request is allowed later. */
async function refuseTooMuch(options: ChatOptions, request: ChatRequest, error: TalosError): Promise<never> {
  const { eventId } = await record(options, request, 'CHAT_RESPONSE_SENT', {
    outcome: 'failure',
    statusCode: error.status,
    meta: { error: error.code },
  });
  throw error.with({ auditRef: eventId });
}

async function ask(server: McpServer | TalosError, { args, facts, timeoutMs, signal }: ChatRequest): Promise<Said> {
  if (server instanceof TalosError) {
    const isMissing = server.code === 'SERVER_NOT_FOUND';
    return isMissing ? failed('No connector is configured for chat.') : failed(server.message, server.code);
  }
  try {
    const call = { name: chatTool, args, requestId: facts.requestId, signal };
    return read(await server.callTool({ ...call, timeoutMs: timeoutMs + bounds.chatGraceMs }));
  } catch (error) {
    if (error instanceof UpstreamError) return failed(error.message, error.code);
    return failed('The conversation could not be passed on.', 'INTERNAL');
  }
}

function failed(message: string, error = 'GATEWAY_ERROR'): Said {
  return { result: { error: { code: 'GATEWAY_ERROR', message } }, meta: { error } };
}

function read(answer: UpstreamAnswer): Said {
  const meta = { response_hash: sha256Hex(answer.raw) };
  if (answer.kind === 'error') return { result: { error: connectorError(answer.error) }, meta: withError(meta) };
  const completion = completionIn(answer.result);
  if (answer.kind === 'result' && !answer.isError && completion !== undefined) return { result: { completion }, meta };
  const message = textOf(answer.result) || 'The connector answered without a message.';
  return { result: { error: { code: 'TALOS_CHAT_UPSTREAM_ERROR', message } }, meta: withError(meta) };
}

function withError(meta: EventDraft['meta']): EventDraft['meta'] {
  return { ...meta, error: 'CONNECTOR' };
}

/** The connector's own code, which is a word, where it has one. */
function connectorError(error: { readonly code: number; readonly message: string; readonly data?: JsonValue }) {
  const word = isJsonObject(error.data) ? error.data['code'] : undefined;
  return { code: typeof word === 'string' ? word : error.code, message: error.message };
}

/** The completion: the result itself, as the connector gives it, or what an MCP server put into one. */
function completionIn(result: JsonObject): JsonObject | undefined {
  const structured = result['structuredContent'];
  const candidates = [result, structured, parsed(textOf(result))];
  return candidates.filter((each) => isJsonObject(each)).find((each) => Array.isArray(each['messages']));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function textOf(result: JsonObject): string {
  const content = result['content'];
  const first = Array.isArray(content) ? content[0] : undefined;
  return isJsonObject(first) && typeof first['text'] === 'string' ? first['text'] : '';
}

function aboutConversation({ args }: ChatRequest): EventDraft['meta'] {
  const messages = args['messages'];
  return { model: String(args['model']), msg_count: Array.isArray(messages) ? messages.length : 0 };
}

type ChatEvent = 'CHAT_REQUEST_RECEIVED' | 'CHAT_TOOL_CALL' | 'CHAT_TOOL_RESULT' | 'CHAT_RESPONSE_SENT';

interface Entry {
  readonly outcome?: EventDraft['outcome'];
  readonly statusCode: number;
  readonly meta: EventDraft['meta'];
  readonly companions?: EventDraft['companions'];
}

async function record(
  { recorder }: ChatOptions,
  { caller, facts, sessionId }: ChatRequest,
  event: ChatEvent,
  { outcome = 'success', statusCode, meta, companions }: Entry,
): Promise<CommittedEvent> {
  return await recorder.record({
    surfaceId: 'mcp.tools.chat',
    requestId: facts.requestId,
    principal: caller.principal,
    outcome,
    http: surfaceHttp('mcp.tools.chat', statusCode, facts),
    resource: { type: 'tool', id: `${connectorId}/${chatTool}` },
    meta: {
      event_type: event,
      session_id: sessionId,
      correlation_id: facts.requestId,
      server_id: connectorId,
      tool_name: chatTool,
      ...rightMeta(caller),
      ...meta,
    },
    ...(companions === undefined ? {} : { companions }),
  });
}
