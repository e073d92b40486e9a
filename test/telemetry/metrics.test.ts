import { Histogram } from 'prom-client';
import { describe, expect, it } from 'vitest';
import { quantile } from '../../src/telemetry/metrics.ts';

function histogram(): Histogram<'route'> {
  return new Histogram({ name: 'h', help: 'h', labelNames: ['route'], buckets: [0.1, 0.2, 0.4], registers: [] });
}

describe('quantile', () => {
  it.each([0, 0.5, 0.95, 1])('%d of nothing is 0', async (q) => {
    expect(await quantile(histogram(), q)).toBe(0);
  });

  it('is linear inside its bucket', async () => {
    const observed = histogram();
    for (let i = 0; i < 10; i++) observed.observe({ route: 'a' }, 0.15);
    expect(await quantile(observed, 0.5)).toBeCloseTo(0.15);
    expect(await quantile(observed, 1)).toBeCloseTo(0.2);
    expect(await quantile(observed, 0.1)).toBeCloseTo(0.11);
  });

  it('is taken over all labels', async () => {
    const observed = histogram();
    for (let i = 0; i < 9; i++) observed.observe({ route: 'a' }, 0.05);
    observed.observe({ route: 'b' }, 0.3);
    expect(await quantile(observed, 0.5)).toBeLessThan(0.1);
    expect(await quantile(observed, 0.95)).toBeGreaterThan(0.2);
  });

  it('does not go beyond the last finite bound', async () => {
    const observed = histogram();
    observed.observe({ route: 'a' }, 50);
    expect(await quantile(observed, 0.5)).toBe(0.4);
  });

  it('skips empty buckets', async () => {
    const observed = histogram();
    observed.observe({ route: 'a' }, 0.05);
    observed.observe({ route: 'a' }, 0.39);
    expect(await quantile(observed, 0.5)).toBeCloseTo(0.1);
    expect(await quantile(observed, 1)).toBeCloseTo(0.4);
  });
});
