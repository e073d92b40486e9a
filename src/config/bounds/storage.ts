/** The database, given or embedded. */
export const storageBounds = {
  // The store
  storeConnectTimeoutMs: 5_000,
  storeReadConnectionsMax: 8,
  storeReadTimeoutMs: 10_000,
  storeGoodbyeTimeoutMs: 1_000,
  // At full speed the store grows by less than a tenth of the last figure between two looks at it. On a small volume a
  // share of it is enough, or a gateway could not be tried there.
  storeMeasureIntervalMs: 5_000,
  storeFreeWarnBytes: 2 * 1024 * 1024 * 1024,
  storeFreeStopBytes: 512 * 1024 * 1024,
  storeFreeWarnShare: 0.1,
  storeFreeStopShare: 0.05,
  // A writer holds the log's head for milliseconds. Who waits for longer than this looks for a stopped writer and ends
  // its connection; the server ends one that idles for longer by itself.
  headWaitMs: 1_000,
  headCheckMs: 500,
  headIdleTimeoutMs: 2_000,
  // How soon the server notices that a writer's machine is gone.
  writerKeepAliveIdleSec: 5,
  writerKeepAliveIntervalSec: 2,
  writerKeepAlivesMax: 3,

  // The embedded PostgreSQL
  embeddedStartTimeoutMs: 60_000,
  embeddedToolTimeoutMs: 60_000,
  embeddedToolOutputCharsMax: 16 * 1024,
  embeddedFastStopMs: 12_000,
  embeddedImmediateStopMs: 5_000,
  embeddedKillWaitMs: 3_000,
  embeddedPollMs: 10,
  embeddedRetryMs: 100,
  embeddedRestartBackoffMinMs: 100,
  embeddedRestartBackoffMaxMs: 30_000,
  embeddedSteadyMs: 60_000,
  embeddedLogLineCharsMax: 2_048,
  embeddedLogLinesKept: 40,
  embeddedConnectionsMax: 64,
  embeddedSharedBuffersMb: 32,
  // macOS allows 104 bytes and Linux 108, the closing NUL included.
  embeddedSocketPathBytesMax: 103,
} as const;
