/** The record, and what keeps, signs, copies and forwards it. */
export const logBounds = {
  // The record
  recordBytesMax: 65_535,
  recordNameCharsMax: 200,
  metaKeysMax: 32,
  metaStringCharsMax: 1024,
  // Of what clients put there; leaves room for all else that a record holds, however it is escaped.
  metaBytesMax: 48 * 1024,
  detailsBytesMax: 1024 * 1024,
  batchRecordsMax: 1_024,
  batchBytesMax: 1024 * 1024,
  queueRecordsMax: 65_536,
  queueBytesMax: 16 * 1024 * 1024,
  queueAgeMsMax: 2_000,
  commitDeadlineMs: 5_000,
  commitRetryMs: 50,
  // How much longer a batch whose commit was sent is asked after.
  commitResolveMs: 3_000,
  writableFreshMs: 1_000,

  // Weaker policies for a log that cannot be written
  spoolBytesMin: 1024 * 1024,
  spoolBytesDefault: 256 * 1024 * 1024,
  spoolSegmentBytesMax: 8 * 1024 * 1024,
  spoolRetryMs: 1_000,
  // Requests that wait for the end of the spool rather than going behind it.
  spoolWaitersMax: 1_000,
  spoolPruneIntervalMs: 60_000,
  unrecordedDeadlineMs: 1_000,
  gapRetryMs: 1_000,

  // Forwarding to an external audit service
  forwardPageRecords: 100,
  forwardTimeoutMs: 10_000,
  forwardIdleMs: 500,
  forwardRenewMs: 5_000,
  forwardLeaseMs: 30_000,
  forwardBackoffMinMs: 500,
  forwardBackoffMaxMs: 60_000,
  forwardRejectionsMax: 10,
  forwardRejectedRetriesMax: 1_000,

  // Checkpoints and the key that signs them
  checkpointIntervalMs: 1_000,
  checkpointCloseMs: 3_000,
  // How long the answer to a request that asks for a receipt waits for it.
  receiptWaitMs: 2_000,
  // Hashes of the tree that proofs have needed lately: about 200 bytes each.
  rememberedNodesMax: 16_384,
  logKeyBytesMax: 8 * 1024,
  logKeysMax: 4,
  logKeyCommandTimeoutMs: 10_000,

  // Copies of checkpoints outside: witnesses and anchors
  witnessesMax: 32,
  witnessTimeoutMs: 5_000,
  witnessResendsMax: 3,
  witnessRetryMs: 30_000,
  witnessBackoffMinMs: 1_000,
  witnessBackoffMaxMs: 60_000,
  witnessAnswerBytesMax: 16 * 1024,
  cosignedWaitMs: 10_000,
  anchorTimeoutMs: 10_000,
  anchorRetryMs: 5_000,
  anchorTailBytesMax: 256 * 1024,
  anchorIntervalSecDefault: 60,
  anchorIntervalSecMax: 86_400,

  // A witness of our own
  witnessRequestBytesMax: 64 * 1024,
  witnessRequestTimeoutMs: 10_000,
  witnessConnectionsMax: 256,

  // Upkeep of the log
  idempotencyKeyCharsMax: 255,
  // Clients repeat within minutes; a day outlasts a queue of theirs that was down over night.
  idempotencyKeptSec: 86_400,
  // Of a tool's answer that is kept for who repeats the call under its key.
  keptResultBytesMax: 1024 * 1024,
  forgetIntervalMs: 60_000,
  maintenanceIntervalMs: 60_000,
  pruneIntervalMs: 3_600_000,
  retentionDaysMax: 36_500,
  reconcileIntervalMs: 10_000,
  writerSilentMs: 60_000,
  // Summaries: distinct keys between two of them, beyond which everything shares one. A stranger can have a few
  // thousand addresses, each of which would be a record a minute.
  summaryIntervalMs: 60_000,
  summaryKeysMax: 1_000,
  refusalKeysMax: 100,
} as const;
