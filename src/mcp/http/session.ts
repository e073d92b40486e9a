/**
 * One client's own session on a tool server over HTTP: its own session id, its own stream. It is never reopened: when the
 * server no longer knows it, what the client had there is gone, and the client is told once.
 */
import type { JsonObject } from '../../core/json.ts';
import type { ConnectionOptions, OwnSession, OwnSessionOptions, RpcRequest } from '../connection.ts';
import { Deadline } from '../deadline.ts';
import { initializeParams, sessionHeaders } from '../protocol/era.ts';
import type { ServerHello } from '../protocol/hello.ts';
import type { RpcAnswer } from '../protocol/json-rpc.ts';
import { sessionOver, undispatched } from '../upstream-error.ts';
import { eraLost, HttpChannel } from './channel.ts';
import type { HttpClient } from './client.ts';
import { initialize, type SessionEra } from './negotiate.ts';
import { ServerStream } from './server-stream.ts';

export interface HttpSessionOptions {
  readonly client: HttpClient;
  readonly options: ConnectionOptions;
  readonly session: OwnSessionOptions;
  /** A session without an id is none to speak of: nothing can be asked back in it. */
  readonly needsId: boolean;
}

/** Undefined where the server has none to give. Throws `UpstreamError`, not dispatched. */
export async function openHttpSession(options: HttpSessionOptions): Promise<OwnSession | undefined> {
  const { client, session, needsId } = options;
  const { deadline } = session;
  const { clock, bounds } = options.options;
  let lastId = 0;
  const nextId = () => ++lastId;
  const negotiation = { client, deadline, clock, bounds, nextId };
  try {
    const params = initializeParams(session.client, session.protocolVersion);
    const { session: era } = await initialize(negotiation, params);
    if (era === undefined || (needsId && era.sessionId === undefined)) return undefined;
    const opened = new HttpSession(options, era, nextId);
    await opened.settled(deadline);
    return opened;
  } catch (error) {
    throw undispatched(error);
  }
}

class HttpSession implements OwnSession {
  readonly hello: ServerHello;
  readonly #channel: HttpChannel;
  readonly #stream: ServerStream;
  readonly #options: ConnectionOptions;
  readonly #onLost: (reason: string) => void;
  #isOver = false;

  constructor({ client, options, session }: HttpSessionOptions, era: SessionEra, nextId: () => number) {
    const { spec, clock, log, bounds } = options;
    this.hello = era.hello;
    this.#options = options;
    this.#onLost = session.onLost;
    const { peer, onChange } = session;
    this.#channel = new HttpChannel({ client, options: { ...options, onChange }, era, nextId, peer });
    this.#stream = new ServerStream({
      serverId: spec.id,
      client,
      clock,
      log,
      bounds,
      opening: (lastEventId) => ({ method: 'GET', headers: streamHeaders(era, lastEventId) }),
      onMessage: (raw) => this.#channel.unsolicited(raw),
      isWanted: () => !this.#isOver,
      onGone: () => this.#lost(),
    });
    this.#stream.ensureOpen();
  }

  /**
   * Resolves when the stream stands, or when there is none for now: what a server says on a stream that nobody reads is
   * lost. Rejects when nobody wants the session any more; it is closed then.
   */
  async settled(deadline: Deadline): Promise<void> {
    const { clock, bounds } = this.#options;
    const patience = new Deadline(clock, bounds.upstreamStreamOpenMs, deadline.signal);
    await patience.wait(this.#stream.settled).catch(() => undefined);
    if (deadline.ended === undefined) return;
    await this.close();
    deadline.assertOpen();
  }

  async request(request: RpcRequest): Promise<RpcAnswer> {
    if (this.#isOver) throw sessionOver();
    const answer = await this.#channel.request(request);
    if (answer !== eraLost) return answer;
    this.#lost();
    throw sessionOver();
  }

  notify(method: string, params: JsonObject): void {
    if (!this.#isOver) this.#channel.notify(method, params);
  }

  async close(): Promise<void> {
    if (this.#isOver) return;
    this.#end();
    await this.#channel.close();
  }

  #lost(): void {
    if (this.#isOver) return;
    this.#end();
    this.#onLost('the server no longer knows the session');
  }

  #end(): void {
    this.#isOver = true;
    this.#stream.close();
  }
}

function streamHeaders(era: SessionEra, lastEventId: string | undefined): string[] {
  const headers = sessionHeaders(era);
  return lastEventId === undefined ? headers : [...headers, 'last-event-id', lastEventId];
}
