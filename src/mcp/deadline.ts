/** One caller's patience: a point in time and a signal, whichever comes first. */
import type { Clock } from '../core/clock.ts';
import { UpstreamError } from './upstream-error.ts';

export type DeadlineEnd = 'UPSTREAM_TIMEOUT' | 'CALL_CANCELLED';

export class Deadline {
  readonly signal: AbortSignal | undefined;
  readonly #clock: Clock;
  readonly #endsAtMs: number;

  /** `timeoutMs` may be `Infinity`: then only the signal ends it. */
  constructor(clock: Clock, timeoutMs: number, signal?: AbortSignal) {
    this.#clock = clock;
    this.#endsAtMs = clock.monotonic() + timeoutMs;
    this.signal = signal;
  }

  get remainingMs(): number {
    return Math.max(0, this.#endsAtMs - this.#clock.monotonic());
  }

  /** Why waiting makes no sense any more, or undefined. */
  get ended(): DeadlineEnd | undefined {
    if (this.signal?.aborted) return 'CALL_CANCELLED';
    return this.remainingMs === 0 ? 'UPSTREAM_TIMEOUT' : undefined;
  }

  /** Calls back once, later, when it ends. The returned function calls that off. */
  watch(onEnd: (end: DeadlineEnd) => void): () => void {
    const { signal } = this;
    const onAbort = () => onEnd('CALL_CANCELLED');
    const remaining = signal?.aborted ? 0 : this.remainingMs;
    const timer = Number.isFinite(remaining)
      ? setTimeout(() => onEnd(this.ended ?? 'UPSTREAM_TIMEOUT'), remaining)
      : undefined;
    signal?.addEventListener('abort', onAbort, { once: true });
    return () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
  }

  /** Throws when it has ended. For the moments before anything of a call was sent. */
  assertOpen(): void {
    const end = this.ended;
    if (end !== undefined) throw new UpstreamError(end, { dispatched: false });
  }

  /**
   * Waits for work that several callers share. When this caller's patience ends first the work goes on for the others.
   * Throws `UPSTREAM_TIMEOUT` or `CALL_CANCELLED`, not dispatched.
   */
  wait<T>(shared: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const unwatch = this.watch((end) => reject(new UpstreamError(end, { dispatched: false })));
      shared.then(resolve, reject).finally(unwatch);
    });
  }
}
