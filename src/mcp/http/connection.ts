/**
 * The connection to one tool server over HTTP that all its clients share. The era is negotiated once and remembered until
 * something fails; a lost session is reopened and the call repeated once, because the server then said that it did not
 * process it. Nothing else is ever repeated.
 */

import { SingleFlight } from '../../core/single-flight.ts';
import type { Connection, ConnectionOptions, OwnSession, OwnSessionOptions, RpcRequest } from '../connection.ts';
import { Deadline } from '../deadline.ts';
import { DuplexConnection } from '../duplex/connection.ts';
import { announcesChanges, type Era, encodeForEra, eraHeaders, helloOf, sessionHeaders } from '../protocol/era.ts';
import type { ServerHello } from '../protocol/hello.ts';
import type { RpcAnswer } from '../protocol/json-rpc.ts';
import { UpstreamError, undispatched } from '../upstream-error.ts';
import type { Listening, ListenOptions } from '../upstream-session.ts';
import { eraLost, HttpChannel } from './channel.ts';
import { HttpClient } from './client.ts';
import { listenOverHttp } from './listen-stream.ts';
import { negotiate } from './negotiate.ts';
import { ServerStream } from './server-stream.ts';
import { openHttpSession } from './session.ts';
import { sseWire } from './sse-wire.ts';

/** How the server is spoken to: in an era of Streamable HTTP, or over the transport before that. */
type Link = HttpChannel | DuplexConnection;

export class HttpConnection implements Connection {
  readonly #options: ConnectionOptions;
  readonly #client: HttpClient;
  readonly #negotiating = new SingleFlight<Link>();
  isStateless = false;
  #link: Link | undefined;
  #stream: ServerStream | undefined;
  #lastId = 0;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#client = new HttpClient(options);
    if (options.spec.transport === 'jsonrpc') this.#link = this.#channelOf({ kind: 'bare' });
    if (options.spec.transport === 'sse') this.#link = this.#legacy();
  }

  async request(request: RpcRequest): Promise<RpcAnswer> {
    const first = await this.#attempt(this.#link ?? (await this.#established(request.deadline)), request);
    if (first !== eraLost) return first;
    const second = await this.#attempt(await this.#established(request.deadline), request);
    if (second !== eraLost) return second;
    throw new UpstreamError('UPSTREAM_UNAVAILABLE', {
      dispatched: false,
      inside: 'the server forgets every session at once',
    });
  }

  async hello(deadline: Deadline): Promise<ServerHello> {
    const link = await this.#established(deadline);
    return link instanceof HttpChannel ? helloOf(link.era) : link.hello(deadline);
  }

  async openSession(session: OwnSessionOptions): Promise<OwnSession | undefined> {
    const link = await this.#established(session.deadline);
    if (!(link instanceof HttpChannel)) return link.openSession(session);
    const { kind } = link.era;
    if (kind === 'bare') return undefined;
    const options = this.#options;
    return openHttpSession({ client: this.#client, options, session, needsId: kind === 'stateless' });
  }

  async listen(options: ListenOptions, deadline: Deadline): Promise<Listening | undefined> {
    const link = await this.#established(deadline);
    if (!(link instanceof HttpChannel) || link.era.kind !== 'stateless') return undefined;
    const { era } = link;
    const client = this.#client;
    return listenOverHttp({ client, era, id: ++this.#lastId, deadline, ...this.#options, ...options });
  }

  async attend(deadline: Deadline): Promise<void> {
    await this.#established(deadline);
    this.#stream?.ensureOpen();
  }

  async close(): Promise<void> {
    this.#stream?.close();
    await this.#link?.close();
    await this.#client.close();
  }

  /** Negotiation is shared by all callers and has its own patience; each waits with its own. */
  async #established(deadline: Deadline): Promise<Link> {
    if (this.#link !== undefined) return this.#link;
    try {
      return await deadline.wait(this.#negotiating.run(() => this.#negotiate()));
    } catch (error) {
      throw undispatched(error);
    }
  }

  async #negotiate(): Promise<Link> {
    const { spec, clock, bounds, log } = this.#options;
    const era = await negotiate({
      client: this.#client,
      transport: spec.transport === 'http' ? 'http' : 'auto',
      deadline: new Deadline(clock, bounds.upstreamListTimeoutMs),
      clock,
      bounds,
      nextId: () => ++this.#lastId,
    });
    log.debug({ server: spec.id, era: era === 'sse' ? era : era.kind }, 'negotiated with a tool server');
    this.isStateless = era !== 'sse' && era.kind === 'stateless';
    if (era === 'sse') {
      this.#link = this.#legacy();
      return this.#link;
    }
    const channel = this.#channelOf(era);
    this.#link = channel;
    this.#stream = this.#streamOf(channel);
    return channel;
  }

  #legacy(): DuplexConnection {
    return new DuplexConnection(this.#options, sseWire(this.#options, this.#client));
  }

  #channelOf(era: Era): HttpChannel {
    return new HttpChannel({
      client: this.#client,
      options: this.#options,
      era,
      nextId: () => ++this.#lastId,
    });
  }

  /**
   * The stream on which the server says that a list changed: a GET in a session, `subscriptions/listen` in the stateless
   * era. It is a courtesy that shortens how long an old catalog is believed.
   */
  #streamOf(channel: HttpChannel): ServerStream | undefined {
    const { era } = channel;
    if (announced(era).length === 0) return undefined;
    return new ServerStream({
      ...this.#options,
      serverId: this.#options.spec.id,
      client: this.#client,
      opening: (lastEventId) => openingOf(era, lastEventId, () => ++this.#lastId),
      onMessage: (raw) => channel.unsolicited(raw),
      isWanted: this.#options.isAttended,
      onGone: () => this.#gone(channel),
    });
  }

  /** Whoever waits for changes waits on; everybody else finds out when they ask. */
  #gone(channel: HttpChannel): void {
    const { clock, bounds, isAttended } = this.#options;
    if (channel.era.kind !== 'session' || channel.era.sessionId === undefined) return;
    this.#forget(channel);
    if (isAttended()) void this.attend(new Deadline(clock, bounds.upstreamListTimeoutMs)).catch(() => undefined);
  }

  async #attempt(link: Link, request: RpcRequest): Promise<RpcAnswer | typeof eraLost> {
    try {
      const answer = await link.request(request);
      if (answer === eraLost) this.#forget(link);
      else if (request.method === 'tools/list') this.#stream?.ensureOpen();
      return answer;
    } catch (error) {
      if (error instanceof UpstreamError && doubtful.has(error.code)) this.#forget(link);
      throw error;
    }
  }

  #forget(link: Link): void {
    const { transport } = this.#options.spec;
    if (this.#link !== link || transport === 'jsonrpc' || transport === 'sse') return;
    // Others may be at work on a stream that stands; one that does not stand may be of another kind by now.
    if (link instanceof DuplexConnection && link.isOpen) return;
    this.#link = undefined;
    this.#stream?.close();
    this.#stream = undefined;
    if (link instanceof DuplexConnection) void link.close();
  }
}

/** After these the server may be another one than before. */
const doubtful: ReadonlySet<string> = new Set(['UPSTREAM_UNAVAILABLE', 'UPSTREAM_INVALID_RESPONSE']);

/** The lists of which the server tells that they changed. */
function announced(era: Era): readonly string[] {
  return (['tools', 'prompts', 'resources'] as const).filter((list) => announcesChanges(helloOf(era), list));
}

function openingOf(era: Era, lastEventId: string | undefined, nextId: () => number) {
  if (era.kind === 'session') {
    const headers = sessionHeaders(era);
    if (lastEventId !== undefined) headers.push('last-event-id', lastEventId);
    return { method: 'GET', headers } as const;
  }
  const notifications = Object.fromEntries(announced(era).map((list) => [`${list}ListChanged`, true]));
  const request = { method: 'subscriptions/listen', params: { notifications } };
  return { body: encodeForEra(era, nextId(), request), headers: eraHeaders(era, request) };
}
