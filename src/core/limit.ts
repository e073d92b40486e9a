/** What is counted against which limit: the nouns that the limiters, the server and the corridors share. */
import { TalosError, type TalosErrorOptions } from './errors.ts';
import type { Rate, Reading } from './gcra.ts';

/** Whose limit: of an address, of a caller, of a caller on one route or one tool server, of a capability. */
export type LimitKind = 'ip' | 'key' | 'route' | 'server' | 'capability';

/** One event, to be counted once. */
export interface Charge {
  readonly kind: LimitKind;
  /** Who is counted, in words that no other bucket of this kind shares. */
  readonly who: string;
  readonly rate: Rate;
}

export interface Verdict {
  /** All limits have room; otherwise nothing was counted against any of them. */
  readonly admitted: boolean;
  /** One for each charge, in the same order. */
  readonly readings: readonly Reading[];
}

/** Counts against all limits, or none. Rejects with `RATE_LIMITER_UNAVAILABLE` when nobody can tell how full they are. */
export type TakeCharges = (charges: readonly Charge[]) => Promise<Verdict>;

/** The name of the bucket that a charge goes to. Another rate is another bucket, because its debt has other units. */
export function bucketOf({ kind, who, rate }: Charge): string {
  return `${kind}/${rate.count}/${rate.periodMs}/${rate.burst}/${who}`;
}

/** The limit that says most: the one that makes the caller wait longest, else the one with the least room. */
export function tightest(verdict: Verdict): number {
  const { readings } = verdict;
  return readings.reduce((best, reading, index) => (isTighter(reading, readings[best]) ? index : best), 0);
}

function isTighter(reading: Reading, other: Reading | undefined): boolean {
  if (other === undefined || reading.retryAfterMs !== other.retryAfterMs) {
    return reading.retryAfterMs > (other?.retryAfterMs ?? -1);
  }
  return reading.remaining < other.remaining;
}

/** The error for what a limit refuses: it names the kind, and when to come back, and knows what was counted. */
export class RateLimited extends TalosError {
  readonly charges: readonly Charge[];
  readonly verdict: Verdict;

  constructor(charges: readonly Charge[], verdict: Verdict, known: TalosErrorOptions = {}) {
    const at = tightest(verdict);
    const retryAfterMs = verdict.readings[at]?.retryAfterMs ?? 0;
    const retryAfterSec = Math.max(1, Math.ceil(retryAfterMs / 1000));
    super('RATE_LIMITED', { retryAfterSec, details: { limit: charges[at]?.kind }, ...known });
    this.charges = charges;
    this.verdict = verdict;
  }

  override with(known: TalosErrorOptions): RateLimited {
    return new RateLimited(this.charges, this.verdict, known);
  }
}

export function rateLimited(charges: readonly Charge[], verdict: Verdict): RateLimited {
  return new RateLimited(charges, verdict);
}
