/** Probes of the services beside the gateway: reached or not, and nothing about why or where. */

import type { FastifyReply } from 'fastify';
import { Type } from 'typebox';
import { bounds } from '../../../config/bounds.ts';
import { SingleFlight } from '../../../core/single-flight.ts';
import type { SurfaceId } from '../../../core/surfaces.ts';
import type { App } from '../../fastify.ts';

export interface ProbeDeps {
  readonly ollamaUrl: string | undefined;
  readonly tgaUrl: string | undefined;
  /** Injected, so that nothing goes out unseen. */
  readonly fetch: typeof fetch;
}

const Online = Type.Object({ status: Type.String() });
const Offline = Type.Object({ status: Type.String(), error: Type.String() });

export function probeRoutes(app: App, deps: ProbeDeps): void {
  probeRoute(app, deps, { surface: 'health.ollama', url: '/health/ollama', base: deps.ollamaUrl, path: '/api/tags' });
  probeRoute(app, deps, { surface: 'health.tga', url: '/health/tga', base: deps.tgaUrl, path: '/health' });
}

interface Probe {
  readonly surface: SurfaceId;
  readonly url: string;
  readonly base: string | undefined;
  readonly path: string;
}

function probeRoute(app: App, deps: ProbeDeps, probe: Probe): void {
  // One question at a time, however many ask: nobody limits how often probes are asked for.
  const asking = new SingleFlight<boolean>();
  const isOnline = (base: string) => asking.run(() => answers(deps.fetch, new URL(probe.path, base)));
  app.get(
    probe.url,
    {
      config: { surface: probe.surface },
      schema: { tags: ['Health'], summary: 'A service beside the gateway', response: { 200: Online, 503: Offline } },
    },
    async (_, reply) => {
      if (probe.base === undefined) return offline(reply, 'not configured');
      return (await isOnline(probe.base)) ? { status: 'online' } : offline(reply, 'not reachable');
    },
  );
}

async function answers(fetcher: typeof fetch, url: URL): Promise<boolean> {
  try {
    const response = await fetcher(url, {
      redirect: 'error',
      signal: AbortSignal.timeout(bounds.serviceProbeTimeoutMs),
    });
    await response.body?.cancel();
    return response.ok;
  } catch {
    return false;
  }
}

function offline(reply: FastifyReply, error: string): never {
  reply.code(503);
  return { status: 'offline', error } as never;
}
