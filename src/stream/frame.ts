/** A record as it goes over the wire, in each of the two formats: encoded once, and shared by all who read it. */
import { cursorOf } from '../core/cursor.ts';
import { itemOf, toRecord } from '../core/event-item.ts';
import type { StoredEvent } from '../storage/events.ts';
import { keysOfRecord, type RecordKeys } from './filter.ts';

/** `websocket`: complete unmasked frames (RFC 6455) for the socket itself; `sse`: blocks of an event stream. */
export type FrameFormat = 'websocket' | 'sse';

export class StreamRecord {
  readonly seq: number;
  readonly eventId: string;
  readonly keys: RecordKeys;
  readonly #item: string;
  readonly #frames = new Map<FrameFormat, Buffer>();

  constructor(event: StoredEvent) {
    const record = toRecord(event);
    this.seq = event.seq;
    this.eventId = event.eventId;
    this.keys = keysOfRecord(record);
    this.#item = JSON.stringify(itemOf(event, record));
  }

  /** What it may come to hold, with both frames made, in bytes and about. */
  get size(): number {
    return this.#item.length * 3;
  }

  get cursor(): string {
    return cursorOf(this.eventId);
  }

  frame(format: FrameFormat): Buffer {
    const known = this.#frames.get(format);
    if (known !== undefined) return known;
    const frame =
      format === 'sse' ? this.#sse() : textFrame(`{"type":"event","event":${this.#item},"cursor":"${this.cursor}"}`);
    this.#frames.set(format, frame);
    return frame;
  }

  #sse(): Buffer {
    // JSON has no line ends outside of strings, and inside they are escaped.
    return Buffer.from(`id: ${this.cursor}\nevent: audit_event\ndata: ${this.#item}\n\n`);
  }
}

const finalText = 0x81;

/** A whole text message in one frame, as a server sends it: RFC 6455, section 5.2. */
function textFrame(text: string): Buffer {
  const size = Buffer.byteLength(text);
  const headerSize = size < 126 ? 2 : size < 65_536 ? 4 : 10;
  const frame = Buffer.allocUnsafe(headerSize + size);
  frame[0] = finalText;
  if (size < 126) {
    frame[1] = size;
  } else if (size < 65_536) {
    frame[1] = 126;
    frame.writeUInt16BE(size, 2);
  } else {
    frame[1] = 127;
    frame.writeBigUInt64BE(BigInt(size), 2);
  }
  frame.write(text, headerSize);
  return frame;
}
