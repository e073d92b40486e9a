/**
 * Finds the requests that were answered without a record of their own and hands them to whoever counts them: reads, and
 * refusals of callers that nobody knows. It sees the answer only after it was given, so it can fail no request.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { ClientIpHash } from '../core/audit-event.ts';
import type { DenialReason } from '../core/denial.ts';
import { anonymous, type Principal } from '../core/principal.ts';
import { type SurfaceId, surfaceOf } from '../core/surfaces.ts';
import type { FactsOf } from './caller.ts';
import type { App } from './fastify.ts';

/** Who counts. Neither may throw. */
export interface UnrecordedCounters {
  readonly countRead: (read: {
    readonly surfaceId: SurfaceId;
    readonly principal: Principal;
    readonly failed: boolean;
  }) => void;
  readonly countRefusal: (refusal: {
    readonly code: string;
    readonly isDenial: boolean;
    readonly denialReason?: DenialReason;
    readonly clientIp?: ClientIpHash;
  }) => void;
}

/** To be called before routes are registered. */
export function countUnrecorded(app: App, counters: UnrecordedCounters, factsOf: FactsOf): void {
  app.addHook('onResponse', async (request, reply) => {
    // Whatever has a record names it.
    if (request.isPassedOn || reply.hasHeader('x-talos-audit-ref')) return;
    if (isRefusal(reply)) counters.countRefusal(refusalOf(request, reply, factsOf));
    else countRead(request, reply, counters);
  });
}

function isRefusal({ statusCode }: FastifyReply): boolean {
  return statusCode === 401 || statusCode === 403 || statusCode === 429;
}

function refusalOf(request: FastifyRequest, reply: FastifyReply, factsOf: FactsOf) {
  const { clientIp } = factsOf(request);
  const reason = request.failure?.details?.['denial_reason'];
  return {
    code: request.failure?.code ?? 'INTERNAL',
    isDenial: reply.statusCode !== 429,
    ...(typeof reason === 'string' ? { denialReason: reason as DenialReason } : {}),
    ...(clientIp === undefined ? {} : { clientIp }),
  };
}

function countRead(request: FastifyRequest, reply: FastifyReply, { countRead: count }: UnrecordedCounters): void {
  const surfaceId = request.routeOptions.config?.surface;
  if (surfaceId === undefined || surfaceOf(surfaceId).auditMode !== 'summary') return;
  count({ surfaceId, principal: request.caller?.principal ?? anonymous, failed: reply.statusCode >= 400 });
}
