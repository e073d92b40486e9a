/**
 * How many requests one tool server works on at once, and who waits: first come, first served. Nobody waits for longer
 * than the queue's patience or his own, and whoever gives up leaves at once.
 */
import type { Deadline } from '../deadline.ts';
import { UpstreamError } from '../upstream-error.ts';

export interface CallQueueOptions {
  readonly inFlightMax: number;
  readonly queuedMax: number;
  readonly waitMs: number;
  /** Told after each change. */
  readonly onLoad: (load: { readonly inFlight: number; readonly queued: number }) => void;
}

export class CallQueue {
  readonly #options: CallQueueOptions;
  // In the order in which they came.
  readonly #waiting = new Set<() => void>();
  #inFlight = 0;

  constructor(options: CallQueueOptions) {
    this.#options = options;
  }

  /**
   * Runs `work` when it is its turn. Rejects with `UPSTREAM_BUSY` when the queue is full or too slow, or with how the
   * deadline ended; nothing was sent then.
   */
  async run<T>(deadline: Deadline, work: () => Promise<T>): Promise<T> {
    if (this.#inFlight >= this.#options.inFlightMax) await this.#turn(deadline);
    else this.#inFlight++;
    this.#tell();
    try {
      return await work();
    } finally {
      this.#leave();
    }
  }

  /** Resolves with a place that another one has left: `#inFlight` counts it already. */
  #turn(deadline: Deadline): Promise<void> {
    if (this.#waiting.size >= this.#options.queuedMax) throw busy();
    return new Promise((resolve, reject) => {
      const settle = () => {
        clearTimeout(timer);
        unwatch();
        this.#waiting.delete(enter);
        this.#tell();
      };
      const enter = () => {
        settle();
        resolve();
      };
      const giveUp = (error: UpstreamError) => {
        settle();
        reject(error);
      };
      const timer = setTimeout(() => giveUp(busy()), this.#options.waitMs);
      const unwatch = deadline.watch((end) => giveUp(new UpstreamError(end, { dispatched: false })));
      this.#waiting.add(enter);
      this.#tell();
    });
  }

  #leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#inFlight--;
      this.#tell();
    } else next();
  }

  #tell(): void {
    this.#options.onLoad({ inFlight: this.#inFlight, queued: this.#waiting.size });
  }
}

function busy(): UpstreamError {
  return new UpstreamError('UPSTREAM_BUSY', { dispatched: false });
}
