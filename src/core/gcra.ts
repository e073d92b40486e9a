/**
 * How often something may happen: GCRA in its leaky-bucket form (ITU-T I.371). Each event pours a period into the
 * bucket, each millisecond takes `count` out of it, and what would spill over is refused. All of it is whole numbers,
 * so that no rounding lets one through or keeps one out.
 */

/** `count` events each `periodMs`, and `burst` of them at once after a rest. All three are whole and positive. */
export interface Rate {
  readonly count: number;
  readonly periodMs: number;
  readonly burst: number;
}

/** What is in a bucket, in `1/count` of a millisecond, and when that was so. */
export interface Level {
  readonly debt: number;
  readonly atMs: number;
}

/** What a bucket tells after it was asked. */
export interface Reading {
  readonly admitted: boolean;
  /** How many more would be admitted now. */
  readonly remaining: number;
  /** Until the next one is admitted; 0 when one would be now. */
  readonly retryAfterMs: number;
  /** Until the bucket is empty again. */
  readonly resetMs: number;
}

/**
 * What is left in the bucket at `nowMs`, a whole number of milliseconds. A clock that was set back takes nothing out; it
 * does not keep the bucket full until it has caught up either.
 */
export function debtAt(rate: Rate, level: Level | undefined, nowMs: number): number {
  if (level === undefined) return 0;
  return Math.max(0, level.debt - Math.max(0, nowMs - level.atMs) * rate.count);
}

/** Whether a bucket with this debt has room for one more. */
export function hasRoom(rate: Rate, debt: number): boolean {
  return debt + rate.periodMs <= rate.burst * rate.periodMs;
}

/** The debt of a bucket that has taken one more. */
export function debtAfter(rate: Rate, debt: number): number {
  return debt + rate.periodMs;
}

/** What a bucket with this debt tells, after it admitted or refused. */
export function readingOf(rate: Rate, debt: number, admitted: boolean): Reading {
  const capacity = rate.burst * rate.periodMs;
  return {
    admitted,
    remaining: Math.max(0, Math.floor((capacity - debt) / rate.periodMs)),
    retryAfterMs: Math.max(0, Math.ceil((debt + rate.periodMs - capacity) / rate.count)),
    resetMs: Math.ceil(debt / rate.count),
  };
}
