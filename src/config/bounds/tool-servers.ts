/** Tool servers: connections, lists, arguments, sessions, processes, and accounts of users there. */
export const toolServerBounds = {
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
  // In lists of what all servers have, one that takes longer has nothing.
  aggregateListWaitMs: 1_000,
  // Clients that go through all pages give up at 64.
  aggregateListPagesMax: 50,
  // Where such a list goes on at one of them; at a longer cursor that one has no more. All of them fit into one body.
  aggregateCursorCharsMax: 1_024,
  // What all servers together tell the client's model to keep in mind.
  aggregateInstructionsCharsMax: 32 * 1024,
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
  toolServersMax: 256,
  // Those that administrators add: what one may say, and how often every gateway asks whether they changed.
  managedServerBytesMax: 16 * 1024,
  toolServersPollMs: 250,

  // Sessions with them, and what they ask in those
  upstreamReplyTimeoutMs: 10_000,
  // How long a call lasts at most whose patience is renewed by progress, or stands still while its client is asked.
  upstreamPatienceMaxMs: 900_000,
  // Requests of a server to clients that are open at once on one connection or session.
  upstreamPeerRequestsMax: 32,
  // Of them in all in the course of one request, whose patience stands still meanwhile.
  upstreamPeerRequestsPerCallMax: 100,
  // Of them on behalf of no request, on one session.
  upstreamPeerRequestsPerMinuteMax: 300,
  // How often a server asks for input before it answers, and how much of it at once.
  upstreamInputRoundsMax: 16,
  upstreamInputRequestsMax: 16,
  // How long a new session waits for its stream, on which a server may ask what it does not ask elsewhere.
  upstreamStreamOpenMs: 1_000,
  upstreamStreamRetryMinMs: 500,
  upstreamStreamRetryMaxMs: 30_000,
  // Clients with a session of their own on one server, unless its entry says otherwise; each is a process over stdio.
  upstreamSessionsMax: 1_024,
  stdioSessionsMax: 16,
  upstreamSubscriptionsMax: 256,
  // Of lists of tools that one server shows in sessions and not to everybody, all together.
  toolListsOwnCharsMax: 16 * 1024 * 1024,
  // How often clients are told that a list of a server has changed, at most.
  upstreamChangesRestMs: 1_000,
  // What the entry of a server may say.
  upstreamSessionsLimit: 100_000,
  stdioMemoryBytesMin: 16 * 1024 * 1024,
  stdioOpenFilesMin: 16,
  stdioOpenFilesMax: 1_048_576,

  // Accounts of users there, and tokens for those
  consentTtlSec: 600,
  consentsPerUserMax: 8,
  // A connection that was made, or cut, at another gateway is noticed within that time.
  connectionFreshMs: 1_000,
  // Longer than a refresh can take: after that time another gateway may try.
  connectionLeaseMs: 15_000,
  connectionLeasePollMs: 100,
  // Registrations of the gateway at authorization servers: what they may say, and of one address to come back to the newest.
  clientTextCharsMax: 2_048,
  clientsPerAddressMax: 8,
  // How often, at most, an authorization server is asked whether it still knows the gateway, when a user sets out.
  clientAskMs: 3_600_000,
  clientDocumentFreshSec: 3_600,
  // Whose sessions could not start lately: so many are remembered of each server.
  upstreamFailingOwnersMax: 256,
  // Copies of servers with a credential of one user or caller, and how long one is kept that nobody uses.
  upstreamCopiesMax: 1_000,
  // Of one account: enough for every server there can be, and never all.
  upstreamCopiesPerAccountMax: 300,
  upstreamCopyIdleMs: 600_000,
  upstreamCopySweepMs: 30_000,
  // Authorization servers of tool servers: their answers, and the tokens that they give.
  // Shorter than the patience with a server's list, which would else be taken for the server's failure.
  upstreamAuthTimeoutMs: 4_000,
  upstreamAuthBytesMax: 256 * 1024,
  upstreamAuthConnectionsMax: 16,
  // A token counts for that much less than its server says, and for that long where it says nothing.
  upstreamTokenSkewMs: 30_000,
  upstreamTokenLifetimeMs: 300_000,
  // A token that is refused so soon after it was had is not asked for again.
  upstreamTokenRenewMs: 10_000,
} as const;
