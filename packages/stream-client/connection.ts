/**
 * One WebSocket to one gateway, from `init` to its close. It keeps the connection alive and says when it is dead; where
 * the stream stands is known by whoever opened it.
 */
import type { EventFilters } from './options.ts';

export interface Welcome {
  readonly sessionId: string;
  /** The stream is what comes after it. */
  readonly cursor: string;
}

export interface ConnectionHandlers {
  readonly onWelcome: (welcome: Welcome) => void;
  readonly onEvent: (event: Readonly<Record<string, unknown>>, cursor: string) => void;
  readonly onGap: (gap: { readonly from: string; readonly to: string; readonly reason: string }) => void;
  /** Everything up to this is passed on, or does not match. */
  readonly onCursor: (cursor: string) => void;
  /** The newest cursor that the client has. */
  readonly cursor: () => string;
}

export interface ConnectionRequest {
  readonly url: string;
  readonly capability: string;
  readonly ticket: string | undefined;
  readonly filters: EventFilters | undefined;
  readonly after: string;
}

/** How a connection ended. */
export interface Ended {
  /** Of the close frame; 1006 when there was none. */
  readonly closeCode: number;
  /** Of the gateway's `error` message. */
  readonly code: string | undefined;
  readonly reason: string;
  readonly retryAfterMs: number | undefined;
}

interface Message {
  readonly type?: unknown;
  readonly [key: string]: unknown;
}

const welcomeTimeoutMs = 15_000;
const heartbeatDefaultMs = 15_000;
/** How many heartbeats may be missing before the connection counts as dead. */
const missedHeartbeatsMax = 3;
const lost = 'The connection was lost.';

export class Connection {
  readonly ended: Promise<Ended>;
  readonly #socket: WebSocket;
  readonly #request: ConnectionRequest;
  readonly #handlers: ConnectionHandlers;
  #resolve: (ended: Ended) => void = () => undefined;
  #isOpen = false;
  #isOver = false;
  #intervalMs = heartbeatDefaultMs;
  #heartbeat: ReturnType<typeof setInterval> | undefined;
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  #error: { readonly code: string; readonly message: string } | undefined;
  #retryAfterMs: number | undefined;

  /** Connects. Throws a `SyntaxError` when the address is none. */
  constructor(request: ConnectionRequest, handlers: ConnectionHandlers) {
    this.#request = request;
    this.#handlers = handlers;
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    this.#socket = new WebSocket(addressOf(request));
    this.#socket.onopen = () => {
      this.#isOpen = true;
      this.#init();
    };
    this.#socket.onmessage = ({ data }) => this.#onMessage(data);
    this.#socket.onerror = () => this.#end(1006, this.#isOpen ? lost : 'The gateway cannot be reached.');
    this.#socket.onclose = ({ code, reason }) => this.#end(code, reason || lost);
    this.#watch(welcomeTimeoutMs);
  }

  pause(): void {
    this.#send({ type: 'pause' });
  }

  resume(): void {
    this.#send({ type: 'resume' });
  }

  close(): void {
    this.#end(1000, 'Closed by the client.');
  }

  #init(): void {
    const { capability, filters, after } = this.#request;
    this.#send({
      type: 'init',
      version: 1,
      capability,
      nonce: nonce(),
      ts: new Date().toISOString(),
      ...(filters === undefined ? {} : { filters }),
      ...(after === '' ? {} : { after_cursor: after }),
    });
  }

  #send(message: object): void {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #onMessage(data: unknown): void {
    let message: Message;
    try {
      message = JSON.parse(String(data)) as Message;
    } catch {
      this.#end(1006, 'What answers is not a gateway.');
      return;
    }
    this.#take(message);
    if (!this.#isOver) this.#watch(this.#intervalMs * missedHeartbeatsMax);
  }

  #take(message: Message): void {
    const text = (key: string) => String(message[key] ?? '');
    switch (message.type) {
      case 'event':
        this.#handlers.onEvent(message['event'] as Record<string, unknown>, text('cursor'));
        break;
      case 'heartbeat':
        this.#handlers.onCursor(text('last_cursor'));
        break;
      case 'gap':
        this.#handlers.onGap({ from: text('from'), to: text('to'), reason: text('reason') });
        break;
      case 'init_ack':
        this.#welcomed({ sessionId: text('session_id'), cursor: text('last_cursor') }, message);
        break;
      case 'reconnect':
        this.#retryAfterMs = Number(message['retry_after_ms']) || 0;
        break;
      case 'error':
        this.#error = { code: text('code'), message: text('message') };
    }
  }

  #welcomed(welcome: Welcome, { heartbeat_interval_ms: interval }: Message): void {
    if (typeof interval === 'number' && interval > 0) this.#intervalMs = interval;
    clearInterval(this.#heartbeat);
    this.#heartbeat = setInterval(
      () => this.#send({ type: 'heartbeat', last_cursor: this.#handlers.cursor() }),
      this.#intervalMs,
    );
    this.#handlers.onWelcome(welcome);
  }

  /** Ends the connection unless something is heard in time. */
  #watch(ms: number): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#end(1006, 'Nothing was heard from the gateway.'), ms);
  }

  /** The first reason counts. What arrives afterwards is not looked at. */
  #end(closeCode: number, reason: string): void {
    this.#isOver = true;
    clearInterval(this.#heartbeat);
    clearTimeout(this.#watchdog);
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.onerror = () => undefined;
    if (socket.readyState === WebSocket.OPEN || socket.readyState === WebSocket.CONNECTING) socket.close();
    const { code, message } = this.#error ?? {};
    this.#resolve({ closeCode, code, reason: message ?? reason, retryAfterMs: this.#retryAfterMs });
  }
}

function addressOf({ url, ticket }: ConnectionRequest): URL {
  const address = new URL('/api/events/stream', url);
  address.protocol = address.protocol === 'https:' || address.protocol === 'wss:' ? 'wss:' : 'ws:';
  if (ticket !== undefined) address.searchParams.set('ticket', ticket);
  return address;
}

/** Pages that are not in a secure context have no `randomUUID`. */
function nonce(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (word) => word.toString(16).padStart(8, '0')).join('');
}
