/**
 * From token to authority. A token is verified once and remembered by its hash; what the clock says is asked again on
 * every request, with the same rule. Requests that bring the same new token at once share one verification.
 */
import { bounds } from '../config/bounds.ts';
import { checkValidityNow, verifyCapability } from '../core/capability.ts';
import type { Clock } from '../core/clock.ts';
import { type Denial, isDenial } from '../core/denial.ts';
import { sha256Hex } from '../core/hash.ts';
import { LruMap } from '../core/lru-map.ts';
import { type Authority, compileAuthority } from './authority.ts';

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
  readonly entriesMax?: number;
}

export class CapabilityVerifier {
  readonly #trustedIssuers: ReadonlySet<string>;
  readonly #clock: Clock;
  readonly #verified: LruMap<Authority>;
  // As many as requests wait for a verification; each leaves when it is done.
  readonly #pending = new Map<string, Promise<Authority | Denial>>();
  #hits = 0;
  #misses = 0;

  constructor(options: CapabilityVerifierOptions) {
    this.#trustedIssuers = options.trustedIssuers;
    this.#clock = options.clock;
    this.#verified = new LruMap(options.entriesMax ?? bounds.capabilityCacheEntriesMax);
  }

  /** The authority of a token, or why it has none. Never throws because of what the token holds. */
  async authorityOf(token: string): Promise<Authority | Denial> {
    // By hash, so that what is remembered cannot be presented, and keys stay short.
    const key = sha256Hex(token);
    const known = this.#verified.get(key);
    if (known === undefined) return await this.#verifyOnce(key, token);
    this.#hits++;
    const denial = checkValidityNow(known.capability, this.#nowSec(), bounds.clockSkewSec);
    if (denial === undefined) return known;
    this.#verified.delete(key);
    return denial;
  }

  get stats(): CapabilityCacheStats {
    const { size, evictions } = this.#verified;
    return { size, hits: this.#hits, misses: this.#misses, evictions };
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
        trustedIssuers: this.#trustedIssuers,
        nowSec: this.#nowSec(),
        skewSec: bounds.clockSkewSec,
        tokenCharsMax: bounds.capabilityTokenCharsMax,
      });
      if (isDenial(verified)) return verified;
      const authority = compileAuthority(verified);
      this.#verified.set(key, authority);
      return authority;
    } finally {
      this.#pending.delete(key);
    }
  }

  #nowSec(): number {
    return Math.floor(this.#clock.now() / 1000);
  }
}
