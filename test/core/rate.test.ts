import { describe, expect, it } from 'vitest';
import { formatRate, parseRate } from '../../src/core/rate.ts';

describe('a rate as text', () => {
  it.each([
    ['100/hour', { count: 100, periodMs: 3_600_000, burst: 100 }],
    ['1/day', { count: 1, periodMs: 86_400_000, burst: 1 }],
    ['20/second burst 40', { count: 20, periodMs: 1_000, burst: 40 }],
    ['1000000/minute burst 1', { count: 1_000_000, periodMs: 60_000, burst: 1 }],
  ])('is read: %s', (text, rate) => {
    expect(parseRate(text)).toEqual(rate);
    expect(parseRate(formatRate(rate))).toEqual(rate);
  });

  it.each([
    '',
    '100',
    '0/hour',
    '-1/hour',
    '1.5/hour',
    '1e3/hour',
    '0100/hour',
    '100/Hour',
    '100/week',
    '100/hours',
    '100 / hour',
    ' 100/hour',
    '100/hour\n',
    '1000001/hour',
    '1/hour burst 0',
    '1/hour burst',
    '1/hour burst 1000001',
    '1/hour  burst 2',
    '1/constructor',
  ])('is refused: %j', (text) => {
    expect(parseRate(text)).toBeUndefined();
  });
});
