import { afterEach, expect, it, vi } from 'vitest';
import { recur } from '../../src/core/recur.ts';

afterEach(() => void vi.useRealTimers());

/** Rounds that last until they are ended, and what became of them. */
function setUp() {
  vi.useFakeTimers();
  const ends: PromiseWithResolvers<void>[] = [];
  const failures: unknown[] = [];
  const work = () => {
    const end = Promise.withResolvers<void>();
    ends.push(end);
    return end.promise;
  };
  const recurrence = recur(1000, work, (error) => failures.push(error));
  return { recurrence, ends, failures };
}

it('does nothing before its time, and then a round each time', async () => {
  const { ends } = setUp();
  await vi.advanceTimersByTimeAsync(999);
  expect(ends).toHaveLength(0);
  await vi.advanceTimersByTimeAsync(1);
  expect(ends).toHaveLength(1);
  ends[0]?.resolve();
  await vi.advanceTimersByTimeAsync(1000);
  expect(ends).toHaveLength(2);
});

it('begins no round while one is under way, and shares it with who asks for one', async () => {
  const { recurrence, ends } = setUp();
  await vi.advanceTimersByTimeAsync(5000);
  const asked = recurrence.now();
  expect(ends).toHaveLength(1);
  ends[0]?.resolve();
  await asked;
  const another = recurrence.now();
  expect(ends).toHaveLength(2);
  ends[1]?.resolve();
  await another;
});

it('goes on after a round that failed, and tells of it once', async () => {
  const { recurrence, ends, failures } = setUp();
  const asked = recurrence.now();
  ends[0]?.reject('no store');
  await asked;
  expect(failures).toEqual(['no store']);
  await vi.advanceTimersByTimeAsync(1000);
  expect(ends).toHaveLength(2);
});

it('stops when the round under way is over, and begins none by itself afterwards', async () => {
  const { recurrence, ends } = setUp();
  await vi.advanceTimersByTimeAsync(1000);
  let hasStopped = false;
  const stopped = recurrence.stop().then(() => {
    hasStopped = true;
  });
  await vi.advanceTimersByTimeAsync(5000);
  expect(hasStopped).toBe(false);
  ends[0]?.resolve();
  await stopped;
  await vi.advanceTimersByTimeAsync(5000);
  expect(ends).toHaveLength(1);
});

it('does a last round for who asks after it was stopped', async () => {
  const { recurrence, ends } = setUp();
  await recurrence.stop();
  const last = recurrence.now();
  ends[0]?.resolve();
  await last;
  expect(ends).toHaveLength(1);
});

it('keeps no process alive', () => {
  const started = vi.spyOn(globalThis, 'setInterval');
  recur(1000, async () => undefined);
  const timer = started.mock.results[0]?.value as NodeJS.Timeout;
  expect(timer.hasRef()).toBe(false);
  clearInterval(timer);
  started.mockRestore();
});
