/**
 * Gets a small document from an address that the operator, or something that the operator trusts, has named. The same
 * guard as for tool servers: link-local and metadata addresses are never dialled, redirects are not followed, and the
 * whole exchange is bounded in time and size.
 */
import { Agent } from 'undici';
import { createConnector } from './dial.ts';

export interface GuardedFetchOptions {
  readonly timeoutMs: number;
  readonly bytesMax: number;
}

/** The body of a 200. Rejects with an `Error` that is for the operator's eyes only. */
export type GuardedFetch = (url: string) => Promise<Buffer>;

export interface GuardedFetcher {
  readonly fetch: GuardedFetch;
  readonly close: () => Promise<void>;
}

export function createGuardedFetcher({ timeoutMs, bytesMax }: GuardedFetchOptions): GuardedFetcher {
  const agent = new Agent({ connect: createConnector({ timeoutMs }), connections: 2, maxResponseSize: bytesMax });
  return {
    async fetch(url) {
      const { origin, pathname, search } = new URL(url);
      const { statusCode, body } = await agent.request({
        origin,
        path: pathname + search,
        method: 'GET',
        headers: { accept: 'application/json', 'user-agent': 'talos-gateway' },
        signal: AbortSignal.timeout(timeoutMs),
      });
      const bytes = Buffer.from(await body.arrayBuffer());
      if (statusCode !== 200) throw new Error(`${origin} answered ${statusCode}`);
      return bytes;
    },
    close: () => agent.destroy(),
  };
}
