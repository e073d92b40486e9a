/**
 * Server-Sent Events (WHATWG HTML, section 9.2) over bytes: the data of an event keeps the exact bytes that were sent.
 * Lines must end in LF or CRLF; a lone CR, which the standard allows and nothing sends, is not taken for an end.
 */
import { LineFramer, LineTooLong } from './line-framer.ts';

export interface SseEvent {
  readonly type: string;
  readonly data: Buffer;
}

const colon = 0x3a;
const space = 0x20;
const newline = Buffer.from('\n');
const byteOrderMark = Buffer.from([0xef, 0xbb, 0xbf]);

export class SseParser {
  /** The last id that the stream announced: where it can be resumed. */
  lastEventId: string | undefined;
  /** How long the server asks to wait before resuming. */
  retryMs: number | undefined;
  readonly #onEvent: (event: SseEvent) => void;
  readonly #eventBytesMax: number;
  readonly #framer: LineFramer;
  #type = 'message';
  #data: Buffer[] = [];
  #bytes = 0;
  #atStart = true;

  constructor(eventBytesMax: number, onEvent: (event: SseEvent) => void) {
    this.#eventBytesMax = eventBytesMax;
    this.#onEvent = onEvent;
    // Room for the field name beside the data.
    this.#framer = new LineFramer(eventBytesMax + 64, (line) => this.#line(line));
  }

  /** Throws `LineTooLong` when an event passes the bound. What follows the last blank line waits, or is never an event. */
  push(chunk: Buffer): void {
    this.#framer.push(chunk);
  }

  #line(bytes: Buffer): void {
    const line = this.#atStart && bytes.subarray(0, 3).equals(byteOrderMark) ? bytes.subarray(3) : bytes;
    this.#atStart = false;
    if (line.length === 0) this.#dispatch();
    // A line that starts with a colon is a comment.
    else if (line[0] !== colon) this.#fieldLine(line);
  }

  #fieldLine(line: Buffer): void {
    const split = line.indexOf(colon);
    const nameEnd = split === -1 ? line.length : split;
    const from = line[nameEnd + 1] === space ? nameEnd + 2 : nameEnd + 1;
    this.#field(line.toString('latin1', 0, nameEnd), line.subarray(from));
  }

  #field(name: string, value: Buffer): void {
    if (name === 'data') this.#addData(value);
    else if (name === 'event') this.#type = value.toString('utf8');
    else if (name === 'id') this.#identify(value.toString('utf8'));
    else if (name === 'retry') this.#setRetry(value.toString('latin1'));
  }

  #addData(value: Buffer): void {
    this.#bytes += value.length;
    if (this.#bytes > this.#eventBytesMax) throw new LineTooLong();
    if (this.#data.length > 0) this.#data.push(newline);
    this.#data.push(value);
  }

  #identify(id: string): void {
    if (!id.includes('\0')) this.lastEventId = id;
  }

  #setRetry(value: string): void {
    if (/^\d{1,9}$/.test(value)) this.retryMs = Number(value);
  }

  #dispatch(): void {
    const [first, ...rest] = this.#data;
    const event = { type: this.#type, data: rest.length === 0 ? first : Buffer.concat(this.#data) };
    this.#type = 'message';
    this.#data = [];
    this.#bytes = 0;
    if (event.data !== undefined && event.data.length > 0) this.#onEvent({ type: event.type, data: event.data });
  }
}
