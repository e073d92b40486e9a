/**
 * Every bound of the gateway, named with its unit last. A queue, body, time-out or cache without an entry here is
 * unbounded, and nothing may be unbounded.
 */
export const bounds = {
  // HTTP in
  bodyBytesMax: 1024 * 1024,
  batchBodyBytesMax: 16 * 1024 * 1024,
  batchEventsMax: 1000,
  headerBytesMax: 32 * 1024,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  keepAliveTimeoutMs: 75_000,
  pathParameterCharsMax: 1024,
  jsonDepthMax: 32,
  requestIdCharsMax: 128,
  shutdownDrainMs: 30_000,
  listEventsDefault: 100,
  listEventsMax: 500,

  // Capabilities
  capabilityTokenCharsMax: 16 * 1024,
  capabilityCacheEntriesMax: 10_000,
  clockSkewSec: 60,

  // Upstream tool servers
  upstreamConnectTimeoutMs: 5_000,
  upstreamListTimeoutMs: 5_000,
  upstreamCallTimeoutMs: 30_000,
  upstreamConnectionsMax: 64,
  upstreamInFlightMax: 256,
  upstreamResponseBytesMax: 10 * 1024 * 1024,
  toolsPerServerMax: 2_000,
  toolListPagesMax: 100,
  toolListFreshMs: 60_000,
  toolSchemaBytesMax: 256 * 1024,
  toolSchemaDepthMax: 32,
  validatorCacheEntriesMax: 4_096,
  stdioRestartBackoffMinMs: 250,
  stdioRestartBackoffMaxMs: 30_000,
  stdioStderrLineCharsMax: 2_048,

  // The record
  recordBytesMax: 65_535,
  metaKeysMax: 32,
  metaStringCharsMax: 1024,
  detailsBytesMax: 1024 * 1024,
  batchRecordsMax: 1_024,
  batchBytesMax: 1024 * 1024,
  queueRecordsMax: 65_536,
  queueBytesMax: 16 * 1024 * 1024,
  recordDeadlineMs: 2_000,

  // The store
  storeConnectTimeoutMs: 5_000,
  storeReadConnectionsMax: 8,
  storeReadTimeoutMs: 10_000,
  storeProbeTimeoutMs: 1_000,
  embeddedStartTimeoutMs: 60_000,
  embeddedStopTimeoutMs: 20_000,
} as const;
