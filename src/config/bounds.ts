/**
 * Every bound of the gateway, named with its unit last. A queue, body, time-out or cache without an entry here is
 * unbounded, and nothing may be unbounded.
 */
export const bounds = {
  // HTTP in
  bodyBytesMax: 1024 * 1024,
  batchBodyBytesMax: 16 * 1024 * 1024,
  // The longest lists that are sent in earnest are of fractions, which take ten bytes each.
  bodyValuesMax: 100_000,
  // 250 for each event of a full batch.
  batchBodyValuesMax: 250_000,
  batchEventsMax: 1000,
  batchLinesMax: 10_000,
  headerBytesMax: 32 * 1024,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  // How often slow requests are looked for; adds to the two above.
  connectionsCheckMs: 1_000,
  keepAliveTimeoutMs: 75_000,
  tlsPollMs: 1_000,
  pathParameterCharsMax: 1024,
  jsonDepthMax: 32,
  requestIdCharsMax: 128,
  requestFaultsMax: 20,
  serviceProbeTimeoutMs: 2_000,
  readinessMs: 1_000,
  listEventsDefault: 100,
  listEventsMax: 500,
  recordsPageMax: 1_000,
  recordsPageBytesMax: 4 * 1024 * 1024,
  statsWindowHoursMax: 31 * 24,

  // Capabilities
  capabilityTokenCharsMax: 16 * 1024,
  capabilityCacheEntriesMax: 10_000,
  capabilityTtlSecMax: 3_650 * 86_400,
  constraintListItemsMax: 256,
  constraintNameCharsMax: 256,
  // Other requests wait for it.
  constraintSchemaCompileMsMax: 250,
  pathGlobsMax: 32,
  pathGlobCharsMax: 512,
  pathArgumentsMax: 64,
  pathArgumentCharsMax: 4_096,
  clockSkewSec: 60,
  // What is known of revocations: asked for this often, and good for this long.
  revocationPollMs: 250,
  revocationAgeMsMax: 1_000,
  revocationQueryTimeoutMs: 2_000,
  revocationPageRows: 10_000,
  revocationsMax: 1_000_000,
  revocationsListMax: 500,

  // Identity
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
  oidcFetchTimeoutMs: 5_000,
  oidcAnswerBytesMax: 512 * 1024,
  oidcKeysFreshMs: 600_000,
  // Keys are taken for no longer when the issuer cannot be asked for newer ones.
  oidcKeysStaleMs: 86_400_000,
  oidcRefetchMs: 10_000,

  // Roles and secrets. What is known of roles is believed for that long when nobody can say whether they changed.
  rolePollMs: 250,
  roleAgeMsMax: 5_000,
  rolesMax: 1_000,
  roleBindingsMax: 10_000,
  rolePermissionsMax: 256,
  roleDescriptionCharsMax: 500,
  bindingsAtOnceMax: 256,
  secretsMax: 10_000,
  secretValueCharsMax: 65_536,
  secretFreshMs: 1_000,
  secretRotationPage: 100,
  secretRotationSilentMs: 60_000,

  // How often
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

  // Upstream tool servers
  upstreamConnectTimeoutMs: 5_000,
  upstreamListTimeoutMs: 5_000,
  upstreamCallTimeoutMs: 30_000,
  upstreamConnectionsMax: 64,
  upstreamInFlightMax: 256,
  upstreamQueueMax: 256,
  upstreamConcurrencyMax: 10_000,
  upstreamQueueWaitMs: 5_000,
  upstreamResponseBytesMax: 10 * 1024 * 1024,
  upstreamResponseDepthMax: 256,
  upstreamGoodbyeTimeoutMs: 1_000,
  upstreamStreamResumesMax: 16,
  upstreamGoodbyesInFlightMax: 64,
  // Requests in a row without an answer, after which a server is asked by probes only, and how far apart those are.
  upstreamCircuitFailuresMax: 5,
  upstreamCircuitMinMs: 1_000,
  upstreamCircuitMaxMs: 30_000,
  // How long a server that was removed is kept for calls that had found it before.
  upstreamRetireMs: 5_000,
  toolsPerServerMax: 2_000,
  toolListPagesMax: 100,
  toolListBytesMax: 16 * 1024 * 1024,
  // How much longer than the client's own patience the connector may take.
  chatGraceMs: 5_000,
  chatMessagesMax: 64,
  chatMessageCharsMax: 4_000,
  chatTokensMax: 4_096,
  chatTimeoutMsMin: 100,
  chatTimeoutMsMax: 600_000,
  // In the list of all servers' tools, a server that takes longer has none.
  aggregateListWaitMs: 1_000,
  toolListFreshMs: 60_000,
  toolListMissRefreshMs: 5_000,
  toolNameCharsMax: 512,
  toolSchemaBytesMax: 256 * 1024,
  toolSchemaDepthMax: 32,
  toolDefinitionDepthMax: 128,
  validatorCacheEntriesMax: 4_096,
  validatorCompileMsMax: 1_000,
  validationErrorsMax: 10,
  validationExplainBytesMax: 64 * 1024,
  // Nothing else happens meanwhile; nearly all inputs take microseconds.
  validationMsMax: 250,
  patternSubjectCharsMax: 4_096,
  stdioStartTimeoutMs: 15_000,
  stdioStopGraceMs: 2_000,
  stdioQueueBytesMax: 16 * 1024 * 1024,
  stdioRestartBackoffMinMs: 250,
  stdioRestartBackoffMaxMs: 30_000,
  stdioStderrLineCharsMax: 2_048,
  stdioStderrLinesPerMinuteMax: 600,

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
  erasableKeysMax: 64,
  reconcileIntervalMs: 10_000,
  writerSilentMs: 60_000,
  // Summaries: distinct keys between two of them, beyond which everything shares one. A stranger can have a few
  // thousand addresses, each of which would be a record a minute.
  summaryIntervalMs: 60_000,
  summaryKeysMax: 1_000,
  refusalKeysMax: 100,

  // Live streams
  streamRingRecordsMax: 65_536,
  streamRingBytesMax: 32 * 1024 * 1024,
  // The truth when no hint comes.
  streamPollMs: 250,
  streamRetryMs: 250,
  streamFollowRecordsMax: 512,
  streamFollowBytesMax: 512 * 1024,
  // Of one read of the table for one reader, and of one write to one client.
  streamPageRecordsMax: 64,
  streamPageBytesMax: 32 * 1024,
  streamPageScanRecordsMax: 50_000,
  streamPageReadsMax: 3,
  streamWriteBytesMax: 64 * 1024,
  streamWriteScanRecordsMax: 1_024,
  // How long readers are served before the event loop turns.
  streamSliceMs: 4,
  streamSweepMs: 1_000,
  streamHeartbeatMs: 15_000,
  streamSlowMs: 30_000,
  streamSilentMs: 90_000,
  // How often the credential of an open session is judged again though nothing is known to have changed; its capability
  // is, at every sweep.
  streamReauthoriseMs: 30_000,
  // How many sessions are judged again at the same time when keys or roles have changed.
  streamReauthorisingMax: 16,
  // What changed this long ago may have been missed by whoever opens a session: longer than it takes to open one.
  streamOpeningMs: 30_000,
  streamSessionsMax: 10_000,
  listSessionsMax: 500,
  streamInitMs: 10_000,
  streamInitSkewMs: 300_000,
  streamNonceCharsMax: 256,
  streamNonceKeptSec: 600,
  streamTicketSec: 30,
  streamMessageBytesMax: 64 * 1024,
  streamMessagesPerSecMax: 50,
  streamMessagesBurstMax: 200,
  streamPublishesInFlightMax: 16,
  streamGoodbyeMs: 2_000,
  streamReconnectMsMin: 500,
  streamReconnectMsMax: 5_000,

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

  // The configuration
  configFileBytesMax: 1024 * 1024,
  configAliasesMax: 100,
  settingTextCharsMax: 256,
  settingListItemsMax: 1_000,
  commandWordsMax: 64,
  quotedValueCharsMax: 60,
  toolServersMax: 256,
  // Those that administrators add: what one may say, and how often every gateway asks whether they changed.
  managedServerBytesMax: 16 * 1024,
  toolServersPollMs: 250,
  shutdownDrainSecDefault: 30,
  shutdownDrainSecMin: 1,
  shutdownDrainSecMax: 300,
  adminSecretCharsMin: 16,
  ipHmacKeyCharsMin: 32,
} as const;
