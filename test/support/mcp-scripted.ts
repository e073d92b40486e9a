/** A tool server over HTTP that does exactly what a test tells it to, down to the bytes. */
import { once } from 'node:events';
import { createServer, type IncomingHttpHeaders, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { onTestFinished } from 'vitest';
import { isJsonObject, type JsonObject, type JsonValue } from '../../src/core/json.ts';

export interface Received {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  /** The JSON-RPC message; empty for a request without a body. */
  readonly message: JsonObject;
}

export type Respond = (received: Received, response: ServerResponse) => void | Promise<void>;

export interface ScriptedServer {
  readonly url: string;
  /** Every request so far, in order. */
  readonly received: readonly Received[];
  /** The JSON-RPC methods that were received, in order; `GET` and `DELETE` for requests without a message. */
  readonly methods: () => string[];
  readonly close: () => Promise<void>;
}

/** Listens on a free port until the test is over. */
export async function startScripted(respond: Respond, port = 0): Promise<ScriptedServer> {
  const received: Received[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const { method = '', url = '', headers } = request;
    const entry = { method, url, headers, message: text === '' ? {} : (JSON.parse(text) as JsonObject) };
    received.push(entry);
    response.on('error', () => undefined);
    await respond(entry, response);
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const close = async () => {
    if (!server.listening) return;
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  };
  onTestFinished(close);
  const methods = () =>
    received.map(({ method, message }) => (typeof message['method'] === 'string' ? message['method'] : method));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`, received, methods, close };
}

/** Answers with a JSON body. */
export function sendJson(
  response: ServerResponse,
  body: JsonValue,
  status = 200,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

export function sendResult({ message }: Received, response: ServerResponse, result: JsonObject): void {
  sendJson(response, { jsonrpc: '2.0', id: message['id'] ?? null, result });
}

export function sendError(
  { message }: Received,
  response: ServerResponse,
  code: number,
  text: string,
  status = 200,
): void {
  sendJson(response, { jsonrpc: '2.0', id: message['id'] ?? null, error: { code, message: text } }, status);
}

/** The head of an event stream; what follows is up to the test. */
export function openEvents(response: ServerResponse): void {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.flushHeaders();
}

export function event(message: JsonValue, id?: string): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: message\ndata: ${JSON.stringify(message)}\n\n`;
}

export function said(text: string): JsonObject {
  return { content: [{ type: 'text', text }] };
}

/** A tool that takes anything. */
export function toolNamed(name: string): JsonObject {
  return { name, inputSchema: { type: 'object' } };
}

export interface Script {
  readonly era: 'session' | 'bare';
  readonly tools?: () => readonly JsonValue[];
  /** What tools do when called; a tool that is not here says its own name. */
  readonly calls?: Readonly<Record<string, Respond>>;
  /** Answers other JSON-RPC methods, or these before the script does. */
  readonly methods?: Readonly<Record<string, Respond>>;
  readonly announcesToolChanges?: boolean;
  /** Serves GET, the stream of a session. */
  readonly stream?: Respond;
}

export interface ScriptState {
  readonly respond: Respond;
  /** Open sessions; a test that clears it makes the server forget. */
  readonly sessions: Set<string>;
}

/** A server that behaves, but for what the script says. */
export function mcpScript(script: Script): ScriptState {
  const sessions = new Set<string>();
  let opened = 0;
  const openSession: Respond = (received, response) => {
    const sessionId = `session-${++opened}`;
    sessions.add(sessionId);
    const capabilities = { tools: { listChanged: script.announcesToolChanges ?? false } };
    const result = { protocolVersion: '2025-11-25', capabilities, serverInfo: { name: 'scripted', version: '1' } };
    sendJson(response, { jsonrpc: '2.0', id: received.message['id'] ?? null, result }, 200, {
      'mcp-session-id': sessionId,
    });
  };
  const respond: Respond = (received, response) => {
    const { message } = received;
    const method = String(message['method'] ?? received.method);
    const own = script.methods?.[method];
    if (own !== undefined) return own(received, response);
    if (script.era === 'session') {
      if (method === 'initialize') return openSession(received, response);
      if (method !== 'server/discover' && !sessions.has(String(received.headers['mcp-session-id']))) {
        return sendJson(
          response,
          { jsonrpc: '2.0', id: null, error: { code: -32_001, message: 'Session not found' } },
          404,
        );
      }
      if (received.method === 'GET' && script.stream !== undefined) return script.stream(received, response);
    }
    return common(script, method, received, response);
  };
  return { respond, sessions };
}

function common(script: Script, method: string, received: Received, response: ServerResponse): void | Promise<void> {
  const { message } = received;
  if (received.method !== 'POST') {
    response.writeHead(received.method === 'DELETE' ? 200 : 405).end();
  } else if (message['id'] === undefined || message['method'] === undefined) {
    response.writeHead(202).end();
  } else if (method === 'tools/list') {
    sendResult(received, response, { tools: script.tools?.() ?? Object.keys(script.calls ?? {}).map(toolNamed) });
  } else if (method === 'tools/call') {
    const params = message['params'];
    const name = isJsonObject(params) ? String(params['name']) : '';
    const own = script.calls?.[name];
    if (own !== undefined) return own(received, response);
    sendResult(received, response, said(name));
  } else {
    sendError(received, response, -32_601, 'Method not found', script.era === 'session' ? 400 : 200);
  }
}
