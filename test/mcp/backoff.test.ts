import { describe, expect, it } from 'vitest';
import { Backoff } from '../../src/mcp/resilience/backoff.ts';

function backoffAt() {
  const clock = { nowMs: 0, now: () => 0, monotonic: () => clock.nowMs };
  return { clock, backoff: new Backoff({ clock, minMs: 100, maxMs: 1_000 }) };
}

describe('Backoff', () => {
  it('does not make the first attempt wait', () => {
    expect(backoffAt().backoff.waitMs).toBe(0);
  });

  it('doubles with every failure up to its bound', () => {
    const { backoff } = backoffAt();
    const waits = Array.from({ length: 6 }, () => {
      backoff.failed(0);
      return backoff.waitMs;
    });
    expect(waits).toEqual([100, 200, 400, 800, 1_000, 1_000]);
  });

  it('is over when its time has passed', () => {
    const { clock, backoff } = backoffAt();
    backoff.failed(0);
    clock.nowMs = 99;
    expect(backoff.waitMs).toBe(1);
    clock.nowMs = 100;
    expect(backoff.waitMs).toBe(0);
  });

  it('stays within its bound after any number of failures', () => {
    const { backoff } = backoffAt();
    for (let i = 0; i < 5_000; i++) backoff.failed(0);
    expect(backoff.waitMs).toBe(1_000);
  });

  it('forgets after a long healthy run, and not after a short one', () => {
    const { backoff } = backoffAt();
    backoff.failed(0);
    backoff.failed(999);
    expect(backoff.waitMs).toBe(200);
    backoff.failed(1_000);
    expect(backoff.waitMs).toBe(100);
  });
});
