import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { latencyBucket, latencyMeanMs, latencyPercentileMs, latencyRange } from '../../src/core/latency.ts';

const latency = fc.oneof(fc.integer({ min: 0, max: 40 }), fc.integer({ min: 0, max: 2 ** 24 - 1 }));

function counted(latencies: readonly number[]): Map<number, number> {
  const counts = new Map<number, number>();
  for (const ms of latencies) counts.set(latencyBucket(ms), (counts.get(latencyBucket(ms)) ?? 0) + 1);
  return counts;
}

describe('buckets of latencies', () => {
  it('follow each other without a gap', () => {
    let next = 0;
    for (let bucket = 0; bucket < 92; bucket++) {
      const { fromMs, toMs } = latencyRange(bucket);
      expect({ bucket, fromMs }).toEqual({ bucket, fromMs: next });
      expect([latencyBucket(fromMs), latencyBucket(toMs)]).toEqual([bucket, bucket]);
      next = toMs + 1;
    }
    expect(next).toBe(2 ** 24);
  });

  it('are exact below eight milliseconds and a quarter wide at most above', () => {
    fc.assert(
      fc.property(latency, (ms) => {
        const { fromMs, toMs } = latencyRange(latencyBucket(ms));
        expect(fromMs).toBeLessThanOrEqual(ms);
        expect(toMs).toBeGreaterThanOrEqual(ms);
        expect(toMs - fromMs).toBeLessThan(Math.max(1, fromMs / 4));
      }),
    );
  });

  it.each([
    [-1, 0],
    [0.9, 0],
    [7.99, 7],
    [8, 8],
    [Number.MAX_SAFE_INTEGER, 91],
    [Number.POSITIVE_INFINITY, 91],
  ])('%d is in bucket %d', (ms, bucket) => {
    expect(latencyBucket(ms)).toBe(bucket);
  });
});

describe('estimates', () => {
  it('of nothing are 0', () => {
    expect(latencyPercentileMs(new Map(), 0.5)).toBe(0);
    expect(latencyPercentileMs(new Map([[3, 0]]), 0.5)).toBe(0);
    expect(latencyMeanMs(new Map())).toBe(0);
  });

  it('of short latencies are exact', () => {
    const counts = counted([1, 1, 2, 3, 7, 7, 7, 7, 7, 7]);
    expect(latencyPercentileMs(counts, 0.2)).toBe(1);
    expect(latencyPercentileMs(counts, 0.3)).toBe(2);
    expect(latencyPercentileMs(counts, 0.5)).toBe(7);
    expect(latencyMeanMs(counts)).toBe(4.9);
  });

  it('are at most a quarter off, whatever was counted', () => {
    fc.assert(
      fc.property(
        fc.array(latency, { minLength: 1, maxLength: 200 }),
        fc.constantFrom(0.01, 0.5, 0.95, 0.99, 1),
        (all, q) => {
          const sorted = all.toSorted((a, b) => a - b);
          const exact = sorted[Math.ceil(q * all.length) - 1] as number;
          expect(Math.abs(latencyPercentileMs(counted(all), q) - exact)).toBeLessThanOrEqual(exact / 4 + 0.01);
          const mean = all.reduce((sum, ms) => sum + ms, 0) / all.length;
          expect(Math.abs(latencyMeanMs(counted(all)) - mean)).toBeLessThanOrEqual(mean / 4 + 0.01);
        },
      ),
    );
  });
});
