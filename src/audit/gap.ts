/**
 * The policy `continue`: a log that cannot be written stops no events; they are answered as unrecorded and counted. When
 * the log can be written again a record says how many are missing, from when to when, and the next checkpoint signs it.
 * The count is also kept in a file, so that a gap outlives the process that saw it.
 */
import { readFile, rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import type { EventDraft } from '../core/audit-event.ts';
import type { Clock } from '../core/clock.ts';
import { describeError } from '../core/errors.ts';
import { isJsonObject } from '../core/json.ts';
import { OneAtATime } from '../core/one-at-a-time.ts';
import { ownDraft } from '../core/own-draft.ts';
import { recur } from '../core/recur.ts';
import { writeDurably } from '../storage/embedded/durable-file.ts';
import type { DeliveryTelemetry } from '../telemetry/delivery.ts';
import type { Log } from '../telemetry/telemetry.ts';
import { type EventSink, isLogFailure, type Submitted } from './event-sink.ts';
import type { Recorder } from './recorder.ts';

export interface LossySinkOptions {
  readonly recorder: Pick<Recorder, 'recordAll'>;
  /** Where an open gap is kept; its folder is there. */
  readonly file: string;
  readonly clock: Clock;
  readonly telemetry: Pick<DeliveryTelemetry, 'eventsUnrecorded' | 'gapRecorded'> & { readonly log: Log };
  /** How long an answer waits for the record. */
  readonly deadlineMs: number;
  /** How often an open gap is written down, and its record is tried. */
  readonly retryMs: number;
}

/** Events without a record. */
interface Gap {
  readonly fromMs: number;
  readonly toMs: number;
  readonly count: number;
  /** A process ended within the gap, and there may have been more. */
  readonly isMinimum: boolean;
}

/** Records the gap that an earlier process left, then those of this one, until it is closed. */
export async function startLossySink(options: LossySinkOptions): Promise<EventSink> {
  const { recorder, clock, telemetry } = options;
  let gap = await readGap(options.file);
  // What the record under way tells of.
  let telling: Gap | undefined;
  const writing = new OneAtATime();

  async function submit(drafts: readonly EventDraft[]): Promise<Submitted> {
    const recorded = recorder.recordAll(drafts);
    // What is recorded too late for the answer is recorded all the same; only what is refused is lost.
    const settled = recorded.then(
      (committed): Submitted => ({ kind: 'recorded', committed }),
      (error: unknown): Submitted => {
        if (!isLogFailure(error)) throw error;
        lose(drafts.length, describeError(error));
        return { kind: 'unrecorded' };
      },
    );
    const patience = new AbortController();
    const tooLate = delay<Submitted>(options.deadlineMs, { kind: 'unrecorded' }, { signal: patience.signal });
    try {
      return await Promise.race([settled, tooLate]);
    } finally {
      patience.abort();
    }
  }

  function lose(count: number, reason: string): void {
    const nowMs = clock.now();
    const isFirst = gap === undefined;
    gap = merged(gap, { fromMs: nowMs, toMs: nowMs, count, isMinimum: false });
    telemetry.eventsUnrecorded(count, reason);
    if (isFirst) void writeDown();
  }

  /** Makes the file say what has no record yet. */
  function writeDown(): Promise<void> {
    const written = writing.run(async () => {
      const open = merged(telling, gap);
      if (open === undefined) await rm(options.file, { force: true });
      else await writeDurably(options.file, JSON.stringify(open));
    });
    return written.catch((error) =>
      telemetry.log.error(`the gap of the log cannot be written down: ${describeError(error)}`),
    );
  }

  /** One record for all that was lost until now. What is lost meanwhile makes the next one. */
  async function tell(): Promise<void> {
    if (gap === undefined) return;
    const told = gap;
    telling = told;
    gap = undefined;
    await writeDown();
    try {
      await recorder.recordAll([gapDraft(told)]);
      telemetry.gapRecorded({ events: told.count, from: timeOf(told.fromMs), to: timeOf(told.toMs) });
    } catch {
      // A record that was written after all counts the gap twice; nothing goes uncounted.
      gap = merged(told, gap);
    } finally {
      telling = undefined;
    }
    await writeDown();
  }

  const attempts = recur(options.retryMs, tell);

  return {
    submit,
    async close() {
      await attempts.stop();
      await attempts.now();
      await writeDown();
    },
  };
}

function merged(a: Gap | undefined, b: Gap | undefined): Gap | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return {
    fromMs: Math.min(a.fromMs, b.fromMs),
    toMs: Math.max(a.toMs, b.toMs),
    count: a.count + b.count,
    isMinimum: a.isMinimum || b.isMinimum,
  };
}

/** The gap that an earlier process could not record. */
async function readGap(file: string): Promise<Gap | undefined> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const { fromMs, toMs, count } = gapIn(text, file);
  return { fromMs, toMs, count, isMinimum: true };
}

function gapIn(text: string, file: string): { fromMs: number; toMs: number; count: number } {
  const found: unknown = JSON.parse(text);
  const [fromMs, toMs, count] = isJsonObject(found) ? [found['fromMs'], found['toMs'], found['count']] : [];
  if (typeof fromMs === 'number' && typeof toMs === 'number' && typeof count === 'number')
    return { fromMs, toMs, count };
  throw new Error(`${file} does not tell of a gap: move it away.`);
}

const surfaceId = 'audit.gap';

function gapDraft({ fromMs, toMs, count, isMinimum }: Gap): EventDraft {
  return {
    ...ownDraft(surfaceId),
    resource: { type: 'log', id: 'audit' },
    meta: {
      event_type: 'audit_gap',
      gap_from: timeOf(fromMs),
      gap_to: timeOf(toMs),
      gap_count: count,
      gap_count_is_minimum: isMinimum ? true : undefined,
    },
  };
}

function timeOf(ms: number): string {
  return new Date(ms).toISOString();
}
