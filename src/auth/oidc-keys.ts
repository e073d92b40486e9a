/**
 * The keys of an OpenID Connect issuer: discovered, remembered, and asked for anew when they have grown old or a token
 * names one that is not among them. Asking is bounded in rate, so that strangers with made-up key names cannot make the
 * gateway a nuisance to the issuer. While the issuer is away the keys that are known go on to count, for a day.
 */
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import { bounds } from '../config/bounds.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, TalosError } from '../core/errors.ts';
import { isJsonObject, type JsonObject } from '../core/json.ts';
import type { Log } from '../telemetry/telemetry.ts';

export interface OidcKeysOptions {
  readonly issuer: string;
  /** Where the keys are; discovered when undefined. */
  readonly jwksUrl: string | undefined;
  /** The body of a 200, bounded in time and size. */
  readonly fetch: (url: string) => Promise<Buffer>;
  readonly clock: Clock;
  readonly log: Log;
}

interface KeySet {
  readonly keyOf: ReturnType<typeof createLocalJWKSet>;
  readonly fetchedAtMs: number;
}

export class OidcKeys {
  readonly #options: OidcKeysOptions;
  #keys: KeySet | undefined;
  #triedAtMs = Number.NEGATIVE_INFINITY;
  #failed = false;
  #refreshing: Promise<void> | undefined;

  constructor(options: OidcKeysOptions) {
    this.#options = options;
  }

  /**
   * The key for a token. Throws what `jose` throws when no key of the issuer fits, and `IDENTITY_PROVIDER_UNAVAILABLE`
   * when it is not known which keys the issuer has.
   */
  readonly keyOf: JWTVerifyGetKey = async (header, token) => {
    if (this.#age() > bounds.oidcKeysFreshMs) await this.#refresh();
    try {
      return await this.#current().keyOf(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
    }
    await this.#refresh();
    // Whether the key is one of theirs cannot be said while they do not answer.
    if (this.#failed) throw new TalosError('IDENTITY_PROVIDER_UNAVAILABLE');
    return await this.#current().keyOf(header, token);
  };

  #current(): KeySet {
    const keys = this.#keys;
    if (keys === undefined || this.#age() > bounds.oidcKeysStaleMs) {
      throw new TalosError('IDENTITY_PROVIDER_UNAVAILABLE');
    }
    return keys;
  }

  #age(): number {
    return this.#keys === undefined ? Number.POSITIVE_INFINITY : this.#now() - this.#keys.fetchedAtMs;
  }

  #now(): number {
    return this.#options.clock.monotonic();
  }

  /** Asks the issuer, unless it was asked just now. Never throws. */
  #refresh(): Promise<void> {
    if (this.#refreshing !== undefined) return this.#refreshing;
    if (this.#now() - this.#triedAtMs < bounds.oidcRefetchMs) return Promise.resolve();
    this.#triedAtMs = this.#now();
    this.#refreshing = this.#fetchKeys().finally(() => {
      this.#refreshing = undefined;
    });
    return this.#refreshing;
  }

  async #fetchKeys(): Promise<void> {
    const { issuer, log } = this.#options;
    try {
      const keys = (await this.#json(await this.#jwksUrl())) as unknown as JSONWebKeySet;
      this.#keys = { keyOf: createLocalJWKSet(keys), fetchedAtMs: this.#now() };
      if (this.#failed) log.info(`the keys of the issuer ${issuer} can be had again`);
      this.#failed = false;
    } catch (error) {
      if (!this.#failed) log.warn(`the keys of the issuer ${issuer} cannot be had: ${describeError(error)}`);
      this.#failed = true;
    }
  }

  async #jwksUrl(): Promise<string> {
    const { issuer, jwksUrl } = this.#options;
    if (jwksUrl !== undefined) return jwksUrl;
    const document = await this.#json(`${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`);
    // OpenID Connect Discovery 4.3: or one issuer could speak for another.
    if (document['issuer'] !== issuer) throw new Error('its discovery document names another issuer');
    return soundUrl(document['jwks_uri'], issuer);
  }

  async #json(url: string): Promise<JsonObject> {
    const value: unknown = JSON.parse((await this.#options.fetch(url)).toString('utf8'));
    if (!isJsonObject(value)) throw new Error('it answered something that is no JSON object');
    return value;
  }
}

/** The address that a document names, which may be no less protected than the one that the document came from. */
function soundUrl(text: unknown, issuer: string): string {
  const url = typeof text === 'string' ? URL.parse(text) : null;
  const isProtected = url?.protocol === 'https:' || (url?.protocol === 'http:' && issuer.startsWith('http:'));
  if (url === null || !isProtected || url.username !== '' || url.password !== '') {
    throw new Error('its discovery document names no sound address for its keys');
  }
  return url.href;
}
