/** Clients of the live streams, as small as the protocol allows: what they send is theirs, what they got is kept. */
import { randomUUID } from 'node:crypto';
import { request } from 'undici';
import { WebSocket } from 'ws';
import type { Clock } from '../../src/core/clock.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { eventually, type TestGateway } from './gateway.ts';

export interface StreamClient {
  readonly messages: JsonObject[];
  /** Everything of one type, in order. */
  readonly of: (type: string) => JsonObject[];
  /** The items of the events so far. */
  readonly items: () => JsonObject[];
  readonly send: (message: unknown) => void;
  readonly raw: (data: string | Buffer) => void;
  /** Waits for the first message of the type after those that were taken before. */
  readonly next: (type: string) => Promise<JsonObject>;
  /** Resolves with the close code. */
  readonly closed: Promise<number>;
  readonly socket: WebSocket;
  readonly close: () => Promise<number>;
}

export interface ConnectOptions {
  readonly headers?: Readonly<Record<string, string>>;
  readonly query?: string;
}

/** Opens a WebSocket and says nothing. Rejects when the gateway does not take it, with the status in the message. */
export async function connect(gateway: { readonly url: string }, options: ConnectOptions = {}): Promise<StreamClient> {
  const url = `${gateway.url.replace(/^http/, 'ws')}/api/events/stream${options.query ?? ''}`;
  const socket = new WebSocket(url, { headers: { ...options.headers } });
  const messages: JsonObject[] = [];
  const taken = new Map<string, number>();
  socket.on('message', (data) => messages.push(JSON.parse(String(data)) as JsonObject));
  const closed = new Promise<number>((resolve) => socket.once('close', (code) => resolve(code)));
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve);
    socket.once('error', reject);
  });
  socket.on('error', () => undefined);
  const of = (type: string) => messages.filter((message) => message['type'] === type);
  return {
    messages,
    of,
    items: () => of('event').map((message) => message['event'] as JsonObject),
    send: (message) => socket.send(JSON.stringify(message)),
    raw: (data) => socket.send(data),
    async next(type) {
      const place = taken.get(type) ?? 0;
      taken.set(type, place + 1);
      return await eventually(() => of(type)[place], 20_000);
    },
    closed,
    socket,
    close() {
      socket.close();
      return closed;
    },
  };
}

export function initMessage(changes: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  return {
    type: 'init',
    version: 1,
    capability: '',
    nonce: randomUUID(),
    ts: new Date().toISOString(),
    ...changes,
  };
}

/** A client whose session is open. */
export async function watch(
  gateway: { readonly url: string },
  changes: Readonly<Record<string, unknown>> = {},
  options: ConnectOptions = {},
): Promise<StreamClient> {
  const client = await connect(gateway, options);
  client.send(initMessage(changes));
  await client.next('init_ack');
  return client;
}

export interface SseFrame {
  readonly event: string | undefined;
  readonly id: string | undefined;
  readonly data: string | undefined;
  readonly comment: string | undefined;
  readonly retry: string | undefined;
}

export interface SseClient {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly frames: SseFrame[];
  readonly of: (event: string) => SseFrame[];
  readonly items: () => JsonObject[];
  readonly text: () => string;
  /** Resolves when the gateway ends the stream. */
  readonly ended: Promise<void>;
  readonly close: () => void;
}

export async function openSse(
  gateway: { readonly url: string },
  path = '/events',
  headers: Readonly<Record<string, string>> = {},
): Promise<SseClient> {
  const aborter = new AbortController();
  const {
    statusCode,
    headers: answered,
    body,
  } = await request(gateway.url + path, { headers, signal: aborter.signal });
  const frames: SseFrame[] = [];
  let text = '';
  let rest = '';
  const ended = (async () => {
    try {
      for await (const chunk of body) {
        text += String(chunk);
        rest += String(chunk);
        const blocks = rest.split('\n\n');
        rest = blocks.pop() ?? '';
        frames.push(...blocks.map(frameOf));
      }
    } catch {
      // It was closed here, or cut there.
    }
  })();
  const of = (event: string) => frames.filter((frame) => frame.event === event);
  return {
    status: statusCode,
    headers: answered,
    frames,
    of,
    items: () => of('audit_event').map(({ data }) => JSON.parse(data ?? '') as JsonObject),
    text: () => text,
    ended,
    close: () => aborter.abort(),
  };
}

function frameOf(block: string): SseFrame {
  const field = (name: string) =>
    block
      .split('\n')
      .find((line) => line.startsWith(name))
      ?.slice(name.length)
      .trim();
  return {
    event: field('event:'),
    id: field('id:'),
    data: field('data:'),
    comment: field(':'),
    retry: field('retry:'),
  };
}

export interface Reported {
  readonly event_type?: string;
  readonly actor?: string;
  readonly action?: string;
  readonly metadata?: JsonObject;
}

/** Reports events, all in one commit, and resolves with their cursors. */
export async function report(gateway: TestGateway, events: readonly Reported[], token?: string): Promise<string[]> {
  const json = events.map((event) => ({ event_type: 'test', actor: 'agent-1', action: 'did', ...event }));
  const { status, body, text } = await gateway.send('/api/events/batch', {
    json: json as never,
    ...(token === undefined ? {} : { token }),
  });
  if (status !== 200) throw new Error(`not recorded: ${status} ${text}`);
  return (body['events'] as unknown as { cursor: string }[]).map(({ cursor }) => cursor);
}

/** Real time, of which a part can be left out: `leap` moves the clock that never runs backwards. */
export function leapingClock(): Clock & { readonly leap: (ms: number) => void } {
  let leaptMs = 0;
  return {
    now: () => Date.now(),
    monotonic: () => performance.now() + leaptMs,
    leap(ms) {
      leaptMs += ms;
    },
  };
}

/** Leaps to the next heartbeat, of which `count` tells how many there were: one by one, so that nobody seems silent. */
export async function leapToHeartbeat(clock: { readonly leap: (ms: number) => void }, count: () => number) {
  const before = count();
  clock.leap(16_000);
  await eventually(() => count() > before, 20_000);
}
