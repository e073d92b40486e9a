/**
 * What this process knows of revocations: everything up to a moment that is less than a second ago, or it says that it
 * does not know. The table is asked from time to time; a notification only makes that sooner.
 */
import type { VerifiedCapability } from '../core/capability.ts';
import type { Clock } from '../core/clock.ts';
import { type Denial, deny } from '../core/denial.ts';
import type { Revocation } from '../core/revocation.ts';
import { Poller } from '../shared-state/poller.ts';
import type { Log } from '../telemetry/telemetry.ts';

/** A revocation and its place in the order of all. */
interface Numbered extends Revocation {
  readonly revocationId: number;
}

export interface RevocationFeedOptions {
  /** The next revocations after this one, oldest first; empty when there are no more. */
  readonly after: (revocationId: number) => Promise<readonly Numbered[]>;
  readonly clock: Clock;
  readonly log: Log;
  readonly pollMs: number;
  /** How long after the end of a token its revocation is forgotten, in seconds. */
  readonly keptAfterEndSec: number;
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

// A look at all of them, which is not for every poll.
const forgetEverySec = 600;

const unknown: Denial = {
  ...deny('REVOKED', 'revocations_unknown'),
  message: 'Whether the capability has been revoked cannot be told now, so it does not count. Try again.',
  retryable: true,
};

export class RevocationFeed implements Revocations {
  readonly #options: RevocationFeedOptions;
  /** What is revoked, with the second at which it ends by itself. */
  readonly #revoked = { hash: new Map<string, number>(), id: new Map<string, number>() };
  readonly #listeners = new Set<() => void>();
  readonly #poller: Poller;
  #lastId = 0;
  #hasNews = false;
  #forgetAgainSec = 0;

  constructor(options: RevocationFeedOptions) {
    this.#options = options;
    this.#poller = new Poller({
      ...options,
      subject: 'revocations',
      ask: () => this.#askAll(),
      onAnswer: () => this.#tell(),
    });
  }

  /** How many revocations are known. */
  get size(): number {
    return this.#revoked.hash.size + this.#revoked.id.size;
  }

  /** Asks once, and from then on again and again. Rejects when the first answer does not come. */
  async start(): Promise<void> {
    await this.#poller.ask();
    this.#poller.start();
  }

  /** Resolves when what was committed before is known, or cannot be known now. */
  async asked(): Promise<void> {
    await this.#poller.refresh().catch(toGrowOld);
  }

  denialOf({ links }: VerifiedCapability): Denial | undefined {
    const { hash, id } = this.#revoked;
    const isRevoked = links.some((link) => hash.has(link.hash) || (link.id !== undefined && id.has(link.id)));
    if (isRevoked) return deny('REVOKED');
    return this.#isFresh() ? undefined : unknown;
  }

  async freshened(): Promise<void> {
    if (!this.#isFresh()) await this.#poller.ask().catch(toGrowOld);
  }

  onRevoked(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    await this.#poller.close();
  }

  #isFresh(): boolean {
    return this.#poller.ageMs <= this.#options.ageMsMax;
  }

  async #askAll(): Promise<void> {
    for (;;) {
      const revocations = await this.#options.after(this.#lastId);
      for (const { kind, value, revocationId, endsAtSec = Number.POSITIVE_INFINITY } of revocations) {
        this.#revoked[kind].set(value, endsAtSec);
        this.#lastId = revocationId;
      }
      if (revocations.length === 0) return this.#forgetOver();
      this.#hasNews = true;
    }
  }

  /** What has ended by itself is refused for that; so that there is an end to what is remembered. */
  #forgetOver(): void {
    const nowSec = this.#options.clock.now() / 1000;
    if (nowSec < this.#forgetAgainSec) return;
    this.#forgetAgainSec = nowSec + forgetEverySec;
    for (const values of Object.values(this.#revoked)) {
      for (const [value, endsAtSec] of values) {
        if (endsAtSec + this.#options.keptAfterEndSec < nowSec) values.delete(value);
      }
    }
  }

  // Only now, because whoever hears of it asks what is known.
  #tell(): void {
    if (!this.#hasNews) return;
    this.#hasNews = false;
    for (const listener of this.#listeners) listener();
  }
}

/** A failure needs no handling: what is known grows old, and that is what counts. */
function toGrowOld(): void {}
