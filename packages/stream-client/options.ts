/** What a stream is opened with, and what it tells of itself. */

/** Equality on each; a record that lacks a filtered key does not match. */
export interface EventFilters {
  readonly session_id?: string;
  readonly outcome?: string;
  readonly event_type?: string;
  readonly agent_id?: string;
  readonly tool?: string;
  readonly server_id?: string;
  readonly correlation_id?: string;
}

/** A value, or a function that is asked for a fresh one before every connection. */
export type Provided<T> = T | (() => T | Promise<T>);

export interface StreamOptions {
  /** Gateways on the same database, such as `https://gateway.example.com`. One is taken by chance, another when it fails. */
  readonly urls: readonly [string, ...string[]];
  /** A capability for `tool:gateway/method:events.read`. */
  readonly capability?: Provided<string>;
  /** In place of credentials in headers, which browsers cannot send. A ticket is good once: give a function. */
  readonly ticket?: () => string | Promise<string>;
  readonly filters?: EventFilters;
  /** A cursor: the stream is what comes after it. Without one it begins with what is recorded from now on. */
  readonly after?: string;
  /** How many items may wait to be taken before the gateway is asked to pause; 1,024. */
  readonly bufferMax?: number;
  /** Fetches the strict record of each item and compares its SHA-256 with the item's `event_hash`. Needs `capability`. */
  readonly verify?: boolean;
  /** Between attempts: a random time below `firstMs` doubled with each failure, and at most `maxMs`; 250 and 15,000. */
  readonly backoff?: { readonly firstMs: number; readonly maxMs: number };
  /** Ends the stream. */
  readonly signal?: AbortSignal;
  readonly onStatus?: (status: StreamStatus) => void;
}

export type StreamStatus =
  | { readonly state: 'connected'; readonly url: string; readonly sessionId: string }
  /** `reason` says why, in a sentence; `attempt` counts failures since the last connection, from 1. */
  | {
      readonly state: 'waiting';
      readonly url: string;
      readonly reason: string;
      readonly attempt: number;
      readonly retryInMs: number;
    };

/** The value, asked for now. */
export async function provide<T extends string>(provided: Provided<T> | undefined): Promise<T | undefined> {
  return typeof provided === 'function' ? await provided() : provided;
}
