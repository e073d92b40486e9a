import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { McpServer as SdkServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { McpTransport } from '../../src/core/mcp-server.ts';
import { richClient, testPeer } from '../support/mcp-peer.ts';
import { call, failureOf, patience, type RegistrySettings, serverOf, textOf } from '../support/mcp-registry.ts';
import { openEvents, type Received, said, startScripted } from '../support/mcp-scripted.ts';

/** The official server of that transport; `POST` at the address of the stream is not known to it. */
async function sdkServer(postStatus = 404): Promise<{ readonly url: string; readonly opened: () => number }> {
  const transports = new Map<string, SSEServerTransport>();
  let opened = 0;
  const http = createServer(async (request, response) => {
    const url = new URL(request.url ?? '', 'http://none');
    if (request.method === 'GET' && url.pathname === '/sse') {
      opened++;
      const transport = new SSEServerTransport('/messages', response);
      transports.set(transport.sessionId, transport);
      await sdkTools().connect(transport);
    } else if (request.method === 'POST' && url.pathname === '/messages') {
      await transports.get(url.searchParams.get('sessionId') ?? '')?.handlePostMessage(request, response);
    } else {
      response.writeHead(postStatus).end();
    }
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  onTestFinished(() => {
    http.closeAllConnections();
    http.close();
  });
  return { url: `http://127.0.0.1:${(http.address() as AddressInfo).port}/sse`, opened: () => opened };
}

function sdkTools(): SdkServer {
  const server = new SdkServer({ name: 'legacy', version: '1' }, { capabilities: { logging: {} } });
  server.registerTool('hello', { description: 'Says hello' }, () => ({ content: [{ type: 'text', text: 'hello' }] }));
  server.registerTool('asks', { description: 'Asks' }, async () => {
    const { content } = await server.server.createMessage({ messages: [], maxTokens: 1 });
    return { content: [{ type: 'text', text: JSON.stringify(content) }] };
  });
  return server;
}

const sampled = { result: { role: 'assistant', model: 'm', content: { type: 'text', text: 'sampled' } } };

function open(server: ReturnType<typeof serverOf>['server'], lost: string[] = []) {
  return server.openSession({
    client: richClient,
    protocolVersion: '2024-11-05',
    peer: testPeer(() => sampled),
    onLost: (reason) => lost.push(reason),
    signal: patience(),
  });
}

describe('a server over HTTP+SSE, as of 2024-11-05', () => {
  it.each([
    ['sse', 404],
    ['auto', 400],
    ['auto', 404],
    ['auto', 405],
  ] as const)('is served by the transport %s, where it answers a POST with %i', async (transport, status) => {
    const { url, opened } = await sdkServer(status);
    const { server } = serverOf({ transport, url });
    expect((await server.listTools(patience())).map(({ name }) => name)).toEqual(['hello', 'asks']);
    const answers = await Promise.all([1, 2, 3].map(() => call(server, 'hello')));
    expect(answers.map(textOf)).toEqual(['hello', 'hello', 'hello']);
    expect((await server.hello(patience())).serverInfo).toMatchObject({ name: 'legacy' });
    // One more that only looked whether there is such a stream.
    expect(opened()).toBe(transport === 'auto' ? 2 : 1);
  });

  it('gives each client a stream of its own, on which it is asked', async () => {
    const { url, opened } = await sdkServer();
    const { server } = serverOf({ transport: 'sse', url });
    const lost: string[] = [];
    const [one, two] = [await open(server, lost), await open(server, lost)];
    const asks = { name: 'asks', args: {}, requestId: 'r', signal: patience() };
    expect(textOf(await one.callTool(asks))).toBe('{"type":"text","text":"sampled"}');
    expect(opened()).toBe(2);
    await one.close();
    expect((await failureOf(one.callTool(asks))).dispatched).toBe(false);
    expect(textOf(await two.callTool(asks))).toContain('sampled');
    expect(lost).toEqual([]);
  });

  it('is not looked for where the entry says another transport', async () => {
    const { url } = await sdkServer();
    const { server } = serverOf({ transport: 'http', url });
    expect((await failureOf(server.listTools(patience()))).code).toBe('UPSTREAM_INVALID_RESPONSE');
  });
});

interface LegacyScript {
  /** The data of the first event. */
  readonly endpoint?: string;
  /** What is done with a message after it was taken. */
  readonly answer?: (received: Received, stream: ServerResponse) => void;
  readonly receipt?: number;
  /** Before the receipt of a call. */
  readonly receiptAfterMs?: number;
}

function send(stream: ServerResponse, message: unknown): void {
  stream.write(`event: message\ndata: ${JSON.stringify(message)}\n\n`);
}

/** A server of that transport that does what a test tells it to, once its hands are shaken. */
async function scripted(script: LegacyScript, settings: RegistrySettings = {}, transport: McpTransport = 'sse') {
  const streams: ServerResponse[] = [];
  const upstream = await startScripted(async (received, response) => {
    const { method, url, message } = received;
    if (method === 'GET') {
      openEvents(response);
      streams.push(response);
      response.write(`event: endpoint\ndata: ${script.endpoint ?? '/messages'}\n\n`);
      return;
    }
    if (url === '/mcp') return void response.writeHead(405).end();
    const stream = streams.at(-1);
    const isCall = message['method'] === 'tools/call';
    if (isCall && script.receiptAfterMs !== undefined) await delay(script.receiptAfterMs);
    response.writeHead(isCall ? (script.receipt ?? 202) : 202).end();
    if (stream === undefined || message['id'] === undefined) return;
    const { id } = message;
    if (message['method'] === 'initialize') {
      send(stream, { jsonrpc: '2.0', id, result: { protocolVersion: '2024-11-05', capabilities: { tools: {} } } });
    } else if (isCall && script.answer !== undefined) script.answer(received, stream);
    else send(stream, { jsonrpc: '2.0', id, result: said('done') });
  });
  const { server } = serverOf(
    { transport, url: upstream.url, callTimeoutMs: 20_000 },
    { bounds: { stdioRestartBackoffMinMs: 0, ...settings.bounds } },
  );
  return { server, upstream, streams };
}

describe('a hostile server over HTTP+SSE', () => {
  it.each([
    'http://127.0.0.2:1/messages',
    'http://169.254.169.254/latest/meta-data',
    '//example.com/messages',
    'https://127.0.0.1/messages',
    'file:///etc/passwd',
    'http://[',
  ])('that names the endpoint %s is sent nothing', async (endpoint) => {
    const { server, upstream } = await scripted({ endpoint });
    expect(await failureOf(call(server, 'x'))).toMatchObject({ code: 'UPSTREAM_INVALID_RESPONSE', dispatched: false });
    expect(upstream.received.filter(({ method }) => method === 'POST')).toEqual([]);
  });

  it('that names another endpoint later is not believed', async () => {
    const { server, upstream } = await scripted({
      answer: ({ message }, stream) => {
        stream.write('event: endpoint\ndata: /elsewhere\n\n');
        send(stream, { jsonrpc: '2.0', id: message['id'], result: said('done') });
      },
    });
    await call(server, 'x');
    await call(server, 'x');
    expect(new Set(upstream.received.filter(({ method }) => method === 'POST').map(({ url }) => url))).toEqual(
      new Set(['/messages']),
    );
  });

  it('at an address that may not be dialled is not dialled', async () => {
    const { url, opened } = await sdkServer();
    const { server } = serverOf({ transport: 'sse', url, publicOnly: true });
    expect(await failureOf(call(server, 'hello'))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false });
    expect(opened()).toBe(0);
  });

  it('that names none is given up', async () => {
    const upstream = await startScripted((_, response) => openEvents(response));
    const { server } = serverOf({ transport: 'sse', url: upstream.url }, { bounds: { stdioStartTimeoutMs: 200 } });
    expect(await failureOf(call(server, 'x'))).toMatchObject({ code: 'UPSTREAM_TIMEOUT', dispatched: false });
  });

  it.each([200, 302, 404, 500])('that answers the GET with HTTP %i and no stream is none', async (status) => {
    const upstream = await startScripted(
      (_, response) => void response.writeHead(status, { location: '/x' }).end('{}'),
    );
    const { server } = serverOf({ transport: 'sse', url: upstream.url });
    expect(await failureOf(call(server, 'x'))).toMatchObject({ code: 'UPSTREAM_INVALID_RESPONSE', dispatched: false });
    expect(upstream.received).toHaveLength(1);
  });

  it('that answers others’ requests, twice and late is answered for by nobody', async () => {
    const { server } = await scripted({
      answer: ({ message }, stream) => {
        send(stream, { jsonrpc: '2.0', id: 99_999, result: said('to nobody') });
        stream.write('event: message\ndata: no JSON\n\n');
        send(stream, { jsonrpc: '2.0', id: message['id'], result: said('first') });
        send(stream, { jsonrpc: '2.0', id: message['id'], result: said('second') });
      },
    });
    expect(textOf(await call(server, 'x'))).toBe('first');
    expect(textOf(await call(server, 'x'))).toBe('first');
  });

  it.each([400, 404, 500])(
    'that takes a call with HTTP %i fails it, and it may have been carried out',
    async (receipt) => {
      const { server } = await scripted({ receipt, answer: () => undefined });
      expect(await failureOf(call(server, 'x'))).toMatchObject({ code: 'UPSTREAM_INVALID_RESPONSE', dispatched: true });
    },
  );

  it('that takes its time with the receipt has as much of it as the call', async () => {
    const { server } = await scripted({ receiptAfterMs: 300 }, { bounds: { upstreamCallTimeoutMs: 50 } });
    expect(textOf(await call(server, 'x'))).toBe('done');
  });

  it('whose stream breaks off in the middle fails what is in flight, and is opened again by the next call', async () => {
    let calls = 0;
    const { server, streams } = await scripted({
      answer: ({ message }, stream) => {
        if (++calls > 1) return send(stream, { jsonrpc: '2.0', id: message['id'], result: said('again') });
        stream.write('event: message\ndata: {"jsonrpc":"2.0","id":2,"result"');
        setImmediate(() => stream.destroy());
      },
    });
    expect(await failureOf(call(server, 'x'))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: true });
    expect(textOf(await call(server, 'x'))).toBe('again');
    expect(streams).toHaveLength(2);
  });

  it('that sends an event without end fails what is in flight', async () => {
    const { server } = await scripted(
      { answer: (_, stream) => void stream.write(`event: message\ndata: ${'x'.repeat(50_000)}`) },
      { bounds: { upstreamResponseBytesMax: 10_000 } },
    );
    expect(await failureOf(call(server, 'x'))).toMatchObject({ code: 'UPSTREAM_RESPONSE_TOO_LARGE', dispatched: true });
  });

  it('that asks without end and takes no reply is told no more than a few', async () => {
    const unanswered: ServerResponse[] = [];
    const streams: ServerResponse[] = [];
    const upstream = await startScripted(({ method, message }, response) => {
      if (method === 'GET') {
        openEvents(response);
        streams.push(response);
        response.write('event: endpoint\ndata: /messages\n\n');
        return;
      }
      if (message['method'] === undefined) return void unanswered.push(response);
      response.writeHead(202).end();
      const [stream] = streams;
      if (stream === undefined || message['id'] === undefined) return;
      const capabilities = { tools: {} };
      if (message['method'] === 'tools/call')
        for (let id = 0; id < 500; id++) send(stream, { jsonrpc: '2.0', id, method: 'ping' });
      const result = { protocolVersion: '2024-11-05', capabilities, ...said('done') };
      send(stream, { jsonrpc: '2.0', id: message['id'], result });
    });
    const bounds = { upstreamInFlightMax: 4, upstreamPeerRequestsMax: 3, upstreamGoodbyesInFlightMax: 2 };
    const { server } = serverOf({ transport: 'sse', url: upstream.url }, { bounds });
    expect(textOf(await call(server, 'x'))).toBe('done');
    await expect.poll(() => unanswered.length, { timeout: 20_000 }).toBe(9);
    // There is no room for a call either until it takes something.
    expect(await failureOf(call(server, 'x'))).toMatchObject({ code: 'UPSTREAM_BUSY', dispatched: false });
    for (const response of unanswered) response.writeHead(202).end();
    await expect.poll(() => call(server, 'x').then(textOf, () => 'busy'), { timeout: 20_000 }).toBe('done');
  });

  it('that ends its stream with the handshake gives nobody a session that stays', async () => {
    const streams: ServerResponse[] = [];
    const upstream = await startScripted(({ method, message }, response) => {
      if (method === 'GET') {
        openEvents(response);
        streams.push(response);
        response.write('event: endpoint\ndata: /messages\n\n');
        return;
      }
      response.writeHead(202).end();
      if (message['method'] !== 'initialize') return;
      const result = { protocolVersion: '2024-11-05', capabilities: {} };
      streams.at(-1)?.end(`data: ${JSON.stringify({ jsonrpc: '2.0', id: message['id'], result })}\n\n`);
    });
    const { server } = serverOf({ transport: 'sse', url: upstream.url });
    const lost: string[] = [];
    const wasOpen = await open(server, lost).then(
      () => true,
      () => false,
    );
    await expect.poll(() => lost.length, { timeout: 20_000 }).toBe(wasOpen ? 1 : 0);
    expect(server.isInUse).toBe(false);
  });

  it('whose session is over tells the client once', async () => {
    const { server, streams } = await scripted({});
    const lost: string[] = [];
    const session = await open(server, lost);
    streams.at(-1)?.end();
    await expect.poll(() => lost, { timeout: 20_000 }).toEqual(['its event stream ended']);
    expect(
      await failureOf(session.callTool({ name: 'x', args: {}, requestId: 'r', signal: patience() })),
    ).toMatchObject({
      dispatched: false,
    });
    expect(lost).toHaveLength(1);
  });
});

describe('a server that only looks like one over HTTP+SSE', () => {
  it.each([
    ['says nothing on its stream', (response: ServerResponse) => openEvents(response)],
    [
      'says something else first',
      (response: ServerResponse) => {
        openEvents(response);
        response.write('data: {}\n\n');
      },
    ],
    ['has no stream', (response: ServerResponse) => void response.writeHead(405).end()],
  ])('because it %s is spoken to without a handshake', async (_, stream) => {
    const upstream = await startScripted(({ method, message }, response) => {
      if (method === 'GET') return stream(response);
      if (message['method'] !== 'tools/call') return void response.writeHead(404).end();
      response.writeHead(200).end(JSON.stringify({ jsonrpc: '2.0', id: message['id'] ?? null, result: said('bare') }));
    });
    const { server } = serverOf({ transport: 'auto', url: upstream.url }, { bounds: { upstreamListTimeoutMs: 3_000 } });
    expect(textOf(await call(server, 'x'))).toBe('bare');
  });
});
