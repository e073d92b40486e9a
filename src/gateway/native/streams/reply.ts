/**
 * The way back to the client for one request: one body, unless something precedes it. Then it is a stream, which the
 * answer ends.
 */
import type { JsonObject } from '../../../core/json.ts';
import type { EventSink } from './event-sink.ts';
import type { MessageStream } from './message-stream.ts';

export interface Reply {
  /** Whether the client takes anything before the answer. */
  readonly takesMessages: boolean;
  send(message: JsonObject): void;
  /** False when there is no stream: then the answer is to be given as a body. `auditRef` names the record of it. */
  finish(answer: JsonObject, auditRef?: string): boolean;
  /** The same without an answer. */
  end(): boolean;
}

function commentOf(auditRef: string | undefined): string | undefined {
  return auditRef === undefined ? undefined : `audit_ref ${auditRef}`;
}

/** Of a request that belongs to no session: what its connection loses is lost. */
export class DirectReply implements Reply {
  readonly #sink: EventSink | undefined;

  constructor(sink: EventSink | undefined) {
    this.#sink = sink;
  }

  get takesMessages(): boolean {
    return this.#sink !== undefined && !this.#sink.closed;
  }

  send(message: JsonObject): void {
    this.#sink?.send(JSON.stringify(message));
  }

  finish(answer: JsonObject, auditRef?: string): boolean {
    if (this.#sink?.begun !== true) return false;
    const comment = commentOf(auditRef);
    if (comment !== undefined) this.#sink.comment?.(comment);
    this.#sink.send(JSON.stringify(answer));
    this.#sink.end();
    return true;
  }

  end(): boolean {
    if (this.#sink?.begun !== true) return false;
    this.#sink.end();
    return true;
  }
}

/** Of a request in a session: a stream that has begun can be resumed. */
export class SessionReply implements Reply {
  readonly #sink: EventSink | undefined;
  readonly #openStream: () => MessageStream;
  #stream: MessageStream | undefined;

  constructor(sink: EventSink | undefined, openStream: () => MessageStream) {
    this.#sink = sink;
    this.#openStream = openStream;
  }

  get takesMessages(): boolean {
    return this.#stream !== undefined || (this.#sink !== undefined && !this.#sink.closed);
  }

  send(message: JsonObject): void {
    if (this.#sink === undefined || !this.takesMessages) return;
    this.#begin(this.#sink).send(message);
  }

  finish(answer: JsonObject, auditRef?: string): boolean {
    if (this.#sink === undefined || (this.#stream === undefined && !this.#sink.begun)) return false;
    this.#begin(this.#sink).finish(answer, commentOf(auditRef));
    return true;
  }

  end(): boolean {
    if (this.#sink === undefined || (this.#stream === undefined && !this.#sink.begun)) return false;
    this.#begin(this.#sink).end();
    return true;
  }

  /** Tells the client where it can resume, before there is anything to say. */
  prime(): void {
    if (this.#sink === undefined || this.#sink.closed || this.#stream !== undefined) return;
    this.#sink.open(this.#begin(this.#sink).lastId);
  }

  #begin(sink: EventSink): MessageStream {
    if (this.#stream !== undefined) return this.#stream;
    this.#stream = this.#openStream();
    this.#stream.connect(sink);
    return this.#stream;
  }
}
