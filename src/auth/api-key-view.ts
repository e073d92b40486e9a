/**
 * API keys that were looked up, remembered for as long as no key was changed. The version of the keys is asked for all
 * the time from the first look-up on; what was confirmed too long ago does not count, so that a revoked key is refused
 * everywhere within a second, or the request fails.
 */
import { bounds } from '../config/bounds.ts';
import type { ApiKey } from '../core/api-key.ts';
import type { Clock } from '../core/clock.ts';
import { LruMap } from '../core/lru-map.ts';
import { Poller } from '../shared-state/poller.ts';
import type { ApiKeyStore } from '../storage/api-keys.ts';
import type { Log } from '../telemetry/telemetry.ts';

export interface ApiKeyViewOptions {
  readonly store: Pick<ApiKeyStore, 'find' | 'version'>;
  readonly clock: Clock;
  readonly log: Log;
}

export class ApiKeyView {
  readonly #store: ApiKeyViewOptions['store'];
  readonly #clock: Clock;
  readonly #poller: Poller;
  readonly #listeners = new Set<() => void>();
  #keys = emptyMap();
  #version = -1;
  /** When the store last said which version it has; the moment before it was asked. */
  #confirmedAtMs = Number.NEGATIVE_INFINITY;

  constructor({ store, clock, log }: ApiKeyViewOptions) {
    this.#store = store;
    this.#clock = clock;
    const { apiKeyPollMs: pollMs } = bounds;
    this.#poller = new Poller({ subject: 'API keys', ask: () => this.#ask(), pollMs, clock, log });
    this.#poller.start();
  }

  /** Throws `STORE_UNAVAILABLE`. */
  async find(hash: string): Promise<ApiKey | undefined> {
    const known = this.#isConfirmed() ? this.#keys.get(hash) : undefined;
    if (known !== undefined) return known;
    const askedAtMs = this.#clock.monotonic();
    const { apiKey, version } = await this.#store.find(hash);
    this.#confirm(version, askedAtMs);
    // Found before a change that is known by now, it may be what has changed.
    if (apiKey !== undefined && version === this.#version) this.#keys.set(hash, apiKey);
    return apiKey;
  }

  /** Forgets everything: for whoever has just changed a key. */
  forget(): void {
    this.#keys = emptyMap();
    this.#confirmedAtMs = Number.NEGATIVE_INFINITY;
    this.#tell();
  }

  onChanged(listener: () => void): void {
    this.#listeners.add(listener);
  }

  async close(): Promise<void> {
    await this.#poller.close();
  }

  #isConfirmed(): boolean {
    return this.#clock.monotonic() - this.#confirmedAtMs <= bounds.apiKeyViewMsMax;
  }

  /** Without an answer what is remembered is not confirmed, and soon counts no more; whoever needs it hears why. */
  async #ask(): Promise<void> {
    if (this.#version < 0) return;
    const askedAtMs = this.#clock.monotonic();
    this.#confirm(await this.#store.version(), askedAtMs);
  }

  #confirm(version: number, askedAtMs: number): void {
    // An answer that was overtaken by a newer one tells nothing.
    if (version < this.#version) return;
    const isChanged = version > this.#version && this.#version >= 0;
    if (isChanged) this.#keys = emptyMap();
    this.#version = version;
    this.#confirmedAtMs = Math.max(this.#confirmedAtMs, askedAtMs);
    if (isChanged) this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}

function emptyMap(): LruMap<ApiKey> {
  return new LruMap<ApiKey>(bounds.apiKeyCacheEntriesMax);
}
