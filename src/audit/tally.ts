/** Sums by key in bounded memory: so many keys, and whatever finds no room is counted under a key for all others. */

/** What was counted under one key. */
export interface Sum {
  readonly key: string;
  /** Wall time of the first. */
  readonly fromMs: number;
  readonly count: number;
  /** How many of them were answered with an error. */
  readonly errors: number;
}

export class Tally<S extends Sum> {
  readonly #keysMax: number;
  readonly #others: (sum: S) => S;
  #sums = new Map<string, S>();

  /** `others` gives a sum that finds no room its place; it must know only a few keys. */
  constructor(keysMax: number, others: (sum: S) => S) {
    this.#keysMax = keysMax;
    this.#others = others;
  }

  add(sum: S): void {
    const hasRoom = this.#sums.has(sum.key) || this.#sums.size < this.#keysMax;
    const placed = hasRoom ? sum : this.#others(sum);
    const known = this.#sums.get(placed.key);
    this.#sums.set(placed.key, known === undefined ? placed : merged(known, placed));
  }

  /** All sums; the tally is empty afterwards. */
  take(): S[] {
    const sums = [...this.#sums.values()];
    this.#sums = new Map();
    return sums;
  }

  putBack(sums: readonly S[]): void {
    for (const sum of sums) this.add(sum);
  }
}

function merged<S extends Sum>(a: S, b: S): S {
  const fromMs = Math.min(a.fromMs, b.fromMs);
  return { ...a, fromMs, count: a.count + b.count, errors: a.errors + b.errors };
}
