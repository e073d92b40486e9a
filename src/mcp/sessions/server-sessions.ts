/**
 * The sessions that clients have of their own on one tool server: so many and no more, each lost at most once, all of
 * them gone when the server is closed here.
 */
import type { Clock } from '../../core/clock.ts';
import type { McpServerSpec } from '../../core/mcp-server.ts';
import type { Asking, Connection, ConnectionOptions } from '../connection.ts';
import { Deadline } from '../deadline.ts';
import type { McpBounds } from '../mcp-bounds.ts';
import type { ServerHello } from '../protocol/hello.ts';
import type { Circuit } from '../resilience/circuit.ts';
import type { RelayedRequest, ToolCall, UpstreamAnswer } from '../upstream-call.ts';
import { UpstreamError } from '../upstream-error.ts';
import type { SessionOptions, UpstreamSession } from '../upstream-session.ts';
import { bridgedSession, type SharedServer } from './bridged-session.ts';
import { ChangeListeners, toolsChanged } from './change-listeners.ts';
import { EndableSession } from './endable-session.ts';
import type { SessionTools } from './session-tools.ts';

export interface ServerSessionsOptions {
  readonly spec: McpServerSpec;
  readonly clock: Clock;
  readonly bounds: McpBounds;
  readonly link: Connection;
  readonly circuit: Circuit;
  readonly startTimeoutMs: number;
  /** The tools as the server shows them in a session. */
  readonly toolsThrough: (through: Asking, hello: ServerHello, onOthers: () => void) => SessionTools;
  /** One of the server's lists is not what it was. */
  readonly onChange: ConnectionOptions['onChange'];
  /** For clients that get no session of their own. */
  readonly shared: SharedServer;
  /** The server's own ways of asking, through a session in place of the shared connection. */
  readonly callTool: (through: Asking, call: ToolCall, doubt: () => void) => Promise<UpstreamAnswer>;
  readonly relay: (through: Asking, request: RelayedRequest) => Promise<UpstreamAnswer>;
}

const shareOfNewcomers = 1 / 4;

const closedHere = 'the server was changed or removed here, or the gateway closes';

export class ServerSessions {
  readonly #options: ServerSessionsOptions;
  readonly #open = new Set<EndableSession>();
  /** Places that are taken, by whose they are; a session has one from before it is opened until nothing is left of it. */
  readonly #places = new Map<string, number>();
  #taken = 0;
  #isClosed = false;

  constructor(options: ServerSessionsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#open.size;
  }

  /** Throws `UpstreamError`, not dispatched. */
  async open(options: SessionOptions): Promise<UpstreamSession> {
    const leave = this.#enter(options.owner);
    try {
      return await this.#openNow(options, leave);
    } catch (error) {
      leave();
      throw error;
    }
  }

  /** The last places are for whoever has none, so that nobody can have them all. */
  #enter(owner = ''): () => void {
    const free = this.#max - this.#taken;
    const own = this.#places.get(owner) ?? 0;
    if (free <= 0 || (own > 0 && free <= Math.floor(this.#max * shareOfNewcomers))) {
      throw new UpstreamError('UPSTREAM_BUSY', { dispatched: false, inside: 'it has as many sessions as it may have' });
    }
    this.#taken++;
    this.#places.set(owner, own + 1);
    return () => {
      this.#taken--;
      const left = (this.#places.get(owner) ?? 1) - 1;
      if (left === 0) this.#places.delete(owner);
      else this.#places.set(owner, left);
    };
  }

  /** Each is lost as soon as nothing is in flight in it. */
  retire(): void {
    this.#isClosed = true;
    for (const session of this.#open) session.retire(closedHere);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#open].map((session) => session.lose(closedHere)));
  }

  get #max(): number {
    const { spec, bounds } = this.#options;
    const isProcess = spec.transport === 'stdio' && spec.sessions !== 'shared';
    return spec.maxSessions ?? (isProcess ? bounds.stdioSessionsMax : bounds.upstreamSessionsMax);
  }

  async #openNow(options: SessionOptions, leave: () => void): Promise<UpstreamSession> {
    let lost: string | undefined;
    let onLost = (reason: string): void => {
      lost = reason;
    };
    const own = await this.#ownSession({ ...options, onLost: (reason) => onLost(reason) });
    const inner = own ?? (await bridgedSession(this.#options.shared, options, this.#options));
    const session = new EndableSession(inner, options.onLost, () => {
      this.#open.delete(session);
      leave();
    });
    onLost = (reason) => void session.lose(reason);
    this.#open.add(session);
    if (lost !== undefined) onLost(lost);
    if (this.#isClosed) session.retire(closedHere);
    return session;
  }

  async #ownSession(options: SessionOptions): Promise<UpstreamSession | undefined> {
    const { spec, clock, bounds, link, circuit, startTimeoutMs, callTool, relay, toolsThrough } = this.#options;
    if (spec.sessions === 'shared') return undefined;
    const { peer, onToolsChanged } = options;
    const changes = new ChangeListeners(bounds.upstreamChangesRestMs);
    if (onToolsChanged !== undefined) changes.add(onToolsChanged);
    const deadline = new Deadline(clock, startTimeoutMs, options.signal);
    let tools: SessionTools | undefined;
    const onChange: ConnectionOptions['onChange'] = (method, params) => {
      if (method === toolsChanged) {
        tools?.doubt();
        changes.tell(method, params);
      }
      this.#options.onChange(method, params);
    };
    const own = await circuit.guard(() => link.openSession({ ...options, deadline, onChange }), isThere);
    if (own === undefined) return undefined;
    const through: Asking = { request: (request) => circuit.guard(() => own.request(request)) };
    if (onToolsChanged !== undefined) tools = toolsThrough(through, own.hello, () => changes.tell(toolsChanged, {}));
    return {
      hello: own.hello,
      tools,
      callTool: (call) => callTool(through, { peer, ...call }, () => tools?.doubt()),
      relay: (request) => relay(through, { peer, ...request }),
      notify: (method, params) => own.notify(method, params),
      async close() {
        changes.end();
        tools?.close();
        await own.close();
      },
    };
  }
}

function isThere(session: unknown): boolean {
  return session !== undefined;
}
