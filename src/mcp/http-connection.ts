/**
 * One tool server over HTTP. The era is negotiated once and remembered until something fails; a lost session is reopened
 * and the call repeated once, because the server then said that it did not process it. Nothing else is ever repeated.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { describeError } from '../core/errors.ts';
import { isJsonObject, type JsonObject } from '../core/json.ts';
import { ChangeListener } from './change-listener.ts';
import type { Connection, ConnectionOptions, RpcRequest } from './connection.ts';
import { Deadline } from './deadline.ts';
import { type Era, encodeForEra, eraHeaders, helloOf, sessionHeaders, strictnessOf } from './era.ts';
import type { ServerHello } from './hello.ts';
import { HttpClient, type HttpSend, requestIdHeader } from './http-client.ts';
import type { HttpReply } from './http-exchange.ts';
import {
  answerOf,
  encodeNotification,
  isRequest,
  isResponse,
  MessageFault,
  type RpcAnswer,
  readMessage,
  replyTo,
} from './json-rpc.ts';
import { negotiate } from './negotiate.ts';
import { SingleFlight } from './single-flight.ts';
import { UpstreamError, undispatched } from './upstream-error.ts';

type Ended = Extract<HttpReply, { kind: 'ended' }>;
type Answered = Exclude<HttpReply, Ended>;

/** In place of an answer: the server no longer knows the session or version, and did not process the request. */
const eraLost = Symbol('era lost');

const unsupportedVersion = -32_022;

export class HttpConnection implements Connection {
  readonly #options: ConnectionOptions;
  readonly #client: HttpClient;
  readonly #negotiating = new SingleFlight<Era>();
  #era: Era | undefined;
  #listener: ChangeListener | undefined;
  #lastId = 0;
  #goodbyes = 0;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#client = new HttpClient(options);
    if (options.spec.transport === 'jsonrpc') this.#era = { kind: 'bare' };
  }

  async request(request: RpcRequest): Promise<RpcAnswer> {
    const first = await this.#attempt(this.#era ?? (await this.#establish(request.deadline)), request);
    if (first !== eraLost) return first;
    const second = await this.#attempt(await this.#establish(request.deadline), request);
    if (second !== eraLost) return second;
    throw new UpstreamError('UPSTREAM_UNAVAILABLE', {
      dispatched: false,
      inside: 'the server forgets every session at once',
    });
  }

  async hello(deadline: Deadline): Promise<ServerHello> {
    return helloOf(await this.#establish(deadline));
  }

  async close(): Promise<void> {
    this.#listener?.close();
    const era = this.#era;
    if (era?.kind === 'session' && era.sessionId !== undefined)
      await this.#goodbye({ method: 'DELETE', headers: sessionHeaders(era) });
    await this.#client.close();
  }

  /** Negotiation is shared by all callers and has its own patience; each waits with its own. */
  async #establish(deadline: Deadline): Promise<Era> {
    if (this.#era !== undefined) return this.#era;
    try {
      return await deadline.wait(this.#negotiating.run(() => this.#negotiate()));
    } catch (error) {
      throw undispatched(error);
    }
  }

  async #negotiate(): Promise<Era> {
    const { spec, clock, bounds, log } = this.#options;
    const transport = spec.transport === 'http' ? 'http' : 'auto';
    const deadline = new Deadline(clock, bounds.upstreamListTimeoutMs);
    const nextId = () => ++this.#lastId;
    const era = await negotiate({
      client: this.#client,
      transport,
      deadline,
      depthMax: bounds.upstreamResponseDepthMax,
      nextId,
    });
    this.#era = era;
    this.#listener = new ChangeListener(this.#client, this.#options, era, (raw) => this.#unsolicited(era, raw));
    log.debug({ server: spec.id, era: era.kind }, 'negotiated with a tool server');
    return era;
  }

  #forget(era: Era): void {
    if (this.#era !== era || this.#options.spec.transport === 'jsonrpc') return;
    this.#era = undefined;
    this.#listener?.close();
  }

  async #attempt(era: Era, request: RpcRequest): Promise<RpcAnswer | typeof eraLost> {
    const id = ++this.#lastId;
    try {
      const answer = this.#read(era, id, await this.#exchange(era, id, request));
      if (answer === eraLost) this.#forget(era);
      else if (request.method === 'tools/list') this.#listener?.ensureOpen(() => ++this.#lastId);
      return answer;
    } catch (error) {
      this.#afterFailure(era, id, error);
      throw error;
    }
  }

  async #exchange(era: Era, id: number, request: RpcRequest): Promise<Answered> {
    const { deadline, method, params } = request;
    const onEvent = ({ data }: { readonly data: Buffer }) => this.#onEvent(era, data, request);
    const headers = [...eraHeaders(era, request), ...requestIdHeader(request)];
    const reply = await this.#client.send({ body: encodeForEra(era, id, method, params), headers, deadline, onEvent });
    return reply.kind === 'ended' ? this.#resume(era, reply, deadline, onEvent) : reply;
  }

  /** Follows a stream that broke off to its answer. What it belongs to was processed: no failure from here on says else. */
  async #resume(era: Era, broken: Ended, deadline: Deadline, onEvent: HttpSend['onEvent']): Promise<Answered> {
    let at = broken;
    for (let resumes = 0; resumes < this.#options.bounds.upstreamStreamResumesMax; resumes++) {
      if (era.kind !== 'session' || at.lastEventId === undefined) break;
      await pause(at.retryMs ?? 0, deadline);
      const headers = [...sessionHeaders(era), 'last-event-id', at.lastEventId];
      const reply = await this.#client
        .send({ method: 'GET', headers, deadline, ...(onEvent && { onEvent }) })
        .catch(rethrowDispatched);
      if (reply.kind === 'answer') return reply;
      if (reply.kind === 'body') throw invalid(`HTTP ${reply.status} in place of the rest of an event stream`);
      at = reply;
    }
    throw invalid('the event stream ended without an answer');
  }

  /** The response among the events of a call; what else comes is handled on the way. */
  #onEvent(era: Era, data: Buffer, request: RpcRequest): JsonObject | undefined {
    const message = readMessage(data, this.#options.bounds.upstreamResponseDepthMax);
    if (isResponse(message)) return message;
    this.#onMessage(era, message, request.onNotification);
    return undefined;
  }

  #unsolicited(era: Era, raw: Buffer): void {
    const message = readMessage(raw, this.#options.bounds.upstreamResponseDepthMax);
    if (!isResponse(message)) this.#onMessage(era, message, undefined);
  }

  #onMessage(era: Era, message: JsonObject, onNotification: RpcRequest['onNotification']): void {
    if (isRequest(message)) {
      // Only sessions let a server ask back.
      if (era.kind === 'session') void this.#goodbye({ body: replyTo(message), headers: sessionHeaders(era) });
      return;
    }
    const { method, params } = { method: message['method'], params: message['params'] };
    if (method === 'notifications/tools/list_changed') this.#options.onToolsChanged();
    if (typeof method === 'string') onNotification?.(method, isJsonObject(params) ? params : {});
  }

  #read(era: Era, id: number, reply: Answered): RpcAnswer | typeof eraLost {
    try {
      if (reply.kind === 'answer') return answerOf(reply.message, reply.raw, id, strictnessOf(era));
      if (reply.status === 200) return this.#readBody(era, id, reply.body);
      return this.#readRefusal(era, id, reply);
    } catch (error) {
      if (error instanceof MessageFault) throw invalid(error.message);
      throw error;
    }
  }

  #readBody(era: Era, id: number, body: Buffer): RpcAnswer {
    return answerOf(readMessage(body, this.#options.bounds.upstreamResponseDepthMax), body, id, strictnessOf(era));
  }

  /** An HTTP status other than 200: a lost session, a JSON-RPC error in the body, or nothing that we understand. */
  #readRefusal(
    era: Era,
    id: number,
    { status, body }: Extract<HttpReply, { kind: 'body' }>,
  ): RpcAnswer | typeof eraLost {
    if (era.kind === 'session' && era.sessionId !== undefined && status === 404) return eraLost;
    if (status < 400) throw invalid(`HTTP ${status} in place of an answer`);
    const answer = this.#refusalAnswer(era, id, status, body);
    if (answer.kind === 'result') throw invalid(`HTTP ${status} with a result`);
    return saysEraLost(era, status, answer) ? eraLost : answer;
  }

  #refusalAnswer(era: Era, id: number, status: number, body: Buffer): RpcAnswer {
    try {
      return this.#readBody(era, id, body);
    } catch (error) {
      if (error instanceof MessageFault) throw invalid(`HTTP ${status} without a JSON-RPC body`);
      throw error;
    }
  }

  #afterFailure(era: Era, id: number, error: unknown): void {
    if (!(error instanceof UpstreamError)) return;
    if (error.code === 'UPSTREAM_UNAVAILABLE' || error.code === 'UPSTREAM_INVALID_RESPONSE') this.#forget(era);
    const gaveUp = error.code === 'UPSTREAM_TIMEOUT' || error.code === 'CALL_CANCELLED';
    // In the stateless era the closed connection says it; a session outlives its connections and must be told.
    if (gaveUp && error.dispatched && era.kind === 'session') this.#cancel(era, id);
  }

  #cancel(era: Extract<Era, { kind: 'session' }>, id: number): void {
    const body = encodeNotification('notifications/cancelled', { requestId: id, reason: 'the caller no longer waits' });
    void this.#goodbye({ body, headers: sessionHeaders(era) });
  }

  /**
   * A message that nobody waits for; a server that does not take it misses nothing. Nor does one that asks for more of
   * them than it takes: what it asks for must not pile up here.
   */
  async #goodbye(message: {
    readonly method?: 'DELETE';
    readonly body?: string;
    readonly headers: string[];
  }): Promise<void> {
    const { clock, bounds, log, spec } = this.#options;
    if (this.#goodbyes >= bounds.upstreamGoodbyesInFlightMax) return;
    this.#goodbyes++;
    try {
      await this.#client.send({ ...message, deadline: new Deadline(clock, bounds.upstreamGoodbyeTimeoutMs) });
    } catch (error) {
      log.debug({ server: spec.id, reason: describeError(error) }, 'a tool server did not take a message');
    } finally {
      this.#goodbyes--;
    }
  }
}

/** What servers say that answer a lost session with 400; the rules want 404. A tool that speaks of sessions is not meant. */
const sessionLost =
  /valid session id|session not found|(missing|invalid|unknown) session|mcp-session-id|server not initialized/i;

function saysEraLost(era: Era, status: number, answer: Extract<RpcAnswer, { kind: 'error' }>): boolean {
  if (era.kind === 'stateless') return status === 400 && answer.error.code === unsupportedVersion;
  return era.kind === 'session' && status === 400 && sessionLost.test(answer.error.message);
}

/** Resuming failed, but what is resumed had been sent. */
function rethrowDispatched(error: unknown): never {
  if (!(error instanceof UpstreamError) || error.dispatched) throw error;
  throw new UpstreamError(error.code, { dispatched: true, cause: error.cause });
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

function invalid(inside: string): UpstreamError {
  return new UpstreamError('UPSTREAM_INVALID_RESPONSE', { dispatched: true, inside });
}
