/**
 * From token to authority. A token is verified once and remembered by its hash; what the clock and the revocations say is
 * asked again on every request, with the same rule. Requests that bring the same new token at once share one verification.
 */
import { bounds } from '../config/bounds.ts';
import { checkValidityNow, type VerifiedCapability, verifyCapability } from '../core/capability.ts';
import type { Clock } from '../core/clock.ts';
import { type Denial, deny, isDenial } from '../core/denial.ts';
import { sha256Hex } from '../core/hash.ts';
import { LruMap } from '../core/lru-map.ts';
import { type Authority, compileAuthority } from './authority.ts';
import type { SchemaCompiler } from './constraints.ts';
import { type ReadLink, readLinks } from './refused-links.ts';
import type { Revocations } from './revocation-feed.ts';

export interface CapabilityCacheStats {
  readonly size: number;
  readonly hits: number;
  readonly misses: number;
  readonly evictions: number;
}

export interface CapabilityVerifierOptions {
  /** As `didSet` gives them. */
  readonly trustedIssuers: ReadonlySet<string>;
  readonly clock: Clock;
  /** Without them nothing counts as revoked. */
  readonly revocations?: Revocations;
  /** Without one, capabilities with an `input_schema` refuse everything. */
  readonly compileSchema?: SchemaCompiler;
  readonly entriesMax?: number;
}

export class CapabilityVerifier {
  readonly #options: CapabilityVerifierOptions;
  readonly #verified: LruMap<Authority>;
  // As many as requests wait for a verification; each leaves when it is done.
  readonly #pending = new Map<string, Promise<Authority | Denial>>();
  #hits = 0;
  #misses = 0;

  constructor(options: CapabilityVerifierOptions) {
    this.#options = options;
    this.#verified = new LruMap(options.entriesMax ?? bounds.capabilityCacheEntriesMax);
  }

  /** The authority of a token, or why it has none. Never throws because of what the token holds. */
  async authorityOf(token: string): Promise<Authority | Denial> {
    // By hash, so that what is remembered cannot be presented, and keys stay short.
    const key = sha256Hex(token);
    const authority = this.#remembered(key) ?? (await this.#verifyOnce(key, token));
    if (isDenial(authority)) return authority;
    const denial = this.stillValid(authority) && (await this.stillValidOrFreshened(authority));
    if (denial === undefined) return authority;
    if (denial.retryable === undefined) this.#verified.delete(key);
    return denial;
  }

  /**
   * What the clock and the revocations say of an authority now: undefined while it counts. A denial that is `retryable`
   * says that nobody can tell now.
   */
  stillValid(authority: Authority): Denial | undefined {
    return this.#untimely(authority) ?? this.#options.revocations?.denialOf(authority.capability);
  }

  /** The same for whoever can wait: asks for the newest revocations when those that are known have grown old. */
  async stillValidOrFreshened(authority: Authority): Promise<Denial | undefined> {
    const denial = this.stillValid(authority);
    if (denial?.retryable === undefined) return denial;
    await this.#options.revocations?.freshened();
    return this.stillValid(authority);
  }

  /** The links of a token, whether it counts or not, each with what is wrong with it; revocations aside. */
  async linksOf(token: string): Promise<readonly ReadLink[]> {
    const { trustedIssuers, compileSchema } = this.#options;
    const { clockSkewSec: skewSec, capabilityTokenCharsMax: tokenCharsMax } = bounds;
    return await readLinks(token, { trustedIssuers, compileSchema, nowSec: this.#nowSec(), skewSec, tokenCharsMax });
  }

  /** The authority of what was verified before, by this process or another one, or why it counts no more. */
  async revive(capability: VerifiedCapability): Promise<Authority | Denial> {
    // Who is trusted may have changed since.
    const [root] = capability.links;
    if (root === undefined || !this.#options.trustedIssuers.has(root.issuer)) {
      return deny('SIGNATURE_INVALID', 'issuer_untrusted');
    }
    const authority = compileAuthority(capability, this.#options.compileSchema);
    return (await this.stillValidOrFreshened(authority)) ?? authority;
  }

  /** Calls back whenever some capability was revoked, until the returned function is called: ask `stillValid` again then. */
  onRevoked(listener: () => void): () => void {
    return this.#options.revocations?.onRevoked(listener) ?? (() => undefined);
  }

  get stats(): CapabilityCacheStats {
    const { size, evictions } = this.#verified;
    return { size, hits: this.#hits, misses: this.#misses, evictions };
  }

  #untimely({ capability }: Authority): Denial | undefined {
    return checkValidityNow(capability, this.#nowSec(), bounds.clockSkewSec);
  }

  #remembered(key: string): Authority | undefined {
    const known = this.#verified.get(key);
    if (known !== undefined) this.#hits++;
    return known;
  }

  #verifyOnce(key: string, token: string): Promise<Authority | Denial> {
    this.#misses++;
    const pending = this.#pending.get(key) ?? this.#verify(key, token);
    this.#pending.set(key, pending);
    return pending;
  }

  async #verify(key: string, token: string): Promise<Authority | Denial> {
    try {
      const verified = await verifyCapability(token, {
        trustedIssuers: this.#options.trustedIssuers,
        nowSec: this.#nowSec(),
        skewSec: bounds.clockSkewSec,
        tokenCharsMax: bounds.capabilityTokenCharsMax,
      });
      if (isDenial(verified)) return verified;
      const authority = compileAuthority(verified, this.#options.compileSchema);
      this.#verified.set(key, authority);
      return authority;
    } finally {
      this.#pending.delete(key);
    }
  }

  #nowSec(): number {
    return Math.floor(this.#options.clock.now() / 1000);
  }
}
