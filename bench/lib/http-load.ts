/**
 * A lean HTTP/1.1 load: each connection has one request under way, sent as ready-made bytes, and reads no more of the
 * answer than its status, its length and whether it holds what a success holds. Every answer is checked.
 */
import { connect, type Socket } from 'node:net';

export interface Target {
  readonly host: string;
  readonly port: number;
  /** Whole requests, head and body, sent in turn. */
  readonly requests: readonly Uint8Array[];
  /** Texts that only the body of a success holds, all of them. */
  readonly success: readonly string[];
  /** A number that stands in every request; each time one is sent, a higher one of as many digits takes its place. */
  readonly idPlaceholder?: string;
}

export interface Load {
  readonly target: Target;
  readonly connections: number;
  readonly seconds: number;
  /** How many requests are sent at most; as many as there is time for when absent. */
  readonly requestsMax?: number | undefined;
}

export interface LoadResult {
  /** Successful answers. */
  readonly answers: number;
  readonly errors: number;
  /** The beginning of the first answer that was no success. */
  readonly firstError: string | undefined;
  readonly seconds: number;
  /** Of each successful answer, in microseconds. */
  readonly latenciesUs: Uint32Array;
}

const headEnd = Buffer.from('\r\n\r\n');
const lengthPattern = /\r\ncontent-length: *(\d+)\r\n/i;
const chunkedPattern = /\r\ntransfer-encoding: *chunked\r\n/i;
const lastChunk = Buffer.from('\r\n0\r\n\r\n');
const errorCharsMax = 400;

/** Ids are unique in a process, so that no server sees one twice in a session. */
let idsUsed = 0;

interface Run {
  readonly target: Target;
  readonly success: readonly Buffer[];
  readonly endsAtMs: number;
  readonly requestsMax: number;
  readonly latenciesUs: number[];
  next: number;
  errors: number;
  firstError: string | undefined;
}

/** Keeps `connections` requests under way for `seconds` or until enough were sent, then waits for the last answers. */
export async function runLoad(load: Load): Promise<LoadResult> {
  const { target, connections, seconds, requestsMax = Number.POSITIVE_INFINITY } = load;
  const startedAtMs = performance.now();
  const success = target.success.map((text) => Buffer.from(text));
  const endsAtMs = startedAtMs + seconds * 1000;
  const tally = { latenciesUs: [], next: 0, errors: 0, firstError: undefined };
  const run: Run = { target, success, endsAtMs, requestsMax, ...tally };
  await Promise.all(Array.from({ length: connections }, () => driveConnection(run)));
  return {
    answers: run.latenciesUs.length,
    errors: run.errors,
    firstError: run.firstError,
    seconds: (performance.now() - startedAtMs) / 1000,
    latenciesUs: Uint32Array.from(run.latenciesUs),
  };
}

/** Resolves when the time is over and the last answer is read. A connection that breaks is an error and is not replaced. */
function driveConnection(run: Run): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ host: run.target.host, port: run.target.port, noDelay: true });
    let sentAtMs = 0;
    let received: Buffer = Buffer.alloc(0);
    const send = () => {
      if (performance.now() >= run.endsAtMs || run.next >= run.requestsMax) {
        socket.destroy();
        return;
      }
      const { requests, idPlaceholder } = run.target;
      const request = requests[run.next++ % requests.length] as Uint8Array;
      const bytes = idPlaceholder === undefined ? request : withOwnId(request, idPlaceholder);
      sentAtMs = performance.now();
      socket.write(bytes);
    };
    socket.on('connect', send);
    socket.on('data', (chunk: Buffer) => {
      received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
      if (!isWhole(received)) return;
      judge(run, received, sentAtMs);
      received = Buffer.alloc(0);
      send();
    });
    socket.on('error', (error) => fail(run, error.message));
    socket.on('close', () => resolve());
    endOnBreak(run, socket);
  });
}

function withOwnId(request: Uint8Array, placeholder: string): Buffer {
  const own = Buffer.from(request);
  own.write(String(Number(placeholder) + ++idsUsed), own.lastIndexOf(placeholder), 'latin1');
  return own;
}

function endOnBreak(run: Run, socket: Socket): void {
  socket.on('end', () => {
    if (performance.now() < run.endsAtMs) fail(run, 'the server closed the connection');
    socket.destroy();
  });
}

function isWhole(received: Buffer): boolean {
  const end = received.indexOf(headEnd);
  if (end === -1) return false;
  const head = received.toString('latin1', 0, end + 2);
  if (chunkedPattern.test(head)) return received.subarray(-lastChunk.length).equals(lastChunk);
  const length = lengthPattern.exec(head)?.[1];
  if (length === undefined) throw new Error('an answer without a length cannot be measured');
  return received.length >= end + headEnd.length + Number(length);
}

function judge(run: Run, answer: Buffer, sentAtMs: number): void {
  const isSuccess = answer.toString('latin1', 9, 12) === '200' && run.success.every((text) => answer.includes(text));
  if (isSuccess) run.latenciesUs.push((performance.now() - sentAtMs) * 1000);
  else fail(run, answer.toString('utf8').slice(0, errorCharsMax));
}

function fail(run: Run, what: string): void {
  run.errors++;
  run.firstError ??= what;
}

export interface RequestParts {
  readonly host: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
}

/** A POST as bytes on the wire. */
export function postRequest({ host, path, headers, body }: RequestParts & { readonly body: string }): Buffer {
  const all = { host, ...headers, 'content-length': String(Buffer.byteLength(body)) };
  return Buffer.from(`${requestHead('POST', path, all)}${body}`);
}

/** A GET as bytes on the wire. */
export function getRequest({ host, path, headers }: RequestParts): Buffer {
  return Buffer.from(requestHead('GET', path, { host, ...headers }));
}

function requestHead(method: string, path: string, headers: Readonly<Record<string, string>>): string {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n`;
}
