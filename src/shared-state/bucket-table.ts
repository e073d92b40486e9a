/**
 * A bounded table of buckets. One that still holds something is never dropped, so nobody gets rid of his own debt by
 * filling the table; one that has run empty says nothing and goes when room is needed.
 */
import type { Level } from '../core/gcra.ts';

interface Bucket {
  readonly level: Level;
  readonly emptyAtMs: number;
}

// How many buckets are looked at for each new one: more than one, so that the table shrinks when it can.
const sweptPerBucket = 4;

export class BucketTable {
  readonly #bucketsMax: number;
  readonly #buckets = new Map<string, Bucket>();
  #sweeping: MapIterator<[string, Bucket]>;

  constructor(bucketsMax: number) {
    this.#bucketsMax = bucketsMax;
    this.#sweeping = this.#buckets.entries();
  }

  get size(): number {
    return this.#buckets.size;
  }

  levelOf(name: string): Level | undefined {
    return this.#buckets.get(name)?.level;
  }

  /** Whether the bucket is there or there is room for it. Drops some that are empty at `nowMs`. */
  accepts(name: string, nowMs: number): boolean {
    if (this.#buckets.has(name)) return true;
    this.#dropEmpty(nowMs);
    return this.#buckets.size < this.#bucketsMax;
  }

  set(name: string, level: Level, emptyAtMs: number): void {
    this.#buckets.set(name, { level, emptyAtMs });
  }

  #dropEmpty(nowMs: number): void {
    for (let looked = 0; looked < sweptPerBucket; looked++) {
      const { value, done } = this.#sweeping.next();
      if (done === true) {
        this.#sweeping = this.#buckets.entries();
        return;
      }
      const [name, { emptyAtMs }] = value;
      if (emptyAtMs <= nowMs) this.#buckets.delete(name);
    }
  }
}
