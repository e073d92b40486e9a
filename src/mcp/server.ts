/**
 * One upstream tool server: its catalog, its connection and the bound on what is in flight to it. Everything is per
 * server, so a server that hangs delays nobody but its own callers.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../core/clock.ts';
import type { JsonObject } from '../core/json.ts';
import type { McpServerSpec } from '../core/mcp-server.ts';
import type { Log } from '../telemetry/telemetry.ts';
import { CallQueue } from './call-queue.ts';
import { Catalog, type CatalogTool } from './catalog.ts';
import { Circuit, type HealthState, type ServerHealth } from './circuit.ts';
import type { Connection, ConnectionOptions } from './connection.ts';
import { Deadline } from './deadline.ts';
import type { ServerHello } from './hello.ts';
import { HttpConnection } from './http-connection.ts';
import type { InputValidators } from './input-validator.ts';
import { methodNotFound, type RpcAnswer, type RpcError } from './json-rpc.ts';
import type { McpBounds } from './mcp-bounds.ts';
import { mirrorHeaders } from './mirror-headers.ts';
import { StdioConnection } from './stdio-connection.ts';
import type { ToolDefinition } from './tool-definition.ts';
import { listTools } from './tool-list.ts';
import { UpstreamError } from './upstream-error.ts';
import type { SecretOf } from './upstream-secrets.ts';

export interface ToolCall {
  readonly name: string;
  readonly args: JsonObject;
  /** Sent along to HTTP servers as `X-Request-Id`. */
  readonly requestId: string;
  /** In place of the server's configured patience. */
  readonly timeoutMs?: number;
  readonly signal: AbortSignal;
  /** Sees the server's notifications (progress, log messages) that precede the answer. */
  readonly onNotification?: (method: string, params: JsonObject) => void;
}

/** What a tool server answered. `raw` are the exact bytes of its final JSON-RPC response. */
export type UpstreamAnswer =
  | { readonly kind: 'result'; readonly result: JsonObject; readonly isError: boolean; readonly raw: Buffer }
  | { readonly kind: 'error'; readonly error: RpcError; readonly raw: Buffer };

/** Any other request of MCP, such as `resources/read`, passed on as it is. */
export interface RelayedRequest {
  readonly method: string;
  readonly params: JsonObject;
  readonly requestId: string;
  readonly signal: AbortSignal;
}

export interface McpServerOptions {
  readonly spec: McpServerSpec;
  readonly clock: Clock;
  readonly log: Log;
  readonly bounds: McpBounds;
  readonly validators: InputValidators;
  readonly secretOf?: SecretOf | undefined;
  /** Told how many requests the server works on, and how many wait for their turn. */
  readonly onLoad: (load: { readonly serverId: string; readonly inFlight: number; readonly queued: number }) => void;
  /** Told whenever its health is another. */
  readonly onHealth: (health: { readonly serverId: string; readonly state: HealthState }) => void;
}

export class McpServer {
  readonly id: string;
  readonly spec: McpServerSpec;
  readonly #options: McpServerOptions;
  readonly #connection: Circuit;
  readonly #catalog: Catalog;
  readonly #queue: CallQueue;
  #closed = false;
  #running = 0;
  #onIdle: (() => void) | undefined;

  constructor(options: McpServerOptions) {
    const { spec } = options;
    this.id = spec.id;
    this.spec = spec;
    this.#options = options;
    this.#connection = new Circuit({
      ...options,
      serverId: spec.id,
      connection: connect({ ...options, onToolsChanged: () => this.#catalog.doubt() }),
      probeTimeoutMs: this.#listTimeoutMs,
      onHealth: (state) => options.onHealth({ serverId: spec.id, state }),
    });
    this.#catalog = this.#createCatalog();
    this.#queue = createQueue(options);
  }

  /** The tools as the server defines them. Throws `UpstreamError`, never dispatched. */
  async listTools(signal: AbortSignal): Promise<readonly ToolDefinition[]> {
    return this.#counted(() => this.#catalog.list(this.#listDeadline(signal)));
  }

  /** One tool by its exact name. Throws `UpstreamError`, never dispatched. */
  async tool(name: string, signal: AbortSignal): Promise<CatalogTool | undefined> {
    return this.#counted(() => this.#catalog.find(name, this.#listDeadline(signal)));
  }

  /**
   * Calls a tool. Arguments are sent as they are: whoever calls has validated them. A tool's failure is an answer;
   * throws `UpstreamError` when there is none.
   */
  async callTool(call: ToolCall): Promise<UpstreamAnswer> {
    return this.#exchange(call, async (deadline) => this.#read(await this.#send(call, deadline)));
  }

  /** Passes a request on. Throws `UpstreamError` when there is no answer. */
  async relay(request: RelayedRequest): Promise<UpstreamAnswer> {
    const { method, params, requestId } = request;
    return this.#exchange(request, async (deadline) =>
      read(await this.#connection.request({ method, params, deadline, requestId })),
    );
  }

  /** What the server says of itself. Throws `UpstreamError`, never dispatched. */
  async hello(signal: AbortSignal): Promise<ServerHello> {
    return this.#counted(() => this.#connection.hello(this.#listDeadline(signal)));
  }

  /** One exchange within the bound on what is in flight and the caller's patience. */
  async #exchange(
    call: Pick<ToolCall, 'timeoutMs' | 'signal'>,
    ask: (deadline: Deadline) => Promise<UpstreamAnswer>,
  ): Promise<UpstreamAnswer> {
    const { bounds, clock } = this.#options;
    const deadline = new Deadline(
      clock,
      call.timeoutMs ?? this.spec.callTimeoutMs ?? bounds.upstreamCallTimeoutMs,
      call.signal,
    );
    return await this.#counted(() =>
      this.#queue.run(deadline, async () => {
        if (this.#closed)
          throw new UpstreamError('UPSTREAM_UNAVAILABLE', {
            dispatched: false,
            isOurs: true,
            inside: 'it is closed: the gateway is closing, or the server was changed or removed',
          });
        deadline.assertOpen();
        return await ask(deadline);
      }),
    );
  }

  get health(): ServerHealth {
    return this.#connection.health;
  }

  /**
   * Closes it when nobody uses it any more. Whoever has found it before may begin until `signal` is aborted or a while
   * has passed; what is in flight then is waited for.
   */
  async retire(signal: AbortSignal): Promise<void> {
    await delay(this.#options.bounds.upstreamRetireMs, undefined, { signal, ref: false }).catch(() => undefined);
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

  #send({ name, args, requestId, onNotification }: ToolCall, deadline: Deadline): Promise<RpcAnswer> {
    const mirrors = this.#catalog.mirrorsOf(name);
    return this.#connection.request({
      method: 'tools/call',
      params: { name, arguments: args },
      deadline,
      requestId,
      onNotification,
      mirrorHeaders: mirrors.length === 0 ? undefined : mirrorHeaders(mirrors, args),
    });
  }

  #read(answer: RpcAnswer): UpstreamAnswer {
    if (contradictsCatalog(answer)) this.#catalog.doubt();
    return read(answer);
  }

  #createCatalog(): Catalog {
    const { clock, log, bounds, validators } = this.#options;
    return new Catalog({
      serverId: this.id,
      clock,
      log,
      bounds,
      validators,
      fetchTimeoutMs: this.#listTimeoutMs,
      fetch: (deadline) => listTools(this.#connection, bounds, deadline),
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
  return options.spec.transport === 'stdio' ? new StdioConnection(options) : new HttpConnection(options);
}

function read(answer: RpcAnswer): UpstreamAnswer {
  if (answer.kind === 'error') return answer;
  const { result, raw } = answer;
  const resultType = result['resultType'];
  if (resultType !== undefined && resultType !== 'complete') {
    // The gateway offers to give no input, so a server must not ask for any (MCP 2026-07-28).
    throw new UpstreamError('UPSTREAM_INVALID_RESPONSE', {
      dispatched: true,
      inside: 'it asked for input in place of an answer',
    });
  }
  return { kind: 'result', result, isError: result['isError'] === true, raw };
}

const invalidParams = -32_602;
const headerMismatch = -32_020;

/** Whether the server says, in one of the ways in use, that the tool is not what its list said. */
function contradictsCatalog(answer: RpcAnswer): boolean {
  if (answer.kind === 'result') return answer.result['isError'] === true && unknownTool.test(firstText(answer.result));
  const { code, message } = answer.error;
  return code === methodNotFound || code === headerMismatch || (code === invalidParams && unknownTool.test(message));
}

const unknownTool = /unknown tool|tool .{0,600}not found|no such tool/i;

function firstText(result: JsonObject): string {
  const content = result['content'];
  const first: unknown = Array.isArray(content) ? content[0] : undefined;
  const text = typeof first === 'object' && first !== null ? (first as JsonObject)['text'] : undefined;
  return typeof text === 'string' ? text.slice(0, 1000) : '';
}
