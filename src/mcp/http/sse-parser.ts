/**
 * Server-Sent Events (WHATWG HTML, section 9.2) over bytes: the data of an event keeps the exact bytes that were sent.
 * Lines must end in LF or CRLF; a lone CR, which the standard allows and nothing sends, is not taken for an end.
 */
import { isHeaderValue } from '../../core/mcp-server.ts';
import { BytePieces } from '../duplex/byte-pieces.ts';
import { LineFramer, LineTooLong } from '../duplex/line-framer.ts';

export interface SseEvent {
  readonly type: string;
  readonly data: Buffer;
  /** Where the stream goes on after it. */
  readonly lastEventId: string | undefined;
}

const idCharsMax = 1_024;
const colon = 0x3a;
const space = 0x20;
const newline = Buffer.from('\n');
const byteOrderMark = Buffer.from([0xef, 0xbb, 0xbf]);

export class SseParser {
  /** Of the last event that was complete: where the stream can be resumed. */
  lastEventId: string | undefined;
  #announcedId: string | undefined;
  /** How long the server asks to wait before resuming. */
  retryMs: number | undefined;
  readonly #onEvent: (event: SseEvent) => void;
  readonly #framer: LineFramer;
  readonly #data: BytePieces;
  #type = 'message';
  #atStart = true;

  constructor(eventBytesMax: number, onEvent: (event: SseEvent) => void) {
    this.#data = new BytePieces(eventBytesMax);
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
    const isFirst = this.#data.isEmpty;
    const fits = (isFirst || this.#data.add(newline)) && this.#data.add(value);
    if (!fits) throw new LineTooLong();
  }

  /** An id that no header could carry back is none. */
  #identify(id: string): void {
    if (id.length <= idCharsMax && isHeaderValue(id)) this.#announcedId = id;
  }

  #setRetry(value: string): void {
    if (/^\d{1,9}$/.test(value)) this.retryMs = Number(value);
  }

  #dispatch(): void {
    this.lastEventId = this.#announcedId;
    const event = { type: this.#type, data: this.#data.take(), lastEventId: this.lastEventId };
    this.#type = 'message';
    if (event.data.length > 0) this.#onEvent(event);
  }
}
