/** Work that is ended when it has had its time, and begun anew when the time went to others. */
import { describe, expect, it } from 'vitest';
import { TimeLimitPassed, withinTime } from '../../src/mcp/tools/time-limit.ts';

function busy(ms: number): void {
  const until = performance.now() + ms;
  while (performance.now() < until);
}

/** As if the machine gave all its time to others. */
function starve(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

describe('work within a time', () => {
  it('gives what it returns, and throws what it throws', () => {
    expect(withinTime(100, () => 'done')).toBe('done');
    expect(() =>
      withinTime(100, () => {
        throw new RangeError('mine');
      }),
    ).toThrow('mine');
  });

  it('is ended when it uses the processor for longer, once', () => {
    let attempts = 0;
    expect(() =>
      withinTime(50, () => {
        attempts++;
        busy(60_000);
      }),
    ).toThrow(TimeLimitPassed);
    expect(attempts).toBeGreaterThan(0);
  });

  it('is begun anew when it had no time of its own', () => {
    let attempts = 0;
    const result = withinTime(50, () => {
      if (++attempts < 3) starve(60_000);
      return attempts;
    });
    expect(result).toBe(3);
  });

  it('is given up when it never gets any', () => {
    expect(() => withinTime(20, () => starve(60_000))).toThrow(TimeLimitPassed);
  });
});
