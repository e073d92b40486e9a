/**
 * Looks after what lasts longer than a request: whether its caller still may. The clock and the revocations are asked
 * once a second and whenever something was revoked; the credential when it ends, when keys or roles have changed, and
 * now and then. Nobody has more of them than there may be.
 */
import { bounds } from '../../config/bounds.ts';
import type { Clock } from '../../core/clock.ts';
import type { Denial } from '../../core/denial.ts';
import { TalosError } from '../../core/errors.ts';
import { accountKey, type Caller } from '../caller.ts';

export type CallerEnd = 'capability_ended' | 'credential_ended' | 'idle';

export interface Watched {
  /** Whose it is, as judged last. */
  readonly caller: Caller;
  readonly isIdle?: boolean;
  /** False when the credentials are no longer those of its caller; rejects with what refuses them. */
  reauthenticate(): Promise<boolean>;
  end(reason: CallerEnd): void | Promise<void>;
}

interface Entry<T> {
  readonly watched: T;
  askedAtMs: number;
}

/** By what it is judged whether a caller may be somewhere for longer, and what it hears there. */
export interface LastingRights {
  readonly clock: Clock;
  /** Why the capability does not hold any more; a look at the clock and at what is in memory. */
  readonly validity: (caller: Caller) => Denial | undefined;
  /** Whether a caller may be at the address of a server; without an id, of all. */
  readonly mayReach: (caller: Caller, serverId: string | undefined) => boolean;
  /** Whether a caller may hear that a list of a server has changed. */
  readonly mayHear: (caller: Caller, serverId: string, method: string) => boolean;
}

export interface CallerWatchOptions<T> extends Pick<LastingRights, 'clock' | 'validity'> {
  readonly max: number;
  readonly perCallerMax: number;
  /** Whether the caller may still be there at all, by roles and capability. */
  readonly mayStay: (watched: T) => boolean;
}

export class CallerWatch<T extends Watched> {
  readonly #options: CallerWatchOptions<T>;
  readonly #entries = new Map<T, Entry<T>>();
  readonly #perOwner = new Map<string, number>();
  readonly #due = new Set<Entry<T>>();
  readonly #timer: NodeJS.Timeout;
  #reserved = 0;
  #asking = 0;

  constructor(options: CallerWatchOptions<T>) {
    this.#options = options;
    this.#timer = setInterval(() => this.#sweep(), bounds.streamSweepMs).unref();
  }

  get size(): number {
    return this.#entries.size;
  }

  all(): T[] {
    return [...this.#entries.keys()];
  }

  /** Takes a place for one more. Throws `SESSIONS_FULL`. Call what it returns once, when the place is free again. */
  reserve(caller: Caller): () => void {
    const owner = accountKey(caller);
    const own = this.#perOwner.get(owner) ?? 0;
    if (this.#reserved >= this.#options.max || own >= this.#options.perCallerMax) {
      throw new TalosError('SESSIONS_FULL', { retryAfterSec: bounds.mcpSessionRetrySec });
    }
    this.#reserved++;
    this.#perOwner.set(owner, own + 1);
    return () => {
      this.#reserved--;
      const left = (this.#perOwner.get(owner) ?? 1) - 1;
      if (left === 0) this.#perOwner.delete(owner);
      else this.#perOwner.set(owner, left);
    };
  }

  add(watched: T): void {
    const entry = { watched, askedAtMs: this.#options.clock.monotonic() };
    this.#entries.set(watched, entry);
    // What was revoked while it was being opened.
    this.#judge(entry);
  }

  remove(watched: T): void {
    const entry = this.#entries.get(watched);
    if (entry !== undefined) this.#due.delete(entry);
    this.#entries.delete(watched);
  }

  /** Something was revoked. */
  judgeAll(): void {
    for (const entry of [...this.#entries.values()]) this.#judge(entry);
  }

  /** Keys or roles have changed. */
  reauthenticateAll(): void {
    for (const entry of this.#entries.values()) this.#ask(entry);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  #sweep(): void {
    const nowMs = this.#options.clock.monotonic();
    for (const entry of [...this.#entries.values()]) {
      if (this.#judge(entry)) continue;
      const { watched } = entry;
      const hasExpired = (watched.caller.expiresAtMs ?? Number.POSITIVE_INFINITY) <= this.#options.clock.now();
      if (hasExpired || nowMs - entry.askedAtMs >= bounds.streamReauthoriseMs) this.#ask(entry);
      else if (watched.isIdle === true) void watched.end('idle');
    }
  }

  /** True when it is over. While nobody can tell, nothing is ended: whatever is asked in it is refused by itself. */
  #judge({ watched }: Entry<T>): boolean {
    const denial = this.#options.validity(watched.caller);
    if (denial === undefined || denial.retryable === true) return false;
    void watched.end('capability_ended');
    return true;
  }

  /** A few at a time: the answer may be the store's. */
  #ask(entry: Entry<T>): void {
    this.#due.add(entry);
    while (this.#asking < bounds.streamReauthorisingMax && this.#due.size > 0) void this.#askDue();
  }

  async #askDue(): Promise<void> {
    this.#asking++;
    for (const entry of this.#due) {
      this.#due.delete(entry);
      const askedAtMs = this.#options.clock.monotonic();
      const holds = await this.#stillHolds(entry.watched);
      if (holds === false) void entry.watched.end('credential_ended');
      // When nobody can tell now, the next sweep asks again.
      entry.askedAtMs = holds === undefined ? Number.NEGATIVE_INFINITY : askedAtMs;
    }
    this.#asking--;
  }

  async #stillHolds(watched: T): Promise<boolean | undefined> {
    try {
      return (await watched.reauthenticate()) && this.#options.mayStay(watched);
    } catch (error) {
      return error instanceof TalosError && error.status < 500 && error.status !== 429 ? false : undefined;
    }
  }
}
