/** Work that comes round by itself: never two rounds at once, and none of it keeps the process alive. */
import { SingleFlight } from './single-flight.ts';

export interface Recurrence {
  /** The round that is under way, or else one that begins now, whether or not it was stopped. Never rejects. */
  readonly now: () => Promise<void>;
  /** No round begins by itself any more. Resolves when the one under way is over, whatever became of it. */
  readonly stop: () => Promise<void>;
}

/**
 * Does `work` every `everyMs`, for the first time when that has passed. A failure goes to `onFailure` and the next round
 * comes all the same; work that tells of its failures itself, and never rejects, needs none.
 */
export function recur(everyMs: number, work: () => Promise<void>, onFailure?: (error: unknown) => void): Recurrence {
  const rounds = new SingleFlight<void>();
  const now = () => rounds.run(() => work().catch(onFailure));
  const timer = setInterval(() => void now(), everyMs).unref();
  return {
    now,
    async stop() {
      clearInterval(timer);
      await rounds.settled();
    },
  };
}
