/** When something that crashed may start again: each failure doubles the wait, a long healthy run forgets them. */
import type { Clock } from '../../core/clock.ts';

export interface BackoffOptions {
  readonly clock: Clock;
  readonly minMs: number;
  readonly maxMs: number;
}

export class Backoff {
  readonly #options: BackoffOptions;
  #failures = 0;
  #openAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** How long until the next attempt is allowed; 0 when it is. */
  get waitMs(): number {
    return Math.max(0, this.#openAtMs - this.#options.clock.monotonic());
  }

  /** Notes a failure after `ranMs` of running. */
  failed(ranMs: number): void {
    const { clock, minMs, maxMs } = this.#options;
    if (ranMs >= maxMs) this.#failures = 0;
    const delayMs = Math.min(maxMs, minMs * 2 ** Math.min(this.#failures, 30));
    this.#failures++;
    this.#openAtMs = clock.monotonic() + delayMs;
  }
}
