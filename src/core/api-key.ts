/** An API key as the gateway knows it: everything but the key itself, which only its holder has. */

export interface ApiKey {
  readonly id: string;
  /** What people call it. */
  readonly name: string;
  readonly principalId: string;
  readonly teamId: string;
  /** What it may do beside what its principal's roles say, in normal form. */
  readonly permissions: readonly string[];
  /** How the key begins, to tell it from others. */
  readonly hint: string;
  readonly createdAtMs: number;
  /** The principal who made it. */
  readonly createdBy: string;
  readonly expiresAtMs: number | undefined;
  readonly revokedAtMs: number | undefined;
  /** The key that this one took the place of. */
  readonly replaces: string | undefined;
  /** To the minute. */
  readonly lastUsedAtMs: number | undefined;
}

/** What every key begins with. */
export const apiKeyPrefix = 'tlk_';

/** Whether the key counts at that moment. */
export function isApiKeyInForce({ revokedAtMs, expiresAtMs }: ApiKey, nowMs: number): boolean {
  return revokedAtMs === undefined && (expiresAtMs === undefined || expiresAtMs > nowMs);
}

/** How the store knows a key without knowing it. */
export interface ApiKeyDigest {
  /** Hex HMAC-SHA256 of the key under the pepper. */
  readonly hash: string;
  /** Tells peppers apart and nothing about them. */
  readonly pepperId: string;
}

/** One change of the keys, which commits with the record that tells of it. */
export type ApiKeyChange =
  | { readonly kind: 'add'; readonly apiKey: ApiKey; readonly digest: ApiKeyDigest }
  | { readonly kind: 'revoke'; readonly id: string; readonly atMs: number }
  | { readonly kind: 'expire'; readonly id: string; readonly atMs: number };
