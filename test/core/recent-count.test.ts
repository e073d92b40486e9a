import { expect, it } from 'vitest';
import { RecentCount } from '../../src/core/recent-count.ts';

it('counts what happened within the window, and forgets it slot by slot', () => {
  let nowMs = 5_000_000;
  const count = new RecentCount({ monotonic: () => nowMs }, 3_600_000);
  expect(count.value).toBe(0);
  count.note();
  nowMs += 1_800_000;
  count.note();
  count.note();
  expect(count.value).toBe(3);
  nowMs += 1_800_000;
  expect(count.value).toBe(2);
  nowMs += 1_799_999;
  expect(count.value).toBe(0);
  count.note();
  expect(count.value).toBe(1);
});

it('is not held up by a clock that leaps', () => {
  let nowMs = 0;
  const count = new RecentCount({ monotonic: () => nowMs }, 60_000);
  for (let times = 0; times < 1_000; times++) {
    count.note();
    nowMs += 1_000;
  }
  expect(count.value).toBe(59);
  nowMs += 1e12;
  expect(count.value).toBe(0);
});
