/**
 * Serves a tool server the way its command line asks for: over stdio, or with `--http <port>` as Streamable HTTP on the
 * loopback interface. Both protocol eras are spoken either way.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createMcpHandler, type McpServer } from '@modelcontextprotocol/server';
import { serveStdio } from '@modelcontextprotocol/server/stdio';

export interface ServeOptions {
  /** Absent: stdio. 0: any free port; the address is printed to stderr. */
  readonly httpPort: number | undefined;
}

/** Makes a server for each connection (stdio) or request (HTTP). */
export async function serve(createServerInstance: () => McpServer, { httpPort }: ServeOptions): Promise<void> {
  if (httpPort === undefined) {
    const handle = serveStdio(createServerInstance);
    process.stdin.once('end', () => void handle.close());
    return;
  }
  const handler = createMcpHandler(createServerInstance);
  const http = createServer((request, response) => void answer(handler.fetch, request, response));
  http.listen(httpPort, '127.0.0.1');
  await once(http, 'listening');
  console.error(`Listening on http://127.0.0.1:${(http.address() as AddressInfo).port}/mcp`);
}

// A page in a browser on this machine can reach loopback under a name of its own; it cannot forge these two headers.
const loopback = /^(localhost|127\.0\.0\.1|\[::1\])(:\d+)?$/;

async function answer(
  handle: (request: Request) => Promise<Response>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { host = '', origin } = request.headers;
  if (!loopback.test(host) || (origin !== undefined && !loopback.test(origin.replace(/^https?:\/\//, '')))) {
    response.writeHead(403).end();
    return;
  }
  const left = new AbortController();
  response.on('close', () => left.abort());
  try {
    await send(await handle(toWebRequest(request, left.signal)), response);
  } catch {
    // The client went away, or the stream broke: there is nobody to tell.
    response.destroy();
  }
}

function toWebRequest(request: IncomingMessage, signal: AbortSignal): Request {
  const headers = Object.entries(request.headers).flatMap(([name, value]) =>
    [value ?? []].flat().map((text): [string, string] => [name, text]),
  );
  const { method = 'GET', url = '/' } = request;
  const body =
    method === 'GET' || method === 'DELETE'
      ? {}
      : { body: Readable.toWeb(request) as ReadableStream, duplex: 'half' as const };
  return new Request(new URL(url, 'http://127.0.0.1'), { method, headers, signal, ...body });
}

async function send(answered: Response, response: ServerResponse): Promise<void> {
  response.writeHead(answered.status, Object.fromEntries(answered.headers));
  response.flushHeaders();
  if (answered.body === null) response.end();
  else await pipeline(Readable.fromWeb(answered.body as Parameters<typeof Readable.fromWeb>[0]), response);
}
