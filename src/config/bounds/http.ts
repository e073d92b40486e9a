/** What comes in over HTTP. */
export const httpBounds = {
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
} as const;
