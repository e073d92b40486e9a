/** How often callers come, and what gateways share to count it. */
export const limitBounds = {
  rateCountMax: 1_000_000,
  limitBucketsMax: 65_536,
  // Buckets that newcomers share when there are that many.
  limitCrowdedMax: 4_096,
  limiterRetrySec: 30,

  // What gateways share through Redis or Valkey
  sharedStoreConnectTimeoutMs: 2_000,
  sharedStoreTimeoutMs: 1_000,
  sharedStoreSilenceMs: 3_000,
  sharedStoreRetryMinMs: 50,
  sharedStoreRetryMaxMs: 1_000,
} as const;
