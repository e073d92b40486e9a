/** What the limits admit and refuse, whether their shared store is there, and how busy the tool servers are. */
import type { Logger } from 'pino';
import { Counter, Gauge, type Registry } from 'prom-client';
import type { LimitKind } from '../core/limit.ts';

export interface LimitTelemetry {
  /** One request was counted against these limits, or against none of them because some refused it. */
  readonly limitsTaken: (
    limits: readonly { readonly kind: LimitKind; readonly refused: boolean }[],
    admitted: boolean,
  ) => void;
  /** The shared store did not say in time whether a request is within its limits. */
  readonly limiterUnavailable: () => void;
  readonly sharedStoreState: (state: { readonly isUp: boolean; readonly reason: string }) => void;
  /** Calls that one tool server works on, and calls that wait for their turn. */
  readonly upstreamLoad: (load: {
    readonly serverId: string;
    readonly inFlight: number;
    readonly queued: number;
  }) => void;
  /** `down`: it is asked by probes only. */
  readonly upstreamHealth: (health: {
    readonly serverId: string;
    readonly state: 'unknown' | 'up' | 'failing' | 'down';
  }) => void;
  /** A server that there is no more: nothing is said of it any longer. */
  readonly upstreamGone: (serverId: string) => void;
}

export function createLimitTelemetry(log: Logger, registry: Registry): LimitTelemetry {
  return { ...requestLimits(registry), ...sharedStore(log, registry), ...upstreams(registry) };
}

function requestLimits(registry: Registry): Pick<LimitTelemetry, 'limitsTaken' | 'limiterUnavailable'> {
  const registers = [registry];
  const labelNames = ['limit'] as const;
  const admissions = new Counter({
    name: 'gateway_rate_limit_admitted_total',
    help: 'Requests that a limit admitted, by its kind.',
    labelNames,
    registers,
  });
  const rejections = new Counter({
    name: 'talos_rate_limit_rejections_total',
    help: 'Requests that a limit refused, by its kind.',
    labelNames,
    registers,
  });
  const unavailable = new Counter({
    name: 'gateway_rate_limiter_unavailable_total',
    help: 'Requests whose limits the shared store could not tell.',
    registers,
  });
  return {
    limitsTaken(limits, admitted) {
      for (const { kind, refused } of limits) {
        if (admitted) admissions.inc({ limit: kind });
        else if (refused) rejections.inc({ limit: kind });
      }
    },
    limiterUnavailable() {
      unavailable.inc();
    },
  };
}

function sharedStore(log: Logger, registry: Registry): Pick<LimitTelemetry, 'sharedStoreState'> {
  const up = new Gauge({
    name: 'gateway_shared_store_up',
    help: '1 when the Redis or Valkey of REDIS_URL answers; 0 when it does not, or none is set.',
    registers: [registry],
  });
  let known: boolean | undefined;
  return {
    sharedStoreState({ isUp, reason }) {
      up.set(isUp ? 1 : 0);
      if (isUp === known) return;
      if (!isUp) log.error({ reason }, 'the shared store (REDIS_URL) does not answer');
      else log.info(known === undefined ? 'connected to the shared store' : 'the shared store answers again');
      known = isUp;
    },
  };
}

function upstreams(registry: Registry): Pick<LimitTelemetry, 'upstreamLoad' | 'upstreamHealth' | 'upstreamGone'> {
  const registers = [registry];
  const labelNames = ['server'] as const;
  const inFlight = new Gauge({
    name: 'gateway_upstream_calls_in_flight',
    help: 'Calls that a tool server works on.',
    labelNames,
    registers,
  });
  const queued = new Gauge({
    name: 'gateway_upstream_calls_queued',
    help: 'Calls that wait for their turn at a tool server.',
    labelNames,
    registers,
  });
  const up = new Gauge({
    name: 'gateway_upstream_up',
    help: '0 while a tool server does not answer and is asked by probes only, else 1; nothing before its first request.',
    labelNames,
    registers,
  });
  const opened = new Counter({
    name: 'gateway_upstream_circuit_opened_total',
    help: 'How often a tool server was found not to answer.',
    labelNames,
    registers,
  });
  return {
    upstreamLoad(load) {
      inFlight.set({ server: load.serverId }, load.inFlight);
      queued.set({ server: load.serverId }, load.queued);
    },
    upstreamHealth({ serverId, state }) {
      up.set({ server: serverId }, state === 'down' ? 0 : 1);
      if (state === 'down') opened.inc({ server: serverId });
    },
    upstreamGone(server) {
      for (const metric of [inFlight, queued, up, opened]) metric.remove({ server });
    },
  };
}
