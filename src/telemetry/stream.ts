/** What live streams do: one function for each business event. */
import type { Logger } from 'pino';
import { Counter, Gauge, type Registry } from 'prom-client';

export type StreamTransport = 'websocket' | 'sse';

export interface StreamTelemetry {
  /** How many sessions are open, and how far the slowest is behind. */
  readonly streamsMeasured: (streams: {
    readonly sessions: number;
    readonly lagRecords: number;
    readonly lagSeconds: number;
  }) => void;
  readonly streamSent: (sent: {
    readonly transport: StreamTransport;
    readonly events: number;
    readonly bytes: number;
  }) => void;
  /** `reason`: a fixed word, such as `client_left` or `slow_consumer`. */
  readonly streamClosed: (reason: string) => void;
  /** The log could not be read for those who follow it. */
  readonly streamReadFailed: (reason: string) => void;
  readonly streamReadWorks: () => void;
  /** A string that works in development mode alone was taken for a capability. */
  readonly legacyCapabilityUsed: () => void;
  /** How many sessions are open now. */
  readonly activeSessions: () => number;
}

export function createStreamTelemetry(log: Logger, registry: Registry, active: Gauge): StreamTelemetry {
  const registers = [registry];
  const lagRecords = new Gauge({
    name: 'gateway_stream_lag_records',
    help: 'Records that the slowest session does not have yet.',
    registers,
  });
  const lagSeconds = new Gauge({
    name: 'gateway_stream_lag_seconds',
    help: 'Time between the newest record and where the slowest session stands.',
    registers,
  });
  const labelNames = ['transport'] as const;
  const bytes = new Counter({
    name: 'gateway_stream_bytes_total',
    help: 'Bytes of events sent.',
    labelNames,
    registers,
  });
  const events = new Counter({ name: 'gateway_stream_events_total', help: 'Events sent.', labelNames, registers });
  const closed = new Counter({
    name: 'gateway_stream_closed_total',
    help: 'Sessions that ended, by reason.',
    labelNames: ['reason'] as const,
    registers,
  });
  let sessions = 0;
  let isFailing = false;
  return {
    streamsMeasured(streams) {
      sessions = streams.sessions;
      active.set(streams.sessions);
      lagRecords.set(streams.lagRecords);
      lagSeconds.set(streams.lagSeconds);
    },
    streamSent(sent) {
      bytes.inc({ transport: sent.transport }, sent.bytes);
      events.inc({ transport: sent.transport }, sent.events);
    },
    streamClosed: (reason) => closed.inc({ reason }),
    streamReadFailed(reason) {
      if (!isFailing) log.warn({ reason }, 'the log cannot be read: live streams wait');
      isFailing = true;
    },
    streamReadWorks() {
      if (isFailing) log.info('live streams go on');
      isFailing = false;
    },
    legacyCapabilityUsed() {
      log.warn('a string of development mode was taken for a capability; in production it is refused');
    },
    activeSessions: () => sessions,
  };
}
