/** Percentiles, rounding and the verdict on a budget. */

export interface Percentiles {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
}

/** Percentiles in milliseconds of latencies in microseconds; undefined when there are none. */
export function percentilesMs(latenciesUs: readonly Uint32Array[]): Percentiles | undefined {
  const all = new Uint32Array(latenciesUs.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of latenciesUs) {
    all.set(part, at);
    at += part.length;
  }
  if (all.length === 0) return undefined;
  all.sort();
  const quantile = (q: number) => (all[Math.min(all.length - 1, Math.floor(q * all.length))] as number) / 1000;
  return { p50: quantile(0.5), p90: quantile(0.9), p99: quantile(0.99) };
}

export interface Budget {
  readonly what: string;
  readonly unit: string;
  readonly value: number;
  /** Absent where only an aim is set, and the other way round. */
  readonly must?: number;
  readonly aim?: number;
  /** Which side of must and aim is the good one. */
  readonly better: 'more' | 'less';
}

/** Which of its bars a figure reaches. */
export function verdict({ value, must, aim, better }: Budget): 'aim' | 'must' | 'missed' {
  const reaches = (bar: number | undefined) => bar !== undefined && (better === 'more' ? value >= bar : value <= bar);
  if (reaches(aim)) return 'aim';
  return reaches(must) ? 'must' : 'missed';
}

/** Three significant digits, all digits before the point, and nothing finer than a thousandth. */
export function figure(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return '';
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US');
  return String(Number(value.toFixed(Math.abs(value) < 1 ? 3 : value < 10 ? 2 : 1)));
}
