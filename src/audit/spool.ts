/**
 * The policy `spool`: what the log does not take is kept on disk, answered as spooled, and recorded in order as soon as
 * the log can be written again, exactly once.
 *
 * Every group has a name that commits with its records, also on the first attempt, so a commit in doubt is found. While
 * anything is in the spool everything new goes behind it: no event overtakes another that was answered before it came.
 * When little is left of it, what comes waits until that is recorded: steady load would keep the spool from ending.
 */
import { randomUUID } from 'node:crypto';
import { deserialize, serialize } from 'node:v8';
import { bounds } from '../config/bounds.ts';
import { type CommittedEvent, type EventDraft, prepareEvent, type SpoolName } from '../core/audit-event.ts';
import type { Clock } from '../core/clock.ts';
import { describeError, TalosError } from '../core/errors.ts';
import { recur } from '../core/recur.ts';
import type { SpoolStore } from '../storage/spool.ts';
import type { DeliveryTelemetry } from '../telemetry/delivery.ts';
import type { Log } from '../telemetry/telemetry.ts';
import { type EventSink, isLogFailure, type Submitted } from './event-sink.ts';
import { filterMeta } from './meta-filter.ts';
import { pausable } from './pausable.ts';
import type { Recorder } from './recorder.ts';
import type { Segment, SpoolFolder } from './spool-file.ts';

export interface SpoolOptions {
  readonly folder: SpoolFolder;
  readonly store: SpoolStore;
  readonly recorder: Pick<Recorder, 'recordAll'>;
  readonly clock: Clock;
  readonly telemetry: Pick<DeliveryTelemetry, 'eventsSpooled' | 'spoolDrained' | 'spoolFailed'> & { readonly log: Log };
  /** How long after a failure the log is tried again. */
  readonly retryMs: number;
  readonly pruneIntervalMs: number;
}

interface Group {
  readonly name: SpoolName;
  readonly drafts: readonly EventDraft[];
}

/** Drains what earlier processes left, then what this one spools, until it is closed. */
export function startSpool(options: SpoolOptions): EventSink {
  const { folder, store, recorder, clock, telemetry } = options;
  const run = randomUUID();
  // Groups that may be in the log and are not in the spool yet, in the order of their numbers.
  const attempted = new Set<number>();
  let nextNumber = 0;
  let isClosed = false;
  let draining: Promise<void> | undefined;
  // Settles when a segment is in the log, or could not be recorded after all.
  let step: Promise<unknown> | undefined;
  let waiting = 0;

  async function submit(drafts: readonly EventDraft[]): Promise<Submitted> {
    while (step !== undefined && folder.bytes <= bounds.spoolSegmentBytesMax && waiting < bounds.spoolWaitersMax) {
      waiting++;
      await step;
      waiting--;
    }
    const number = nextNumber++;
    if (!folder.isEmpty) return await spool({ name: { run, number }, drafts });
    attempted.add(number);
    try {
      return { kind: 'recorded', committed: await recorder.recordAll(named({ name: { run, number }, drafts })) };
    } catch (error) {
      if (!isLogFailure(error)) throw error;
      return await spool({ name: { run, number }, drafts }, error);
    } finally {
      attempted.delete(number);
    }
  }

  /** Throws `failure`, or `AUDIT_UNAVAILABLE`, when the spool does not take the group. */
  async function spool(group: Group, failure?: unknown): Promise<Submitted> {
    const drafts = group.drafts.map((draft) => spooledDraft(draft, clock.now()));
    // What the log will refuse must not wait for it.
    for (const draft of drafts) prepareEvent(filterMeta(draft), bounds);
    try {
      await folder.append(serialize({ name: group.name, drafts } satisfies Group));
    } catch (error) {
      telemetry.spoolFailed(describeError(error));
      throw failure ?? new TalosError('AUDIT_UNAVAILABLE', { inside: describeError(error) });
    }
    telemetry.eventsSpooled({ events: drafts.length, bytes: folder.bytes });
    drain();
    return { kind: 'spooled' };
  }

  function drain(): void {
    draining ??= drainAll().finally(() => {
      draining = undefined;
      // What came while the last segment was being removed.
      if (!folder.isEmpty && !isClosed) drain();
    });
  }

  async function drainAll(): Promise<void> {
    let isWritable = false;
    while (!isClosed) {
      try {
        // Taking a segment closes it to appends, so not before the log can be written.
        if (!isWritable) await recorder.recordAll([]);
        const draining = drainOldest();
        step = draining.catch(() => undefined);
        isWritable = await draining;
        if (!isWritable) return;
      } catch (error) {
        isWritable = false;
        step = undefined;
        if (!isPassing(error)) telemetry.spoolFailed(describeError(error));
        await pause.wait(options.retryMs);
      } finally {
        step = undefined;
      }
    }
  }

  /** False when there is nothing to drain. */
  async function drainOldest(): Promise<boolean> {
    const segment = await folder.oldest();
    if (segment !== undefined) await drainSegment(segment);
    return segment !== undefined;
  }

  async function drainSegment(segment: Segment): Promise<void> {
    const groups = segment.groups.map(groupOf);
    const isDamaged = reportEnd(segment, telemetry);
    // The commit after which nothing that was tried before can still be under way.
    await recorder.recordAll([]);
    let areAllStored = true;
    for (const chunk of chunksOf(groups)) {
      const stored = new Set((await store.stored(chunk.map(({ name }) => name))).map(keyOf));
      areAllStored = (await record(chunk.filter(({ name }) => !stored.has(keyOf(name))))) && areAllStored;
      telemetry.spoolDrained({ events: recordsOf(chunk), bytes: folder.bytes });
      if (isClosed) return;
    }
    // All is in the log. A crash here reads the segment again and finds the names of its groups.
    if (isDamaged || !areAllStored) await segment.setAside();
    else await segment.remove();
    for (const chunk of chunksOf(groups)) await store.forget(chunk.map(({ name }) => name));
    telemetry.spoolDrained({ events: 0, bytes: folder.bytes });
  }

  /** In one commit where possible. False when the log refuses one of the groups for what it is. */
  async function record(groups: readonly Group[]): Promise<boolean> {
    if (groups.length === 0) return true;
    try {
      const committed = await recorder.recordAll(groups.flatMap(named));
      for (const group of conflicting(groups, committed)) await recorder.recordAll(named(withoutKey(group)));
      return true;
    } catch (error) {
      if (!(error instanceof TalosError) || isPassing(error)) throw error;
      if (groups.length === 1) {
        telemetry.spoolFailed(`the log refuses ${groups[0]?.drafts[0]?.requestId}: ${describeError(error)}`);
        return false;
      }
    }
    let areAllStored = true;
    for (const group of groups) areAllStored = (await record([group])) && areAllStored;
    return areAllStored;
  }

  async function prune(): Promise<void> {
    if (!folder.isEmpty) return;
    const [oldest] = attempted;
    await store.forgetBefore(run, oldest ?? nextNumber);
  }

  const pause = pausable();
  const pruning = recur(options.pruneIntervalMs, prune, (error) =>
    telemetry.log.debug(`names of spooled groups are kept: ${describeError(error)}`),
  );
  if (!folder.isEmpty) drain();

  return {
    submit,
    async close() {
      isClosed = true;
      pause.end();
      await pruning.stop();
      await draining;
      await pruning.now();
      await folder.close();
    },
  };
}

/** It will be over some time: the events are not at fault. */
function isPassing(error: unknown): boolean {
  return error instanceof TalosError && error.retryable;
}

/** What is not whole at the end of a segment is told. True when people should look at it. */
function reportEnd({ name, end }: Segment, telemetry: SpoolOptions['telemetry']): boolean {
  if (end.state === 'torn') telemetry.log.warn(`cut ${end.bytes} bytes off ${name} that were never acknowledged`);
  if (end.state === 'damaged') telemetry.spoolFailed(`${end.bytes} bytes at the end of ${name} cannot be read`);
  return end.state === 'damaged';
}

/** A group as it was appended: written by the same Node.js or an older one, and whole, as its checksum says. */
function groupOf(data: Buffer): Group {
  return deserialize(data) as Group;
}

/** The record tells when the event was accepted; its own time is that of the log. */
function spooledDraft(draft: EventDraft, nowMs: number): EventDraft {
  return { ...draft, meta: { ...draft.meta, spooled_at: new Date(nowMs).toISOString() } };
}

/** The drafts, the first of which carries the name of the group. */
function named({ name, drafts }: Group): readonly EventDraft[] {
  const [first, ...rest] = drafts;
  return first === undefined ? [] : [{ ...first, companions: { ...first.companions, spooled: name } }, ...rest];
}

/** Groups whose idempotency key was taken by another body in the meantime. They were accepted, so they are recorded. */
function conflicting(groups: readonly Group[], committed: readonly CommittedEvent[]): Group[] {
  let from = 0;
  return groups.filter(({ drafts }) => {
    const isConflict = committed[from]?.reservation === 'conflict';
    from += drafts.length;
    return isConflict;
  });
}

function withoutKey({ name, drafts: [first, ...rest] }: Group): Group {
  if (first === undefined) return { name, drafts: [] };
  const { reserves: _, ...companions } = first.companions ?? {};
  return { name, drafts: [{ ...first, companions }, ...rest] };
}

/** Groups that may commit together. */
function chunksOf(groups: readonly Group[]): Group[][] {
  const chunks: Group[][] = [];
  let records = Number.POSITIVE_INFINITY;
  for (const group of groups) {
    if (records + group.drafts.length > bounds.batchEventsMax) {
      chunks.push([]);
      records = 0;
    }
    chunks.at(-1)?.push(group);
    records += group.drafts.length;
  }
  return chunks;
}

function recordsOf(groups: readonly Group[]): number {
  return groups.reduce((sum, { drafts }) => sum + drafts.length, 0);
}

function keyOf({ run, number }: SpoolName): string {
  return `${run} ${number}`;
}
