/** Who callers are: tokens, keys, signed requests, sessions. */
export const authBounds = {
  permissionsMax: 256,
  identityTokenCharsMax: 16 * 1024,
  adminTokenTtlSecMin: 60,
  adminTokenTtlSecMax: 86_400,
  adminTokenTtlSecDefault: 3_600,
  apiKeyCacheEntriesMax: 10_000,
  apiKeyPollMs: 250,
  // What is remembered of keys counts for no longer after the store last said that nothing has changed.
  apiKeyViewMsMax: 900,
  apiKeyTouchIntervalMs: 60_000,
  apiKeyNameCharsMax: 100,
  apiKeyTtlSecMax: 3_650 * 86_400,
  apiKeyGraceSecMax: 7 * 86_400,
  apiKeysPageMax: 500,
  pepperCharsMin: 32,
  attestationSkewSec: 60,
  // Longer than a request can be young enough, whatever the clocks of gateways and store.
  attestationNonceKeptSec: 300,
  sessionsMax: 10_000,
  // After this time a capability is sent again, so that what is kept for other gateways comes to an end.
  sessionKeptSec: 86_400,
  oidcFetchTimeoutMs: 5_000,
  oidcAnswerBytesMax: 512 * 1024,
  oidcKeysFreshMs: 600_000,
  // Keys are taken for no longer when the issuer cannot be asked for newer ones.
  oidcKeysStaleMs: 86_400_000,
  oidcRefetchMs: 10_000,
} as const;
