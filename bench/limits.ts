/**
 * The limiters, on one core: one request counted by its address and by its caller, in the memory of this process and by a
 * Redis on loopback, with many requests under way at once.
 */

import { setImmediate as turn } from 'node:timers/promises';
import { bounds } from '../src/config/bounds.ts';
import { systemClock } from '../src/core/clock.ts';
import type { Charge, TakeCharges } from '../src/core/limit.ts';
import { MemoryLimiter } from '../src/shared-state/memory-limiter.ts';
import { openSharedStore } from '../src/shared-state/redis.ts';
import { createRedisLimiter } from '../src/shared-state/redis-limiter.ts';
import { type Later, withCleanup } from './lib/cleanup.ts';
import { type BenchOptions, readOptions } from './lib/options.ts';
import { cpuMicros } from './lib/proc.ts';
import { startRedis } from './lib/redis.ts';
import { deliver } from './lib/report.ts';
import { type Contender, measureInTurns, named, type Turn } from './lib/rounds.ts';

const clients = 10_000;
let requests = 0;
const requestsAtOnce = 64;
const [gatewayMeter, redisMeter] = ['this process', 'Redis'] as const;

const options = readOptions();
await withCleanup((later) => main(options, later));

async function main(options: BenchOptions, later: Later): Promise<void> {
  const redis = await startRedis(later);
  const store = await openSharedStore({ url: redis.url, bounds, onState: () => undefined });
  later(() => store.close());
  const memory = new MemoryLimiter({
    bucketsMax: bounds.limitBucketsMax,
    crowdedMax: bounds.limitCrowdedMax,
    nowMs: () => systemClock.monotonic(),
  });
  const contenders = [inMemory(memory), inRedis(createRedisLimiter(store.client, bounds.sharedStoreTimeoutMs))];
  const measurements = await measureInTurns(contenders, {
    seconds: options.seconds,
    meters: { [gatewayMeter]: () => cpuMicros(process.pid), [redisMeter]: () => cpuMicros(redis.pid) },
  });
  const perCore = (name: string) => {
    const cpuUs = named(measurements, name).cpuUs[gatewayMeter] ?? Number.NaN;
    return Math.round(1e6 / cpuUs).toLocaleString('en');
  };
  await deliver(
    {
      benchmark: 'limits',
      command: `node bench/limits.ts --seconds ${options.seconds}`,
      environment: {},
      sections: [
        { title: 'Requests counted by address and by caller', unit: 'requests', measurements, reference: 'memory' },
      ],
      facts: [
        {
          title: 'Requests that a core of a gateway counts in a second',
          rows: [
            ['in memory', perCore('memory')],
            ['by Redis', perCore('Redis')],
          ],
        },
      ],
      budgets: [],
    },
    options,
  );
}

function nextCharges(): Charge[] {
  const client = requests++ % clients;
  return [
    { kind: 'ip', who: `203.0.113.${client}`, rate: { count: 50, periodMs: 1_000, burst: 100 } },
    { kind: 'key', who: `did:talos:agent-${client}`, rate: { count: 100, periodMs: 1_000, burst: 200 } },
  ];
}

function inMemory(memory: MemoryLimiter): Contender {
  const step = () => {
    for (let at = 0; at < 1_000; at++) memory.take(nextCharges());
  };
  return {
    name: 'memory',
    run: (seconds) =>
      repeat(seconds, 1_000, async () => {
        step();
        // The connection to Redis is looked after meanwhile.
        await turn();
      }),
  };
}

function inRedis(take: TakeCharges): Contender {
  const step = async () => {
    await Promise.all(Array.from({ length: requestsAtOnce }, () => take(nextCharges())));
  };
  return { name: 'Redis', run: (seconds) => repeat(seconds, requestsAtOnce, step) };
}

async function repeat(seconds: number, operationsOfStep: number, step: () => Promise<void>): Promise<Turn> {
  const startedAtMs = performance.now();
  let operations = 0;
  while (performance.now() < startedAtMs + seconds * 1000) {
    await step();
    operations += operationsOfStep;
  }
  return { operations, errors: 0, seconds: (performance.now() - startedAtMs) / 1000 };
}
