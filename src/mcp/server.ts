/**
 * One upstream tool server: its catalog, its connection and the bound on what is in flight to it. Everything is per
 * server, so a server that hangs delays nobody but its own callers.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../core/clock.ts';
import type { JsonObject } from '../core/json.ts';
import type { McpServerSpec } from '../core/mcp-server.ts';
import type { Log } from '../telemetry/telemetry.ts';
import type { Asking, Connection, ConnectionOptions } from './connection.ts';
import type { UpstreamCredential } from './credentials/upstream-credential.ts';
import type { SecretOf } from './credentials/upstream-secrets.ts';
import { Deadline } from './deadline.ts';
import { DuplexConnection } from './duplex/connection.ts';
import { HttpConnection } from './http/connection.ts';
import type { McpBounds } from './mcp-bounds.ts';
import { announcesChanges } from './protocol/era.ts';
import type { ServerHello } from './protocol/hello.ts';
import type { RpcAnswer } from './protocol/json-rpc.ts';
import { mirrorHeaders } from './protocol/mirror-headers.ts';
import { CallQueue } from './resilience/call-queue.ts';
import { Circuit, type HealthState, type ServerHealth } from './resilience/circuit.ts';
import { ChangeListeners, toolsChanged } from './sessions/change-listeners.ts';
import { ServerSessions } from './sessions/server-sessions.ts';
import { SessionTools, type SessionToolsBudget } from './sessions/session-tools.ts';
import { stdioWire } from './stdio/wire.ts';
import { Catalog, type CatalogOptions } from './tools/catalog.ts';
import type { CatalogTool } from './tools/catalog-tool.ts';
import { contradictsCatalog } from './tools/contradiction.ts';
import type { InputValidators } from './tools/input-validator.ts';
import type { ToolDefinition } from './tools/tool-definition.ts';
import { listTools } from './tools/tool-list.ts';
import {
  type Asked,
  type RelayedRequest,
  type ToolCall,
  type UpstreamAnswer,
  upstreamAnswer,
} from './upstream-call.ts';
import { UpstreamError } from './upstream-error.ts';
import type { Listening, ListenOptions, SessionOptions, UpstreamSession } from './upstream-session.ts';

export interface McpServerOptions {
  readonly spec: McpServerSpec;
  readonly clock: Clock;
  readonly log: Log;
  readonly bounds: McpBounds;
  readonly validators: InputValidators;
  readonly secretOf?: SecretOf | undefined;
  /** Shown to the server with every request. */
  readonly credential?: UpstreamCredential | undefined;
  /** Of a server that this one is a copy of: both are bound by it. */
  readonly queue?: CallQueue;
  /** Told how many requests the server works on, and how many wait for their turn. */
  readonly onLoad: (load: { readonly serverId: string; readonly inFlight: number; readonly queued: number }) => void;
  /** Told whenever its health is another. */
  readonly onHealth: (health: { readonly serverId: string; readonly state: HealthState }) => void;
}

export class McpServer {
  readonly id: string;
  readonly spec: McpServerSpec;
  readonly #options: McpServerOptions;
  readonly #link: Connection;
  readonly #connection: Circuit;
  readonly #changes: ChangeListeners;
  readonly #sessions: ServerSessions;
  readonly #catalog: Catalog;
  readonly #sessionTools: SessionToolsBudget = { chars: 0 };
  readonly #queue: CallQueue;
  #healthOfCopies: ServerHealth | undefined;
  #closed = false;
  #running = 0;
  #listening = 0;
  #onIdle: (() => void) | undefined;

  constructor(options: McpServerOptions) {
    const { spec } = options;
    this.id = spec.id;
    this.spec = spec;
    this.#options = options;
    this.#changes = new ChangeListeners(options.bounds.upstreamChangesRestMs);
    this.#link = connect({
      ...options,
      onChange: (method, params) => this.#changed(method, params),
      isAttended: () => this.#changes.isAttended,
    });
    this.#connection = new Circuit({
      ...options,
      serverId: spec.id,
      connection: this.#link,
      probeTimeoutMs: this.#listTimeoutMs,
      onHealth: (state) => options.onHealth({ serverId: spec.id, state }),
    });
    this.#catalog = this.#createCatalog(this.#connection);
    this.#queue = options.queue ?? createQueue(options);
    this.#sessions = new ServerSessions({
      ...options,
      link: this.#link,
      circuit: this.#connection,
      startTimeoutMs: this.#listTimeoutMs,
      shared: this,
      onChange: (method, params) => this.#changedInSession(method, params),
      toolsThrough: (through, hello, onOthers) => this.#toolsThrough(through, hello, onOthers),
      callTool: (through, call, doubt) => this.#callThrough(through, call, doubt),
      relay: (through, request) => this.#relayThrough(through, request),
    });
  }

  /** The tools as the server defines them. Throws `UpstreamError`, never dispatched. */
  async listTools(signal: AbortSignal): Promise<readonly ToolDefinition[]> {
    return this.#counted(() => this.#catalog.list(this.#listDeadline(signal)));
  }

  /** The same with their hashes. Throws `UpstreamError`, never dispatched. */
  async catalogTools(signal: AbortSignal): Promise<readonly CatalogTool[]> {
    return this.#counted(() => this.#catalog.tools(this.#listDeadline(signal)));
  }

  /** One tool by its exact name. Throws `UpstreamError`, never dispatched. */
  async tool(name: string, signal: AbortSignal): Promise<CatalogTool | undefined> {
    return this.#counted(() => this.#catalog.find(name, this.#listDeadline(signal)));
  }

  /** The list of tools may be out of date: the next use fetches it. */
  doubt(): void {
    this.#catalog.doubt();
  }

  /**
   * Calls a tool. Arguments are sent as they are: whoever calls has validated them. A tool's failure is an answer;
   * throws `UpstreamError` when there is none.
   */
  async callTool(call: ToolCall): Promise<UpstreamAnswer> {
    return this.#callThrough(this.#connection, call);
  }

  /** Passes a request on. Throws `UpstreamError` when there is no answer. */
  async relay(request: RelayedRequest): Promise<UpstreamAnswer> {
    return this.#relayThrough(this.#connection, request);
  }

  /** What the server says of itself. Throws `UpstreamError`, never dispatched. */
  async hello(signal: AbortSignal): Promise<ServerHello> {
    return this.#counted(() => this.#connection.hello(this.#listDeadline(signal)));
  }

  /** A session for one client of the session era. Throws `UpstreamError`, never dispatched. */
  async openSession(options: SessionOptions): Promise<UpstreamSession> {
    if (this.#closed) throw closed();
    return this.#counted(() => this.#sessions.open(options));
  }

  /**
   * Listens to changes until `signal` is aborted: on a stream of its own where the server has that, else to the changed
   * lists that it tells everybody of. Throws `UpstreamError`, never dispatched.
   */
  async listen(options: ListenOptions): Promise<Listening> {
    const deadline = this.#listDeadline(options.signal);
    const own = await this.#counted(() =>
      this.#connection.guard(
        () => this.#link.listen(options, deadline),
        (listening) => listening !== undefined,
      ),
    );
    if (own !== undefined) {
      this.#countListening(options.signal);
      return own;
    }
    const hello = await this.hello(options.signal);
    if (this.#closed) throw closed();
    this.#attend();
    return this.#changes.listen(options, hello);
  }

  #countListening(signal: AbortSignal): void {
    if (signal.aborted) return;
    this.#listening++;
    signal.addEventListener('abort', () => this.#listening--, { once: true });
  }

  /** Calls back with the method by which the server says that one of its lists changed. The returned function calls that off. */
  onListsChanged(listener: (method: string) => void): () => void {
    this.#attend();
    return this.#changes.add((method) => listener(method));
  }

  /** That nobody can say what changes is no failure of whoever wants to know. */
  #attend(): void {
    this.#link.attend(new Deadline(this.#options.clock, this.#listTimeoutMs)).catch(() => undefined);
  }

  #changed(method: string, params: JsonObject): void {
    if (method === toolsChanged) this.#catalog.doubt();
    this.#changes.tell(method, params);
  }

  /** Which tools a client is shown in its own session may be its own affair; whose they are cannot be told. */
  #changedInSession(method: string, params: JsonObject): void {
    if (method === toolsChanged) this.#catalog.doubt();
    else this.#changed(method, params);
  }

  #toolsThrough(through: Asking, hello: ServerHello, onOthers: () => void): SessionTools {
    const { bounds } = this.#options;
    // It is looked at again when there is reason to.
    const lasting = {
      ...bounds,
      toolListFreshMs: Number.POSITIVE_INFINITY,
      toolListMissRefreshMs: Number.POSITIVE_INFINITY,
    };
    return new SessionTools({
      ...this.#options,
      serverId: this.id,
      shared: this.#catalog,
      list: () => this.#createCatalog(through, { bounds: lasting, likeness: this.#catalog }),
      announces: announcesChanges(hello, 'tools'),
      budget: this.#sessionTools,
      listTimeoutMs: this.#listTimeoutMs,
      onOthers,
    });
  }

  /** One exchange within the bound on what is in flight and the caller's patience. */
  async #exchange(call: Asked, ask: (deadline: Deadline) => Promise<UpstreamAnswer>): Promise<UpstreamAnswer> {
    const { bounds, clock } = this.#options;
    const deadline = new Deadline(
      clock,
      call.timeoutMs ?? this.spec.callTimeoutMs ?? bounds.upstreamCallTimeoutMs,
      call.signal,
      call.peer === undefined ? undefined : bounds.upstreamPatienceMaxMs,
    );
    return await this.#counted(() =>
      this.#queue.run(deadline, async () => {
        if (this.#closed) throw closed();
        deadline.assertOpen();
        return await ask(deadline);
      }),
    );
  }

  /** Whether some client has a session here, or listens. */
  get isInUse(): boolean {
    return this.#sessions.size > 0 || this.#listening > 0 || this.#changes.isAttended;
  }

  /** Whether anything is in flight, or about to be. */
  get isAtWork(): boolean {
    return this.#running > 0;
  }

  /** Whether it was last met in the stateless era. */
  get isStateless(): boolean {
    return this.#link.isStateless;
  }

  /** Of a server that is asked by copies alone: what one of them saw last. */
  get health(): ServerHealth {
    return this.#healthOfCopies ?? this.#connection.health;
  }

  /** The same server with its own connections, by the credential of one user: same entry, same bound in flight. */
  copy(credential: UpstreamCredential): McpServer {
    const { onHealth } = this.#options;
    const copy: McpServer = new McpServer({
      ...this.#options,
      credential,
      queue: this.#queue,
      onHealth: (health) => {
        this.#healthOfCopies = copy.health;
        onHealth(health);
      },
    });
    return copy;
  }

  /**
   * Closes it when nobody uses it any more. Whoever has found it before may begin until `signal` is aborted or a while
   * has passed; what is in flight then is waited for.
   */
  async retire(signal: AbortSignal): Promise<void> {
    await delay(this.#options.bounds.upstreamRetireMs, undefined, { signal, ref: false }).catch(() => undefined);
    this.#sessions.retire();
    if (!signal.aborted && this.#running > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
    }
    await this.close();
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#changes.end();
    await this.#sessions.close();
    await this.#connection.close();
  }

  async #counted<T>(work: () => Promise<T>): Promise<T> {
    this.#running++;
    try {
      return await work();
    } finally {
      this.#running--;
      if (this.#running === 0) this.#onIdle?.();
    }
  }

  #callThrough(through: Asking, call: ToolCall, doubt?: () => void): Promise<UpstreamAnswer> {
    return this.#exchange(call, async (deadline) => this.#read(call, await this.#send(through, call, deadline), doubt));
  }

  #relayThrough(through: Asking, request: RelayedRequest): Promise<UpstreamAnswer> {
    const { method, params, requestId, client, peer, meta } = request;
    return this.#exchange(request, async (deadline) =>
      upstreamAnswer(await through.request({ method, params, deadline, requestId, client, peer, meta }), request),
    );
  }

  #send(through: Asking, call: ToolCall, deadline: Deadline): Promise<RpcAnswer> {
    const { name, args, input, requestId, client, peer, meta } = call;
    const mirrors = this.#catalog.mirrorsOf(name);
    return through.request({
      method: 'tools/call',
      params: input === undefined ? { name, arguments: args } : { name, arguments: args, ...input },
      deadline,
      requestId,
      client,
      peer,
      meta,
      mirrorHeaders: mirrors.length === 0 ? undefined : mirrorHeaders(mirrors, args),
    });
  }

  #read(call: ToolCall, answer: RpcAnswer, doubt?: () => void): UpstreamAnswer {
    if (contradictsCatalog(answer)) {
      this.#catalog.doubt();
      doubt?.();
    }
    return upstreamAnswer(answer, call);
  }

  #createCatalog(through: Asking, more: Partial<CatalogOptions> = {}): Catalog {
    const { clock, log, bounds, validators } = this.#options;
    return new Catalog({
      serverId: this.id,
      clock,
      log,
      bounds,
      validators,
      fetchTimeoutMs: this.#listTimeoutMs,
      fetch: (deadline) => listTools(through, bounds, deadline),
      ...more,
    });
  }

  #listDeadline(signal: AbortSignal): Deadline {
    return new Deadline(this.#options.clock, this.#listTimeoutMs, signal);
  }

  /** The first list of a stdio server waits for its start. */
  get #listTimeoutMs(): number {
    const { bounds } = this.#options;
    return this.spec.transport === 'stdio' ? bounds.stdioStartTimeoutMs : bounds.upstreamListTimeoutMs;
  }
}

function createQueue({ spec, bounds, onLoad }: McpServerOptions): CallQueue {
  return new CallQueue({
    inFlightMax: spec.maxConcurrency ?? bounds.upstreamInFlightMax,
    queuedMax: spec.maxQueue ?? bounds.upstreamQueueMax,
    waitMs: bounds.upstreamQueueWaitMs,
    onLoad: (load) => onLoad({ serverId: spec.id, ...load }),
  });
}

function connect(options: ConnectionOptions): Connection {
  if (options.spec.transport !== 'stdio') return new HttpConnection(options);
  return new DuplexConnection(options, stdioWire(options));
}

function closed(): UpstreamError {
  return new UpstreamError('UPSTREAM_UNAVAILABLE', {
    dispatched: false,
    isOurs: true,
    inside: 'it is closed: the gateway is closing, or the server was changed or removed',
  });
}
