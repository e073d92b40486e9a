/**
 * One HTTP request to a tool server and its reply, on undici's dispatch interface: one object a call, no stream, no
 * fetch. Body and events are bounded, the whole exchange ends at its deadline, redirects are answers like any other.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { type Dispatcher, errors } from 'undici';
import type { JsonObject } from '../../core/json.ts';
import type { Deadline } from '../deadline.ts';
import { BytePieces } from '../duplex/byte-pieces.ts';
import { LineTooLong } from '../duplex/line-framer.ts';
import { MessageFault } from '../protocol/json-rpc.ts';
import { UpstreamError } from '../upstream-error.ts';
import { type SseEvent, SseParser } from './sse-parser.ts';

export interface HttpRequest {
  readonly method: 'POST' | 'GET' | 'DELETE';
  /** Path and query. */
  readonly path: string;
  /** Names and values in turn. */
  readonly headers: string[];
  readonly body: string | null;
  readonly bodyBytesMax: number;
  /**
   * Sees every event of an event stream. The message it returns is the answer, and ends the exchange. May throw
   * `MessageFault`.
   */
  readonly onEvent: (event: SseEvent) => JsonObject | undefined;
  /** Told when the answer is an event stream. */
  readonly onStream?: (() => void) | undefined;
}

export type HttpReply =
  | { readonly kind: 'body'; readonly status: number; readonly headers: IncomingHttpHeaders; readonly body: Buffer }
  /** An event stream brought the answer. `raw` are the exact bytes of that event's data. */
  | {
      readonly kind: 'answer';
      readonly headers: IncomingHttpHeaders;
      readonly message: JsonObject;
      readonly raw: Buffer;
    }
  /** An event stream ended without one. */
  | { readonly kind: 'ended'; readonly lastEventId: string | undefined; readonly retryMs: number | undefined };

/** Sends `request`. Rejects with `UpstreamError` only. */
export function exchange(dispatcher: Dispatcher, request: HttpRequest, deadline: Deadline): Promise<HttpReply> {
  return new Promise((resolve, reject) => {
    const { method, path, headers, body } = request;
    dispatcher.dispatch({ method, path, headers, body }, new Exchange(request, deadline, resolve, reject));
  });
}

/**
 * States: waiting for a connection → sent → reading → over. The promise may settle before the exchange is over: an
 * event stream goes on after its answer, and is read to its end (or cut at the deadline) to free the connection.
 */
class Exchange implements Dispatcher.DispatchHandler {
  readonly #request: HttpRequest;
  readonly #resolve: (reply: HttpReply) => void;
  readonly #reject: (error: UpstreamError) => void;
  readonly #unwatch: () => void;
  #controller: Dispatcher.DispatchController | undefined;
  #failure: UpstreamError | undefined;
  #sent = false;
  #settled = false;
  #status = 0;
  #headers: IncomingHttpHeaders = {};
  #events: SseParser | undefined;
  readonly #body: BytePieces;

  constructor(
    request: HttpRequest,
    deadline: Deadline,
    resolve: (reply: HttpReply) => void,
    reject: (error: UpstreamError) => void,
  ) {
    this.#request = request;
    this.#body = new BytePieces(request.bodyBytesMax);
    this.#resolve = resolve;
    this.#reject = reject;
    this.#unwatch = deadline.watch((end) => this.#fail(new UpstreamError(end, { dispatched: this.#sent })));
  }

  /** Called when the request has its connection, just before it is written. */
  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#failure === undefined) {
      this.#controller = controller;
      this.#sent = true;
    } else {
      controller.abort(this.#failure);
    }
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: IncomingHttpHeaders): void {
    if (status < 200) return;
    this.#status = status;
    this.#headers = headers;
    if (Number(headers['content-length']) > this.#request.bodyBytesMax) {
      this.#fail(this.#tooLarge());
    } else if (status === 200 && isEventStream(headers)) {
      this.#request.onStream?.();
      this.#events = new SseParser(this.#request.bodyBytesMax, (event) => this.#onEvent(event));
    }
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    if (this.#settled) return;
    if (this.#events === undefined) this.#addToBody(chunk);
    else this.#addToEvents(this.#events, chunk);
  }

  onResponseEnd(): void {
    this.#unwatch();
    this.#settle(this.#events === undefined ? this.#bodyReply() : endedReply(this.#events));
  }

  onResponseError(_: Dispatcher.DispatchController | null, error: Error): void {
    this.#unwatch();
    // A stream that breaks off can be resumed like one that ends, when it has named a point.
    if (this.#failure === undefined && this.#events?.lastEventId !== undefined) this.#settle(endedReply(this.#events));
    else this.#refuse(this.#failure ?? this.#connectionFailure(error));
  }

  #addToBody(chunk: Buffer): void {
    if (!this.#body.add(chunk)) this.#fail(this.#tooLarge());
  }

  #addToEvents(events: SseParser, chunk: Buffer): void {
    try {
      events.push(chunk);
    } catch (error) {
      this.#fail(error instanceof LineTooLong ? this.#tooLarge() : this.#invalid(error));
    }
  }

  #onEvent(event: SseEvent): void {
    if (this.#settled) return;
    const message = this.#request.onEvent(event);
    if (message !== undefined) this.#settle({ kind: 'answer', headers: this.#headers, message, raw: event.data });
  }

  #bodyReply(): HttpReply {
    return { kind: 'body', status: this.#status, headers: this.#headers, body: this.#body.take() };
  }

  #settle(reply: HttpReply): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#resolve(reply);
  }

  #refuse(error: UpstreamError): void {
    if (this.#settled) return;
    this.#settled = true;
    this.#unwatch();
    this.#reject(error);
  }

  /** Ends the exchange from our side. A request that still waits for a connection is dropped when it gets one. */
  #fail(error: UpstreamError): void {
    this.#failure = error;
    this.#refuse(error);
    this.#controller?.abort(error);
  }

  #tooLarge(): UpstreamError {
    return new UpstreamError('UPSTREAM_RESPONSE_TOO_LARGE', { dispatched: true });
  }

  #invalid(cause: unknown): UpstreamError {
    const inside = cause instanceof MessageFault ? cause.message : 'the answer cannot be read';
    return new UpstreamError('UPSTREAM_INVALID_RESPONSE', { dispatched: true, inside, cause });
  }

  /** Cut off in the middle of an answer, or not HTTP at all, is an invalid answer; cut off before it is unavailability. */
  #connectionFailure(cause: Error): UpstreamError {
    const answered =
      this.#status !== 0 || cause instanceof errors.HTTPParserError || cause instanceof errors.HeadersOverflowError;
    const code = answered ? 'UPSTREAM_INVALID_RESPONSE' : 'UPSTREAM_UNAVAILABLE';
    return new UpstreamError(code, { dispatched: this.#sent, cause });
  }
}

function endedReply({ lastEventId, retryMs }: SseParser): HttpReply {
  return { kind: 'ended', lastEventId, retryMs };
}

function isEventStream(headers: IncomingHttpHeaders): boolean {
  return headers['content-type']?.toLowerCase().startsWith('text/event-stream') ?? false;
}
