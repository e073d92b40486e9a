/** What becomes of records beside the log, and of the room that the log has: one function for each business event. */
import type { Logger } from 'pino';
import { Counter, Gauge, type Registry } from 'prom-client';

export interface DeliveryTelemetry {
  /** Events were accepted into the spool, because the log could not be written. `bytes`: what it holds now. */
  readonly eventsSpooled: (spool: { readonly events: number; readonly bytes: number }) => void;
  /** Spooled events are in the log. */
  readonly spoolDrained: (spool: { readonly events: number; readonly bytes: number }) => void;
  /** The spool could not take or give something. */
  readonly spoolFailed: (reason: string) => void;
  /** Events were answered without a record. */
  readonly eventsUnrecorded: (events: number, reason: string) => void;
  /** A record says how many went unrecorded. */
  readonly gapRecorded: (gap: { readonly events: number; readonly from: string; readonly to: string }) => void;
  readonly recordForwarded: () => void;
  readonly forwardingFailed: (reason: string) => void;
  /** The audit service refused a record for what it is. */
  readonly forwardingRejected: (record: { readonly seq: number; readonly status: number }) => void;
  /** Records were removed from the log before they could be forwarded. */
  readonly forwardingMissed: (gap: { readonly fromSeq: number; readonly count: number }) => void;
  /** How many records the audit service does not have yet; only the gateway that forwards knows. */
  readonly forwardingLag: (records: number | undefined) => void;
  readonly storeMeasured: (store: { readonly usedBytes: number; readonly freeBytes: number | undefined }) => void;
  /** `reason` names the bound; undefined when there is room again. */
  readonly storeJudged: (state: 'room' | 'low' | 'full', reason: string) => void;
  readonly retentionKnown: (retention: { readonly isUnlimited: boolean }) => void;
}

export function createDeliveryTelemetry(log: Logger, registry: Registry): DeliveryTelemetry {
  return { ...spoolTelemetry(log, registry), ...forwardTelemetry(log, registry), ...storeTelemetry(log, registry) };
}

type SpoolTelemetry = Pick<
  DeliveryTelemetry,
  'eventsSpooled' | 'spoolDrained' | 'spoolFailed' | 'eventsUnrecorded' | 'gapRecorded'
>;

function spoolTelemetry(log: Logger, registry: Registry): SpoolTelemetry {
  const registers = [registry];
  const spooled = new Counter({ name: 'audit_spooled_total', help: 'Events accepted into the spool.', registers });
  const drained = new Counter({ name: 'audit_spool_drained_total', help: 'Spooled events now in the log.', registers });
  const bytes = new Gauge({ name: 'audit_spool_bytes', help: 'Bytes that the spool holds.', registers });
  const failures = new Counter({
    name: 'audit_spool_failures_total',
    help: 'Events that the spool could not take, and segments that it could not give back whole.',
    registers,
  });
  const unrecorded = new Counter({
    name: 'audit_unrecorded_total',
    help: 'Events answered as unrecorded, because the log could not be written.',
    registers,
  });
  let isSpooling = false;
  let isLosing = false;
  return {
    eventsSpooled(spool) {
      if (!isSpooling) log.warn('the audit log cannot be written: events are spooled');
      isSpooling = true;
      spooled.inc(spool.events);
      bytes.set(spool.bytes);
    },
    spoolDrained(spool) {
      drained.inc(spool.events);
      bytes.set(spool.bytes);
      if (spool.bytes > 0) return;
      log.info('all spooled events are in the audit log');
      isSpooling = false;
    },
    spoolFailed(reason) {
      failures.inc();
      log.error({ reason }, 'the spool failed');
    },
    eventsUnrecorded(events, reason) {
      if (!isLosing) log.error({ reason }, 'the audit log cannot be written: EVENTS GO UNRECORDED');
      isLosing = true;
      unrecorded.inc(events);
    },
    gapRecorded(gap) {
      isLosing = false;
      log.warn(gap, 'the audit log accepts records again; a record tells of the gap');
    },
  };
}

type ForwardTelemetry = Pick<
  DeliveryTelemetry,
  'recordForwarded' | 'forwardingFailed' | 'forwardingRejected' | 'forwardingMissed' | 'forwardingLag'
>;

function forwardTelemetry(log: Logger, registry: Registry): ForwardTelemetry {
  const registers = [registry];
  const successes = new Counter({
    name: 'audit_forward_success_total',
    help: 'Records that the external audit service has taken.',
    registers,
  });
  const failures = new Counter({
    name: 'audit_forward_failure_total',
    help: 'Attempts to forward a record that failed; they are repeated.',
    registers,
  });
  const rejections = new Counter({
    name: 'audit_forward_rejected_total',
    help: 'Records that the external audit service refused for what they are.',
    registers,
  });
  const missed = new Counter({
    name: 'audit_forward_missed_total',
    help: 'Records that were removed from the log before they were forwarded.',
    registers,
  });
  const lag = new Gauge({
    name: 'audit_forward_lag_records',
    help: 'Records that the external audit service does not have yet, as the gateway that forwards knows.',
    registers,
  });
  let failing: string | undefined;
  return {
    recordForwarded() {
      if (failing !== undefined) log.info('the external audit service takes records again');
      failing = undefined;
      successes.inc();
    },
    forwardingFailed(reason) {
      failures.inc();
      // Said once; the metric counts the others.
      if (failing !== reason) log.warn({ reason }, 'records cannot be forwarded now and will be later');
      failing = reason;
    },
    forwardingRejected(record) {
      rejections.inc();
      log.error(record, 'the external audit service REFUSED a record; it is kept on the list of refused records');
    },
    forwardingMissed(gap) {
      missed.inc(gap.count);
      log.error(gap, 'records were removed from the log before they were forwarded');
    },
    forwardingLag(records) {
      if (records === undefined) lag.reset();
      else lag.set(records);
    },
  };
}

type StoreTelemetry = Pick<DeliveryTelemetry, 'storeMeasured' | 'storeJudged' | 'retentionKnown'>;

const levels = { room: 0, low: 1, full: 2 } as const;

function storeTelemetry(log: Logger, registry: Registry): StoreTelemetry {
  const registers = [registry];
  const used = new Gauge({ name: 'gateway_store_bytes', help: 'What the database occupies.', registers });
  const free = new Gauge({
    name: 'gateway_store_free_bytes',
    help: 'What is left on the volume of the embedded store.',
    registers,
  });
  const level = new Gauge({
    name: 'gateway_store_watermark',
    help: '0: there is room. 1: it runs low. 2: work that needs a record is refused.',
    registers,
  });
  const unlimited = new Gauge({
    name: 'gateway_log_retention_unlimited',
    help: '1 when records are kept for ever, so that the store grows until somebody acts.',
    registers,
  });
  let known: keyof typeof levels = 'room';
  return {
    storeMeasured({ usedBytes, freeBytes }) {
      used.set(usedBytes);
      if (freeBytes !== undefined) free.set(freeBytes);
    },
    storeJudged(state, reason) {
      level.set(levels[state]);
      if (state === known) return;
      known = state;
      if (state === 'full') log.error({ reason }, 'THE STORE IS FULL: work that needs a record is refused');
      else if (state === 'low') log.warn({ reason }, 'the store runs low on room');
      else log.info('the store has room again');
    },
    retentionKnown({ isUnlimited }) {
      unlimited.set(isUnlimited ? 1 : 0);
    },
  };
}
