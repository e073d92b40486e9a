/**
 * A session for a client of the session era on a connection that is shared, because the server has no sessions or shall
 * have none. What a stateless server asks for in place of an answer is put to the client, and the request repeated with
 * the replies; what has no meaning there is refused in words.
 */
import type { Clock } from '../../core/clock.ts';
import { isJsonObject, type JsonObject } from '../../core/json.ts';
import type { McpServerSpec } from '../../core/mcp-server.ts';
import { Deadline, type DeadlineEnd } from '../deadline.ts';
import type { McpBounds } from '../mcp-bounds.ts';
import type { ServerHello } from '../protocol/hello.ts';
import { type RpcError, rpcCodes } from '../protocol/json-rpc.ts';
import type { Peer } from '../protocol/peer.ts';
import type { Asked, RelayedRequest, ToolCall, UpstreamAnswer } from '../upstream-call.ts';
import { dispatchedBefore, invalidResponse, UpstreamError } from '../upstream-error.ts';
import type { Listening, ListenOptions, SessionOptions, UpstreamSession } from '../upstream-session.ts';
import { BridgedChanges } from './bridged-changes.ts';

/** What is used of the server that clients share. */
export interface SharedServer {
  hello(signal: AbortSignal): Promise<ServerHello>;
  callTool(call: ToolCall): Promise<UpstreamAnswer>;
  relay(request: RelayedRequest): Promise<UpstreamAnswer>;
  listen(options: ListenOptions): Promise<Listening>;
  readonly isStateless: boolean;
}

export interface BridgeOptions {
  readonly spec: Pick<McpServerSpec, 'callTimeoutMs'>;
  readonly bounds: McpBounds;
  readonly clock: Clock;
}

/** Throws `UpstreamError`, not dispatched. */
export async function bridgedSession(
  server: SharedServer,
  options: SessionOptions,
  bridge: BridgeOptions,
): Promise<UpstreamSession> {
  const hello = await server.hello(options.signal);
  const { onNotification } = options.peer;
  const changes = new BridgedChanges({ ...bridge, server, hello, onNotification });
  return new BridgedSession(server, options, hello, bridge, changes);
}

type Input = NonNullable<ToolCall['input']>;
type Ask = (input: Input | undefined, signal: AbortSignal) => Promise<UpstreamAnswer>;

const levelKey = 'io.modelcontextprotocol/logLevel';
const notShared = 'The server has no sessions here, or clients share one: this would have no effect, or one on others.';

class BridgedSession implements UpstreamSession {
  readonly hello: ServerHello;
  readonly #server: SharedServer;
  readonly #options: SessionOptions;
  readonly #bridge: BridgeOptions;
  readonly #changes: BridgedChanges;
  #logLevel: string | undefined;

  constructor(
    server: SharedServer,
    options: SessionOptions,
    hello: ServerHello,
    bridge: BridgeOptions,
    changes: BridgedChanges,
  ) {
    this.hello = hello;
    this.#server = server;
    this.#options = options;
    this.#bridge = bridge;
    this.#changes = changes;
  }

  callTool(call: ToolCall): Promise<UpstreamAnswer> {
    return this.#answered(call, call.input, (input, signal) =>
      this.#server.callTool({ ...call, ...this.#ours(call), signal, ...(input && { input }) }),
    );
  }

  relay(request: RelayedRequest): Promise<UpstreamAnswer> {
    const { method, params } = request;
    if (method === 'logging/setLevel') return this.#setLevel(params);
    if (method === 'resources/subscribe') return this.#subscribe(params, true);
    if (method === 'resources/unsubscribe') return this.#subscribe(params, false);
    return this.#answered(request, undefined, (input, signal) =>
      this.#server.relay({ ...request, ...this.#ours(request), signal, params: { ...params, ...input } }),
    );
  }

  /** Nothing that clients tell, such as changed roots, is meant for servers without sessions. */
  notify(): void {}

  async close(): Promise<void> {
    this.#changes.close();
  }

  /** What a request carries of this client, as far as the server is to know it. */
  #ours({ meta, peer = this.#options.peer }: Asked): Pick<Asked, 'client' | 'meta' | 'peer'> {
    // Log messages and progress of the request itself; what the server asks, it asks in its answer.
    const told: Peer = { onNotification: peer.onNotification };
    if (!this.#server.isStateless) return { ...(meta && { meta }), peer: told };
    const level = this.#logLevel === undefined ? {} : { [levelKey]: this.#logLevel };
    return { client: this.#options.client, meta: { ...meta, ...level }, peer: told };
  }

  /** All rounds together take no longer than one call may. */
  async #answered(asked: Asked, given: Input | undefined, ask: Ask): Promise<UpstreamAnswer> {
    const { bounds, clock, spec } = this.#bridge;
    const longestMs = Math.max(bounds.upstreamPatienceMaxMs, asked.timeoutMs ?? spec.callTimeoutMs ?? 0);
    const over = new AbortController();
    let end: DeadlineEnd | undefined;
    const unwatch = new Deadline(clock, longestMs, asked.signal).watch((why) => {
      end = why;
      over.abort();
    });
    try {
      return await this.#rounds({ ...asked, signal: over.signal }, given, ask);
    } catch (error) {
      const isLate = end === 'UPSTREAM_TIMEOUT' && error instanceof UpstreamError && error.code === 'CALL_CANCELLED';
      throw isLate ? new UpstreamError('UPSTREAM_TIMEOUT', { dispatched: error.dispatched }) : error;
    } finally {
      unwatch();
    }
  }

  /** Repeats the request with the client's input for as long as the server asks for any. */
  async #rounds(asked: Asked, given: Input | undefined, ask: Ask): Promise<UpstreamAnswer> {
    let input = given;
    for (let rounds = 0; rounds <= this.#bridge.bounds.upstreamInputRoundsMax; rounds++) {
      const answer = await ask(input, asked.signal).catch((error: unknown) => {
        throw rounds === 0 ? error : dispatchedBefore(error);
      });
      if (answer.kind !== 'input_required') return answer;
      const collected = await this.#collect(answer.result, asked);
      if ('error' in collected) return ourError(collected.error);
      input = collected.input;
    }
    throw invalidResponse('it asks for input without end');
  }

  async #collect(
    result: JsonObject,
    { peer = this.#options.peer, signal }: Asked,
  ): Promise<{ readonly input: Input } | { readonly error: RpcError }> {
    const { inputRequests, requestState } = result as JsonObject & { inputRequests?: unknown; requestState?: unknown };
    const requests = isJsonObject(inputRequests) ? Object.entries(inputRequests) : [];
    if (requests.length > this.#bridge.bounds.upstreamInputRequestsMax)
      throw invalidResponse('it asks for too much input at once');
    const state = typeof requestState === 'string' ? { requestState } : {};
    if (requests.length === 0 && state.requestState === undefined)
      throw invalidResponse('it asks for no input in particular');
    const replies = await Promise.all(requests.map(([, request]) => put(peer, request, signal)));
    if (signal.aborted) throw new UpstreamError('CALL_CANCELLED', { dispatched: true });
    const refused = replies.find((reply) => 'error' in reply);
    if (refused !== undefined && 'error' in refused) return refused;
    const results = replies.map((reply, at) => [requests[at]?.[0], 'result' in reply ? reply.result : {}]);
    return { input: { ...(requests.length > 0 && { inputResponses: Object.fromEntries(results) }), ...state } };
  }

  async #setLevel({ level }: JsonObject): Promise<UpstreamAnswer> {
    if (!this.#server.isStateless) return refusal(rpcCodes.methodNotFound, notShared);
    if (typeof level !== 'string') return refusal(rpcCodes.invalidParams, 'logging/setLevel needs a level.');
    this.#logLevel = level;
    return done();
  }

  async #subscribe({ uri }: JsonObject, isOn: boolean): Promise<UpstreamAnswer> {
    if (!this.#server.isStateless) return refusal(rpcCodes.methodNotFound, notShared);
    if (typeof uri !== 'string') return refusal(rpcCodes.invalidParams, 'A subscription needs the uri of a resource.');
    const isDone = isOn ? await this.#changes.subscribe(uri) : await this.#changes.unsubscribe(uri);
    return isDone ? done() : refusal(rpcCodes.invalidParams, 'The server does not tell of changes of this resource.');
  }
}

/** One of the requests that a server puts into its answer. */
function put(peer: Peer, request: unknown, signal: AbortSignal) {
  const { method, params } = isJsonObject(request) ? request : {};
  if (typeof method !== 'string' || peer.onRequest === undefined) {
    return { error: { code: rpcCodes.methodNotFound, message: 'Method not found' } };
  }
  return peer.onRequest(method, isJsonObject(params) ? params : {}, signal);
}

function done(): UpstreamAnswer {
  return { kind: 'result', result: {}, isError: false, raw: Buffer.from('{}') };
}

function refusal(code: number, message: string): UpstreamAnswer {
  return ourError({ code, message });
}

/** An error that the server did not give. */
function ourError(error: RpcError): UpstreamAnswer {
  return { kind: 'error', error, raw: Buffer.from(JSON.stringify({ error })) };
}
