import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type IdTick, isUuidv7, nextTick, uuidv7, uuidv7Floor, uuidv7Ms } from '../../src/core/uuidv7.ts';
import { describeVectors, vector } from '../support/vectors.ts';

const msMax = 2 ** 48 - 1;

describe('isUuidv7 refuses', () => {
  it.each([
    ['nothing', ''],
    ['capitals', '0190A5E0-7C3A-7000-8000-000000000001'],
    ['version 4', '0190a5e0-7c3a-4000-8000-000000000001'],
    ['another variant', '0190a5e0-7c3a-7000-0000-000000000001'],
    ['no hyphens', '0190a5e07c3a70008000000000000001'],
    ['braces', '{0190a5e0-7c3a-7000-8000-000000000001}'],
    ['a digit too many', '0190a5e0-7c3a-7000-8000-0000000000011'],
    ['a digit too few', '0190a5e0-7c3a-7000-8000-00000000001'],
    ['a line end after it', '0190a5e0-7c3a-7000-8000-000000000001\n'],
    ['a letter beyond f', '0190a5e0-7c3a-7000-8000-00000000000g'],
  ])('%s', (_, text) => {
    expect(isUuidv7(text)).toBe(false);
  });
});

describe('nextTick', () => {
  it.each<[string, IdTick, number, IdTick]>([
    ['follows the clock', { ms: 5, counter: 9 }, 6, { ms: 6, counter: 0 }],
    ['counts while the clock stands', { ms: 5, counter: 9 }, 5, { ms: 5, counter: 10 }],
    ['counts while the clock runs backwards', { ms: 5, counter: 0 }, 1, { ms: 5, counter: 1 }],
    ['moves the millisecond when the counter is full', { ms: 5, counter: 4095 }, 5, { ms: 6, counter: 0 }],
    ['does so also an hour behind', { ms: 3_600_000, counter: 4095 }, 0, { ms: 3_600_001, counter: 0 }],
    ['starts with an empty log', { ms: 0, counter: 0 }, 1_700_000_000_000, { ms: 1_700_000_000_000, counter: 0 }],
  ])('%s', (_, last, nowMs, next) => {
    expect(nextTick(last, nowMs)).toEqual(next);
  });

  it('gives ids that sort as they were made, whatever the clock does', () => {
    const clock = fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 2, maxLength: 200 });
    fc.assert(
      fc.property(clock, (readings) => {
        let tick: IdTick = { ms: 0, counter: 4_090 };
        const ids = readings.map((nowMs) => {
          tick = nextTick(tick, nowMs);
          return uuidv7(tick);
        });
        expect(ids).toEqual([...ids].sort());
        expect(new Set(ids).size).toBe(ids.length);
      }),
      { numRuns: 200 },
    );
  });
});

describe('uuidv7', () => {
  it('is a UUIDv7 that tells its millisecond', () => {
    fc.assert(
      fc.property(fc.nat({ max: msMax }), fc.nat({ max: 4095 }), (ms, counter) => {
        const id = uuidv7({ ms, counter });
        expect(isUuidv7(id)).toBe(true);
        expect(uuidv7Ms(id)).toBe(ms);
        expect(id > uuidv7Floor(ms)).toBe(true);
        if (ms < msMax) expect(id < uuidv7Floor(ms + 1)).toBe(true);
      }),
      { numRuns: 1_000 },
    );
  });

  it('has 62 random bits: each of them is set in some ids and not in others, and no tail comes twice', () => {
    const tails = Array.from({ length: 5_000 }, () => uuidv7({ ms: 1, counter: 1 }).slice(19).replace('-', ''));
    expect(new Set(tails).size).toBe(tails.length);
    const bits = tails.map((tail) => BigInt(`0x${tail}`));
    const ones = bits.reduce((all, tail) => all | tail);
    const zeros = bits.reduce((all, tail) => all & tail);
    expect(ones.toString(16)).toBe('bfffffffffffffff');
    expect(zeros.toString(16)).toBe('8000000000000000');
  });

  it.each([
    [-1, '00000000-0000-7000-8000-000000000000'],
    [Number.MAX_SAFE_INTEGER, 'ffffffff-ffff-7000-8000-000000000000'],
    [1_700_000_000_123, '018bcfe5-687b-7000-8000-000000000000'],
  ])('has a floor that stays in range: %d', (ms, floor) => {
    expect(uuidv7Floor(ms)).toBe(floor);
  });
});

describeVectors('public vectors', () => {
  it('contracts/uuidv7', () => {
    const { valid, invalid } = vector<{ valid: string[]; invalid: string[] }>('contracts/uuidv7.json');
    expect(valid.map(isUuidv7)).toEqual(valid.map(() => true));
    expect(invalid.map(isUuidv7)).toEqual(invalid.map(() => false));
    expect(valid.length + invalid.length).toBeGreaterThan(0);
  });
});
