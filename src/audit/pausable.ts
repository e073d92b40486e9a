/** A wait that can be ended from outside, for good: who closes a loop does not wait for its next round. */

export interface Pause {
  /** Resolves after `ms`, or when the pause has been ended. */
  readonly wait: (ms: number) => Promise<void>;
  readonly end: () => void;
}

export function pausable(): Pause {
  const ended = new AbortController();
  return {
    wait: (ms) =>
      new Promise((resolve) => {
        if (ended.signal.aborted) return resolve();
        const done = () => {
          clearTimeout(timer);
          ended.signal.removeEventListener('abort', done);
          resolve();
        };
        const timer = setTimeout(done, ms);
        ended.signal.addEventListener('abort', done);
      }),
    end: () => ended.abort(),
  };
}
