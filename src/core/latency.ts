/**
 * Latencies as counts in fixed buckets, so that the figures of any minutes, teams and gateways can be added up. Below
 * eight milliseconds each has its own bucket; above, every doubling is cut into four, so what is estimated from the
 * counts is at most a quarter off.
 */

const exactMs = 8;
const exactBits = 3;
const stepsPerDoubling = 4;
const longestMs = 2 ** 24 - 1;

/** The bucket of a latency in whole milliseconds. Beyond four and a half hours everything is the last one. */
export function latencyBucket(ms: number): number {
  const clamped = Math.max(0, Math.min(Math.floor(ms), longestMs));
  if (clamped < exactMs) return clamped;
  const doubling = 31 - Math.clz32(clamped);
  const step = (clamped >> (doubling - 2)) % stepsPerDoubling;
  return exactMs + (doubling - exactBits) * stepsPerDoubling + step;
}

/** The shortest and the longest latency of a bucket, in milliseconds. */
export function latencyRange(bucket: number): { readonly fromMs: number; readonly toMs: number } {
  if (bucket < exactMs) return { fromMs: bucket, toMs: bucket };
  const above = bucket - exactMs;
  const widthMs = 2 ** (Math.floor(above / stepsPerDoubling) + exactBits - 2);
  const fromMs = (stepsPerDoubling + (above % stepsPerDoubling)) * widthMs;
  return { fromMs, toMs: fromMs + widthMs - 1 };
}

/** How often each bucket was met. */
export type LatencyCounts = ReadonlyMap<number, number>;

/** The latency that a share `q` of all did not exceed, between the ends of its bucket; 0 when there are none. */
export function latencyPercentileMs(counts: LatencyCounts, q: number): number {
  const rank = q * total(counts);
  let below = 0;
  let percentile = 0;
  for (const [bucket, count] of sorted(counts)) {
    const { fromMs, toMs } = latencyRange(bucket);
    percentile = fromMs + (toMs - fromMs) * Math.min(1, (rank - below) / count);
    below += count;
    if (below >= rank) break;
  }
  return round(percentile);
}

/** The mean, as if every latency lay in the middle of its bucket; 0 when there are none. */
export function latencyMeanMs(counts: LatencyCounts): number {
  let sum = 0;
  for (const [bucket, count] of counts) {
    const { fromMs, toMs } = latencyRange(bucket);
    sum += count * ((fromMs + toMs) / 2);
  }
  return sum === 0 ? 0 : round(sum / total(counts));
}

function total(counts: LatencyCounts): number {
  return [...counts.values()].reduce((sum, count) => sum + count, 0);
}

function sorted(counts: LatencyCounts): [number, number][] {
  return [...counts].filter(([, count]) => count > 0).sort(([a], [b]) => a - b);
}

function round(ms: number): number {
  return Math.round(ms * 100) / 100;
}
