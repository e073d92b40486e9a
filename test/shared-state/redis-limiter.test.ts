/** The limits that gateways share: the same arithmetic as in memory, by the store's clock, and bounded when it is away. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Charge } from '../../src/core/limit.ts';
import { createLimiter } from '../../src/shared-state/limiter.ts';
import { MemoryLimiter } from '../../src/shared-state/memory-limiter.ts';
import { openSharedStore, type SharedStore } from '../../src/shared-state/redis.ts';
import { createRedisLimiter } from '../../src/shared-state/redis-limiter.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';

const storeBounds = {
  sharedStoreConnectTimeoutMs: 2_000,
  sharedStoreSilenceMs: 1_000,
  sharedStoreRetryMinMs: 10,
  sharedStoreRetryMaxMs: 50,
};

// The machine may be busy with other things.
const patienceMs = 20_000;

let redis: TestRedis;
const stores: SharedStore[] = [];
const states: boolean[] = [];

async function open(url = redis.url): Promise<SharedStore> {
  const store = await openSharedStore({ url, bounds: storeBounds, onState: ({ isUp }) => states.push(isUp) });
  stores.push(store);
  return store;
}

beforeAll(async () => {
  redis = await startRedis();
});

afterAll(async () => {
  for (const { close } of stores) close();
  await redis.stop();
});

let names = 0;
// Slow enough that time gives nothing back while a test runs, whatever the machine does meanwhile.
function perDay(burst: number, who = `client ${++names}`): Charge {
  return { kind: 'key', who, rate: { count: 1, periodMs: 86_400_000, burst } };
}

async function refusalOf(promise: Promise<unknown>): Promise<unknown> {
  return await promise.then(
    () => 'no failure',
    (error: unknown) => error,
  );
}

describe('shared limits', () => {
  it('admit the burst once, over all who ask at once', async () => {
    const takes = (await Promise.all([open(), open(), open()])).map(({ client }) =>
      createRedisLimiter(client, patienceMs),
    );
    const charges = [perDay(100)];
    const verdicts = await Promise.all(takes.flatMap((take) => Array.from({ length: 200 }, () => take(charges))));
    expect(verdicts.filter(({ admitted }) => admitted)).toHaveLength(100);
  });

  it('tell the same as those in memory', async () => {
    const take = createRedisLimiter((await open()).client, patienceMs);
    const memory = new MemoryLimiter({ bucketsMax: 100, crowdedMax: 1, nowMs: () => 1 });
    const [a, b] = [perDay(3), perDay(2)];
    for (const charges of [[a], [a, b], [a, b], [b], [b], [a, a], [b, a]]) {
      const [shared, local] = [await take(charges), memory.take(charges)];
      const rounded = shared.readings.map((reading) => ({ ...reading, retryAfterMs: 0, resetMs: 0 }));
      expect(rounded).toEqual(local.readings.map((reading) => ({ ...reading, retryAfterMs: 0, resetMs: 0 })));
      expect(shared.admitted).toBe(local.admitted);
    }
  });

  it('give back what time gives back, and keep nothing that is empty', async () => {
    const { client } = await open();
    const take = createRedisLimiter(client, patienceMs);
    await client.flushall();
    const fast: Charge = { kind: 'ip', who: 'fast', rate: { count: 20, periodMs: 1_000, burst: 2 } };
    const startedAt = performance.now();
    let admitted = 0;
    while (performance.now() - startedAt < 300) admitted += (await take([fast])).admitted ? 1 : 0;
    const elapsedMs = performance.now() - startedAt;
    expect(admitted).toBeGreaterThan(2);
    // The clocks of both are whole milliseconds.
    expect(admitted).toBeLessThanOrEqual(2 + Math.floor(((elapsedMs + 1) * 20) / 1_000));
    await expect.poll(() => client.dbsize(), { timeout: 20_000 }).toBe(0);
  });

  it('count a debt exactly that is larger than fourteen digits', async () => {
    const take = createRedisLimiter((await open()).client, patienceMs);
    const charge: Charge = {
      kind: 'key',
      who: 'large',
      rate: { count: 1_000_000, periodMs: 86_400_000, burst: 1_000_000 },
    };
    await take([charge]);
    const { readings } = await take([charge]);
    expect(readings[0]?.remaining).toBeGreaterThanOrEqual(999_998);
    expect(readings[0]?.resetMs).toBeLessThanOrEqual(173);
  });

  it('go on when the store has forgotten the script', async () => {
    const { client } = await open();
    const take = createRedisLimiter(client, patienceMs);
    const charges = [perDay(3)];
    await take(charges);
    await client.script('FLUSH');
    expect((await take(charges)).readings[0]?.remaining).toBe(1);
    expect((await take(charges)).readings[0]?.remaining).toBe(0);
  });

  it('leave no name and no address in the store', async () => {
    const { client } = await open();
    await client.flushall();
    await createRedisLimiter(client, patienceMs)([perDay(1, '203.0.113.7')]);
    const keys = await client.keys('*');
    expect(keys).toHaveLength(1);
    expect(keys[0]).toMatch(/^talos:limit:[\w-]{27}$/);
  });
});

describe('a shared store that is away', () => {
  const newMemory = () => new MemoryLimiter({ bucketsMax: 100, crowdedMax: 4, nowMs: () => 1 });
  const telemetry = { limitsTaken: () => undefined, limiterUnavailable: () => undefined };
  const limiterOf = (store: SharedStore, development: boolean, timeoutMs = patienceMs) =>
    createLimiter({
      newMemory,
      shared: createRedisLimiter(store.client, timeoutMs),
      development,
      unavailableRetrySec: 30,
      telemetry,
    });

  it('refuses in production, counts in memory in development, and is found again', async () => {
    const store = await open();
    const [production, development] = [limiterOf(store, false), limiterOf(store, true)];
    const charges = [perDay(3)];
    expect((await production.take(charges)).admitted).toBe(true);

    await redis.kill();
    const failure = await refusalOf(production.take(charges));
    expect(failure).toMatchObject({ code: 'RATE_LIMITER_UNAVAILABLE', status: 503, retryAfterSec: 30 });
    const local = await Promise.all(Array.from({ length: 9 }, () => development.take(charges)));
    expect(local.filter(({ admitted }) => admitted)).toHaveLength(3);

    await redis.restart();
    await expect
      .poll(async () => (await refusalOf(production.take(charges))) === 'no failure', { timeout: 20_000 })
      .toBe(true);
    expect(states).toContain(false);
  });

  it('that answers nobody keeps nobody waiting, and is left for a new connection', async () => {
    const store = await open();
    const { take } = limiterOf(store, false, 200);
    await limiterOf(store, false).take([perDay(1)]);
    redis.suspend();
    try {
      for (let n = 0; n < 3; n++) {
        expect(await refusalOf(take([perDay(1)]))).toMatchObject({ code: 'RATE_LIMITER_UNAVAILABLE' });
      }
      await expect.poll(() => store.client.status, { timeout: 20_000 }).not.toBe('ready');
    } finally {
      redis.resume();
    }
    await expect
      .poll(async () => (await refusalOf(take([perDay(1)]))) === 'no failure', { timeout: 20_000 })
      .toBe(true);
  });

  it('at the start stops nobody', async () => {
    const store = await open('redis://127.0.0.1:1');
    expect(await refusalOf(limiterOf(store, false).take([perDay(1)]))).toMatchObject({
      code: 'RATE_LIMITER_UNAVAILABLE',
    });
    store.close();
  });
});
