/**
 * One tool server over HTTP in the one era that was negotiated: requests, their answers, and what is said beside them.
 * It repeats nothing; when the server no longer knows the session or the version, it says so and its owner decides.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { describeError } from '../../core/errors.ts';
import type { JsonObject } from '../../core/json.ts';
import type { ConnectionOptions, RpcRequest } from '../connection.ts';
import { Deadline } from '../deadline.ts';
import { ServerMessages } from '../duplex/server-messages.ts';
import { type Era, encodeForEra, eraHeaders, sessionHeaders, strictnessOf } from '../protocol/era.ts';
import {
  answerOf,
  encodeNotification,
  isRequest,
  isResponse,
  MessageFault,
  type RpcAnswer,
  readMessage,
  rpcCodes,
} from '../protocol/json-rpc.ts';
import type { Peer } from '../protocol/peer.ts';
import { dispatchedBefore, invalidResponse, UpstreamError } from '../upstream-error.ts';
import { type HttpClient, type HttpSend, requestIdHeader } from './client.ts';
import type { HttpReply } from './exchange.ts';
import { tellsSessionLost, withId } from './session-lost.ts';

type Ended = Extract<HttpReply, { kind: 'ended' }>;
type Answered = Exclude<HttpReply, Ended>;

/** In place of an answer: the server no longer knows the session or version, and did not process the request. */
export const eraLost = Symbol('era lost');

export interface HttpChannelOptions {
  readonly client: HttpClient;
  readonly options: ConnectionOptions;
  readonly era: Era;
  /** Numbers requests; unique on the connection or session. */
  readonly nextId: () => number;
  /** For what belongs to no request. */
  readonly peer?: Peer;
}

export class HttpChannel {
  readonly era: Era;
  readonly #client: HttpClient;
  readonly #options: ConnectionOptions;
  readonly #nextId: () => number;
  readonly #messages: ServerMessages;
  readonly #inFlight = new Set<RpcRequest>();
  /** Whether it is a session of one client. */
  readonly #isOwn: boolean;
  #asides = 0;

  constructor({ client, options, era, nextId, peer }: HttpChannelOptions) {
    this.era = era;
    this.#client = client;
    this.#options = options;
    this.#nextId = nextId;
    this.#isOwn = peer !== undefined;
    const { bounds, clock, onChange } = options;
    this.#messages = new ServerMessages({
      onChange,
      peer,
      openMax: bounds.upstreamPeerRequestsMax,
      perRequestMax: bounds.upstreamPeerRequestsPerCallMax,
      perMinuteMax: bounds.upstreamPeerRequestsPerMinuteMax,
      clock,
      reply: (body) => this.#tell({ body }, bounds.upstreamReplyTimeoutMs),
      decline: (body) => void this.#aside({ body }),
    });
  }

  async request(request: RpcRequest): Promise<RpcAnswer | typeof eraLost> {
    const id = this.#nextId();
    this.#messages.opened(id, request);
    // Nobody can be asked on behalf of what has no peer.
    if (request.peer !== undefined) this.#inFlight.add(request);
    try {
      return this.#read(id, await this.#exchange(id, request));
    } catch (error) {
      this.#afterFailure(id, error);
      throw error;
    } finally {
      this.#inFlight.delete(request);
      this.#messages.closed(id, request);
    }
  }

  /** One message that came without being asked for. Throws `MessageFault`. */
  unsolicited(raw: Buffer): void {
    const message = readMessage(raw, this.#options.bounds.upstreamResponseDepthMax);
    if (!isResponse(message)) this.#onMessage(message);
  }

  /** Of one client alone, the request in flight when there are no others. */
  #only(): RpcRequest | undefined {
    const [only, second] = this.#inFlight;
    return this.#isOwn && second === undefined ? only : undefined;
  }

  notify(method: string, params: JsonObject): void {
    if (this.era.kind === 'session') void this.#aside({ body: encodeNotification(method, params) });
  }

  /** Tells the server that the session is over, where there is one. */
  async close(): Promise<void> {
    this.#messages.over();
    if (this.era.kind === 'session' && this.era.sessionId !== undefined) await this.#aside({ method: 'DELETE' });
  }

  async #exchange(id: number, request: RpcRequest): Promise<Answered> {
    const { deadline, peer } = request;
    const onEvent = ({ data }: { readonly data: Buffer }) => this.#onEvent(data, request);
    const headers = [...eraHeaders(this.era, request), ...requestIdHeader(request)];
    const body = encodeForEra(this.era, id, request);
    // What may wait for a person must not take the connections of what does not.
    const aside = peer?.onRequest === undefined ? {} : ({ aside: 'streams' } as const);
    const reply = await this.#client.send({ body, headers, deadline, onEvent, ...aside });
    return reply.kind === 'ended' ? this.#resume(reply, deadline, onEvent) : reply;
  }

  /** Follows a stream that broke off to its answer. What it belongs to was processed: no failure from here on says else. */
  async #resume(broken: Ended, deadline: Deadline, onEvent: HttpSend['onEvent']): Promise<Answered> {
    let at = broken;
    for (let resumes = 0; resumes < this.#options.bounds.upstreamStreamResumesMax; resumes++) {
      if (this.era.kind !== 'session' || at.lastEventId === undefined) break;
      await pause(at.retryMs ?? 0, deadline);
      const headers = [...sessionHeaders(this.era), 'last-event-id', at.lastEventId];
      const reply = await this.#client
        .send({ method: 'GET', headers, deadline, aside: 'streams', ...(onEvent && { onEvent }) })
        .catch((error: unknown) => {
          // What is resumed had been sent.
          throw dispatchedBefore(error);
        });
      if (reply.kind === 'answer') return reply;
      if (reply.kind === 'body') throw invalidResponse(`HTTP ${reply.status} in place of the rest of an event stream`);
      at = { ...reply, lastEventId: reply.lastEventId ?? at.lastEventId };
    }
    throw invalidResponse('the event stream ended without an answer');
  }

  /** The response among the events of a call; what else comes is handled on the way. */
  #onEvent(data: Buffer, request: RpcRequest): JsonObject | undefined {
    const message = readMessage(data, this.#options.bounds.upstreamResponseDepthMax);
    if (isResponse(message)) return message;
    this.#onMessage(message, request);
    return undefined;
  }

  /** Only sessions let a server ask back. What belongs to no request is in the course of the only one in all likelihood. */
  #onMessage(message: JsonObject, request?: RpcRequest): void {
    if (this.era.kind !== 'session' && isRequest(message)) return;
    this.#messages.take(message, request, request === undefined ? this.#only() : undefined);
  }

  #read(id: number, reply: Answered): RpcAnswer | typeof eraLost {
    try {
      if (reply.kind === 'answer') return answerOf(reply.message, reply.raw, id, strictnessOf(this.era));
      if (reply.status === 200) return this.#readBody(id, reply.body);
      return this.#readRefusal(id, reply);
    } catch (error) {
      if (error instanceof MessageFault) throw invalidResponse(error.message);
      throw error;
    }
  }

  #readBody(id: number, body: Buffer): RpcAnswer {
    const message = readMessage(body, this.#options.bounds.upstreamResponseDepthMax);
    return answerOf(message, body, id, strictnessOf(this.era));
  }

  /** An HTTP status other than 200: a lost session, a JSON-RPC error in the body, or nothing that we understand. */
  #readRefusal(id: number, { status, body }: Extract<HttpReply, { kind: 'body' }>): RpcAnswer | typeof eraLost {
    const { era } = this;
    if (era.kind === 'session' && era.sessionId !== undefined && status === 404) return eraLost;
    if (status < 400) throw invalidResponse(`HTTP ${status} in place of an answer`);
    const answer = this.#refusalAnswer(id, status, body);
    if (answer.kind === 'result') throw invalidResponse(`HTTP ${status} with a result`);
    return saysEraLost(era, status, answer) ? eraLost : answer;
  }

  #refusalAnswer(id: number, status: number, body: Buffer): RpcAnswer {
    try {
      const message = readMessage(body, this.#options.bounds.upstreamResponseDepthMax);
      return answerOf(withId(message), body, id, strictnessOf(this.era));
    } catch (error) {
      if (error instanceof MessageFault) throw invalidResponse(`HTTP ${status} without a JSON-RPC body`);
      throw error;
    }
  }

  #afterFailure(id: number, error: unknown): void {
    if (!(error instanceof UpstreamError)) return;
    const gaveUp = error.code === 'UPSTREAM_TIMEOUT' || error.code === 'CALL_CANCELLED';
    // In the stateless era the closed connection says it; a session outlives its connections and must be told.
    if (gaveUp && error.dispatched) {
      this.notify('notifications/cancelled', { requestId: id, reason: 'the caller no longer waits' });
    }
  }

  /**
   * A message that nobody waits for; a server that does not take it misses nothing. Nor does one that asks for more of
   * them than it takes: what it asks for must not pile up here.
   */
  async #aside(message: { readonly method?: 'DELETE'; readonly body?: string }): Promise<void> {
    const { bounds } = this.#options;
    if (this.#asides >= bounds.upstreamGoodbyesInFlightMax) return;
    this.#asides++;
    await this.#tell(message, bounds.upstreamGoodbyeTimeoutMs);
    this.#asides--;
  }

  async #tell(message: { readonly method?: 'DELETE'; readonly body?: string }, timeoutMs: number): Promise<void> {
    const { clock, log, spec } = this.#options;
    const { era } = this;
    const headers = era.kind === 'session' ? sessionHeaders(era) : [];
    try {
      await this.#client.send({ ...message, headers, deadline: new Deadline(clock, timeoutMs), aside: 'messages' });
    } catch (error) {
      log.debug({ server: spec.id, reason: describeError(error) }, 'a tool server did not take a message');
    }
  }
}

function saysEraLost(era: Era, status: number, answer: Extract<RpcAnswer, { kind: 'error' }>): boolean {
  if (era.kind === 'stateless') return status === 400 && answer.error.code === rpcCodes.unsupportedVersion;
  return era.kind === 'session' && tellsSessionLost(status, answer.error.message);
}

async function pause(ms: number, deadline: Deadline): Promise<void> {
  try {
    await delay(
      Math.min(ms, deadline.remainingMs),
      undefined,
      deadline.signal === undefined ? {} : { signal: deadline.signal },
    );
  } catch {
    // The exchange that follows meets the same signal and reports it.
  }
}
