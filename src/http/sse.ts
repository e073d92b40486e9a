/** A stream of server-sent events (WHATWG HTML, section 9.2) on a response. */
import type { ServerResponse } from 'node:http';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { bounds } from '../config/bounds.ts';
import type { Clock } from '../core/clock.ts';
import type { Ending } from '../stream/ending.ts';
import type { Gap } from '../stream/subscription.ts';
import { endings } from './stream-ending.ts';
import type { Transport } from './stream-session.ts';
import { takeOver } from './take-over.ts';
import { unsentBytes } from './unsent-bytes.ts';

/** Of the answer that is a stream. */
export const eventStreamHeaders = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-cache, no-transform',
  'x-accel-buffering': 'no',
  connection: 'keep-alive',
};

export class EventStream implements Transport {
  readonly kind = 'sse';
  readonly format = 'sse';
  readonly closed: Promise<void>;
  readonly #request: FastifyRequest;
  readonly #reply: FastifyReply;
  readonly #raw: ServerResponse;
  readonly #clock: Clock;

  constructor(request: FastifyRequest, reply: FastifyReply, clock: Clock) {
    this.#request = request;
    this.#reply = reply;
    this.#raw = reply.raw;
    this.#clock = clock;
    this.closed = new Promise((resolve) => {
      if (reply.raw.closed) resolve();
      reply.raw.once('close', () => resolve());
      reply.raw.on('error', () => reply.raw.destroy());
    });
  }

  readonly welcome = (session: { readonly id: string; readonly lastCursor: string }): void => {
    this.#request.isStreaming = true;
    // With what the hooks have set: headers of security, of other origins, of limits.
    takeOver(this.#reply);
    this.#raw.writeHead(200, { ...eventStreamHeaders, 'talos-last-event-id': session.lastCursor });
    this.#send('meta', {
      status: 'connected',
      version: '1',
      session_id: session.id,
      connected_at: new Date(this.#clock.now()).toISOString(),
      last_cursor: session.lastCursor,
      heartbeat_interval_ms: bounds.streamHeartbeatMs,
    });
  };

  readonly write = (bytes: Buffer, left: () => void): void => {
    this.#raw.write(bytes, (error) => {
      if (error === undefined || error === null) left();
    });
  };

  readonly unsent = (): number => (this.#raw.socket === null ? 0 : unsentBytes(this.#raw.socket));

  readonly gap = ({ from, to }: Gap): void => {
    this.#send('gap', { from, to, reason: 'retention' }, `id: ${to}\n`);
  };

  /** A comment keeps the connection; an id alone moves the position and fires nothing. */
  readonly heartbeat = (lastCursor: string): void => {
    this.#text(`: heartbeat\n${lastCursor === '' ? '' : `id: ${lastCursor}\n`}\n`);
  };

  readonly end = ({ reason, message, retryAfterMs }: Ending): void => {
    const { code } = endings[reason];
    if (retryAfterMs !== undefined) {
      this.#send('reconnect', { retry_after_ms: retryAfterMs }, `retry: ${retryAfterMs}\n`);
    } else if (code !== undefined) {
      this.#send('error', { code: code === 'INTERNAL_ERROR' ? 'TALOS_SSE_INTERNAL' : code, message });
    }
    this.#raw.end();
    // Whoever does not take the last words is not waited for.
    setTimeout(() => this.#raw.destroy(), bounds.streamGoodbyeMs).unref();
  };

  // A browser says nothing after its request.
  readonly silentMs = (): number => 0;

  #send(event: string, data: object, fields = ''): void {
    this.#text(`${fields}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
  }

  #text(text: string): void {
    if (!this.#raw.writableEnded && !this.#raw.destroyed) this.#raw.write(text);
  }
}
