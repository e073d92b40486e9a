/**
 * The native MCP endpoint: the gateway as if it were the tool server itself (`/mcp/{server_id}`), or as one server with
 * everything that a caller may use of all (`/mcp`). Every message is judged by itself, in both
 * protocol eras; a session joins messages, and lends nobody any authority.
 */
import { TalosError } from '../../core/errors.ts';
import type { JsonValue } from '../../core/json.ts';
import type { SurfaceId } from '../../core/surfaces.ts';
import { type Inbound, type InboundHeaders, readInbound } from '../../mcp/protocol/inbound.ts';
import { rpcCodes } from '../../mcp/protocol/json-rpc.ts';
import type { Caller, RequestFacts } from '../caller.ts';
import {
  answerOf,
  gatewayError,
  internalError,
  type NativeAnswer,
  notServed,
  type RpcRequest,
  refusal,
} from './answer.ts';
import { batchAnswer, batchFault } from './batch.ts';
import { gatewayOutcome } from './elicit-account.ts';
import type { Method, MethodOptions } from './methods/method.ts';
import { methodOf } from './methods/methods.ts';
import { refuseSession } from './sessions/refuse-session.ts';
import type { McpSession } from './sessions/session.ts';
import type { EventSink } from './streams/event-sink.ts';
import { DirectReply } from './streams/reply.ts';
import type { Turn } from './turn.ts';

/** A request to the endpoint, whatever it says. */
interface Addressed {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  /** Absent at the endpoint of all servers. */
  readonly serverId?: string;
  readonly sessionId?: string;
  /** The address that browsers know the gateway by. */
  readonly base?: string;
  /** Judges the credentials of this request anew. */
  readonly reauthenticate: () => Promise<Caller>;
}

export interface NativeRequest extends Addressed {
  /** The parsed body. */
  readonly body: JsonValue | undefined;
  readonly headers: InboundHeaders;
  /** The header `Idempotency-Key`. */
  readonly idempotencyKey?: string;
  /** How long the caller waits for a human, in place of what is set. Seconds. */
  readonly waitSec?: number;
  /** Counts one message more of the caller. Throws `RATE_LIMITED` or `RATE_LIMITER_UNAVAILABLE`. */
  readonly countMessage: (caller: Caller) => Promise<void>;
  /** Where events go; absent when the client takes none. */
  readonly sink?: EventSink;
  /** Aborted when the caller goes away. */
  readonly signal: AbortSignal;
}

export interface ListenRequest extends Addressed {
  readonly sessionId: string;
  readonly lastEventId?: string;
  readonly sink: EventSink;
}

/** None throws for what the message says: whatever becomes of it is an answer. */
export interface NativeMcp {
  readonly post: (request: NativeRequest) => Promise<NativeAnswer>;
  /** Serves the stream of a session; the answer says so, or what is wrong. */
  readonly listen: (request: ListenRequest) => Promise<NativeAnswer>;
  /** Ends a session. */
  readonly end: (request: Addressed & { readonly sessionId: string }) => Promise<NativeAnswer>;
}

type Verb = 'mcp.native' | 'mcp.native.listen' | 'mcp.native.end';

export function createNativeMcp(options: MethodOptions): NativeMcp {
  /** Throws `SESSION_NOT_FOUND`, whether there is none or it is somebody else's; the latter is on record. */
  async function sessionOf(verb: Verb, request: Addressed): Promise<McpSession> {
    const { sessionId = '', caller, serverId, reauthenticate } = request;
    const session = options.sessions.find(sessionId);
    if (session === undefined) throw new TalosError('SESSION_NOT_FOUND');
    if (!session.belongsTo(caller, serverId)) {
      const surface: SurfaceId = serverId === undefined ? `${verb}.all` : verb;
      return await refuseSession(options.refuse, surface, request);
    }
    session.used(caller, reauthenticate);
    return session;
  }

  /** `count` is told of the message before it is looked at, and may throw. */
  async function postOne(request: NativeRequest, count?: () => Promise<void>): Promise<NativeAnswer> {
    const inbound = readInbound(request.body, request.headers);
    if (inbound.kind === 'refused') return refusal(400, inbound.id, { ...inbound.error });
    // The stateless era knows none.
    const isInSession = request.sessionId !== undefined && !(inbound.kind === 'request' && inbound.era === 'stateless');
    return await answered(request, inbound, async () => {
      await count?.();
      const session = isInSession ? await sessionOf('mcp.native', request) : undefined;
      if (inbound.kind === 'request') return await serve(options, request, inbound, session);
      return inbound.kind === 'response' ? settle(inbound, session) : take(inbound, session);
    });
  }

  async function postBatch(request: NativeRequest, messages: readonly JsonValue[]): Promise<NativeAnswer> {
    const session = request.sessionId === undefined ? undefined : await sessionOf('mcp.native', request);
    const fault = batchFault(messages, request, session);
    if (fault !== undefined) return fault;
    const { sink: _, countMessage, ...shared } = request;
    // The first was counted as the request.
    const countOf = (at: number) => (at === 0 ? undefined : () => countMessage(request.caller));
    return batchAnswer(
      await Promise.all(messages.map((body, at) => postOne({ ...shared, countMessage, body }, countOf(at)))),
    );
  }

  return {
    post(request) {
      const { body } = request;
      if (!Array.isArray(body)) return postOne(request);
      return answered(request, undefined, () => postBatch(request, body));
    },
    listen: (request) =>
      answered(request, undefined, async () => {
        const session = await sessionOf('mcp.native.listen', request);
        session.listen(request.sink, request.lastEventId);
        return { status: 200, isStreamed: true };
      }),
    end: (request) =>
      answered(request, undefined, async () => {
        const session = await sessionOf('mcp.native.end', request);
        await session.end('client_ended');
        return { status: 200 };
      }),
  };
}

/** What is thrown at a message that is no request, or at the session that it names. */
async function answered(
  { facts }: Addressed,
  inbound: Inbound | undefined,
  work: () => Promise<NativeAnswer>,
): Promise<NativeAnswer> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof TalosError)) throw error;
    const outcome = gatewayError(error, facts);
    const id = inbound?.kind === 'request' ? inbound.id : null;
    return {
      ...refusal(outcome.status ?? 200, id, outcome.error ?? {}),
      auditRef: outcome.auditRef,
      retryAfterSec: outcome.retryAfterSec,
    };
  }
}

async function serve(
  options: MethodOptions,
  request: NativeRequest,
  rpc: RpcRequest,
  session: McpSession | undefined,
): Promise<NativeAnswer> {
  const inSession = session?.replyTo(request.sink);
  const reply = inSession ?? new DirectReply(request.sink);
  const running = inSession && session?.begin(rpc.id, inSession);
  try {
    const turn = { ...request, session, reply, signal: running?.signal ?? request.signal };
    const method = methodOf(rpc, turn);
    if (method === undefined) return notServed(rpc);
    const answer = await attempt(method, options, turn, rpc);
    // Whoever has cancelled it takes what still comes for an answer to nothing.
    if (running?.isCancelled()) return { ...withoutBody(answer), ...(reply.end() ? { isStreamed: true } : {}) };
    const isStreamed = answer.body !== undefined && reply.finish(answer.body, answer.auditRef);
    return isStreamed ? { ...answer, isStreamed } : answer;
  } catch (error) {
    // A fault of our own: whoever reads a stream must not wait for ever.
    reply.finish(internalError(rpc));
    throw error;
  } finally {
    running?.end();
  }
}

function withoutBody({ auditRef }: NativeAnswer): NativeAnswer {
  return { status: 202, auditRef };
}

async function attempt(method: Method, options: MethodOptions, turn: Turn, rpc: RpcRequest): Promise<NativeAnswer> {
  try {
    return answerOf(rpc, await method(options, turn, rpc));
  } catch (error) {
    if (error instanceof TalosError) return answerOf(rpc, await gatewayOutcome(options, turn, error));
    throw error;
  }
}

/** A reply to what a server asked: once, by the client that was asked. */
function settle({ id, reply }: Extract<Inbound, { kind: 'response' }>, session: McpSession | undefined): NativeAnswer {
  if (session === undefined || session.asked.settle(id, reply)) return { status: 202 };
  return refusal(400, null, { code: rpcCodes.invalidRequest, message: 'No request of this id is open.' });
}

/** Only what belongs to a session means anything to anybody. */
function take(
  { method, params }: Extract<Inbound, { kind: 'notification' }>,
  session: McpSession | undefined,
): NativeAnswer {
  if (method === 'notifications/cancelled') session?.cancel(params['requestId']);
  if (method === 'notifications/progress') session?.asked.progress(params);
  if (method === 'notifications/roots/list_changed') session?.notifyServers(method, params);
  return { status: 202 };
}
