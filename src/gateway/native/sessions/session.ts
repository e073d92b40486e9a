/**
 * One session of an MCP client of the `initialize` era: whose it is, its streams, its requests under way, what servers
 * have asked it, and its sessions with servers. It is bound to its principal, its route and its capability, and when it
 * ends, all of that ends with it.
 */
import { bounds } from '../../../config/bounds.ts';
import type { Clock } from '../../../core/clock.ts';
import { TalosError } from '../../../core/errors.ts';
import type { JsonObject } from '../../../core/json.ts';
import type { RpcId } from '../../../mcp/protocol/inbound.ts';
import type { ClientHello, Peer } from '../../../mcp/protocol/peer.ts';
import type { McpServer } from '../../../mcp/registry.ts';
import { UpstreamError } from '../../../mcp/upstream-error.ts';
import type { ToolSource, UpstreamSession } from '../../../mcp/upstream-session.ts';
import { accountKey, type Caller, isSameCaller, type RequestFacts } from '../../caller.ts';
import { uriAmongAll } from '../aggregate/names.ts';
import { toolsChanged } from '../list-changes.ts';
import type { EventSink } from '../streams/event-sink.ts';
import type { ReplayBudget } from '../streams/replay-buffer.ts';
import { type Reply, SessionReply } from '../streams/reply.ts';
import { SessionStreams } from '../streams/session-streams.ts';
import { AskedRequests } from './asked-requests.ts';
import { SessionSettings } from './session-settings.ts';

export type SessionEnd =
  | 'client_ended'
  | 'idle'
  | 'capability_ended'
  | 'credential_ended'
  | 'server_lost'
  | 'stream_gap'
  | 'shutdown';

/** Who opens a session, and how. */
export interface SessionOpening {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  /** Absent at the endpoint of all servers. */
  readonly serverId?: string;
  readonly client: ClientHello;
  readonly protocolVersion: string;
  /** Judges the credentials of the newest request anew. */
  readonly reauthenticate: () => Promise<Caller>;
}

export interface McpSessionOptions {
  readonly id: string;
  /** How records and logs call it: its id opens it, and stays out of them. */
  readonly name: string;
  readonly opening: SessionOpening;
  readonly budget: ReplayBudget;
  readonly clock: Clock;
  /** The client as a server may know it, and whom that server talks to outside of any request. */
  readonly clientFor: (session: McpSession, server: McpServer) => { readonly client: ClientHello; readonly peer: Peer };
  /** Among all servers: told of each that the session comes to, before anybody else speaks to it there. */
  readonly onOpened: (part: SessionPart) => Promise<void>;
  /** Resolves when the end is on record, or cannot be. */
  readonly onEnd: (session: McpSession, reason: SessionEnd) => Promise<void>;
}

/** One server's part of a session. */
export interface SessionPart {
  readonly session: McpSession;
  readonly server: McpServer;
  readonly upstream: UpstreamSession;
}

/** A request of the client that has no answer yet. */
interface Running {
  readonly controller: AbortController;
  readonly reply: Reply;
}

export interface Begun {
  /** Aborted when nobody waits for it any more. */
  readonly signal: AbortSignal;
  /** Whether its client has said so. */
  readonly isCancelled: () => boolean;
  readonly end: () => void;
}

const cancelledByClient = Symbol('cancelled by its client');

export class McpSession {
  readonly id: string;
  readonly name: string;
  readonly opening: SessionOpening;
  readonly openedAtMs: number;
  readonly asked = new AskedRequests();
  /** Among all servers. */
  readonly settings = new SessionSettings();
  readonly #options: McpSessionOptions;
  readonly #streams: SessionStreams;
  readonly #running = new Map<RpcId, Running>();
  /** By the server as it is for this caller: with other credentials it is another one. */
  readonly #upstreams = new Map<McpServer, Promise<UpstreamSession>>();
  readonly #opened = new Map<McpServer, UpstreamSession>();
  readonly #life = new AbortController();
  #caller: Caller;
  #reauthenticate: () => Promise<Caller>;
  #usedAtMs: number;
  #wasUsed = false;

  constructor(options: McpSessionOptions) {
    const { opening, clock } = options;
    this.id = options.id;
    this.name = options.name;
    this.opening = opening;
    this.#options = options;
    this.#streams = new SessionStreams(options.budget);
    this.#caller = opening.caller;
    this.#reauthenticate = opening.reauthenticate;
    this.openedAtMs = clock.monotonic();
    this.#usedAtMs = this.openedAtMs;
  }

  get serverId(): string | undefined {
    return this.opening.serverId;
  }

  /** Whose it is, as judged last. */
  get caller(): Caller {
    return this.#caller;
  }

  get hasEnded(): boolean {
    return this.#life.signal.aborted;
  }

  /** Whether somebody at this address may speak in it: its own caller, with the capability that it was opened with. */
  belongsTo(caller: Caller, serverId: string | undefined): boolean {
    return serverId === this.serverId && isSameCaller(caller, this.#caller);
  }

  /** Events without data are for clients that know of them. */
  get #canPrime(): boolean {
    return this.opening.protocolVersion >= '2025-11-25';
  }

  /** A message of its client has come: its credentials are the newest. */
  used(caller: Caller, reauthenticate: () => Promise<Caller>): void {
    this.#caller = caller;
    this.#reauthenticate = reauthenticate;
    this.#usedAtMs = this.#options.clock.monotonic();
    this.#wasUsed = true;
  }

  /** Judges its credentials anew. False when they are no longer those of its caller; rejects with what refuses them. */
  async reauthenticate(): Promise<boolean> {
    const judge = this.#reauthenticate;
    const isOld = () => judge !== this.#reauthenticate;
    try {
      const caller = await judge();
      // Newer ones came along with a message, and were judged then.
      if (isOld()) return true;
      if (caller.denial !== undefined || !isSameCaller(caller, this.#caller)) return false;
      this.#caller = caller;
      return true;
    } catch (error) {
      if (isOld()) return true;
      throw error;
    }
  }

  get isIdle(): boolean {
    if (this.#running.size > 0 || this.#streams.general.isConnected) return false;
    const { mcpSessionIdleMs, mcpSessionUnusedMs } = bounds;
    const idleMs = this.#options.clock.monotonic() - this.#usedAtMs;
    return idleMs >= (this.#wasUsed ? mcpSessionIdleMs : mcpSessionUnusedMs);
  }

  /**
   * A request of its client begins. It outlives its connection, and ends with the session or when the client cancels it.
   * Throws `INVALID_REQUEST` for an id that is in use, and `UPSTREAM_BUSY` for one request too many.
   */
  begin(id: RpcId, reply: SessionReply): Begun {
    if (this.#running.has(id)) throw new TalosError('INVALID_REQUEST', { message: 'A request of this id is open.' });
    if (this.#running.size >= bounds.mcpSessionRequestsMax) throw new TalosError('UPSTREAM_BUSY');
    const controller = new AbortController();
    this.#running.set(id, { controller, reply });
    const primer = this.#canPrime ? setTimeout(() => reply.prime(), bounds.mcpPrimeMs).unref() : undefined;
    const end = () => {
      clearTimeout(primer);
      this.#running.delete(id);
      this.#usedAtMs = this.#options.clock.monotonic();
    };
    const { signal } = controller;
    return { signal, isCancelled: () => signal.reason === cancelledByClient, end };
  }

  /** The client no longer waits for it. */
  cancel(id: unknown): void {
    if (typeof id === 'string' || typeof id === 'number') this.#running.get(id)?.controller.abort(cancelledByClient);
  }

  /** Where the answer to a request goes, and what precedes it. */
  replyTo(sink: EventSink | undefined): SessionReply {
    return new SessionReply(sink, () => this.#streams.open());
  }

  /**
   * The way to a client that is asked something: along with the request that it belongs to, else on the stream of the
   * session, else along with any request that is open, because not every server says what a question belongs to. Undefined
   * when there is none.
   */
  wayTo(reply: Reply | undefined): Pick<Reply, 'send'> | undefined {
    if (this.hasEnded) return undefined;
    if (reply?.takesMessages === true) return reply;
    if (this.#streams.general.isConnected) return this.#streams.general;
    return [...this.#running.values()].map((running) => running.reply).find(({ takesMessages }) => takesMessages);
  }

  /** Says what belongs to no request. */
  say(message: JsonObject): void {
    if (!this.hasEnded) this.#streams.general.send(message);
  }

  /**
   * Serves the stream of what belongs to no request, or goes on with the one that `lastEventId` is of. The newest
   * connection of a stream has it alone. Throws `INVALID_REQUEST` for an id that was never given; a session whose client
   * has missed what is not kept any more ends, and `SESSION_NOT_FOUND` says so.
   */
  listen(sink: EventSink, lastEventId?: string): void {
    const stream = this.#streams.resume(sink, lastEventId);
    if (stream !== undefined) {
      if (!sink.begun) sink.open(this.#canPrime ? stream.lastId : undefined);
      return;
    }
    void this.end('stream_gap');
    throw new TalosError('SESSION_NOT_FOUND', {
      message: 'What was sent since that event is not kept any more, so the session was ended. Initialize again.',
    });
  }

  /** Its session with a server, opened by the first who needs it. Throws `UpstreamError`. */
  async upstream(server: McpServer): Promise<UpstreamSession> {
    const known = this.#upstreams.get(server);
    if (known !== undefined) return await known;
    if (this.hasEnded) throw new UpstreamError('CALL_CANCELLED', { dispatched: false });
    const opening = this.#openUpstream(server);
    this.#upstreams.set(server, opening);
    try {
      return await opening;
    } catch (error) {
      this.#upstreams.delete(server);
      throw error;
    }
  }

  /** The same, where it is open already. */
  opened(server: McpServer): UpstreamSession | undefined {
    return this.#opened.get(server);
  }

  /** The tools that a server shows in its session with it, once there is one. */
  readonly toolsAt = (server: McpServer): ToolSource | undefined => this.opened(server)?.tools;

  /** Every server that it has a session with. */
  parts(): SessionPart[] {
    return [...this.#opened].map(([server, upstream]) => ({ session: this, server, upstream }));
  }

  /** Tells a server that it has a session with. */
  notifyServer(server: McpServer, method: string, params: JsonObject): void {
    this.#upstreams
      .get(server)
      ?.then((session) => session.notify(method, params))
      .catch(neverOpened);
  }

  notifyServers(method: string, params: JsonObject): void {
    for (const server of this.#upstreams.keys()) this.notifyServer(server, method, params);
  }

  /** Nothing more is said but the answers to what is under way: nobody can ask or answer any more. */
  quiesce(): void {
    this.#streams.general.disconnect();
    this.asked.giveUp();
  }

  /** Resolves when that is on record, or cannot be. */
  async end(reason: SessionEnd): Promise<void> {
    if (this.hasEnded) return;
    this.quiesce();
    this.#streams.close();
    // Whoever loses the server hears it from the requests themselves.
    if (reason !== 'server_lost') for (const { controller } of this.#running.values()) controller.abort();
    this.#life.abort();
    const recorded = this.#options.onEnd(this, reason);
    for (const upstream of this.#upstreams.values()) upstream.then((session) => session.close()).catch(neverOpened);
    await recorded;
  }

  async #openUpstream(server: McpServer): Promise<UpstreamSession> {
    const upstream = await server.openSession({
      ...this.#options.clientFor(this, server),
      owner: accountKey(this.#caller),
      protocolVersion: this.opening.protocolVersion,
      onToolsChanged: () => this.say({ jsonrpc: '2.0', method: toolsChanged }),
      onLost: () => this.#lost(server),
      signal: this.#life.signal,
    });
    // It may be lost already.
    if (this.#upstreams.has(server)) await this.#begun(server, upstream);
    return upstream;
  }

  async #begun(server: McpServer, upstream: UpstreamSession): Promise<void> {
    this.#opened.set(server, upstream);
    if (this.serverId !== undefined) return;
    try {
      await this.#options.onOpened({ session: this, server, upstream });
    } catch (error) {
      this.#opened.delete(server);
      void upstream.close();
      throw error;
    }
  }

  /**
   * What a server knew of this client is gone: at its own address the session is, among all servers a new one is opened.
   * Until then nobody tells of the resources that it watches there, which may have changed as well.
   */
  #lost(server: McpServer): void {
    if (this.serverId !== undefined) return void this.end('server_lost');
    this.#upstreams.delete(server);
    this.#opened.delete(server);
    for (const uri of this.settings.watchedAt(server.id)) {
      const params = { uri: uriAmongAll(server.id, uri) };
      this.say({ jsonrpc: '2.0', method: 'notifications/resources/updated', params });
    }
  }
}

function neverOpened(): void {}
