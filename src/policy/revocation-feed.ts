/**
 * What this process knows of revocations: everything up to a moment that is less than a second ago, or it says that it
 * does not know. The table is asked from time to time; a notification only makes that sooner.
 */
import type { VerifiedCapability } from '../core/capability.ts';
import type { Clock } from '../core/clock.ts';
import { type Denial, deny } from '../core/denial.ts';
import type { Revocation } from '../core/revocation.ts';

/** A revocation and its place in the order of all. */
interface Numbered extends Revocation {
  readonly revocationId: number;
}

export interface RevocationFeedOptions {
  /** The next revocations after this one, oldest first; empty when there are no more. */
  readonly after: (revocationId: number) => Promise<readonly Numbered[]>;
  readonly clock: Clock;
  readonly pollMs: number;
  /** How long ago the table may have been asked for what is known to count. */
  readonly ageMsMax: number;
}

/** What a verifier needs to know of revocations. */
export interface Revocations {
  /** The denial of a capability that is revoked, or of which that cannot be told; undefined when it counts. */
  readonly denialOf: (capability: VerifiedCapability) => Denial | undefined;
  /** Resolves when what is known is fresh or cannot be freshened now; at once when it is. */
  readonly freshened: () => Promise<void>;
  /** Calls back whenever something was revoked, until the returned function is called. */
  readonly onRevoked: (listener: () => void) => () => void;
}

const unknown: Denial = {
  ...deny('REVOKED', 'revocations_unknown'),
  message: 'Whether the capability has been revoked cannot be told now, so it does not count. Try again.',
  retryable: true,
};

export class RevocationFeed implements Revocations {
  readonly #options: RevocationFeedOptions;
  readonly #revoked = { hash: new Set<string>(), id: new Set<string>() };
  readonly #listeners = new Set<() => void>();
  #lastId = 0;
  #asOfMs = Number.NEGATIVE_INFINITY;
  #asking: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: RevocationFeedOptions) {
    this.#options = options;
  }

  /** How many revocations are known. */
  get size(): number {
    return this.#revoked.hash.size + this.#revoked.id.size;
  }

  /** Asks once, and from then on again and again. Rejects when the first answer does not come. */
  async start(): Promise<void> {
    await this.#ask();
    this.#schedule();
  }

  /** Resolves when what was committed before is known, or cannot be known now. */
  async asked(): Promise<void> {
    // A question that is under way may have been asked too early.
    await this.#asking?.catch(() => undefined);
    await this.#askQuietly();
  }

  denialOf({ links }: VerifiedCapability): Denial | undefined {
    const { hash, id } = this.#revoked;
    const isRevoked = links.some((link) => hash.has(link.hash) || (link.id !== undefined && id.has(link.id)));
    if (isRevoked) return deny('REVOKED');
    return this.#isFresh() ? undefined : unknown;
  }

  async freshened(): Promise<void> {
    if (!this.#isFresh()) await this.#askQuietly();
  }

  onRevoked(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#asking?.catch(() => undefined);
  }

  #isFresh(): boolean {
    return this.#options.clock.monotonic() - this.#asOfMs <= this.#options.ageMsMax;
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => void this.#askQuietly().then(() => this.#schedule()), this.#options.pollMs);
  }

  /** A failure needs no handling: what is known grows old, and that is what counts. */
  async #askQuietly(): Promise<void> {
    await this.#ask().catch(() => undefined);
  }

  #ask(): Promise<void> {
    this.#asking ??= this.#askAll().finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #askAll(): Promise<void> {
    // The answer tells of what was committed before the question.
    const askedAtMs = this.#options.clock.monotonic();
    let isNews = false;
    for (;;) {
      const revocations = await this.#options.after(this.#lastId);
      for (const { kind, value, revocationId } of revocations) {
        this.#revoked[kind].add(value);
        this.#lastId = revocationId;
      }
      if (revocations.length === 0) break;
      isNews = true;
    }
    this.#asOfMs = askedAtMs;
    if (isNews) for (const listener of this.#listeners) listener();
  }
}
