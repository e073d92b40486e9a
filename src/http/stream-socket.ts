/** A WebSocket that a stream is written to: messages of the gateway, and frames that are made already beneath them. */
import type { Duplex } from 'node:stream';
import type { WebSocket } from 'ws';
import { bounds } from '../config/bounds.ts';
import type { Clock } from '../core/clock.ts';
import type { Ending } from '../stream/ending.ts';
import type { Gap } from '../stream/subscription.ts';
import { endings, type StreamErrorCode } from './stream-ending.ts';
import type { Transport } from './stream-session.ts';
import { unsentBytes } from './unsent-bytes.ts';
import type { AcceptedSocket } from './ws.ts';

export class StreamSocket implements Transport {
  readonly kind = 'websocket';
  readonly format = 'websocket';
  readonly closed: Promise<void>;
  readonly #ws: WebSocket;
  readonly #raw: Duplex;
  readonly #clock: Clock;
  #heardAtMs: number;

  constructor({ ws, raw }: AcceptedSocket, clock: Clock) {
    this.#ws = ws;
    this.#raw = raw;
    this.#clock = clock;
    this.#heardAtMs = clock.monotonic();
    this.closed = new Promise((resolve) => ws.once('close', () => resolve()));
    // What is no WebSocket closes the connection by itself.
    ws.on('error', () => undefined);
    ws.on('pong', () => this.heard());
  }

  get isOpen(): boolean {
    return this.#ws.readyState === this.#ws.OPEN;
  }

  heard(): void {
    this.#heardAtMs = this.#clock.monotonic();
  }

  /** Gives each message of the client: its text, or undefined when it is not text. */
  onMessage(listener: (text: string | undefined) => void): void {
    this.#ws.on('message', (data, isBinary) => {
      this.heard();
      listener(isBinary ? undefined : String(data));
    });
  }

  send(message: { readonly type: string } & Readonly<Record<string, unknown>>): void {
    if (this.isOpen) this.#ws.send(JSON.stringify(message));
  }

  error(code: StreamErrorCode, message: string, details?: object): void {
    this.send({ type: 'error', code, message, ...(details === undefined ? {} : { details }) });
  }

  readonly welcome = ({ id, lastCursor }: { readonly id: string; readonly lastCursor: string }): void => {
    this.send({
      type: 'init_ack',
      session_id: id,
      heartbeat_interval_ms: bounds.streamHeartbeatMs,
      last_cursor: lastCursor,
    });
  };

  readonly write = (bytes: Buffer, left: () => void): void => {
    if (!this.isOpen) return;
    this.#raw.write(bytes, (error) => {
      if (error === undefined || error === null) left();
    });
  };

  readonly unsent = (): number => unsentBytes(this.#raw);

  readonly gap = ({ from, to }: Gap): void => {
    this.send({ type: 'gap', from, to, reason: 'retention' });
  };

  readonly heartbeat = (lastCursor: string): void => {
    if (!this.isOpen) return;
    this.send({ type: 'heartbeat', last_cursor: lastCursor, interval_ms: bounds.streamHeartbeatMs });
    this.#ws.ping();
  };

  readonly end = (ending: Ending, details?: object): void => {
    const { code, closeCode, name } = endings[ending.reason];
    if (ending.retryAfterMs !== undefined) this.send({ type: 'reconnect', retry_after_ms: ending.retryAfterMs });
    else if (code !== undefined) this.error(code, ending.message, details);
    this.#ws.close(closeCode, name);
    // The gateway does not wait for whoever does not take the last words; otherwise `ws` does, for 30 s.
    const isHurried = ending.reason === 'shutdown' || ending.reason === 'silent';
    if (isHurried) setTimeout(() => this.#ws.terminate(), bounds.streamGoodbyeMs).unref();
  };

  readonly silentMs = (): number => this.#clock.monotonic() - this.#heardAtMs;
}
