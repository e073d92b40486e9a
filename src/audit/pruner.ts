/** Forgets what is too old, now and then, for as long as the process lives. */
import { describeError } from '../core/errors.ts';
import { recur } from '../core/recur.ts';
import type { Log } from '../telemetry/telemetry.ts';

export interface PrunerOptions {
  /** What forgets, by the words for what is forgotten. One that fails does not keep the others from it. */
  readonly prunes: Readonly<Record<string, () => Promise<unknown>>>;
  readonly intervalMs: number;
  readonly log: Log;
}

/** Resolves its `close` when no pruning is under way any more. */
export function startPruner({ prunes, intervalMs, log }: PrunerOptions): { readonly close: () => Promise<void> } {
  const pruning = recur(intervalMs, pruneAll);

  async function pruneAll(): Promise<void> {
    for (const [what, prune] of Object.entries(prunes)) {
      await prune().catch((error: unknown) => log.warn(`${what} could not be pruned: ${describeError(error)}`));
    }
  }

  return { close: pruning.stop };
}
