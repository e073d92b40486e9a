/**
 * What the gateway tells of itself: one function per business event writes its metric and, where an operator should
 * know, its log line. Nothing here ever carries a credential, an argument or a result.
 */
import { type Logger, pino } from 'pino';
import type { DenialReason } from '../core/denial.ts';
import { createDeliveryTelemetry, type DeliveryTelemetry } from './delivery.ts';
import { createLimitTelemetry, type LimitTelemetry } from './limits.ts';
import { createMcpClientTelemetry, type McpClientTelemetry } from './mcp-clients.ts';
import { createMetrics, type Metrics, quantile } from './metrics.ts';
import { createPinTelemetry, type PinTelemetry } from './pins.ts';
import { createStreamTelemetry, type StreamTelemetry } from './stream.ts';

export type Log = Logger;

export interface Telemetry
  extends DeliveryTelemetry,
    LimitTelemetry,
    McpClientTelemetry,
    PinTelemetry,
    StreamTelemetry {
  readonly log: Log;
  readonly requestAnswered: (request: {
    readonly method: string;
    readonly endpoint: string;
    readonly status: number;
    readonly seconds: number;
  }) => void;
  /** A request failed for a reason inside the gateway. */
  readonly requestFailed: (failure: {
    readonly requestId: string;
    readonly endpoint: string;
    readonly reason: string;
  }) => void;
  readonly decided: (denial: { readonly reason: DenialReason } | undefined) => void;
  readonly toolAnswered: (call: {
    readonly serverId: string;
    readonly outcome: string;
    readonly seconds: number;
  }) => void;
  readonly batchCommitted: (batch: { readonly records: number; readonly seconds: number }) => void;
  readonly batchFailed: (reason: string) => void;
  /** A checkpoint is what outsiders are shown now; `quorum` says whether enough witnesses have cosigned it. */
  readonly checkpointPublished: (checkpoint: {
    readonly size: number;
    readonly quorum: 'none' | 'reached' | 'missed';
  }) => void;
  readonly outsideCopyMade: (copy: OutsideCopy) => void;
  readonly outsideCopyFailed: (copy: OutsideCopy & { readonly reason: string }) => void;
  readonly logForked: (reason: string) => void;
  /** How much there is in the log, and how long it is kept; undefined for ever. */
  readonly logKept: (kept: { readonly records: number; readonly retentionDays: number | undefined }) => void;
  /** Whether the last attempt to commit a batch failed. */
  readonly isLogFailing: () => boolean;
  readonly exposition: () => Promise<{ readonly contentType: string; readonly text: string }>;
  readonly latency: () => Promise<{ readonly p50Ms: number; readonly p95Ms: number }>;
  /** Requests answered since the start, health probes included. */
  readonly requestsTotal: () => number;
}

/** A witness or an anchor, by the name that the operator knows it by. */
export interface OutsideCopy {
  readonly kind: 'witness' | 'anchor';
  readonly name: string;
}

export function createTelemetry(options: {
  readonly level: string;
  readonly destination?: NodeJS.WritableStream;
}): Telemetry {
  const log = createLog(options);
  const metrics = createMetrics();
  let requests = 0;
  let failing = false;

  return {
    log,
    requestAnswered({ method, endpoint, status, seconds }) {
      requests++;
      metrics.requests.inc({ method, endpoint, status });
      metrics.requestSeconds.observe({ method, endpoint }, seconds);
    },
    requestFailed(failure) {
      log.error(failure, 'request failed');
    },
    decided(denial) {
      metrics.capabilityChecks.inc({ result: denial === undefined ? 'allowed' : 'denied' });
      if (denial !== undefined) metrics.denials.inc({ reason: denial.reason });
    },
    toolAnswered({ serverId, outcome, seconds }) {
      metrics.toolCalls.inc({ server: serverId, outcome });
      metrics.toolCallSeconds.observe({ server: serverId }, seconds);
    },
    batchCommitted({ records, seconds }) {
      if (failing) log.info('the audit log accepts records again');
      failing = false;
      metrics.records.inc(records);
      metrics.batchRecords.observe(records);
      metrics.commitSeconds.observe(seconds);
    },
    batchFailed(reason) {
      // The first failure says it all; the others would drown it.
      if (!failing) log.error({ reason }, 'the audit log cannot be written: requests that need a record are refused');
      failing = true;
      metrics.commitFailures.inc();
    },
    ...createCheckpointTelemetry(log, metrics),
    logKept({ records, retentionDays }) {
      metrics.logRecordsKept.set(records);
      metrics.logRetentionDays.set(retentionDays ?? 0);
    },
    ...createDeliveryTelemetry(log, metrics.registry),
    ...createStreamTelemetry(log, metrics.registry, metrics.activeSessions),
    ...createLimitTelemetry(log, metrics.registry),
    ...createMcpClientTelemetry(metrics.registry),
    ...createPinTelemetry(metrics.registry),
    isLogFailing: () => failing,
    async exposition() {
      return { contentType: metrics.registry.contentType, text: await metrics.registry.metrics() };
    },
    async latency() {
      const [p50, p95] = await Promise.all([
        quantile(metrics.requestSeconds, 0.5),
        quantile(metrics.requestSeconds, 0.95),
      ]);
      return { p50Ms: roundMs(p50), p95Ms: roundMs(p95) };
    },
    requestsTotal: () => requests,
  };
}

type CheckpointTelemetry = Pick<
  Telemetry,
  'checkpointPublished' | 'outsideCopyMade' | 'outsideCopyFailed' | 'logForked'
>;

function createCheckpointTelemetry(log: Log, metrics: Metrics): CheckpointTelemetry {
  const failing = new Map<string, string>();
  let isMissing = false;
  return {
    checkpointPublished({ size, quorum }) {
      metrics.checkpointSize.set(size);
      metrics.checkpoints.inc({ quorum });
      if (quorum === 'missed' && !isMissing) log.warn({ size }, 'too few witnesses have cosigned the checkpoint');
      if (quorum === 'reached' && isMissing) log.info({ size }, 'enough witnesses cosign the checkpoints again');
      isMissing = quorum === 'missed';
    },
    outsideCopyMade({ kind, name }) {
      if (failing.delete(`${kind} ${name}`)) log.info(`the ${kind} ${name} takes checkpoints again`);
    },
    outsideCopyFailed({ kind, name, reason }) {
      metrics.outsideCopyFailures.inc({ kind, name });
      // Said once; the metric counts the others.
      if (failing.get(`${kind} ${name}`) === reason) return;
      failing.set(`${kind} ${name}`, reason);
      log.warn({ reason }, `the ${kind} ${name} did not take a checkpoint`);
    },
    logForked(reason) {
      metrics.logForked.set(1);
      log.fatal({ reason }, 'THE LOG WAS FORKED: nothing is signed or recorded any more');
    },
  };
}

function createLog(options: { readonly level: string; readonly destination?: NodeJS.WritableStream }): Log {
  const settings = { level: options.level, base: null, timestamp: pino.stdTimeFunctions.isoTime };
  return options.destination === undefined ? pino(settings) : pino(settings, options.destination);
}

function roundMs(seconds: number): number {
  return Math.round(seconds * 100_000) / 100;
}
