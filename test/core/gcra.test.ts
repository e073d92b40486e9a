/** GCRA against its definition: never more than the burst and what time has given back, and never fewer. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { debtAfter, debtAt, hasRoom, type Level, type Rate, readingOf } from '../../src/core/gcra.ts';

/** One bucket, as a limiter keeps it. */
function bucketOf(rate: Rate) {
  let level: Level | undefined;
  return (nowMs: number) => {
    const debt = debtAt(rate, level, nowMs);
    if (!hasRoom(rate, debt)) return readingOf(rate, debt, false);
    level = { debt: debtAfter(rate, debt), atMs: nowMs };
    return readingOf(rate, level.debt, true);
  };
}

const rates = fc.record({
  count: fc.integer({ min: 1, max: 1_000_000 }),
  periodMs: fc.constantFrom(1_000, 60_000, 3_600_000, 86_400_000),
  burst: fc.integer({ min: 1, max: 50 }),
});

/** Times of events: many at once, and rests of all lengths. */
const arrivals = fc.array(
  fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 50 }), fc.integer({ min: 0, max: 10 ** 8 })),
  {
    maxLength: 300,
  },
);

function timesOf(gaps: readonly number[], startMs: number): number[] {
  let at = startMs;
  return gaps.map((gap) => {
    at += gap;
    return at;
  });
}

describe('a bucket', () => {
  it('never admits more than its burst and what the time between has given back, in any window', () => {
    fc.assert(
      fc.property(rates, arrivals, fc.nat({ max: 2 ** 41 }), (rate, gaps, startMs) => {
        const take = bucketOf(rate);
        const admitted = timesOf(gaps, startMs).filter((at) => take(at).admitted);
        for (const [from, start] of admitted.entries()) {
          for (let to = from; to < admitted.length; to += 7) {
            const ms = BigInt((admitted[to] ?? 0) - start);
            const allowed = BigInt(rate.burst) + (ms * BigInt(rate.count)) / BigInt(rate.periodMs);
            if (BigInt(to - from + 1) > allowed) return false;
          }
        }
        return true;
      }),
    );
  });

  it('admits exactly what the bucket of exact fractions admits', () => {
    fc.assert(
      fc.property(rates, arrivals, fc.nat({ max: 2 ** 41 }), (rate, gaps, startMs) => {
        const take = bucketOf(rate);
        let full = 0n;
        let last = BigInt(startMs);
        for (const at of timesOf(gaps, startMs)) {
          const drained = (BigInt(at) - last) * BigInt(rate.count);
          full = full > drained ? full - drained : 0n;
          last = BigInt(at);
          const fits = full + BigInt(rate.periodMs) <= BigInt(rate.burst) * BigInt(rate.periodMs);
          if (fits) full += BigInt(rate.periodMs);
          if (take(at).admitted !== fits) return false;
        }
        return true;
      }),
    );
  });

  it('never refuses who keeps to the rate', () => {
    fc.assert(
      fc.property(rates, fc.integer({ min: 1, max: 200 }), (rate, events) => {
        const take = bucketOf(rate);
        const spacingMs = Math.ceil(rate.periodMs / rate.count);
        return Array.from({ length: events }, (_, n) => take(n * spacingMs)).every(({ admitted }) => admitted);
      }),
    );
  });

  it('says when to come back: not a millisecond earlier, and not later', () => {
    fc.assert(
      fc.property(rates, (rate) => {
        const empty = () => {
          const take = bucketOf(rate);
          for (let n = 0; n < rate.burst; n++) take(0);
          return take;
        };
        const refusal = empty()(0);
        if (refusal.admitted) return false;
        const early = refusal.retryAfterMs <= 1 || !empty()(refusal.retryAfterMs - 1).admitted;
        return early && empty()(refusal.retryAfterMs).admitted;
      }),
    );
  });

  it('counts down what remains, and is whole again after the reset', () => {
    const take = bucketOf({ count: 3, periodMs: 1_000, burst: 3 });
    expect([take(0), take(0), take(0), take(0)].map((reading) => reading.remaining)).toEqual([2, 1, 0, 0]);
    expect(take(0)).toEqual({ admitted: false, remaining: 0, retryAfterMs: 334, resetMs: 1_000 });
    expect(take(333).admitted).toBe(false);
    expect(take(334)).toMatchObject({ admitted: true, remaining: 0, retryAfterMs: 333 });
    expect(take(1_334)).toMatchObject({ admitted: true, remaining: 2, resetMs: 334 });
  });

  it('takes nothing from a debt when the clock is set back, and goes on from there', () => {
    const take = bucketOf({ count: 1, periodMs: 1_000, burst: 2 });
    expect(take(10_000).admitted).toBe(true);
    expect(take(5_000).admitted).toBe(true);
    expect(take(5_000).admitted).toBe(false);
    expect(take(6_000).admitted).toBe(true);
  });
});
