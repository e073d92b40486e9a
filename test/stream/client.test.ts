/** The client package against real gateways, and against peers that misbehave as no gateway does on demand. */
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  hashOfRecord,
  type LogStream,
  openStream,
  type StreamItem,
  type StreamOptions,
  type StreamStatus,
} from '../../packages/stream-client/index.ts';
import { cursorOf } from '../../src/core/cursor.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { childEnv } from '../support/child-env.ts';
import { callTool, productionEnv, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { liveToken } from '../support/live-token.ts';
import {
  acknowledgement,
  eventMessage,
  idOf,
  type ScriptedPeer,
  startScriptedPeer,
} from '../support/scripted-stream.ts';
import { report } from '../support/stream.ts';

const client = resolve(import.meta.dirname, '../../packages/stream-client');
const wait = { timeout: 20_000 };
const backoff = { firstMs: 20, maxMs: 100 };
const nobody = 'http://127.0.0.1:1';
const reader = () => liveToken({ scope: 'tool:gateway/method:events.read' });
const writer = () => liveToken({ scope: 'tool:gateway/method:events.write' });

let gateway: TestGateway;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  gateway = await startTestGateway({ env: productionEnv, servers: { tested: 'http://127.0.0.1:9/' } });
});

afterEach(async () => {
  for (const step of cleanups.splice(0)) await step();
});

afterAll(() => gateway.stop());

async function peer(...script: Parameters<typeof startScriptedPeer>): Promise<ScriptedPeer> {
  const started = await startScriptedPeer(...script);
  cleanups.push(started.close);
  return started;
}

interface Watched {
  readonly stream: LogStream;
  readonly items: StreamItem[];
  readonly statuses: StreamStatus[];
  readonly connected: () => Promise<void>;
  /** What ended the iteration; undefined when it was closed. */
  readonly ended: Promise<unknown>;
}

function watch(options: StreamOptions): Watched {
  const [items, statuses]: [StreamItem[], StreamStatus[]] = [[], []];
  const stream = openStream({ backoff, ...options, onStatus: (status) => statuses.push(status) });
  cleanups.push(stream.close);
  const ended = (async () => {
    for await (const item of stream) items.push(item);
  })().catch((error: unknown) => error);
  const connected = () => expect.poll(() => statuses.at(-1)?.state, wait).toBe('connected');
  return { stream, items, statuses, connected, ended };
}

const actions = ({ items }: Watched) =>
  items.map((item) => (item.type === 'event' ? (item.event['meta'] as JsonObject)['action'] : 'gap'));
const numbers = ({ items }: Watched) => items.map((item) => (item.type === 'event' ? item.event['n'] : 'gap'));

describe('at a gateway', () => {
  it('gets what is recorded from now on, and goes on from where it was closed', async () => {
    const filters = { event_type: 'resumed' };
    const first = watch({ urls: [gateway.url], capability: reader(), filters });
    await first.connected();
    await report(gateway, [{ action: 'one', event_type: 'resumed' }, { action: 'other' }], writer());
    await expect.poll(() => actions(first), wait).toEqual(['one']);
    first.stream.close();
    expect(await first.ended).toBeUndefined();
    await report(gateway, [{ action: 'two', event_type: 'resumed' }], writer());
    const second = watch({ urls: [gateway.url], capability: reader(), filters, after: first.stream.cursor });
    await expect.poll(() => actions(second), wait).toEqual(['two']);
  });

  it('finds another gateway when one does not answer', async () => {
    const watched = watch({ urls: [nobody, gateway.url], capability: reader() });
    await watched.connected();
    for (const status of watched.statuses.slice(0, -1)) {
      expect(status).toMatchObject({ state: 'waiting', url: nobody, reason: 'The gateway cannot be reached.' });
    }
  });

  it('is held back by a consumer that takes its time, and loses nothing', async () => {
    const filters = { event_type: 'held' };
    const options = { urls: [gateway.url], capability: reader(), filters, bufferMax: 5 } as const;
    const stream = await new Promise<LogStream>((resolve) => {
      const opened = openStream({ ...options, onStatus: () => resolve(opened) });
      cleanups.push(opened.close);
    });
    const token = writer();
    for (let batch = 0; batch < 10; batch++) {
      const events = Array.from({ length: 20 }, (_, n) => ({ action: `${batch * 20 + n}`, event_type: 'held' }));
      await report(gateway, events, token);
    }
    const taken: (StreamItem | undefined)[] = [];
    while (taken.length < 200) taken.push((await stream.next()).value);
    const seen = taken.map((item) => (item?.type === 'event' ? (item.event['meta'] as JsonObject)['action'] : 'gap'));
    expect(seen).toEqual(Array.from({ length: 200 }, (_, n) => `${n}`));
  });

  it('is opened with tickets', async () => {
    const ticket = async () => {
      const { body } = await gateway.send('/api/events/ticket', { method: 'POST', capability: reader() });
      return String(body['ticket']);
    };
    const watched = watch({ urls: [gateway.url], ticket });
    await watched.connected();
  });

  it.each([
    ['AUTH_FAILED', liveToken({ scope: 'tool:other' }), undefined],
    ['AUTH_FAILED', 'no token', undefined],
    ['CAPABILITY_EXPIRED', liveToken({ iat: 1_000_000_000, exp: 1_000_000_100 }), undefined],
    ['INVALID_MESSAGE', reader(), { colour: 'red' }],
  ])('ends with %s when it is refused', async (code, capability, filters) => {
    const watched = watch({
      urls: [gateway.url],
      capability,
      ...(filters === undefined ? {} : { filters: filters as object }),
    });
    expect(await watched.ended).toMatchObject({ name: 'StreamError', code });
    expect(watched.statuses).toEqual([]);
  });

  it('ends when its credentials cannot be had', async () => {
    const capability = () => Promise.reject(new Error('the agent is locked'));
    const watched = watch({ urls: [gateway.url], capability });
    expect(await watched.ended).toMatchObject({ code: 'CREDENTIALS_UNAVAILABLE' });
  });

  it('ends when the address is none', async () => {
    expect(await watch({ urls: ['nowhere'] }).ended).toBeInstanceOf(TypeError);
  });

  it('says of each record whether its hash is the one that was told', async () => {
    const watched = watch({
      urls: [gateway.url],
      capability: reader(),
      filters: { event_type: 'verified' },
      verify: true,
    });
    await watched.connected();
    const metadata = { note: 'größer als ∑', nested: { list: [1, { b: 1, a: 2 }] } };
    await report(gateway, [{ event_type: 'verified', metadata }, { event_type: 'verified' }], writer());
    await expect
      .poll(() => watched.items.map((item) => item.type === 'event' && item.verification), wait)
      .toEqual(['intact', 'intact']);
  });

  it('takes another hash than the record has for what it is', async () => {
    const { body } = await gateway.send('/api/events?limit=1', { token: reader() });
    const [item] = body['items'] as unknown as JsonObject[];
    const { body: one } = await gateway.send(`/api/events/${String(item?.['event_id'])}`, { token: reader() });
    const record = one['record'] as JsonObject;
    expect(await hashOfRecord(record as never)).toBe(item?.['event_hash']);
    expect(await hashOfRecord({ ...record, outcome: 'success?' } as never)).not.toBe(item?.['event_hash']);
  });
});

describe('the example of the README', () => {
  it('prints a denial as it happens', async () => {
    const [, example = ''] = /```js\n([\s\S]+?)```/.exec(await readFile(join(client, 'README.md'), 'utf8')) ?? [];
    const program = example
      .replace("'@talos/stream'", JSON.stringify(pathToFileURL(join(client, 'index.ts'))))
      .replace('http://127.0.0.1:8000', gateway.url);
    const child = spawn(process.execPath, ['--input-type=module', '--eval', program], {
      env: { ...childEnv, TALOS_TOKEN: reader() },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    cleanups.push(() => child.kill('SIGKILL'));
    let printed = '';
    child.stdout.on('data', (chunk) => {
      printed += String(chunk);
    });
    const denied = async () => {
      await callTool(gateway, 'act', {}, { token: liveToken({ scope: 'tool:other' }) });
      return printed;
    };
    await expect.poll(denied, wait).toMatch(/^\d{4}-\S+Z \S+ [A-Z_]+$/m);
  });
});

describe('at a peer that misbehaves', () => {
  it('drops what it has, and tells of a gap', async () => {
    const { url, heard } = await peer((say, connection, socket) => {
      say(acknowledgement(1));
      if (connection === 0) {
        for (const n of [2, 3, 3, 2]) say(eventMessage(n));
        socket.close(1001);
      } else {
        say(eventMessage(3));
        say({ type: 'gap', from: cursorOf(idOf(3)), to: cursorOf(idOf(5)), reason: 'retention' });
        for (const n of [4, 5, 6]) say(eventMessage(n));
      }
    });
    const watched = watch({ urls: [url] });
    await expect.poll(() => numbers(watched), wait).toEqual([2, 3, 'gap', 6]);
    expect(heard.filter(({ type }) => type === 'init').map((init) => init['after_cursor'])).toEqual([
      undefined,
      cursorOf(idOf(3)),
    ]);
    expect(new Set(heard.map((message) => message['nonce'])).size).toBe(2);
  });

  it('goes on behind what a heartbeat told', async () => {
    const { url, heard } = await peer((say, connection, socket) => {
      say(acknowledgement(1));
      if (connection > 0) return;
      say({ type: 'heartbeat', last_cursor: cursorOf(idOf(9)), interval_ms: 60_000 });
      socket.close(4004);
    });
    const watched = watch({ urls: [url] });
    await expect.poll(() => heard.length, wait).toBe(2);
    expect(heard[1]?.['after_cursor']).toBe(cursorOf(idOf(9)));
    expect(watched.stream.cursor).toBe(cursorOf(idOf(9)));
  });

  it('leaves a peer that falls silent', async () => {
    const { url, heard } = await peer((say) => say(acknowledgement(1, 20)));
    const watched = watch({ urls: [url] });
    await expect.poll(() => heard.filter(({ type }) => type === 'init').length, wait).toBeGreaterThan(2);
    expect(watched.statuses[1]).toMatchObject({ state: 'waiting', reason: 'Nothing was heard from the gateway.' });
    expect(heard).toContainEqual({ type: 'heartbeat', last_cursor: cursorOf(idOf(1)) });
  });

  it('leaves a peer that speaks something else', async () => {
    const { url } = await peer((_say, _connection, socket) => socket.send('<html>'));
    const watched = watch({ urls: [url] });
    await expect.poll(() => watched.statuses.length, wait).toBeGreaterThan(1);
    expect(watched.statuses[0]).toMatchObject({ reason: 'What answers is not a gateway.', attempt: 1 });
    expect(watched.statuses[1]).toMatchObject({ attempt: 2 });
  });

  it('asks for a pause when nobody takes what comes, and for more when somebody does', async () => {
    const { url, heard } = await peer((say) => {
      say(acknowledgement(0));
      for (let n = 1; n <= 20; n++) say(eventMessage(n));
    });
    const stream = openStream({ urls: [url], bufferMax: 8 });
    cleanups.push(stream.close);
    const asked = () => heard.map(({ type }) => type);
    await expect.poll(asked, wait).toEqual(['init', 'pause']);
    expect(stream.cursor).toBe(cursorOf(idOf(0)));
    for (let n = 1; n <= 20; n++) expect(await stream.next()).toMatchObject({ value: { event: { n } } });
    await expect.poll(asked, wait).toEqual(['init', 'pause', 'resume']);
    expect(stream.cursor).toBe(cursorOf(idOf(20)));
  });

  it('asks for a fresh capability when the one that it had expires, and ends when that is refused at once', async () => {
    const { url, heard } = await peer((say, connection, socket) => {
      if (connection === 0) say(acknowledgement(1));
      say({ type: 'error', code: 'CAPABILITY_EXPIRED', message: 'The capability has expired.' });
      socket.close(4002);
    });
    let asked = 0;
    const watched = watch({ urls: [url], capability: async () => `token-${++asked}` });
    expect(await watched.ended).toMatchObject({ code: 'CAPABILITY_EXPIRED', message: 'The capability has expired.' });
    expect(heard.map((init) => init['capability'])).toEqual(['token-1', 'token-2']);
  });

  it('waits as long as the only gateway asks for', async () => {
    const { url } = await peer((say, connection, socket) => {
      if (connection > 0) return;
      say(acknowledgement(1));
      say({ type: 'reconnect', retry_after_ms: 300 });
      socket.close(1001);
    });
    const watched = watch({ urls: [url] });
    await expect.poll(() => watched.statuses[1], wait).toMatchObject({ state: 'waiting', retryInMs: 300 });
  });

  it.each(['signal', 'close', 'break'])('ends by %s while it waits', async (how) => {
    const aborter = new AbortController();
    const stream = openStream({ urls: [nobody], backoff: { firstMs: 60_000, maxMs: 60_000 }, signal: aborter.signal });
    const pending = stream.next();
    if (how === 'signal') aborter.abort();
    else if (how === 'close') stream.close();
    else await stream.return?.();
    expect(await pending).toEqual({ done: true, value: undefined });
    expect(await stream.next()).toEqual({ done: true, value: undefined });
  });
});
