/** One caller's patience: a point in time and a signal, whichever comes first. */
import type { Clock } from '../core/clock.ts';
import { UpstreamError } from './upstream-error.ts';

export type DeadlineEnd = 'UPSTREAM_TIMEOUT' | 'CALL_CANCELLED';

export class Deadline {
  readonly signal: AbortSignal | undefined;
  readonly #clock: Clock;
  readonly #timeoutMs: number;
  readonly #latestMs: number;
  #endsAtMs: number;
  #pauses = 0;
  #renewals = 0;

  /**
   * `timeoutMs` may be `Infinity`: then only the signal ends it. `longestMs` is how long it lasts at most when it is
   * renewed or paused, and no less than `timeoutMs`.
   */
  constructor(clock: Clock, timeoutMs: number, signal?: AbortSignal, longestMs = timeoutMs) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
    const startMs = clock.monotonic();
    this.#endsAtMs = startMs + timeoutMs;
    this.#latestMs = startMs + Math.max(longestMs, timeoutMs);
    this.signal = signal;
  }

  get remainingMs(): number {
    const nowMs = this.#clock.monotonic();
    const endsAtMs = this.#pauses > 0 ? Math.min(nowMs + this.#timeoutMs, this.#latestMs) : this.#endsAtMs;
    return Math.max(0, endsAtMs - nowMs);
  }

  /** Why waiting makes no sense any more, or undefined. */
  get ended(): DeadlineEnd | undefined {
    if (this.signal?.aborted) return 'CALL_CANCELLED';
    return this.remainingMs === 0 ? 'UPSTREAM_TIMEOUT' : undefined;
  }

  /** Patience begins anew: there was a sign of progress. */
  renew(): void {
    this.#renewals++;
    this.#endsAtMs = Math.min(this.#clock.monotonic() + this.#timeoutMs, this.#latestMs);
  }

  /** Patience stands still, because the other side waits for us. Once the returned function was called it begins anew. */
  pause(): () => void {
    this.#pauses++;
    return () => {
      this.#pauses--;
      this.renew();
    };
  }

  /** Calls back once, later, when it ends. The returned function calls that off. */
  watch(onEnd: (end: DeadlineEnd) => void): () => void {
    const { signal } = this;
    let timer: NodeJS.Timeout | undefined;
    const arm = () => {
      const remaining = signal?.aborted ? 0 : this.remainingMs;
      if (!Number.isFinite(remaining)) return;
      const renewals = this.#renewals;
      timer = setTimeout(() => {
        const isLater = this.#pauses > 0 || this.#renewals !== renewals;
        if (isLater && this.ended === undefined) arm();
        else onEnd(this.ended ?? 'UPSTREAM_TIMEOUT');
      }, remaining);
    };
    const onAbort = () => onEnd('CALL_CANCELLED');
    arm();
    signal?.addEventListener('abort', onAbort, { once: true });
    return () => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
  }

  /** A patience of its own for a part of the work: this share of what is left, ended by `signal`. */
  part(share: number, signal: AbortSignal): Deadline {
    return new Deadline(this.#clock, this.remainingMs * share, signal);
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
