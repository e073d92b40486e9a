/**
 * Probes: alive, ready, and since when. Ready means that a record could be committed now, and that not every request is
 * refused because nobody can say how many there were.
 */

import type { FastifyReply } from 'fastify';
import { Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import { describeError } from '../../../core/errors.ts';
import type { App } from '../../fastify.ts';

export interface HealthDeps {
  readonly region: string;
  readonly version: string;
  readonly development: boolean;
  readonly uptimeSeconds: () => number;
  readonly nowSeconds: () => number;
  /** Rejects when the audit log cannot be written. */
  readonly ensureWritable: () => Promise<void>;
  /** False while the limits cannot be checked and therefore nothing is admitted. */
  readonly canAdmit: () => boolean;
  readonly warn: (message: string) => void;
}

const NotReady = Type.Unsafe<object>({ type: 'object', additionalProperties: true });

export function healthRoutes(app: App, deps: HealthDeps): void {
  const tags = ['Health'];

  app.get(
    '/healthz',
    {
      config: { surface: 'health.healthz' },
      schema: {
        tags,
        summary: 'The process answers',
        response: {
          200: Type.Object({
            status: Type.String(),
            region: Type.String(),
            version: Type.String(),
            uptime: Type.Number({ description: 'Seconds.' }),
          }),
        },
      },
    },
    async () => ({ status: 'ok', region: deps.region, version: deps.version, uptime: deps.uptimeSeconds() }),
  );

  app.get(
    '/health',
    {
      config: { surface: 'health.health' },
      schema: {
        tags,
        summary: 'The process answers (older form)',
        response: { 200: Type.Object({ status: Type.String(), timestamp: Type.Number() }) },
      },
    },
    async () => ({ status: 'ok', timestamp: deps.nowSeconds() }),
  );

  app.get(
    '/health/live',
    {
      config: { surface: 'health.live', answersDuringShutdown: true },
      schema: {
        tags,
        summary: 'Liveness: answers also while the gateway shuts down',
        response: { 200: Type.Object({ status: Type.String(), checks: Type.Object({ api: Type.String() }) }) },
      },
    },
    async () => ({ status: 'ok', checks: { api: 'ok' } }),
  );

  app.get(
    '/health/ready',
    {
      config: { surface: 'health.ready' },
      schema: {
        tags,
        summary: 'Readiness: a record could be committed now, and limits can be checked',
        response: {
          200: Type.Object({
            status: Type.String(),
            checks: Type.Object({ postgres: Type.String(), limits: Type.String() }),
          }),
          503: NotReady,
        },
      },
    },
    async (_, reply) => {
      const [postgres, limits] = [(await isWritable(deps)) ? 'ok' : 'error', deps.canAdmit() ? 'ok' : 'error'];
      const checks = { postgres, limits };
      if (postgres === 'ok' && limits === 'ok') return { status: 'ok', checks };
      return unready(reply, { detail: { status: 'failed', checks }, status: 'failed', checks });
    },
  );

  app.get(
    '/readyz',
    {
      config: { surface: 'health.readyz' },
      schema: {
        tags,
        summary: 'Readiness (older form)',
        response: {
          200: Type.Object({ status: Type.String(), dev_mode: Type.Boolean(), region: Type.String() }),
          503: NotReady,
        },
      },
    },
    async (_, reply) => {
      const { development, region } = deps;
      if (!(await isWritable(deps))) return notReady(reply, 'the audit log cannot be written', region);
      if (!deps.canAdmit()) return notReady(reply, 'the limits cannot be checked', region);
      return { status: 'ready', dev_mode: development, region };
    },
  );
}

async function isWritable(deps: HealthDeps): Promise<boolean> {
  try {
    // A probe that waits for a store that hangs is taken for a gateway that does.
    await deadline(deps.ensureWritable(), bounds.readinessMs);
    return true;
  } catch (error) {
    deps.warn(`not ready: ${describeError(error)}`);
    return false;
  }
}

async function deadline(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`the log did not answer within ${ms} ms`)), ms);
  });
  await Promise.race([work, late]).finally(() => clearTimeout(timer));
}

function notReady(reply: FastifyReply, reason: string, region: string): never {
  return unready(reply, { status: 'not ready', reason, region });
}

function unready(reply: FastifyReply, body: object): never {
  reply.code(503).header('retry-after', '1');
  return body as never;
}
