/**
 * The group commit in a world where time and faults come from a seed: three gateways share a store that fails before a
 * commit, after it, or goes silent, in any order. A failing seed fails again, step by step. `TALOS_SIMULATION_SEEDS` says
 * how many worlds there are.
 */
import { syncBuiltinESMExports } from 'node:module';
import timers from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { CommitPool, type PoolBounds } from '../../src/audit/pool.ts';
import { bounds } from '../../src/config/bounds.ts';
import type { CommittedEvent, PreparedEvent } from '../../src/core/audit-event.ts';
import { TalosError } from '../../src/core/errors.ts';
import type { LogWriter } from '../../src/storage/log.ts';
import { numbered } from '../support/drafts.ts';

// Of the timers that a pool waits by, these are not among those that can be faked.
beforeAll(() => {
  vi.spyOn(timers, 'setTimeout').mockImplementation((ms) => new Promise((resolve) => setTimeout(resolve, ms)));
  vi.spyOn(timers, 'setImmediate').mockImplementation(() => new Promise((resolve) => setImmediate(resolve)));
  syncBuiltinESMExports();
});
afterAll(() => {
  vi.restoreAllMocks();
  syncBuiltinESMExports();
});

const seeds = Number(process.env['TALOS_SIMULATION_SEEDS'] ?? 2_000);

/** Few enough to be reached. */
const tight: PoolBounds = { ...bounds, batchRecordsMax: 16, queueRecordsMax: 120, queueAgeMsMax: 800 };

type Random = () => number;

/** Mulberry32: the same numbers for the same seed, everywhere. */
function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

const after = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** The log as a store has it: what is committed stays, under the id of its batch, whoever was told. */
class Store {
  readonly log: PreparedEvent[] = [];
  readonly #batches = new Map<string, CommittedEvent[]>();
  readonly #random: Random;
  #head: Promise<unknown> = Promise.resolve();

  constructor(random: Random) {
    this.#random = random;
  }

  writer(): LogWriter {
    let drop: ((reason: Error) => void) | undefined;
    let connection = 0;
    const assertSame = (opened: number) => {
      if (connection !== opened) throw new Error('the connection was dropped');
    };
    const silence = () =>
      new Promise<never>((_, reject) => {
        drop = reject;
      });
    return {
      writerId: 'simulated',
      isConnected: () => false,
      reset(reason) {
        connection++;
        drop?.(reason);
      },
      close: async () => undefined,
      append: (id, events) => {
        const opened = connection;
        return this.#underLock(async () => {
          assertSame(opened);
          const known = this.#batches.get(id);
          if (known !== undefined) return known;
          await after(this.#random() * 40);
          assertSame(opened);
          const fate = this.#random();
          if (fate < 0.1) throw new Error('refused before the commit');
          if (fate < 0.14) return await silence();
          const committed = this.#commit(id, events);
          if (fate < 0.24) throw new Error('cut after the commit');
          if (fate < 0.28) return await silence();
          return committed;
        });
      },
      find: (id) =>
        this.#underLock(async () => {
          await after(this.#random() * 40);
          if (this.#random() < 0.2) throw new Error('cannot be asked');
          return this.#batches.get(id);
        }),
    };
  }

  #commit(id: string, events: readonly PreparedEvent[]): CommittedEvent[] {
    const first = this.log.length;
    this.log.push(...events);
    const committed = events.map((_, index) => ({ seq: first + index }) as CommittedEvent);
    this.#batches.set(id, committed);
    return committed;
  }

  #underLock<T>(step: () => Promise<T>): Promise<T> {
    const done = this.#head.then(step);
    this.#head = done.catch(() => undefined);
    return done;
  }
}

/** What a client was told of one group. */
interface Told {
  readonly events: readonly PreparedEvent[];
  readonly places: readonly number[] | undefined;
  /** Said to be surely not recorded. */
  readonly isUndone: boolean;
}

async function live(seed: number): Promise<{ readonly store: Store; readonly told: readonly Told[] }> {
  const random = randomOf(seed);
  const store = new Store(random);
  const clock = { now: () => Date.now(), monotonic: () => performance.now() };
  const ignore = () => undefined;
  const pools = Array.from(
    { length: 3 },
    () => new CommitPool({ writer: store.writer(), clock, bounds: tight, onCommit: ignore, onFailure: ignore }),
  );
  const groups = Array.from({ length: 60 }, async (_, n): Promise<Told> => {
    await after(random() * 3_000);
    const gateway = Math.floor(random() * pools.length);
    const events = numbered(1 + Math.floor(random() * 5), n * 10);
    try {
      const committed = await (pools[gateway] as CommitPool).add(events);
      return { events, places: committed.map(({ seq }) => seq), isUndone: false };
    } catch (error) {
      const isInDoubt = error instanceof TalosError && error.message.includes('nobody knows');
      return { events, places: undefined, isUndone: !isInDoubt };
    }
  });
  const told = Promise.all(groups);
  await vi.runAllTimersAsync();
  return { store, told: await told };
}

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe(`${seeds} worlds of three gateways and a store that fails`, () => {
  it('lose nothing that was acknowledged, repeat nothing, and say truly what was not done', async () => {
    let acknowledged = 0;
    let refused = 0;
    for (let seed = 1; seed <= seeds; seed++) {
      const { store, told } = await live(seed);
      const world = `seed ${seed}`;
      expect(new Set(store.log).size, world).toBe(store.log.length);
      for (const { events, places, isUndone } of told) {
        const at = events.map((event) => store.log.indexOf(event));
        if (places !== undefined) expect(at, world).toEqual(places);
        if (isUndone) expect(at, world).toEqual(events.map(() => -1));
        // Together or not at all, in their order, without anybody between them.
        expect(at, world).toEqual(events.map((_, index) => (at[0] === -1 ? -1 : Number(at[0]) + index)));
        if (places === undefined) refused++;
        else acknowledged++;
      }
    }
    expect(acknowledged).toBeGreaterThan(seeds * 20);
    expect(refused).toBeGreaterThan(seeds / 10);
  });
});
