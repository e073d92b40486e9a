/** Forgets idempotency keys whose time is over, now and then, for as long as the process lives. */
import { describeError } from '../core/errors.ts';
import type { Log } from '../telemetry/telemetry.ts';

export interface ReservationPrunerOptions {
  /** Resolves with how many keys were forgotten. */
  readonly prune: () => Promise<number>;
  readonly intervalMs: number;
  readonly log: Log;
}

/** Resolves its `close` when no pruning is under way any more. */
export function startReservationPruner({ prune, intervalMs, log }: ReservationPrunerOptions): {
  readonly close: () => Promise<void>;
} {
  let running: Promise<unknown> | undefined;
  const timer = setInterval(() => {
    running ??= prune()
      .catch((error: unknown) => log.warn(`idempotency keys could not be pruned: ${describeError(error)}`))
      .finally(() => {
        running = undefined;
      });
  }, intervalMs);
  timer.unref();
  return {
    async close() {
      clearInterval(timer);
      await running;
    },
  };
}
