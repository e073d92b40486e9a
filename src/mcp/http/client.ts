/**
 * The pool of connections to one tool server over HTTP. Every request goes to the one configured URL; redirects are not
 * followed, nothing is retried, and what the gateway says of itself cannot be overridden by configured headers.
 */
import { Pool } from 'undici';
import { isHeaderValue } from '../../core/mcp-server.ts';
import type { ConnectionOptions, RpcRequest } from '../connection.ts';
import type { UpstreamCredential } from '../credentials/upstream-credential.ts';
import { type FilledTexts, texts } from '../credentials/upstream-secrets.ts';
import type { Deadline } from '../deadline.ts';
import { createConnector } from '../network/dial.ts';
import { exchange, type HttpReply, type HttpRequest } from './exchange.ts';
import { withCredential } from './with-credential.ts';

export interface HttpSend {
  readonly method?: HttpRequest['method'];
  readonly body?: string;
  /** Added to the base headers, names and values in turn. */
  readonly headers: readonly string[];
  readonly deadline: Deadline;
  readonly onEvent?: HttpRequest['onEvent'];
  readonly onStream?: HttpRequest['onStream'];
  /**
   * What neither waits for calls nor holds them up: `streams` last, and how many there are is for others to bound; of
   * `messages` there may be many at once, and they wait for each other.
   */
  readonly aside?: 'streams' | 'messages';
  /** Path and query in place of the configured ones. */
  readonly path?: string;
}

// Ids reach us from callers; what is not plain stays here.
const plainRequestId = /^[\x21-\x7e]{1,128}$/;

export class HttpClient {
  readonly #pools: Readonly<Record<'calls' | 'streams' | 'messages', Pool>>;
  readonly #path: string;
  readonly #configured: FilledTexts;
  readonly #credential: UpstreamCredential | undefined;
  readonly #serverId: string;
  readonly #bodyBytesMax: number;

  constructor({
    spec,
    bounds,
    secretOf,
    credential,
  }: Pick<ConnectionOptions, 'spec' | 'bounds' | 'secretOf' | 'credential'>) {
    this.#credential = credential;
    this.#serverId = spec.id;
    const url = new URL(spec.url ?? '');
    this.#path = url.pathname + url.search;
    this.#bodyBytesMax = bounds.upstreamResponseBytesMax;
    this.#configured = texts(spec.headers ?? {}, secretOf, isHeaderValue);
    const settings = {
      pipelining: 1,
      connect: createConnector({
        timeoutMs: bounds.upstreamConnectTimeoutMs,
        publicOnly: spec.publicOnly === true,
      }),
      // The deadline of the call governs the whole exchange; undici's would start anew with every chunk.
      headersTimeout: 0,
      bodyTimeout: 0,
    };
    this.#pools = {
      calls: new Pool(url.origin, { ...settings, connections: bounds.upstreamConnectionsMax }),
      streams: new Pool(url.origin, settings),
      messages: new Pool(url.origin, { ...settings, connections: bounds.upstreamGoodbyesInFlightMax }),
    };
  }

  /** One HTTP exchange, or a second one when the credential had to be renewed. Rejects with `UpstreamError` only. */
  send(send: HttpSend): Promise<HttpReply> {
    if (this.#credential === undefined) return this.#exchange(send);
    return withCredential(this.#credential, this.#serverId, send.deadline, (authorization) =>
      this.#exchange({ ...send, headers: [...send.headers, 'authorization', authorization] }),
    );
  }

  async #exchange(send: HttpSend): Promise<HttpReply> {
    const { method = 'POST', body, headers, deadline, onEvent = ignore, aside = 'calls', path = this.#path } = send;
    const configured = this.#configured(deadline);
    const own = baseHeaders(configured instanceof Promise ? await configured : configured);
    const all = [...own, ...headers];
    if (method === 'POST') all.push('content-type', 'application/json');
    const request = {
      method,
      path,
      headers: all,
      body: body ?? null,
      bodyBytesMax: this.#bodyBytesMax,
      onEvent,
      onStream: send.onStream,
    };
    return await exchange(this.#pools[aside], request, deadline);
  }

  async close(): Promise<void> {
    await Promise.all(Object.values(this.#pools).map((pool) => pool.destroy()));
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
