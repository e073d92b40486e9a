/** Chance that can be repeated: the same seed makes the same choices, as far as time allows. */
export interface Dice {
  readonly seed: number;
  /** A whole number from 0 to `end` - 1. */
  readonly below: (end: number) => number;
  /** A whole number from `from` to `to`. */
  readonly between: (from: number, to: number) => number;
  readonly oneOf: <T>(things: readonly T[]) => T;
}

/** Mulberry32. */
export function dice(seed: number): Dice {
  let state = seed >>> 0;
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (end: number) => Math.floor(next() * end);
  return {
    seed,
    below,
    between: (from, to) => from + below(to - from + 1),
    oneOf: <T>(things: readonly T[]) => things[below(things.length)] as T,
  };
}
