/**
 * An answer that may become a stream of events: until the first of them nothing is decided. Whoever does not read is not
 * written for without bound.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { bounds } from '../config/bounds.ts';
import type { EventSink } from '../gateway/native/streams/event-sink.ts';
import { eventStreamHeaders } from './sse.ts';
import { takeOver } from './take-over.ts';
import { unsentBytes } from './unsent-bytes.ts';

export interface ReplyEventsOptions {
  /** Told when the stream begins. */
  readonly onOpen: () => void;
  /** Told when it is cut because it is not read. */
  readonly onCut: () => void;
}

export class ReplyEvents implements EventSink {
  readonly #request: FastifyRequest;
  readonly #reply: FastifyReply;
  readonly #options: ReplyEventsOptions;
  #begun = false;
  #keepAlive: NodeJS.Timeout | undefined;
  #unsentBefore = 0;

  constructor(request: FastifyRequest, reply: FastifyReply, options: ReplyEventsOptions) {
    this.#request = request;
    this.#reply = reply;
    this.#options = options;
  }

  get begun(): boolean {
    return this.#begun;
  }

  get closed(): boolean {
    const { raw } = this.#reply;
    return raw.destroyed || raw.writableEnded || raw.closed;
  }

  open(id?: string): void {
    this.#begin();
    // An event without data is none: it says where the stream can be resumed.
    this.#write(id === undefined ? ': open\n\n' : `id: ${id}\ndata: \n\n`);
  }

  send(data: string, id?: string): void {
    this.sendAs('message', data, id);
  }

  /** An event of another kind than messages are. */
  sendAs(event: string, data: string, id?: string): void {
    this.#begin();
    this.#write(`${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${data}\n\n`);
  }

  comment(text: string): void {
    this.#write(`: ${text}\n\n`);
  }

  end(): void {
    clearInterval(this.#keepAlive);
    if (!this.closed && this.#begun) this.#reply.raw.end();
  }

  onClose(listener: () => void): void {
    const { raw } = this.#reply;
    if (raw.closed) listener();
    else raw.once('close', listener);
  }

  #begin(): void {
    if (this.#begun) return;
    this.#begun = true;
    this.#request.isStreaming = true;
    // With what the hooks have set: headers of security, of other origins, of limits.
    const raw = takeOver(this.#reply);
    raw.on('error', () => raw.destroy());
    raw.writeHead(200, eventStreamHeaders);
    this.#keepAlive = setInterval(() => this.#look(), bounds.streamHeartbeatMs).unref();
    this.onClose(() => clearInterval(this.#keepAlive));
    this.#options.onOpen();
  }

  #write(text: string): void {
    if (this.closed) return;
    if (this.#unsent() > bounds.mcpUnsentBytesMax) this.#cut();
    else this.#reply.raw.write(text);
  }

  /** A comment keeps the connection; one on which nothing moves is given up. */
  #look(): void {
    const unsent = this.#unsent();
    if (unsent > 0 && unsent === this.#unsentBefore) this.#cut();
    else if (unsent === 0) this.#write(': heartbeat\n\n');
    this.#unsentBefore = unsent;
  }

  #cut(): void {
    this.#options.onCut();
    this.#reply.raw.destroy();
  }

  #unsent(): number {
    const { socket } = this.#reply.raw;
    return socket === null ? 0 : unsentBytes(socket) + this.#reply.raw.writableLength;
  }
}
