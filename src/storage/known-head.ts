/**
 * The head as this writer left it. While nobody else writes, a batch need not ask first where it goes: it is sealed for the
 * place that follows the last one, and the message that writes it locks the head and checks that it still stands there. If it
 * does not, nothing is written, and the batch takes the way of two round trips.
 *
 * With other writers about, a guess is most often wrong, so a writer guesses only after some batches that followed its own.
 */
import type { Clock } from '../core/clock.ts';
import type { Head } from './log-head.ts';

const followedMin = 3;
const clockStepMsMax = 1_000;

export class KnownHead {
  readonly #clock: Clock;
  #head: Head | undefined;
  #knownAt = { wallMs: 0, monotonicMs: 0 };
  #nextSeq: number | undefined;
  #followed = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A batch found the head at `seq`. */
  found(seq: number): void {
    this.#followed = seq === this.#nextSeq ? this.#followed + 1 : 0;
  }

  /** A batch of this writer moved the head here and is durable. `nowMs` is what the database's clock said meanwhile. */
  left(head: Head): void {
    this.#head = head;
    this.#nextSeq = head.nextSeq;
    this.#knownAt = { wallMs: this.#clock.now(), monotonicMs: this.#clock.monotonic() };
  }

  /** Another writer has moved it, or may have. */
  lost(): void {
    this.#head = undefined;
    this.#followed = 0;
  }

  /**
   * The head for the next batch, with the database's time as it must be by now, if it is worth a guess. It is given once:
   * sealing moves it on, and until that is durable it is nobody's.
   */
  take(): Head | undefined {
    const head = this.#head;
    this.#head = undefined;
    if (head === undefined || this.#followed < followedMin) return undefined;
    const { wallMs, monotonicMs } = this.#knownAt;
    const sinceMs = this.#clock.monotonic() - monotonicMs;
    // The machine slept, or its clock was set: the database's is asked again.
    if (Math.abs(this.#clock.now() - wallMs - sinceMs) > clockStepMsMax) return undefined;
    // It was read before its answer came, so this is never ahead of it.
    return { ...head, nowMs: Math.floor(head.nowMs + sinceMs) };
  }
}
