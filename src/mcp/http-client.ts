/**
 * The pool of connections to one tool server over HTTP. Every request goes to the one configured URL; redirects are not
 * followed, nothing is retried, and what the gateway says of itself cannot be overridden by configured headers.
 */
import { Pool } from 'undici';
import { isHeaderValue } from '../core/mcp-server.ts';
import type { ConnectionOptions, RpcRequest } from './connection.ts';
import type { Deadline } from './deadline.ts';
import { createConnector } from './dial.ts';
import { exchange, type HttpReply, type HttpRequest } from './http-exchange.ts';
import { type FilledTexts, texts } from './upstream-secrets.ts';

export interface HttpSend {
  readonly method?: HttpRequest['method'];
  readonly body?: string;
  /** Added to the base headers, names and values in turn. */
  readonly headers: readonly string[];
  readonly deadline: Deadline;
  readonly onEvent?: HttpRequest['onEvent'];
}

// Ids reach us from callers; what is not plain stays here.
const plainRequestId = /^[\x21-\x7e]{1,128}$/;

export class HttpClient {
  readonly #pool: Pool;
  readonly #path: string;
  readonly #configured: FilledTexts;
  readonly #bodyBytesMax: number;

  constructor({ spec, bounds, secretOf }: Pick<ConnectionOptions, 'spec' | 'bounds' | 'secretOf'>) {
    const url = new URL(spec.url ?? '');
    this.#path = url.pathname + url.search;
    this.#bodyBytesMax = bounds.upstreamResponseBytesMax;
    this.#configured = texts(spec.headers ?? {}, secretOf, isHeaderValue);
    this.#pool = new Pool(url.origin, {
      connections: bounds.upstreamConnectionsMax,
      pipelining: 1,
      connect: createConnector({
        timeoutMs: bounds.upstreamConnectTimeoutMs,
        publicOnly: spec.publicOnly === true,
      }),
      // The deadline of the call governs the whole exchange; undici's would start anew with every chunk.
      headersTimeout: 0,
      bodyTimeout: 0,
    });
  }

  /** One HTTP exchange. Rejects with `UpstreamError` only. */
  async send({ method = 'POST', body, headers, deadline, onEvent = ignore }: HttpSend): Promise<HttpReply> {
    const configured = this.#configured(deadline);
    const own = baseHeaders(configured instanceof Promise ? await configured : configured);
    const all = [...own, ...headers];
    if (method === 'POST') all.push('content-type', 'application/json');
    const request = {
      method,
      path: this.#path,
      headers: all,
      body: body ?? null,
      bodyBytesMax: this.#bodyBytesMax,
      onEvent,
    };
    return await exchange(this.#pool, request, deadline);
  }

  async close(): Promise<void> {
    await this.#pool.destroy();
  }
}

function baseHeaders(configured: Readonly<Record<string, string>>): string[] {
  return [
    'accept',
    'application/json, text/event-stream',
    'user-agent',
    'talos-gateway',
    ...Object.entries(configured).flat(),
  ];
}

export function requestIdHeader({ requestId }: Pick<RpcRequest, 'requestId'>): string[] {
  return requestId !== undefined && plainRequestId.test(requestId) ? ['x-request-id', requestId] : [];
}

function ignore(): undefined {
  return undefined;
}
