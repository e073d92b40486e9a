/**
 * One stream of messages to a client of a session. It outlives its connections: what is said while nobody is connected
 * waits for whoever resumes the stream, as far as the session's buffer reaches.
 */
import type { JsonObject } from '../../../core/json.ts';
import type { EventSink } from './event-sink.ts';
import type { ReplayBuffer } from './replay-buffer.ts';

export class MessageStream {
  readonly number: number;
  readonly #replay: ReplayBuffer;
  #sink: EventSink | undefined;
  #lastSeq = 0;
  /** The newest event that some connection took. */
  #sentSeq = 0;
  #isFinished = false;

  constructor(number: number, replay: ReplayBuffer) {
    this.number = number;
    this.#replay = replay;
  }

  get isConnected(): boolean {
    return this.#sink !== undefined && !this.#sink.closed;
  }

  get isFinished(): boolean {
    return this.#isFinished;
  }

  send(message: JsonObject): void {
    const data = JSON.stringify(message);
    const seq = ++this.#lastSeq;
    this.#replay.add(this.number, seq, data, message['method'] === 'notifications/message');
    if (!this.isConnected) return;
    this.#sink?.send(data, this.#idOf(seq));
    this.#sentSeq = seq;
  }

  /** The last message, and a word about it for whoever watches the connection. */
  finish(message: JsonObject, comment?: string): void {
    if (comment !== undefined && this.isConnected) this.#sink?.comment?.(comment);
    this.send(message);
    this.end();
  }

  /** Nothing more is said. */
  end(): void {
    this.#isFinished = true;
    this.disconnect();
  }

  /**
   * From now on it is sent there, and nowhere else: first what came after the event `after`, or what no connection ever
   * took. False when some of that is not kept; then nothing is sent.
   */
  connect(sink: EventSink, after = this.#sentSeq): boolean {
    const missed = this.#replay.after(this.number, after);
    if (missed === undefined) return false;
    this.disconnect();
    this.#sink = sink;
    sink.onClose(() => {
      if (this.#sink === sink) this.#sink = undefined;
    });
    for (const { seq, data } of missed) sink.send(data, this.#idOf(seq));
    this.#sentSeq = this.#lastSeq;
    if (this.#isFinished) this.disconnect();
    return true;
  }

  /** The id to resume from that a client has who was told everything. */
  get lastId(): string {
    return this.#idOf(this.#lastSeq);
  }

  knows(seq: number): boolean {
    return seq <= this.#lastSeq;
  }

  disconnect(): void {
    this.#sink?.end();
    this.#sink = undefined;
  }

  #idOf(seq: number): string {
    return `${this.number}-${seq}`;
  }
}

/** Reads the id of an event. Undefined for what no stream gives. */
export function readEventId(id: string): { readonly stream: number; readonly seq: number } | undefined {
  const [, stream, seq] = /^(\d{1,9})-(\d{1,9})$/.exec(id) ?? [];
  return stream === undefined ? undefined : { stream: Number(stream), seq: Number(seq) };
}
