/**
 * Records of what is not worth one each: reads, summed up by principal and surface, and refusals of strangers, summed up
 * by reason and client. Counting never waits and never fails; a crash loses what was counted since the last record, a
 * minute at most while the log can be written. What a stranger can cause is bounded: so many keys, and one for all others.
 */
import { randomUUID } from 'node:crypto';
import type { ClientIpHash, EventDraft } from '../core/audit-event.ts';
import type { Clock } from '../core/clock.ts';
import type { DenialReason } from '../core/denial.ts';
import { describeError, TalosError } from '../core/errors.ts';
import { ownDraft } from '../core/own-draft.ts';
import { gatewayItself, type Principal, teamDefault } from '../core/principal.ts';
import { recur } from '../core/recur.ts';
import type { SurfaceId } from '../core/surfaces.ts';
import type { Log } from '../telemetry/telemetry.ts';
import type { Recorder } from './recorder.ts';
import { type Sum, Tally } from './tally.ts';

/** A request that was answered and has no record of its own. */
export interface CountedRead {
  readonly surfaceId: SurfaceId;
  readonly principal: Principal;
  /** It was answered with an error. */
  readonly failed: boolean;
}

/** A request that was turned away before anybody knew whose it is, or because there were too many. */
export interface CountedRefusal {
  /** The error's code. */
  readonly code: string;
  readonly isDenial: boolean;
  readonly denialReason?: DenialReason;
  /** The client's address; absent when addresses are not recorded. */
  readonly clientIp?: ClientIpHash;
}

export interface SummaryBounds {
  readonly summaryIntervalMs: number;
  readonly summaryKeysMax: number;
  readonly refusalKeysMax: number;
  readonly batchEventsMax: number;
}

export interface SummariesOptions {
  readonly recorder: Pick<Recorder, 'recordAll'>;
  readonly clock: Clock;
  readonly bounds: SummaryBounds;
  readonly log: Log;
}

export interface Summaries {
  readonly countRead: (read: CountedRead) => void;
  readonly countRefusal: (refusal: CountedRefusal) => void;
  /** Records what was counted. Never rejects: what cannot be recorded now stays counted. */
  readonly flush: () => Promise<void>;
  /** The last flush. */
  readonly close: () => Promise<void>;
}

/** Records every `summaryIntervalMs` until it is closed. */
export function startSummaries(options: SummariesOptions): Summaries {
  const { recorder, clock, bounds, log } = options;
  const reads = new Tally<ReadSum>(bounds.summaryKeysMax, otherReads);
  const refusals = new Tally<RefusalSum>(bounds.refusalKeysMax, otherRefusals);

  async function record(): Promise<void> {
    await recordTally(reads, readDraft);
    await recordTally(refusals, refusalDraft);
  }

  async function recordTally<S extends Sum>(
    tally: Tally<S>,
    draftOf: (sum: S, span: Span) => EventDraft,
  ): Promise<void> {
    const sums = tally.take();
    const span = { requestId: randomUUID(), toMs: clock.now() };
    for (let done = 0; done < sums.length; done += bounds.batchEventsMax) {
      const chunk = sums.slice(done, done + bounds.batchEventsMax);
      try {
        await recorder.recordAll(chunk.map((sum) => draftOf(sum, span)));
      } catch (error) {
        log.warn(`summaries could not be recorded: ${describeError(error)}`);
        // What the log will never take must not stand in the way of all that comes after it. The rest is tried again;
        // when the log failed just after it committed, it then counts twice, but nothing goes uncounted.
        if (!(error instanceof TalosError && !error.retryable)) return tally.putBack(sums.slice(done));
      }
    }
  }

  const recording = recur(bounds.summaryIntervalMs, record);

  return {
    countRead: (read) => reads.add(readSum(read, clock.now())),
    countRefusal: (refusal) => refusals.add(refusalSum(refusal, clock.now())),
    flush: recording.now,
    async close() {
      await recording.stop();
      await recording.now();
    },
  };
}

interface ReadSum extends Sum {
  readonly surface: string;
  readonly principal: Principal;
}

interface RefusalSum extends Sum {
  readonly code: string;
  readonly isDenial: boolean;
  readonly denialReason: DenialReason | undefined;
  readonly clientIp: ClientIpHash | undefined;
}

function readSum({ surfaceId, principal, failed }: CountedRead, nowMs: number): ReadSum {
  const who = principal.authMode === 'bearer' ? `${principal.teamId}\n${principal.id}` : '';
  return {
    key: `${surfaceId}\n${who}`,
    fromMs: nowMs,
    count: 1,
    errors: failed ? 1 : 0,
    surface: surfaceId,
    principal,
  };
}

function refusalSum(refusal: CountedRefusal, nowMs: number): RefusalSum {
  const { code, isDenial, denialReason, clientIp } = refusal;
  const key = `${code}\n${denialReason ?? ''}\n${clientIp?.hash ?? ''}`;
  return { key, fromMs: nowMs, count: 1, errors: 0, code, isDenial, denialReason, clientIp };
}

const others: Principal = { ...gatewayItself, id: 'others' };

function otherReads(sum: ReadSum): ReadSum {
  return { ...sum, key: 'others', surface: 'others', principal: others };
}

// Few: there is one for each reason, whoever the client.
function otherRefusals(sum: RefusalSum): RefusalSum {
  return { ...sum, key: `others\n${sum.code}\n${sum.denialReason ?? ''}`, clientIp: undefined };
}

interface Span {
  readonly requestId: string;
  readonly toMs: number;
}

function readDraft(sum: ReadSum, span: Span): EventDraft {
  const { principal, surface } = sum;
  const teamId = principal.authMode === 'bearer' ? principal.teamId : teamDefault;
  return {
    ...ownDraft('gateway.summary', span.requestId),
    // Those who may see the principal's own records may see this one.
    principal: { ...gatewayItself, teamId },
    resource: { type: 'surface', id: surface },
    requests: 0,
    meta: {
      ...summaryMeta(sum, span),
      event_type: 'read_summary',
      summarised_surface: surface,
      summarised_principal: principal.authMode === 'bearer' ? principal.id : 'anonymous',
      summarised_errors: sum.errors,
    },
  };
}

function refusalDraft(sum: RefusalSum, span: Span): EventDraft {
  const draft = ownDraft('gateway.refusals', span.requestId);
  const { code, clientIp, isDenial, denialReason = 'NO_CAPABILITY' } = sum;
  return {
    ...draft,
    outcome: isDenial ? 'denied' : 'failure',
    http: { ...draft.http, ...(clientIp === undefined ? {} : { clientIp }) },
    resource: { type: 'surface', id: draft.surfaceId },
    requests: sum.count,
    meta: {
      ...summaryMeta(sum, span),
      event_type: 'refusal_summary',
      error: code,
      ...(isDenial ? { denial_reason: denialReason } : {}),
    },
  };
}

function summaryMeta({ count, fromMs }: Sum, { toMs }: Span): EventDraft['meta'] {
  return {
    summarised_count: count,
    summarised_from: new Date(fromMs).toISOString(),
    summarised_to: new Date(toMs).toISOString(),
  };
}
