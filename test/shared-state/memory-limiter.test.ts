/** The limits in memory: exact by a clock that stands, bounded, and of no use to who fills the table. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Charge, LimitKind } from '../../src/core/limit.ts';
import { MemoryLimiter } from '../../src/shared-state/memory-limiter.ts';

function limiterOf(bucketsMax = 1_000, crowdedMax = 4) {
  const clock = { nowMs: 1_000_000.25 };
  return { clock, limiter: new MemoryLimiter({ bucketsMax, crowdedMax, nowMs: () => clock.nowMs }) };
}

function charge(who: string, count: number, burst: number, kind: LimitKind = 'ip', periodMs = 1_000): Charge {
  return { kind, who, rate: { count, periodMs, burst } };
}

function admittedOf(limiter: MemoryLimiter, charges: readonly Charge[], times: number): number {
  return Array.from({ length: times }, () => limiter.take(charges).admitted).filter(Boolean).length;
}

describe('limits in memory', () => {
  it('admit the burst, then what time gives back, to the request', () => {
    const { clock, limiter } = limiterOf();
    const charges = [charge('a', 50, 100)];
    expect(admittedOf(limiter, charges, 500)).toBe(100);
    clock.nowMs += 19;
    expect(admittedOf(limiter, charges, 5)).toBe(0);
    clock.nowMs += 1;
    expect(admittedOf(limiter, charges, 5)).toBe(1);
    clock.nowMs += 1_000;
    expect(admittedOf(limiter, charges, 500)).toBe(50);
    clock.nowMs += 60_000;
    expect(admittedOf(limiter, charges, 500)).toBe(100);
  });

  it('keep clients, kinds and rates apart', () => {
    const { limiter } = limiterOf();
    expect(admittedOf(limiter, [charge('a', 1, 2)], 5)).toBe(2);
    expect(admittedOf(limiter, [charge('b', 1, 2)], 5)).toBe(2);
    expect(admittedOf(limiter, [charge('a', 1, 2, 'key')], 5)).toBe(2);
    expect(admittedOf(limiter, [charge('a', 2, 2)], 5)).toBe(2);
  });

  it('count against all limits or none', () => {
    const { limiter } = limiterOf();
    const [wide, narrow] = [charge('wide', 1, 10), charge('narrow', 1, 3)];
    expect(admittedOf(limiter, [wide, narrow], 20)).toBe(3);
    const refused = limiter.take([wide, narrow]);
    expect(refused.readings.map(({ admitted }) => admitted)).toEqual([true, false]);
    expect(admittedOf(limiter, [wide], 20)).toBe(7);
  });

  it('count twice what is charged twice at once', () => {
    const { limiter } = limiterOf();
    expect(admittedOf(limiter, [charge('a', 1, 5), charge('a', 1, 5)], 9)).toBe(2);
    expect(admittedOf(limiter, [charge('a', 1, 5)], 9)).toBe(1);
  });

  it('never admit more than all buckets allow, whoever comes when', () => {
    const steps = fc.array(fc.record({ gapMs: fc.nat({ max: 400 }), who: fc.nat({ max: 30 }) }), { maxLength: 400 });
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 12 }), (all, bucketsMax) => {
        const { clock, limiter } = limiterOf(bucketsMax, 2);
        const admitted = new Map<number, number[]>();
        for (const { gapMs, who } of all) {
          clock.nowMs += gapMs;
          const { admitted: fits } = limiter.take([charge(`client ${who}`, 2, 3)]);
          if (fits) admitted.set(who, [...(admitted.get(who) ?? []), clock.nowMs]);
        }
        // Whoever has a bucket of his own keeps it while it holds something; whoever shares has no more than that.
        const isWithin = (times: readonly number[]) =>
          times.every((start, from) => {
            return times.slice(from).every((end, more) => more + 1 <= 2 * 3 + ((end - start) * 2 * 2) / 1_000);
          });
        return [...admitted.values()].every(isWithin) && limiter.size <= bucketsMax + 2;
      }),
    );
  });
});

describe('a full table', () => {
  it('does not forget a debt, however many strangers come', () => {
    const { limiter } = limiterOf(100, 4);
    expect(admittedOf(limiter, [charge('me', 1, 10)], 20)).toBe(10);
    for (let n = 0; n < 10_000; n++) limiter.take([charge(`stranger ${n}`, 1, 10)]);
    expect(admittedOf(limiter, [charge('me', 1, 10)], 20)).toBe(0);
    expect(limiter.size).toBeLessThanOrEqual(104);
  });

  it('lets newcomers share a few buckets, so that more names bring no more requests', () => {
    const { limiter } = limiterOf(100, 4);
    for (let n = 0; n < 100; n++) limiter.take([charge(`early ${n}`, 1, 10)]);
    const late = Array.from({ length: 10_000 }, (_, n) => limiter.take([charge(`late ${n}`, 1, 10)]));
    expect(late.filter(({ admitted }) => admitted)).toHaveLength(4 * 10);
  });

  it('has room again when its buckets have run empty', () => {
    const { clock, limiter } = limiterOf(100, 4);
    for (let n = 0; n < 100; n++) limiter.take([charge(`early ${n}`, 1, 1)]);
    clock.nowMs += 1_000;
    const late = Array.from({ length: 100 }, (_, n) => limiter.take([charge(`late ${n}`, 1, 1)]));
    expect(late.filter(({ admitted }) => admitted)).toHaveLength(100);
    expect(limiter.size).toBe(100);
  });

  it('shrinks while few come', () => {
    const { clock, limiter } = limiterOf(10_000, 4);
    for (let n = 0; n < 1_000; n++) limiter.take([charge(`early ${n}`, 1, 1)]);
    clock.nowMs += 1_000;
    for (let n = 0; n < 400; n++) limiter.take([charge(`late ${n}`, 1, 1)]);
    expect(limiter.size).toBeLessThan(500);
  });

  it('of capabilities refuses one more rather than count it with others', () => {
    const { limiter } = limiterOf(10, 4);
    const links = Array.from({ length: 20 }, (_, n) => charge(`link ${n}`, n + 1, 5, 'capability', 86_400_000));
    expect(links.map((link) => limiter.take([link]).admitted)).toEqual([
      ...Array<boolean>(10).fill(true),
      ...Array<boolean>(10).fill(false),
    ]);
    expect(limiter.size).toBe(10);
  });

  it('of strangers takes no room from callers who are known', () => {
    const { limiter } = limiterOf(10, 1);
    for (let n = 0; n < 1_000; n++) limiter.take([charge(`stranger ${n}`, 1, 10)]);
    expect(admittedOf(limiter, [charge('caller', 1, 5, 'key')], 9)).toBe(5);
    expect(admittedOf(limiter, [charge('link', 1, 5, 'capability')], 9)).toBe(5);
  });
});
