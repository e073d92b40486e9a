/** How often something happened lately, in a bounded memory: counted by slots, of which the oldest is let go of whole. */
import type { Clock } from './clock.ts';

const slots = 60;

export class RecentCount {
  readonly #clock: Pick<Clock, 'monotonic'>;
  readonly #slotMs: number;
  /** By number of the slot since the clock began. */
  readonly #counts = new Map<number, number>();

  /** Exact to a sixtieth of `windowMs`. */
  constructor(clock: Pick<Clock, 'monotonic'>, windowMs: number) {
    this.#clock = clock;
    this.#slotMs = windowMs / slots;
  }

  note(): void {
    const slot = this.#forgetOld();
    this.#counts.set(slot, (this.#counts.get(slot) ?? 0) + 1);
  }

  get value(): number {
    this.#forgetOld();
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }

  #forgetOld(): number {
    const now = Math.floor(this.#clock.monotonic() / this.#slotMs);
    for (const slot of this.#counts.keys()) if (slot <= now - slots) this.#counts.delete(slot);
    return now;
  }
}
