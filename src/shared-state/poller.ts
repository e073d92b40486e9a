/**
 * Asks the store again and again, so that what one process changed is soon known to all. One question at a time: what was
 * asked first cannot overwrite what was learnt later.
 */
import type { Clock } from '../core/clock.ts';
import { describeError } from '../core/errors.ts';
import { SingleFlight } from '../core/single-flight.ts';
import type { Log } from '../telemetry/telemetry.ts';

export interface PollerOptions {
  /** What is asked about, as a plural for log lines. */
  readonly subject: string;
  /** Asks, and takes in what is new. Rejects when the store does not say. */
  readonly ask: () => Promise<void>;
  /** Called after each answer, when `ageMs` tells of it already. */
  readonly onAnswer?: () => void;
  readonly pollMs: number;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly log: Log;
}

export class Poller {
  readonly #options: PollerOptions;
  #askedAtMs = Number.NEGATIVE_INFINITY;
  readonly #asking = new SingleFlight<void>();
  #timer: NodeJS.Timeout | undefined;
  #isLost = false;
  #isClosed = false;

  constructor(options: PollerOptions) {
    this.#options = options;
  }

  /** How long ago the last question that was answered was asked: the answer tells of what was committed before that. */
  get ageMs(): number {
    return this.#options.clock.monotonic() - this.#askedAtMs;
  }

  /** Asks in `pollMs`, and so on. */
  start(): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => void this.#poll().then(() => this.start()), this.#options.pollMs).unref();
  }

  /** Resolves with the answer to the question that is under way, or to a new one. Rejects as `ask` does. */
  ask(): Promise<void> {
    return this.#asking.run(() => this.#ask());
  }

  /** Resolves when what was committed before is known. Rejects as `ask` does. */
  async refresh(): Promise<void> {
    // A question that is under way may have been asked too early.
    await this.#asking.settled();
    await this.ask();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#asking.settled();
  }

  async #ask(): Promise<void> {
    const askedAtMs = this.#options.clock.monotonic();
    await this.#options.ask();
    this.#askedAtMs = askedAtMs;
    this.#options.onAnswer?.();
  }

  async #poll(): Promise<void> {
    const { subject, log } = this.#options;
    try {
      await this.ask();
      if (this.#isLost) log.info(`the ${subject} can be read again`);
      this.#isLost = false;
    } catch (error) {
      if (!this.#isLost) log.warn({ reason: describeError(error) }, `the ${subject} cannot be read`);
      this.#isLost = true;
    }
  }
}
