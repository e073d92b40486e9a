/** MCP clients: sessions, streams, and what servers ask of them. */
export const mcpClientBounds = {
  // Sessions of MCP clients, and what is listened to without one
  mcpSessionsMax: 10_000,
  mcpSessionsPerCallerMax: 1_000,
  mcpSessionIdleMs: 1_800_000,
  // Of one that was opened, and not used since.
  mcpSessionUnusedMs: 60_000,
  mcpSessionRetrySec: 30,
  mcpSessionRequestsMax: 256,
  // Messages in one batch.
  mcpBatchMessagesMax: 50,
  mcpListensMax: 10_000,
  mcpListensPerCallerMax: 100,
  mcpListenUrisMax: 100,
  // Resources that one session with all servers watches: they are watched again where a server has lost its session.
  mcpSessionWatchedMax: 1_000,
  mcpSessionWatchedCharsMax: 128 * 1024,
  // What was sent on streams is kept for clients that resume them: for each session, and of all together.
  mcpReplayEventsMax: 1_024,
  mcpReplayBytesMax: 1024 * 1024,
  mcpReplayTotalBytesMax: 64 * 1024 * 1024,
  mcpStreamsKeptMax: 64,
  // How long the answer to a request of a session is waited for before the client is told where to resume.
  mcpPrimeMs: 500,
  // What a client may leave unread before its stream is cut.
  mcpUnsentBytesMax: 1024 * 1024,
  // Requests of servers that wait for one client, and for how long: people answer them.
  mcpAsksMax: 16,
  mcpAskMs: 300_000,

  // Calls that stay open at their server while a client without a session is asked
  parkedCallsMax: 1_000,
  parkedCallsPerCallerMax: 32,
  // How long one waits for its client: people answer.
  parkedCallMs: 300_000,
  // What a server asks within this is put to the client at once.
  parkedGatherMs: 10,

  // What gateways on one database know of each other’s sessions, and pass on to each other
  // For how long a session is found whose gateway no longer says that it is open, and how often that says so.
  mcpSessionKeptSec: 300,
  mcpSessionKeepMs: 60_000,
  mcpSessionRowsMax: 1_000,
  // How long a client of the transport before Streamable HTTP may say nothing after it has connected.
  legacyInitializeMs: 30_000,
  // Sessions that were looked up and are nobody's.
  unknownSessionsMax: 10_000,
  unknownSessionMs: 5_000,
  // Requests on their way through this gateway to another one, streams included.
  passedOnMax: 4_096,
  passOnConnectTimeoutMs: 2_000,
  // How far the clocks of gateways may be apart.
  voucherSkewMs: 60_000,
} as const;
