/**
 * Asks for a small document at an address that the operator, or something that the operator trusts, has named. The same
 * guard as for tool servers: link-local and metadata addresses are never dialled, redirects are not followed, and the
 * whole exchange is bounded in time and size.
 */
import type { IncomingHttpHeaders } from 'node:http';
import { Agent } from 'undici';
import { createConnector } from './dial.ts';

export interface GuardedFetchOptions {
  readonly timeoutMs: number;
  readonly bytesMax: number;
  /** To each origin. */
  readonly connectionsMax?: number;
  /** Also refuses private and loopback addresses. */
  readonly publicOnly?: boolean;
}

/** The body of a 200. Rejects with an `Error` that is for the operator's eyes only. */
export type GuardedFetch = (url: string) => Promise<Buffer>;

export interface GuardedRequest {
  readonly method: 'GET' | 'POST';
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

export interface GuardedAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** Whatever is answered, redirects too. Rejects with an `Error` that is for the operator's eyes only. */
export type GuardedSend = (url: string, request: GuardedRequest) => Promise<GuardedAnswer>;

export interface GuardedFetcher {
  readonly fetch: GuardedFetch;
  readonly send: GuardedSend;
  readonly close: () => Promise<void>;
}

export function createGuardedFetcher(options: GuardedFetchOptions): GuardedFetcher {
  const { timeoutMs, bytesMax, connectionsMax = 2, publicOnly = false } = options;
  const connect = createConnector({ timeoutMs, publicOnly });
  const agent = new Agent({ connect, connections: connectionsMax, maxResponseSize: bytesMax });

  async function send(url: string, { method, headers = {}, body }: GuardedRequest): Promise<GuardedAnswer> {
    const { origin, pathname, search } = new URL(url);
    const answer = await agent.request({
      origin,
      path: pathname + search,
      method,
      headers: { accept: 'application/json', 'user-agent': 'talos-gateway', ...headers },
      body: body ?? null,
      signal: AbortSignal.timeout(timeoutMs),
    });
    const { statusCode: status, headers: answered } = answer;
    return { status, headers: answered, body: Buffer.from(await answer.body.arrayBuffer()) };
  }

  return {
    send,
    async fetch(url) {
      const { status, body } = await send(url, { method: 'GET' });
      if (status !== 200) throw new Error(`${new URL(url).origin} answered ${status}`);
      return body;
    },
    close: () => agent.destroy(),
  };
}
