/**
 * Watches the log of Talos gateways live. Without dependencies, for Node 22 and later and for any current browser. What a
 * gateway speaks is in docs/streams.md of the gateway.
 */
export { StreamError, type StreamErrorCode } from './errors.ts';
export type { EventFilters, Provided, StreamOptions, StreamStatus } from './options.ts';
export { hashOfRecord, type Verification } from './record-check.ts';
export { type LogStream, openStream, type StreamItem } from './stream.ts';
