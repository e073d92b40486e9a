/** Live streams: what readers are kept waiting with, and how long they may be slow or silent. */
export const streamBounds = {
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
} as const;
