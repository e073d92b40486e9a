/** Live streams of one gateway: the follower of the log, the sessions that read it, and what they may be used once for. */
import type { Clock } from './core/clock.ts';
import type { DatabaseAddress, openReadPool } from './storage/db.ts';
import { createSingleUseStore, type SingleUseStore } from './storage/single-use.ts';
import { createLogTail } from './storage/tail.ts';
import { Sessions } from './stream/sessions.ts';
import { createStreams, type Streams } from './stream/streams.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface OpenStreams {
  readonly streams: Streams;
  readonly sessions: Sessions;
  readonly once: SingleUseStore;
  readonly close: () => Promise<void>;
}

export interface OpenStreamsOptions {
  readonly readPool: ReturnType<typeof openReadPool>;
  readonly database: DatabaseAddress;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

export function openStreams({ readPool, database, clock, telemetry }: OpenStreamsOptions): OpenStreams {
  const once = createSingleUseStore(readPool);
  const streams = createStreams({ tail: createLogTail(readPool, database), clock, telemetry });
  const sessions = new Sessions({ clock, telemetry, lag: streams.lag });
  return {
    streams,
    sessions,
    once,
    close: () => streams.close(),
  };
}
