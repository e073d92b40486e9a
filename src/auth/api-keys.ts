/**
 * API keys: random, shown once, known to the gateway only by their HMAC under the pepper. Because the pepper is secret,
 * a look-up by that HMAC tells nothing by the time it takes.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { bounds } from '../config/bounds.ts';
import type { Secret } from '../config/secret.ts';
import { type ApiKey, type ApiKeyDigest, apiKeyPrefix, isApiKeyInForce } from '../core/api-key.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, TalosError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import { recur } from '../core/recur.ts';
import type { ApiKeyStore } from '../storage/api-keys.ts';
import type { Log } from '../telemetry/telemetry.ts';
import { ApiKeyView } from './api-key-view.ts';
import type { Identity } from './identity.ts';

export interface ApiKeysOptions {
  readonly store: Pick<ApiKeyStore, 'find' | 'version' | 'touch'>;
  /** Without one there are no keys. */
  readonly pepper: Secret | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** A fresh key: shown once, kept nowhere. */
export interface MintedKey {
  readonly key: string;
  readonly hint: string;
  readonly digest: ApiKeyDigest;
}

export interface ApiKeys {
  /** Throws `AUTH_INVALID` when the key is none, is revoked or is over; `STORE_UNAVAILABLE` when it cannot be said. */
  readonly identify: (key: string) => Promise<Identity>;
  /** Throws `API_KEYS_DISABLED` without a pepper. */
  readonly mint: () => MintedKey;
  /** For whoever has changed a key: nothing that is remembered counts any more. */
  readonly forget: () => void;
  /** Calls back whenever some key may have changed: identify again then. */
  readonly onChanged: (listener: () => void) => void;
  readonly close: () => Promise<void>;
}

export function createApiKeys({ store, pepper, clock, log }: ApiKeysOptions): ApiKeys {
  const view = new ApiKeyView({ store, clock, log });
  const uses = startUses(store, log);
  return {
    async identify(key) {
      if (pepper === undefined || !keyPattern.test(key)) throw new TalosError('AUTH_INVALID');
      const apiKey = await view.find(hmac(key, pepper));
      assertInForce(apiKey, clock.now());
      uses.note(apiKey.id);
      const { id, principalId, teamId, permissions, expiresAtMs } = apiKey;
      return {
        principal: { authMode: 'bearer', id: principalId, teamId },
        ...{ permissions, keyId: id },
        ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
      };
    },
    mint() {
      if (pepper === undefined) throw new TalosError('API_KEYS_DISABLED');
      const key = apiKeyPrefix + randomBytes(keyBytes).toString('base64url');
      return { key, hint: key.slice(0, hintChars), digest: { hash: hmac(key, pepper), pepperId: pepperIdOf(pepper) } };
    },
    forget: () => view.forget(),
    onChanged: (listener) => view.onChanged(listener),
    async close() {
      await view.close();
      await uses.close();
    },
  };
}

/** Says so when keys of the store cannot be used with this pepper. */
export async function warnOfOtherPeppers({
  store,
  pepper,
  log,
}: Pick<ApiKeysOptions, 'pepper' | 'log'> & {
  readonly store: Pick<ApiKeyStore, 'countOfOtherPeppers'>;
}): Promise<void> {
  const others = await store.countOfOtherPeppers(pepper === undefined ? '' : pepperIdOf(pepper));
  if (others === 0) return;
  log.warn(`${others} API keys were made under another pepper and cannot be used here: set TALOS_API_KEY_PEPPER to it`);
}

const keyBytes = 32;
const keyPattern = /^tlk_[A-Za-z0-9_-]{43}$/;
const hintChars = apiKeyPrefix.length + 4;

function hmac(key: string, pepper: Secret): string {
  return createHmac('sha256', pepper.reveal()).update(key).digest('hex');
}

function pepperIdOf(pepper: Secret): string {
  return sha256Hex(`talos pepper ${pepper.reveal()}`).slice(0, 16);
}

function assertInForce(apiKey: ApiKey | undefined, nowMs: number): asserts apiKey is ApiKey {
  if (apiKey === undefined) throw new TalosError('AUTH_INVALID');
  if (isApiKeyInForce(apiKey, nowMs)) return;
  const end = apiKey.revokedAtMs === undefined ? 'has expired' : 'was revoked';
  throw new TalosError('AUTH_INVALID', { message: `The API key ${end}.` });
}

/** Notes which keys were used and tells the store now and then: a write for each use would be the dearest part of it. */
function startUses(store: Pick<ApiKeyStore, 'touch'>, log: Log) {
  // No more of them than there are keys in force.
  const used = new Set<string>();
  const write = async () => {
    const ids = [...used];
    used.clear();
    if (ids.length > 0) await store.touch(ids);
  };
  const writing = recur(bounds.apiKeyTouchIntervalMs, write, (error) =>
    log.warn(`when keys were used is lost: ${describeError(error)}`),
  );
  return {
    note: (id: string) => void used.add(id),
    async close() {
      await writing.stop();
      await writing.now();
    },
  };
}
