/** A witness on the network: one route, plain text, every body and every wait bounded. TLS is the work of a proxy. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { bounds } from '../config/bounds.ts';
import { describeError } from '../core/errors.ts';
import type { Witness, WitnessAnswer } from './witness.ts';
import { addCheckpointPath, sizeType } from './witness-request.ts';

export interface WitnessServer {
  /** The submission prefix. */
  readonly url: string;
  /** Lets requests in flight finish. */
  readonly close: () => Promise<void>;
}

export interface WitnessServerOptions {
  readonly witness: Witness;
  readonly host: string;
  /** 0 lets the system choose. */
  readonly port: number;
  /** Told why a checkpoint could not be judged. */
  readonly onFailure: (reason: string) => void;
}

export async function startWitnessServer(options: WitnessServerOptions): Promise<WitnessServer> {
  const server = createServer((request, response) => {
    answer(options.witness, request).then(
      (given) => send(response, given),
      (error: unknown) => {
        options.onFailure(describeError(error));
        send(response, plain(500, 'The checkpoint could not be judged.'));
      },
    );
  });
  bound(server);
  server.listen(options.port, options.host);
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const host = options.host.includes(':') ? `[${options.host}]` : options.host;
  return { url: `http://${host}:${port}`, close: () => close(server) };
}

function bound(server: Server): void {
  server.maxConnections = bounds.witnessConnectionsMax;
  server.requestTimeout = bounds.witnessRequestTimeoutMs;
  server.headersTimeout = bounds.witnessRequestTimeoutMs;
}

async function close(server: Server): Promise<void> {
  server.close();
  server.closeIdleConnections();
  await once(server, 'close');
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

const plain = (status: number, body: string): Answer => ({ status, type: 'text/plain; charset=utf-8', body });

async function answer(witness: Witness, request: IncomingMessage): Promise<Answer> {
  if (request.url !== addCheckpointPath) return plain(404, `Witnesses answer at ${addCheckpointPath}.`);
  if (request.method !== 'POST') return plain(405, 'Send the checkpoint with POST.');
  const body = await readBody(request);
  if (body === undefined) return plain(413, `A request has at most ${bounds.witnessRequestBytesMax} bytes of UTF-8.`);
  return answerOf(await witness.addCheckpoint(body));
}

function answerOf(judged: WitnessAnswer): Answer {
  if (judged.status === 200) return plain(200, judged.cosignatures);
  if (judged.status === 409) return { status: 409, type: sizeType, body: `${judged.size}\n` };
  return plain(judged.status, `${judged.reason}\n`);
}

async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Left open when it is too long: the refusal is still to be sent on the same connection.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > bounds.witnessRequestBytesMax) return undefined;
    chunks.push(chunk);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(chunks));
  } catch {
    return undefined;
  }
}

function send(response: ServerResponse, { status, type, body }: Answer): void {
  const headers = { 'content-type': type, 'content-length': Buffer.byteLength(body) };
  // What was not read of a refused body must not be taken for the next request.
  response.writeHead(status, response.req.complete ? headers : { ...headers, connection: 'close' });
  response.end(body);
}
