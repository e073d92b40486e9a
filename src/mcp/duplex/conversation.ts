/**
 * One life of a two-way stream to a tool server, from the handshake to its end. Requests run concurrently and are matched
 * by id; one that was sent when the stream ended may have been carried out.
 */
import { isJsonObject, type JsonObject } from '../../core/json.ts';
import type { Asking, ConnectionOptions, RpcRequest } from '../connection.ts';
import type { Deadline } from '../deadline.ts';
import {
  type Era,
  encodeForEra,
  helloOf,
  initializeParams,
  sessionVersions,
  statelessVersion,
} from '../protocol/era.ts';
import { helloFrom, onlyTools, type ServerHello } from '../protocol/hello.ts';
import {
  answerOf,
  encodeNotification,
  isResponse,
  MessageFault,
  type RpcAnswer,
  readMessage,
  rpcCodes,
} from '../protocol/json-rpc.ts';
import type { ClientHello, Peer } from '../protocol/peer.ts';
import { invalidResponse, UpstreamError, unavailable } from '../upstream-error.ts';
import type { Listening, ListenOptions } from '../upstream-session.ts';
import { listenMethod, StreamListener, subscriptionOf } from './listener.ts';
import { ServerMessages } from './server-messages.ts';
import type { OpenWire, Wire } from './wire.ts';

interface Pending {
  readonly request: RpcRequest;
  readonly settle: (answer: RpcAnswer) => void;
  readonly fail: (error: UpstreamError) => void;
}

export interface ConversationOptions {
  readonly options: Pick<ConnectionOptions, 'spec' | 'clock' | 'log' | 'bounds' | 'onChange'>;
  readonly openWire: OpenWire;
  readonly client: ClientHello;
  readonly protocolVersion?: string;
  /** For what belongs to no request. */
  readonly peer?: Peer;
  /** Told once when it is over, whoever ended it. */
  readonly onOver: (reason: string) => void;
}

/** The session era, as far as it is known before the server has said anything. */
const sessionEra = {
  kind: 'session',
  protocolVersion: sessionVersions[0] as string,
  sessionId: undefined,
  hello: onlyTools,
} as const satisfies Era;
const statelessEra = {
  kind: 'stateless',
  protocolVersion: statelessVersion,
  hello: { ...onlyTools, era: 'stateless' },
} as const satisfies Era;

export class Conversation implements Asking {
  readonly #options: ConversationOptions;
  readonly #messages: ServerMessages;
  readonly #pending = new Map<number, Pending>();
  /** Requests that the server may still be at work on, though nobody waits for their answers. */
  readonly #abandoned = new Set<number>();
  readonly #listens = new Map<number, StreamListener>();
  #wire: Wire | undefined;
  #era: Era = sessionEra;
  #state: 'starting' | 'ready' | 'over' = 'starting';
  #lastId = 0;

  constructor(options: ConversationOptions) {
    this.#options = options;
    const { bounds, clock, onChange } = options.options;
    this.#messages = new ServerMessages({
      onChange,
      peer: options.peer,
      openMax: bounds.upstreamPeerRequestsMax,
      perRequestMax: bounds.upstreamPeerRequestsPerCallMax,
      perMinuteMax: bounds.upstreamPeerRequestsPerMinuteMax,
      clock,
      reply: (message) => this.#tell(message),
      decline: (message) => this.#tell(message),
    });
  }

  get isReady(): boolean {
    return this.#state === 'ready';
  }

  get hello(): ServerHello {
    return helloOf(this.#era);
  }

  get era(): Era {
    return this.#era;
  }

  /** Opens the stream and shakes hands. Rejects with `UpstreamError`; what was begun is over then. */
  async start(deadline: Deadline): Promise<void> {
    this.#wire = await this.#options.openWire(
      {
        isStarting: () => this.#state === 'starting',
        onMessage: (raw) => this.#onMessage(raw),
        onTooLarge: () => this.#onTooLarge(),
        onOver: (reason) => this.#onOver(reason),
      },
      deadline,
    );
    try {
      await this.#handshake(deadline);
    } catch (error) {
      // The next start must not wait for a process that is slow to leave.
      this.#wire.kill();
      throw error;
    }
    if (this.#state === 'starting') this.#state = 'ready';
  }

  request(request: RpcRequest): Promise<RpcAnswer> {
    const wire = this.#wire;
    if (wire === undefined || this.#state === 'over') return Promise.reject(unavailable('the connection has ended'));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const unwatch = request.deadline.watch((end) => this.#giveUp(id, new UpstreamError(end, { dispatched: true })));
      const done = () => {
        this.#pending.delete(id);
        this.#messages.closed(id, request);
        unwatch();
      };
      const settle = (answer: RpcAnswer) => {
        done();
        resolve(answer);
      };
      const fail = (error: UpstreamError) => {
        done();
        reject(error);
      };
      this.#pending.set(id, { request, settle, fail });
      this.#messages.opened(id, request);
      wire.send(encodeForEra(this.#era, id, request), (error) => this.#pending.get(id)?.fail(error));
    });
  }

  notify(method: string, params: JsonObject): void {
    this.#tell(encodeNotification(method, params));
  }

  /** Listens to changes, in the stateless era; rejects with `UpstreamError`, not dispatched. */
  listen(options: ListenOptions, deadline: Deadline): Promise<Listening> {
    if (this.#state === 'over') return Promise.reject(unavailable('the connection has ended'));
    const id = ++this.#lastId;
    const listener = new StreamListener(id, options, () => {
      if (this.#listens.delete(id)) this.notify('notifications/cancelled', { requestId: id });
    });
    this.#listens.set(id, listener);
    this.#tell(encodeForEra(this.#era, id, { method: listenMethod, params: { notifications: options.filter } }));
    return listener.acknowledged(deadline);
  }

  async stop(): Promise<void> {
    await this.#wire?.stop();
  }

  /** `initialize` first: servers exist that end when anything else opens the conversation. */
  async #handshake(deadline: Deadline): Promise<void> {
    const { client, protocolVersion } = this.#options;
    const params = initializeParams(client, protocolVersion);
    const answer = await this.request({ method: 'initialize', params, deadline });
    if (answer.kind === 'error') {
      this.#era = eraAfterRefusal(answer);
      await this.#discover(deadline);
      return;
    }
    const version = answer.result['protocolVersion'];
    if (typeof version !== 'string' || !sessionVersions.includes(version))
      throw invalidResponse('it chose a protocol version that was not offered');
    this.#era = { ...sessionEra, protocolVersion: version, hello: helloFrom(answer.result, 'session') };
    this.#tell(encodeNotification('notifications/initialized'));
  }

  async #discover(deadline: Deadline): Promise<void> {
    const answer = await this.request({ method: 'server/discover', params: {}, deadline });
    if (answer.kind === 'result') this.#era = { ...statelessEra, hello: helloFrom(answer.result, 'stateless') };
  }

  #giveUp(id: number, error: UpstreamError): void {
    const method = this.#pending.get(id)?.request.method;
    this.#pending.get(id)?.fail(error);
    // The handshake cannot be cancelled (MCP 2025-11-25, Cancellation).
    if (method === undefined || method === 'initialize') return;
    if (this.#abandoned.size < this.#options.options.bounds.upstreamConcurrencyMax) this.#abandoned.add(id);
    this.notify('notifications/cancelled', { requestId: id, reason: 'the caller no longer waits' });
  }

  /** What the server does not take of this it misses by its own doing. */
  #tell(message: string): void {
    if (this.#state !== 'over') this.#wire?.send(message, () => undefined);
  }

  #onMessage(raw: Buffer): void {
    try {
      this.#take(readMessage(raw, this.#options.options.bounds.upstreamResponseDepthMax), raw);
    } catch (error) {
      if (!(error instanceof MessageFault)) throw error;
      const { log, spec } = this.#options.options;
      log.debug({ server: spec.id, reason: error.message }, 'a tool server wrote what is no message');
    }
  }

  #take(message: JsonObject, raw: Buffer): void {
    if (isResponse(message)) this.#onResponse(message, raw);
    else if (!this.#isForListener(message)) this.#messages.takeStray(message, this.#only());
  }

  #isForListener(message: JsonObject): boolean {
    const listener = this.#listens.get(subscriptionOf(message) ?? 0);
    listener?.take(message);
    return listener !== undefined;
  }

  /**
   * Nothing says which request a message belongs to; with one in flight it is that one. Among several clients, what was
   * given up unanswered is in flight too; of one client's own, what has no peer is none of theirs.
   */
  #only(): RpcRequest | undefined {
    const isOwn = this.#options.peer !== undefined;
    if (!isOwn && this.#abandoned.size > 0) return undefined;
    const requests = [...this.#pending.values()].map(({ request }) => request);
    const [only, second] = isOwn ? requests.filter(({ peer }) => peer !== undefined) : requests;
    return second === undefined ? only : undefined;
  }

  /** Late answers, answers to nobody and second answers are nobody's. */
  #onResponse(message: JsonObject, raw: Buffer): void {
    const id = typeof message['id'] === 'number' ? message['id'] : 0;
    this.#listens.get(id)?.end();
    if (this.#listens.delete(id)) return;
    if (this.#abandoned.delete(id)) return;
    const pending = this.#pending.get(id);
    if (pending === undefined) throw new MessageFault('a response to no open request');
    try {
      pending.settle(answerOf(message, raw, id, 'strict'));
    } catch (error) {
      pending.fail(invalidResponse(error instanceof Error ? error.message : 'unreadable'));
    }
  }

  /** No telling whose answer it is, and the rest of it is still coming: all of them fail, and the stream is given up. */
  #onTooLarge(): void {
    this.#failAll(() => new UpstreamError('UPSTREAM_RESPONSE_TOO_LARGE', { dispatched: true }));
    this.#wire?.kill();
  }

  #onOver(reason: string): void {
    this.#state = 'over';
    this.#messages.over();
    this.#failAll(() => new UpstreamError('UPSTREAM_UNAVAILABLE', { dispatched: true, inside: reason }));
    const listeners = [...this.#listens.values()];
    this.#listens.clear();
    for (const listener of listeners) listener.end();
    this.#options.onOver(reason);
  }

  #failAll(error: () => UpstreamError): void {
    for (const pending of [...this.#pending.values()]) pending.fail(error());
  }
}

/** A server of the stateless era refuses `initialize` and names what it speaks. */
function eraAfterRefusal({ error }: Extract<RpcAnswer, { kind: 'error' }>): Era {
  const supported = isJsonObject(error.data) ? error.data['supported'] : undefined;
  if (error.code === rpcCodes.unsupportedVersion && Array.isArray(supported) && supported.includes(statelessVersion))
    return statelessEra;
  throw invalidResponse(`it refused to initialize (JSON-RPC error ${error.code})`);
}
