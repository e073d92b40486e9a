/**
 * Which limiter counts: the memory of this process, or the store that all gateways share. When that store is away, a
 * production gateway refuses, because a limit that nobody checks is none; a development one counts in memory.
 */
import { TalosError } from '../core/errors.ts';
import type { Charge, TakeCharges, Verdict } from '../core/limit.ts';
import type { LimitTelemetry } from '../telemetry/limits.ts';
import type { MemoryLimiter } from './memory-limiter.ts';

export interface Limiter {
  /** Counts where all gateways see it. */
  readonly take: TakeCharges;
  /** Counts in this process alone, at once. Undefined when `take` does just that. */
  readonly takeHere: ((charges: readonly Charge[]) => Verdict) | undefined;
}

export interface LimiterOptions {
  /** Each with its own tables: what is counted here before the store is asked must not be counted twice. */
  readonly newMemory: () => MemoryLimiter;
  /** Absent where no store is shared. */
  readonly shared: TakeCharges | undefined;
  readonly development: boolean;
  /** After how long a refused caller may ask again. */
  readonly unavailableRetrySec: number;
  readonly telemetry: Pick<LimitTelemetry, 'limitsTaken' | 'limiterUnavailable'>;
}

export function createLimiter(options: LimiterOptions): Limiter {
  const { newMemory, shared, telemetry } = options;
  const memory = newMemory();
  const takeInMemory = (charges: readonly Charge[]) => tell(telemetry, charges, memory.take(charges));
  if (shared === undefined) return { take: async (charges) => takeInMemory(charges), takeHere: undefined };
  const here = newMemory();
  return {
    take: async (charges) => {
      try {
        return tell(telemetry, charges, await shared(charges));
      } catch (error) {
        telemetry.limiterUnavailable();
        if (options.development) return takeInMemory(charges);
        throw new TalosError('RATE_LIMITER_UNAVAILABLE', { cause: error, retryAfterSec: options.unavailableRetrySec });
      }
    },
    takeHere: (charges) => {
      const verdict = here.take(charges);
      return verdict.admitted ? verdict : tell(telemetry, charges, verdict);
    },
  };
}

function tell(telemetry: LimiterOptions['telemetry'], charges: readonly Charge[], verdict: Verdict): Verdict {
  telemetry.limitsTaken(
    charges.map(({ kind }, index) => ({ kind, refused: verdict.readings[index]?.admitted === false })),
    verdict.admitted,
  );
  return verdict;
}
