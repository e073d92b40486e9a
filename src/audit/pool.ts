/**
 * Group commit: whatever queued while the last commit ran makes the next batch. No timer, so a lone event waits for
 * nothing. An entry is one or more events that commit together or not at all.
 *
 * States of an entry: queued → in the batch that is being committed → resolved (durable), or rejected. Rejected means
 * that the caller was told so before or at its deadline; it never means that the event is silently gone. An entry that the
 * store can never hold is rejected alone: what it shared a batch with is committed without it.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay, setImmediate as turn } from 'node:timers/promises';
import type { CommittedEvent, PreparedEvent } from '../core/audit-event.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, TalosError } from '../core/errors.ts';
import type { LogWriter } from '../storage/log.ts';
import { isUnwritable } from '../storage/unwritable.ts';

export interface PoolBounds {
  readonly batchRecordsMax: number;
  readonly batchBytesMax: number;
  readonly queueRecordsMax: number;
  readonly queueBytesMax: number;
  /** When the oldest entry waits longer than this, new ones are refused. */
  readonly queueAgeMsMax: number;
  /** How long after it was queued an entry may still be committed. */
  readonly commitDeadlineMs: number;
  readonly commitRetryMs: number;
  /** How long, beyond its deadline, a batch whose commit was sent is asked after. */
  readonly commitResolveMs: number;
  /** How long after a commit the log counts as writable without trying again. */
  readonly writableFreshMs: number;
}

export interface PoolOptions {
  readonly writer: LogWriter;
  readonly clock: Clock;
  readonly bounds: PoolBounds;
  readonly onCommit: (batch: { readonly records: number; readonly seconds: number }) => void;
  readonly onFailure: (reason: string) => void;
}

interface Entry {
  readonly events: readonly PreparedEvent[];
  readonly size: number;
  readonly queuedAtMs: number;
  readonly resolve: (committed: CommittedEvent[]) => void;
  readonly reject: (error: TalosError) => void;
}

const tooLarge = { message: 'The events together are larger than the log takes at once.' };
const inDoubt = {
  message:
    'The audit log went silent while it was written, so nobody knows yet whether this is recorded. Try again, with the same Idempotency-Key if there was one.',
};

export class CommitPool {
  readonly #options: PoolOptions;
  readonly #queue: Entry[] = [];
  #queuedRecords = 0;
  #queuedBytes = 0;
  #running: Promise<void> | undefined;
  #committedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  /** How many records wait or are being committed. */
  get pending(): number {
    return this.#queuedRecords;
  }

  /**
   * Resolves once the events are durable, with their places in the log. Rejects before accepting them with
   * `AUDIT_OVERLOADED`, or with `RECORD_TOO_LARGE` when they can never fit, and afterwards with `AUDIT_UNAVAILABLE` when
   * they could not be committed within the deadline, or with `INTERNAL` when the store can never hold them.
   */
  add(events: readonly PreparedEvent[]): Promise<CommittedEvent[]> {
    const size = events.reduce((sum, event) => sum + event.size, 0);
    if (this.#isTooLarge(events.length, size)) return Promise.reject(new TalosError('RECORD_TOO_LARGE', tooLarge));
    if (!this.#admits(events.length, size)) return Promise.reject(new TalosError('AUDIT_OVERLOADED'));
    return new Promise((resolve, reject) => {
      this.#queue.push({ events, size, queuedAtMs: this.#options.clock.monotonic(), resolve, reject });
      this.#queuedRecords += events.length;
      this.#queuedBytes += size;
      this.#running ??= this.#run();
    });
  }

  /**
   * Resolves when the log can be written, found by a commit of a moment ago or by committing an empty batch now.
   * Rejects with `AUDIT_UNAVAILABLE` or `AUDIT_OVERLOADED`.
   */
  async ensureWritable(): Promise<void> {
    const { writer, clock, bounds } = this.#options;
    if (writer.isConnected() && clock.monotonic() - this.#committedAtMs <= bounds.writableFreshMs) return;
    await this.add([]);
  }

  /** Waits until nothing is queued or in flight. */
  async drained(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
  }

  /** What no waiting would make room for. */
  #isTooLarge(records: number, size: number): boolean {
    const { bounds } = this.#options;
    return records > bounds.queueRecordsMax || size > bounds.queueBytesMax;
  }

  #admits(records: number, size: number): boolean {
    const { bounds, clock } = this.#options;
    const oldest = this.#queue[0];
    if (this.#queuedRecords + records > bounds.queueRecordsMax) return false;
    if (this.#queuedBytes + size > bounds.queueBytesMax) return false;
    return oldest === undefined || clock.monotonic() - oldest.queuedAtMs <= bounds.queueAgeMsMax;
  }

  async #run(): Promise<void> {
    // Only after all else that this turn of the event loop has read: what arrives together then shares a batch.
    for (await turn(); this.#queue.length > 0; await turn()) await this.#commit(this.#takeBatch());
    this.#running = undefined;
  }

  #takeBatch(): Entry[] {
    const { batchRecordsMax, batchBytesMax } = this.#options.bounds;
    let count = 0;
    let records = 0;
    let bytes = 0;
    for (const entry of this.#queue) {
      const fits = records + entry.events.length <= batchRecordsMax && bytes + entry.size <= batchBytesMax;
      if (count > 0 && !fits) break;
      count++;
      records += entry.events.length;
      bytes += entry.size;
    }
    return this.#queue.splice(0, count);
  }

  async #commit(batch: readonly Entry[]): Promise<void> {
    const startedAtMs = this.#options.clock.monotonic();
    const events = batch.flatMap((entry) => entry.events);
    try {
      const committed = await this.#appendUntilDeadline(batch, events);
      this.#leave(batch);
      this.#committedAtMs = this.#options.clock.monotonic();
      const records = committed.filter(({ reservation }) => reservation === undefined).length;
      this.#options.onCommit({ records, seconds: (this.#committedAtMs - startedAtMs) / 1000 });
      settle(batch, committed);
    } catch (error) {
      // A batch of nothing, which asks whether the log can be written, is guilty of nothing.
      if (isUnwritable(error) && events.length > 0) return await this.#withoutGuilty(batch, error);
      this.#options.onFailure(describeError(error));
      this.#reject(batch, error instanceof TalosError ? error : new TalosError('AUDIT_UNAVAILABLE', { cause: error }));
    }
  }

  /** Nothing of the batch was written. Its halves are batches of their own, in their order, until the guilty one is alone. */
  async #withoutGuilty(batch: readonly Entry[], error: unknown): Promise<void> {
    if (batch.length <= 1) return this.#reject(batch, new TalosError('INTERNAL', { cause: error }));
    const middle = Math.ceil(batch.length / 2);
    await this.#commit(batch.slice(0, middle));
    await this.#commit(batch.slice(middle));
  }

  #reject(batch: readonly Entry[], error: TalosError): void {
    this.#leave(batch);
    for (const { reject } of batch) reject(error);
  }

  #leave(batch: readonly Entry[]): void {
    for (const { events, size } of batch) {
      this.#queuedRecords -= events.length;
      this.#queuedBytes -= size;
    }
  }

  /** Tries the same batch under the same id until it is durable or its oldest entry's time is over. */
  async #appendUntilDeadline(batch: readonly Entry[], events: readonly PreparedEvent[]): Promise<CommittedEvent[]> {
    const { writer, clock, bounds } = this.#options;
    const batchId = randomUUID();
    const deadlineMs = (batch[0] as Entry).queuedAtMs + bounds.commitDeadlineMs;
    let reason: unknown;
    for (;;) {
      try {
        return await this.#within(deadlineMs - clock.monotonic(), () => writer.append(batchId, events));
      } catch (error) {
        // The server said so itself: this batch is not in the log, and never will be.
        if (isUnwritable(error)) throw error;
        // The first failure tells what is wrong; the last one is often no more than the end of our patience.
        reason ??= error;
        if (clock.monotonic() + bounds.commitRetryMs >= deadlineMs) return await this.#find(batchId, events, reason);
      }
      await delay(bounds.commitRetryMs);
    }
  }

  /**
   * After the deadline nothing is written any more; but what was may have been committed. A process that was stopped
   * and wakes finds out here. Throws `reason` when nothing was written, and `AUDIT_UNAVAILABLE` when nobody can tell.
   */
  async #find(batchId: string, events: readonly PreparedEvent[], reason: unknown): Promise<CommittedEvent[]> {
    const { writer, bounds } = this.#options;
    let found: CommittedEvent[] | undefined;
    try {
      found = await this.#within(bounds.commitResolveMs, () => writer.find(batchId, events));
    } catch {
      throw new TalosError('AUDIT_UNAVAILABLE', { ...inDoubt, cause: reason });
    }
    if (found === undefined) throw reason;
    return found;
  }

  /** A hung store is a failed one: dropping the connection fails what is in flight. */
  async #within<T>(ms: number, work: () => Promise<T>): Promise<T> {
    const { writer } = this.#options;
    const timer = setTimeout(() => writer.reset(new Error('the store did not answer in time')), Math.max(0, ms));
    try {
      return await work();
    } finally {
      clearTimeout(timer);
    }
  }
}

/** Gives each entry its own part of what was committed. */
function settle(batch: readonly Entry[], committed: readonly CommittedEvent[]): void {
  let from = 0;
  for (const { events, resolve } of batch) {
    resolve(committed.slice(from, from + events.length));
    from += events.length;
  }
}
