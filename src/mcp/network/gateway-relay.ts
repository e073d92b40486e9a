/**
 * Passes a request of a client on to another gateway of the same database, as it came, and what that one answers back, as it
 * comes. There is a time-out for the connection and none for what follows: streams stand for hours.
 */
import type { Readable } from 'node:stream';
import { Agent, type buildConnector } from 'undici';
import { bounds } from '../../config/bounds.ts';
import { describeError, TalosError } from '../../core/errors.ts';
import { createConnector } from './dial.ts';

export interface GatewayRequest {
  /** Scheme, host and port of the gateway. */
  readonly gatewayUrl: string;
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Path and query. */
  readonly target: string;
  /** Names and values in turn. */
  readonly headers: readonly string[];
  readonly body: Readable | undefined;
  /** Aborted when the client goes away. */
  readonly signal: AbortSignal;
}

export interface GatewayAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  /** To be read or destroyed. */
  readonly body: Readable;
}

export interface GatewayRelay {
  /**
   * Undefined when there is no connection, so that nothing was sent. Throws `SESSION_OWNER_LOST` when it broke before an
   * answer came, `CALL_CANCELLED` when the client did, and `STREAMS_FULL` beyond the bound.
   */
  readonly send: (request: GatewayRequest) => Promise<GatewayAnswer | undefined>;
  /** Breaks off what would last for ever: streams that answer no message. */
  readonly hangUp: () => void;
  /** Breaks off whatever is under way. */
  readonly close: () => Promise<void>;
}

class NoConnection extends Error {
  override readonly name = 'NoConnection';
}

export function createGatewayRelay(): GatewayRelay {
  const agent = new Agent({
    connect: namingFailures(createConnector({ timeoutMs: bounds.passOnConnectTimeoutMs })),
    connections: bounds.passedOnMax,
    pipelining: 1,
    headersTimeout: 0,
    bodyTimeout: 0,
  });
  const streams = new Set<Readable>();
  let inFlight = 0;
  return {
    async send({ gatewayUrl, method, target, headers, body, signal }) {
      if (inFlight >= bounds.passedOnMax) throw new TalosError('STREAMS_FULL');
      inFlight++;
      try {
        const request = { origin: gatewayUrl, path: target, method, headers: [...headers], body: body ?? null, signal };
        const answer = await agent.request(request);
        const { statusCode: status, headers: answered, body: stream } = answer;
        if (method === 'GET') streams.add(stream);
        stream.once('close', () => {
          inFlight--;
          streams.delete(stream);
        });
        return { status, headers: answered, body: stream };
      } catch (error) {
        inFlight--;
        if (error instanceof NoConnection) return undefined;
        if (signal.aborted) throw new TalosError('CALL_CANCELLED');
        throw new TalosError('SESSION_OWNER_LOST', { inside: describeError(error), cause: error });
      }
    },
    hangUp() {
      for (const stream of streams) stream.destroy();
    },
    close: () => agent.destroy(),
  };
}

/** What this machine has too little of; that says nothing of the other one. */
const ownLacks: ReadonlySet<unknown> = new Set(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM', 'EADDRNOTAVAIL']);

/** What failed before the connection stood can be told from what failed later. */
function namingFailures(connect: buildConnector.connector): buildConnector.connector {
  return (options, callback) => {
    connect(options, (error, socket) => {
      if (error === null) callback(null, socket);
      else if (ownLacks.has((error as NodeJS.ErrnoException).code)) callback(error, null);
      else callback(new NoConnection(describeError(error), { cause: error }), null);
    });
  };
}
