/** What a stream outlives: a slow reader, another gateway, a store that goes away, and the end of its own gateway. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, type TestContext } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { startTestGateway, type TestGatewayOptions } from '../support/gateway.ts';
import { startStoreProxy } from '../support/store-proxy.ts';
import { leapingClock, openSse, report, type StreamClient, watch } from '../support/stream.ts';

const wait = { timeout: 25_000 };

const actions = (client: { readonly items: () => JsonObject[] }) =>
  client
    .items()
    .map((item) => (item['metadata'] as JsonObject)['action'])
    .filter((action) => action !== undefined);

/** Two gateways with one log sign with one key. */
async function keyFile({ onTestFinished }: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'talos-stream-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return join(folder, 'log.key');
}

async function start({ onTestFinished }: TestContext, options: TestGatewayOptions = {}) {
  const gateway = await startTestGateway(options);
  onTestFinished(() => gateway.stop());
  return gateway;
}

const numbered = (count: number, from = 0) => Array.from({ length: count }, (_, n) => ({ action: `n${from + n}` }));
const names = (count: number, from = 0) => numbered(count, from).map(({ action }) => action);
const cursorOf = (client: StreamClient) => String(client.of('event').at(-1)?.['cursor']);

describe('another gateway on the same database', () => {
  it('goes on exactly where the first one was left, and sees what it records', async (context) => {
    const TALOS_LOG_KEY_FILE = await keyFile(context);
    const first = await start(context, { env: { TALOS_LOG_KEY_FILE } });
    const second = await start(context, { env: { TALOS_LOG_KEY_FILE, DATABASE_URL: first.database.url } });
    const one = await watch(first);
    await report(first, numbered(5));
    await expect.poll(() => actions(one), wait).toEqual(names(5));
    const cursor = cursorOf(one);
    await one.close();
    await report(first, numbered(5, 5));
    const two = await watch(second, { after_cursor: cursor });
    await report(second, numbered(5, 10));
    await report(first, numbered(5, 15));
    await expect.poll(() => actions(two), wait).toEqual(names(15, 5));
    await two.close();
  });
});

describe('a reader that takes nothing', () => {
  const large = { metadata: { text: 'x'.repeat(200_000) } };

  it('is told SLOW_CONSUMER and let go, and holds up nobody', async (context) => {
    const clock = leapingClock();
    const gateway = await start(context, { clock });
    const slow = await watch(gateway);
    const fast = await watch(gateway);
    slow.socket.pause();
    // More than the buffers of the connection hold.
    for (let n = 0; n < 8; n++)
      await report(
        gateway,
        numbered(5, n * 5).map((event) => ({ ...event, ...large })),
      );
    await expect.poll(() => actions(fast), wait).toEqual(names(40));
    // A reader that only lags is let be.
    expect(slow.of('error')).toEqual([]);
    const metrics = async () => (await gateway.send('/metrics')).text;
    await expect.poll(metrics, wait).toMatch(/gateway_stream_lag_records [1-9]/);
    clock.leap(31_000);
    // It is over for the gateway before the client has heard of it.
    await expect.poll(metrics, wait).toMatch(/gateway_stream_lag_records 0/);
    slow.socket.resume();
    expect(await slow.closed).toBe(4000);
    expect(slow.of('error')).toMatchObject([{ code: 'SLOW_CONSUMER' }]);
    // What it did get has no hole.
    expect(actions(slow)).toEqual(names(actions(slow).length));
    await fast.close();
  });

  it('stays for as long as it takes something, or says so', async (context) => {
    const clock = leapingClock();
    const gateway = await start(context, { clock });
    const slow = await watch(gateway);
    slow.socket.pause();
    const cursors = [];
    for (let n = 0; n < 8; n++) {
      const batch = numbered(5, n * 5).map((event) => ({ ...event, ...large }));
      cursors.push(...(await report(gateway, batch)));
    }
    const lags = async () => /gateway_stream_lag_records [1-9]/.test((await gateway.send('/metrics')).text);
    await expect.poll(lags, wait).toBe(true);
    for (const last_cursor of cursors.slice(0, 4)) {
      clock.leap(20_000);
      slow.send({ type: 'heartbeat', last_cursor });
      const told = async () => JSON.stringify((await gateway.send('/sessions')).body);
      await expect.poll(told, wait).toContain(last_cursor);
    }
    expect(slow.socket.readyState).toBe(slow.socket.OPEN);
    slow.socket.resume();
    await expect.poll(() => actions(slow), wait).toEqual(names(40));
    await slow.close();
  });

  it('gets everything, late, when it takes again', async (context) => {
    const gateway = await start(context);
    const slow = await watch(gateway);
    slow.socket.pause();
    for (let n = 0; n < 8; n++)
      await report(
        gateway,
        numbered(5, n * 5).map((event) => ({ ...event, ...large })),
      );
    slow.socket.resume();
    await expect.poll(() => actions(slow), wait).toEqual(names(40));
    await slow.close();
  });
});

describe('a store that goes away', () => {
  it('makes streams wait, and lose and repeat nothing', { timeout: 60_000 }, async (context) => {
    const store = await startStoreProxy();
    const gateway = await start(context, { databaseUrl: store.urlOf });
    context.onTestFinished(async () => {
      await store.restore();
    });
    const socket = await watch(gateway);
    const sse = await openSse(gateway);
    await report(gateway, numbered(3));
    await expect.poll(() => actions(socket), wait).toEqual(names(3));
    await store.cut();
    await expect.poll(() => gateway.logText(), wait).toContain('live streams wait');
    await store.restore();
    await expect
      .poll(
        async () =>
          await report(gateway, numbered(3, 3)).then(
            () => 'recorded',
            () => 'not yet',
          ),
        wait,
      )
      .toBe('recorded');
    await expect.poll(() => actions(socket), wait).toEqual(names(6));
    await expect.poll(() => actions(sse), wait).toEqual(names(6));
    await expect.poll(() => gateway.logText(), wait).toContain('live streams go on');
    await socket.close();
    sse.close();
  });
});

describe('a gateway that stops', () => {
  it('says so to everybody, and their ends are on record', async (context) => {
    const TALOS_LOG_KEY_FILE = await keyFile(context);
    const watcher = await start(context, { env: { TALOS_LOG_KEY_FILE } });
    const leaving = await startTestGateway({ env: { TALOS_LOG_KEY_FILE, DATABASE_URL: watcher.database.url } });
    const socket = await watch(leaving);
    const sse = await openSse(leaving);
    const silent = await watch(leaving);
    silent.socket.pause();
    await leaving.stop();
    expect(await socket.closed).toBe(1001);
    await sse.ended;
    const retry = Number(socket.of('reconnect')[0]?.['retry_after_ms']);
    expect(retry).toBeGreaterThanOrEqual(500);
    expect(sse.of('reconnect')[0]?.retry).toMatch(/^\d+$/);
    const { body } = await watcher.send('/api/events?event_type=session_close');
    const endings = (body['items'] as unknown as JsonObject[]).map(
      ({ meta }) => (meta as JsonObject)['stream_ended_by'],
    );
    expect(endings).toEqual(['shutdown', 'shutdown', 'shutdown']);
    silent.socket.terminate();
  });
});
