/**
 * A lean WebSocket client that counts events: it reads the heads of frames (RFC 6455, section 5.2) and skips the rest,
 * so that a thousand of them cost less than what they measure.
 */
import { connect, type Socket } from 'node:net';

export interface StreamTarget {
  readonly host: string;
  readonly port: number;
  readonly token: string;
  /** A cursor: the stream is what comes after it. */
  readonly after?: string;
}

export interface StreamClient {
  readonly socket: Socket;
  /** Resolves when the stream is open. */
  readonly opened: Promise<void>;
}

export interface ClientHandlers {
  /** Told of so many events that have arrived as a whole. */
  readonly onEvents: (count: number) => void;
  /** Told of the text of each event; without it none is made. */
  readonly onText?: ((text: string) => void) | undefined;
}

const readBytes = 128 * 1024;
// All sockets are read one after the other, and nothing is kept of what was read.
const shared = Buffer.alloc(readBytes);
/** Head and enough of the payload to tell its type: `{"type":"ev`. */
const lookBytes = 10 + 11;
const textOpcode = 1;
const headEnd = Buffer.from('\r\n\r\n');

export function openStreamClient(target: StreamTarget, handlers: ClientHandlers): StreamClient {
  const { host, port } = target;
  let resolveOpened: () => void = () => undefined;
  let rejectOpened: (error: Error) => void = () => undefined;
  const opened = new Promise<void>((resolve, reject) => {
    [resolveOpened, rejectOpened] = [resolve, reject];
  });
  const frames = new FrameReader(handlers, () => resolveOpened());
  let head = Buffer.alloc(0);
  let isUpgraded = false;
  const onread = (bytes: Buffer): void => {
    if (isUpgraded) {
      frames.read(bytes);
      return;
    }
    head = Buffer.concat([head, bytes]);
    const end = head.indexOf(headEnd);
    if (end === -1) return;
    const status = head.toString('latin1', 9, 12);
    if (status !== '101') {
      rejectOpened(new Error(`The stream was not opened: ${status}.`));
      return;
    }
    isUpgraded = true;
    socket.write(clientFrame(initText(target)));
    frames.read(head.subarray(end + headEnd.length));
  };
  const socket = connect({
    ...{ host, port, noDelay: true },
    onread: {
      buffer: shared,
      callback: (size, buffer) => {
        onread(Buffer.from(buffer.buffer, buffer.byteOffset, size));
        return true;
      },
    },
  });
  socket.on('connect', () => socket.write(upgradeRequest(host, port)));
  socket.on('error', rejectOpened);
  socket.on('close', () => rejectOpened(new Error('The stream was closed.')));
  return { socket, opened };
}

/** A text as a client sends it, masked with zeroes, which leave it as it is. */
export function clientFrame(text: string): Buffer {
  const payload = Buffer.from(text);
  const size = payload.length;
  const head = size < 126 ? Buffer.alloc(2 + 4) : Buffer.alloc(4 + 4);
  head[0] = 0x80 | textOpcode;
  head[1] = 0x80 | Math.min(size, 126);
  if (size >= 126) head.writeUInt16BE(size, 2);
  return Buffer.concat([head, payload]);
}

function initText({ token, after }: StreamTarget): string {
  return JSON.stringify({
    ...{ type: 'init', version: 1, capability: token },
    ...{ nonce: crypto.randomUUID(), ts: new Date().toISOString() },
    ...(after === undefined ? {} : { after_cursor: after }),
  });
}

function upgradeRequest(host: string, port: number): string {
  const key = Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString('base64');
  const upgrade = `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}`;
  return `GET /api/events/stream HTTP/1.1\r\nHost: ${host}:${port}\r\n${upgrade}\r\n\r\n`;
}

class FrameReader {
  readonly #handlers: ClientHandlers;
  readonly #onOpened: () => void;
  #rest: Buffer = Buffer.alloc(0);
  // Of a payload that is not looked at.
  #skip = 0;

  constructor(handlers: ClientHandlers, onOpened: () => void) {
    this.#handlers = handlers;
    this.#onOpened = onOpened;
  }

  read(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = Math.min(this.#skip, bytes.length);
    this.#skip -= at;
    let events = 0;
    while (at < bytes.length) {
      const taken = this.#frame(bytes, at);
      if (taken === undefined) break;
      if (taken.isEvent) events++;
      at = taken.end;
    }
    if (at > bytes.length) {
      this.#skip = at - bytes.length;
      at = bytes.length;
    }
    this.#rest = at === bytes.length ? Buffer.alloc(0) : Buffer.from(bytes.subarray(at));
    if (events > 0) this.#handlers.onEvents(events);
  }

  /** The frame at `at`, whose end may not have arrived; undefined while too little of it has. */
  #frame(bytes: Buffer, at: number): { readonly end: number; readonly isEvent: boolean } | undefined {
    const left = bytes.length - at;
    if (left < 2) return undefined;
    const small = (bytes[at + 1] ?? 0) & 0x7f;
    const headSize = small < 126 ? 2 : small === 126 ? 4 : 10;
    if (left < headSize) return undefined;
    const size =
      small < 126 ? small : small === 126 ? bytes.readUInt16BE(at + 2) : Number(bytes.readBigUInt64BE(at + 2));
    const start = at + headSize;
    const end = start + size;
    if (left < Math.min(headSize + size, lookBytes)) return undefined;
    if (((bytes[at] ?? 0) & 0x0f) !== textOpcode) return { end, isEvent: false };
    // `{"type":"e`: an event or an error, `{"type":"i`: the acknowledgement.
    const type = String.fromCharCode(bytes[start + 9] ?? 0, bytes[start + 10] ?? 0);
    if (type === 'in') this.#onOpened();
    if (type !== 'ev') return { end, isEvent: false };
    if (this.#handlers.onText !== undefined) {
      if (bytes.length < end) return undefined;
      this.#handlers.onText(bytes.toString('utf8', start, end));
    }
    return { end, isEvent: true };
  }
}
