/** The one home of time. Everything that needs it takes a `Clock`, so that tests can hold it still. */
export interface Clock {
  /** Wall time in milliseconds since the Unix epoch. */
  readonly now: () => number;
  /** Milliseconds from an arbitrary start that never runs backwards; for durations and deadlines. */
  readonly monotonic: () => number;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
};
