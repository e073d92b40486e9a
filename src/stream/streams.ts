/**
 * All readers of one process: one follower fills the ring, and readers are served in turn, each one write at a time. A
 * turn of the event loop serves them for `streamSliceMs` at most, so that a thousand readers do not hold up a request.
 * Who stands before the ring is served from the table, a page at a time, by few reads at once.
 */
import { bounds } from '../config/bounds.ts';
import type { Clock } from '../core/clock.ts';
import { type Cursor, cursorOf, decodeCursor, encodeCursor } from '../core/cursor.ts';
import { describeError } from '../core/errors.ts';
import { uuidv7Ms } from '../core/uuidv7.ts';
import type { LogTail } from '../storage/tail.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { StreamFilter } from './filter.ts';
import { Follower } from './follower.ts';
import type { Ring } from './ring.ts';
import { type Gap, type Position, type Sink, Subscription } from './subscription.ts';
import { TableReader } from './table-reader.ts';

export interface StreamsOptions {
  readonly tail: LogTail;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

export interface Streams {
  /** There may be more in the log. */
  readonly hint: () => void;
  /** Where a reader stands that has everything up to the cursor, and what it has missed. Throws `STORE_UNAVAILABLE`. */
  readonly positionAfter: (cursor: Cursor) => Promise<{ readonly position: Position; readonly gap?: Gap }>;
  readonly subscribe: (reader: {
    readonly sink: Sink;
    readonly filter: StreamFilter;
    readonly position: Position;
  }) => Subscription;
  /** How far the slowest reader that wants something is behind what is known of the log. */
  readonly lag: () => { readonly records: number; readonly seconds: number };
  readonly close: () => Promise<void>;
}

const writeBounds = { bytesMax: bounds.streamWriteBytesMax, scanMax: bounds.streamWriteScanRecordsMax };

/** Where a reader stands that has everything up to the record with this place and id. */
export function positionBehind(record: { readonly seq: number; readonly eventId: string }): Position {
  return { next: record.seq + 1, cursor: cursorOf(record.eventId) };
}

export function createStreams({ tail, clock, telemetry }: StreamsOptions): Streams {
  const subscriptions = new Set<Subscription>();
  const queue: Subscription[] = [];
  let isScheduled = false;
  const follower = new Follower({
    tail,
    telemetry,
    onMore: () => {
      for (const subscription of subscriptions) subscription.ready();
    },
  });
  const table = new TableReader(tail);

  function enqueue(subscription: Subscription): void {
    queue.push(subscription);
    if (isScheduled) return;
    isScheduled = true;
    setImmediate(serveSlice);
  }

  function serveSlice(): void {
    const untilMs = clock.monotonic() + bounds.streamSliceMs;
    let served = 0;
    while (served < queue.length) {
      serve(queue[served++] as Subscription);
      if (clock.monotonic() >= untilMs) break;
    }
    queue.splice(0, served);
    isScheduled = queue.length > 0;
    if (isScheduled) setImmediate(serveSlice);
  }

  /** One write, or the beginning of one read, or nothing when it has all there is. */
  function serve(subscription: Subscription): void {
    if (subscription.state !== 'ready') return;
    const { ring } = follower;
    const { next } = subscription.position;
    // While the end of the log is looked for, and at it, there is nothing to do.
    if (subscription.isStopped || ring === undefined || next >= ring.end) subscription.rest();
    else if (next < ring.start) void readTable(subscription, ring.start);
    else subscription.take(ring.chunk(next, subscription.view, subscription.format, writeBounds));
  }

  async function readTable(subscription: Subscription, endSeq: number): Promise<void> {
    const { epoch } = subscription;
    subscription.wait();
    try {
      const page = await table.read(subscription, endSeq);
      if (subscription.state !== 'reading' || subscription.epoch !== epoch) return;
      if (subscription.isStopped) subscription.rest();
      else if (page.kind === 'gap') subscription.skip(page);
      else subscription.take(page);
    } catch (error) {
      telemetry.streamReadFailed(describeError(error));
      setTimeout(() => retry(subscription, epoch), bounds.streamRetryMs);
    }
  }

  function retry(subscription: Subscription, epoch: number): void {
    if (subscription.state !== 'reading' || subscription.epoch !== epoch) return;
    subscription.rest();
    subscription.ready();
  }

  return {
    hint: () => follower.hint(),
    async positionAfter(cursor) {
      const next = await tail.seqAfter(cursor);
      const from = encodeCursor(cursor);
      // Asked last: what is gone by now was not there to be found, or will not be.
      const pruned = await tail.prunedAfter(cursor);
      if (pruned === undefined) return { position: { next, cursor: from } };
      const to = cursorOf(pruned.lastId);
      return { position: { next: Math.max(next, pruned.untilSeq), cursor: to }, gap: { from, to } };
    },
    subscribe({ sink, filter, position }) {
      const subscription = new Subscription({
        sink,
        filter,
        position,
        nowMs: () => clock.monotonic(),
        onReady: enqueue,
        onClose: (closed) => {
          subscriptions.delete(closed);
          if (subscriptions.size === 0) void follower.stop();
        },
      });
      subscriptions.add(subscription);
      follower.start();
      subscription.ready();
      return subscription;
    },
    lag: () => lagOf(subscriptions, follower.ring),
    close: () => follower.stop(),
  };
}

function lagOf(subscriptions: Iterable<Subscription>, ring: Ring | undefined): { records: number; seconds: number } {
  const newest = ring?.at(ring.end - 1);
  if (ring === undefined || newest === undefined) return { records: 0, seconds: 0 };
  let last: Position | undefined;
  for (const { isPaused, position } of subscriptions) {
    if (!isPaused && (last === undefined || position.next < last.next)) last = position;
  }
  if (last === undefined || last.next >= ring.end) return { records: 0, seconds: 0 };
  const lastMs = last.cursor === '' ? 0 : uuidv7Ms(decodeCursor(last.cursor).eventId);
  return { records: ring.end - last.next, seconds: Math.max(0, uuidv7Ms(newest.eventId) - lastMs) / 1000 };
}
