/** Builds what counts requests: the limiter, with the store that gateways share when there is one, and its place in the server. */
import { bounds } from './config/bounds.ts';
import type { Config, Secrets } from './config/config.ts';
import type { Clock } from './core/clock.ts';
import { createRequestLimits, type RequestLimits } from './http/limits.ts';
import { createLimiter, type Limiter } from './shared-state/limiter.ts';
import { MemoryLimiter } from './shared-state/memory-limiter.ts';
import { openSharedStore, type SharedStore } from './shared-state/redis.ts';
import { createRedisLimiter } from './shared-state/redis-limiter.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface LimitsOptions {
  readonly config: Config;
  readonly secrets: Secrets;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}

export interface Limits {
  readonly limiter: Limiter;
  readonly requests: RequestLimits;
  /** False where every request is refused because the shared store does not say how many there were. */
  readonly canAdmit: () => boolean;
  readonly close: () => void;
}

/** A shared store that is away stops no start: `/health` answers, and the rest as its mode says. */
export async function openLimits(options: LimitsOptions): Promise<Limits> {
  const { config, telemetry, clock } = options;
  let isStoreUp = false;
  const store = await openStore(options, (isUp) => {
    isStoreUp = isUp;
  });
  const limiter = createLimiter({
    newMemory: () =>
      new MemoryLimiter({
        bucketsMax: bounds.limitBucketsMax,
        crowdedMax: bounds.limitCrowdedMax,
        nowMs: () => clock.monotonic(),
      }),
    shared: store && createRedisLimiter(store.client, bounds.sharedStoreTimeoutMs),
    development: config.mode === 'development',
    unavailableRetrySec: bounds.limiterRetrySec,
    telemetry,
  });
  const requests = createRequestLimits({ rates: config.rateLimits, ...limiter, clock });
  const needsStore = store !== undefined && config.mode === 'production' && config.rateLimits !== undefined;
  return { limiter, requests, canAdmit: () => !needsStore || isStoreUp, close: () => store?.close() };
}

async function openStore(
  { secrets, telemetry }: LimitsOptions,
  onState: (isUp: boolean) => void,
): Promise<SharedStore | undefined> {
  if (secrets.redisUrl === undefined) return undefined;
  return await openSharedStore({
    url: secrets.redisUrl.reveal(),
    bounds,
    onState(state) {
      onState(state.isUp);
      telemetry.sharedStoreState(state);
    },
  });
}
