/** The transport before Streamable HTTP: the official client of the first generation, and everything that must not work by hand. */
import { once } from 'node:events';
import { type AddressInfo, createServer, type Server } from 'node:net';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { SSEClientTransport } from '@modelcontextprotocol/sdk/client/sse.js';
import { CreateMessageRequestSchema } from '@modelcontextprotocol/sdk/types.js';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import {
  itemsOf,
  outcomesOf,
  productionEnv,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { everything, notification, request } from '../support/native-client.ts';
import { type ReferenceServer, startReferenceServer } from '../support/reference/server.ts';

let reference: ReferenceServer;
let gateway: TestGateway;
let strict: TestGateway;
/** It takes connections, and says nothing. */
let mute: Server;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  reference = await startReferenceServer();
  const servers = { reference: reference.url, other: reference.url };
  mute = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(mute, 'listening');
  const muteUrl = `http://127.0.0.1:${(mute.address() as AddressInfo).port}`;
  [gateway, strict] = await Promise.all([
    startTestGateway({ servers: { ...servers, mute: muteUrl } }),
    startTestGateway({ servers, env: productionEnv, clock: wallClock() }),
  ]);
});

afterEach(async () => {
  for (const step of cleanups.splice(0).reverse()) await step();
});

afterAll(async () => {
  await Promise.all([gateway.stop(), strict.stop()]);
  await reference.stop();
  mute.close();
});

/** The official client, connected; it answers what it is asked with `sampled`. */
async function connect(sampled: () => Promise<string> = async () => 'nothing'): Promise<Client> {
  const client = new Client({ name: 'old', version: '1' }, { capabilities: { sampling: {} } });
  client.setRequestHandler(CreateMessageRequestSchema, async () => ({
    role: 'assistant',
    model: 'm',
    content: { type: 'text', text: await sampled() },
  }));
  await client.connect(new SSEClientTransport(new URL(`${gateway.url}/mcp/reference/sse`)));
  cleanups.push(() => client.close());
  return client;
}

interface Stream {
  readonly response: Response;
  /** Where to post. */
  readonly endpoint: string;
  readonly text: () => string;
  readonly said: (part: string) => Promise<void>;
  readonly over: Promise<unknown>;
  readonly leave: () => void;
}

/** A stream by hand. */
async function open(
  to: TestGateway = gateway,
  { server = 'reference', headers = {} }: { readonly server?: string; readonly headers?: Record<string, string> } = {},
): Promise<Stream> {
  const leaving = new AbortController();
  cleanups.push(() => leaving.abort());
  const response = await fetch(`${to.url}/mcp/${server}/sse`, { headers, signal: leaving.signal });
  let text = '';
  const read = async () => {
    const decoder = new TextDecoder();
    for await (const chunk of response.body ?? []) text += decoder.decode(chunk as Uint8Array, { stream: true });
  };
  const over = read().catch(() => undefined);
  if (response.status === 200) await expect.poll(() => text, { timeout: 20_000 }).toContain('\n\n');
  const said = (part: string) => expect.poll(() => text, { timeout: 20_000 }).toContain(part);
  const endpoint = /^event: endpoint\ndata: (.*)\n\n/.exec(text)?.[1] ?? '';
  return { response, endpoint, text: () => text, said, over, leave: () => leaving.abort() };
}

const hello = (id: JsonValue = 'init') =>
  request(
    'initialize',
    { protocolVersion: '2024-11-05', capabilities: everything, clientInfo: { name: 'h', version: '1' } },
    id,
  );

/** The same with a session in it. */
async function initialized(to: TestGateway = gateway, headers: Record<string, string> = {}): Promise<Stream> {
  const stream = await open(to, { headers });
  expect((await to.send(stream.endpoint, { json: hello(), headers })).status).toBe(202);
  await stream.said('"id":"init"');
  await to.send(stream.endpoint, { json: notification('notifications/initialized'), headers });
  return stream;
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const codeOf = (body: JsonObject) => body['code'] ?? ((body['error'] as JsonObject)['data'] as JsonObject)['code'];

describe('the official client', () => {
  it('uses the server as if it were there', async () => {
    const client = await connect();
    expect(client.getServerCapabilities()).toMatchObject({ tools: {}, resources: {}, prompts: {} });
    expect((await client.listTools()).tools.map(({ name }) => name)).toContain('test_simple_text');
    const { content } = await client.callTool({ name: 'test_simple_text', arguments: {} });
    expect(content).toMatchObject([{ type: 'text' }]);
    const [item] = await outcomesOf(gateway, 'tool=test_simple_text&limit=1');
    expect(item).toMatchObject({ method: 'mcp.tools.call', outcome: 'OK', http: { path: '/mcp/{server_id}' } });
    await expect(client.callTool({ name: 'nonsense', arguments: {} })).rejects.toMatchObject({ code: -32_602 });
  });

  it('is told of progress, before the answer', async () => {
    const client = await connect();
    const seen: number[] = [];
    const called = client.callTool({ name: 'test_tool_with_progress', arguments: {} }, undefined, {
      onprogress: ({ progress }) => seen.push(progress),
    });
    await called;
    expect(seen).toEqual([0, 50, 100]);
  });

  it('is asked by the server, and its reply reaches it', async () => {
    const client = await connect(async () => 'a reply of its own');
    const { content } = await client.callTool({ name: 'test_sampling', arguments: { prompt: 'x' } });
    expect(JSON.stringify(content)).toContain('a reply of its own');
  });

  it('cancels what it no longer waits for', async () => {
    let asked: () => void = () => undefined;
    const wasAsked = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const client = await connect(() => {
      asked();
      return new Promise(() => undefined);
    });
    const patience = new AbortController();
    const call = client.callTool({ name: 'test_sampling', arguments: { prompt: 'cancelled' } }, undefined, {
      signal: patience.signal,
    });
    call.catch(() => undefined);
    await wasAsked;
    patience.abort();
    await expect(call).rejects.toThrow();
    const lastOf = async () =>
      (await outcomesOf(gateway, 'tool=test_sampling&limit=1'))[0]?.['meta'] as JsonObject | undefined;
    await expect.poll(async () => (await lastOf())?.['error'], { timeout: 20_000 }).toBe('CALL_CANCELLED');
    expect(await client.ping()).toEqual({});
  });

  it('ends its session by leaving, at the gateway and at the server', async () => {
    await expect.poll(reference.sessions, { timeout: 20_000 }).toBe(0);
    const client = await connect();
    await client.callTool({ name: 'test_simple_text', arguments: {} });
    expect(reference.sessions()).toBe(1);
    await client.close();
    await expect.poll(reference.sessions, { timeout: 20_000 }).toBe(0);
    const ended = async () => (await itemsOf(gateway)).find(({ method }) => method === 'mcp.session.close');
    await expect
      .poll(async () => ((await ended())?.['meta'] as JsonObject | undefined)?.['session_ended_by'], {
        timeout: 20_000,
      })
      .toBe('client_ended');
  });
});

describe('the stream', () => {
  it('begins with where to post, on the same server', async () => {
    const { response, endpoint } = await open();
    expect(response.headers.get('content-type')).toContain('text/event-stream');
    expect(endpoint).toMatch(/^\/mcp\/reference\/messages\?session_id=[A-Za-z0-9_-]{43}$/);
  });

  it('has every answer, and posts have none', async () => {
    const stream = await initialized();
    const { status, text } = await gateway.send(stream.endpoint, { json: request('tools/list', {}, 'list') });
    expect([status, text]).toEqual([202, '']);
    await stream.said('"id":"list"');
    expect(stream.text()).not.toMatch(/^id:/m);
  });

  it('has what belongs to no request too', async () => {
    const stream = await initialized();
    await gateway.send(stream.endpoint, { json: request('tools/list', {}, 'list') });
    await stream.said('"id":"list"');
    await gateway.send(stream.endpoint, {
      json: request('tools/call', { name: 'test_trigger_tool_change', arguments: {} }, 'c'),
    });
    await stream.said('notifications/tools/list_changed');
  });

  it.each<[string, string]>([
    ['GET', '/mcp/reference/sse'],
    ['POST', '/mcp/reference/messages?session_id=x'],
  ])('is not for pages of other sites: %s', async (method, path) => {
    const json = method === 'POST' ? { json: hello() } : {};
    const { status, body } = await gateway.send(path, { method, headers: { origin: 'https://evil.example' }, ...json });
    expect([status, body['code']]).toEqual([403, 'ORIGIN_NOT_ALLOWED']);
  });

  it.each<[string, string]>([
    ['GET', '/mcp/reference/sse'],
    ['POST', '/mcp/reference/messages?session_id=x'],
  ])('is not for strangers in production: %s', async (method, path) => {
    const { status } = await strict.send(path, { method, ...(method === 'POST' ? { json: hello() } : {}) });
    expect(status).toBe(401);
  });
});

it('the stream is not opened to who may not use the server', async () => {
  const token = tokenWith({ sub: 'did:talos:nobody', scope: 'tool:elsewhere' });
  const { status, body, headers } = await strict.send('/mcp/reference/sse', { token });
  expect([status, body['code'], headers.has('x-talos-audit-ref')]).toEqual([403, 'TALOS_DENIED', true]);
});

it('initialize is answered with what keeps the server from it, and may be tried again', async () => {
  const stream = await open(gateway, { server: 'nowhere' });
  for (const id of ['once', 'again']) {
    expect((await gateway.send(stream.endpoint, { json: hello(id) })).status).toBe(202);
    await stream.said(`"id":"${id}"`);
  }
  expect(stream.text()).toContain('SERVER_NOT_FOUND');
  expect((await gateway.send(stream.endpoint, { json: request('tools/list') })).status).toBe(400);
});

describe('a message', () => {
  const granted = () => tokenWith({ sub: 'did:talos:one', scope: 'tool:reference' });

  it.each<[string, string]>([
    ['without an id of a session', ''],
    ['with one that nobody made', '?session_id=nonsense'],
    ['with one of another form', `?session_id=${'a'.repeat(43)}`],
  ])('%s is refused', async (_, query) => {
    const { status } = await gateway.send(`/mcp/reference/messages${query}`, { json: hello() });
    expect(status).toBe(query === '' ? 422 : 404);
  });

  it.each<[string, JsonValue, number]>([
    ['before initialize', request('tools/list'), 400],
    [
      'of the era without sessions',
      request('server/discover', {
        _meta: {
          'io.modelcontextprotocol/protocolVersion': '2026-07-28',
          'io.modelcontextprotocol/clientCapabilities': {},
        },
      }),
      400,
    ],
    ['that is none', [1, 2], 400],
    ['without a version of JSON-RPC', { id: 1, method: 'ping' }, 400],
  ])('%s is refused', async (_, json, expected) => {
    const stream = await open();
    const before = stream.text();
    const { status } = await gateway.send(stream.endpoint, { json });
    expect([status, stream.text()]).toEqual([expected, before]);
  });

  it('waits until it is initialized', async () => {
    const stream = await open(gateway, { server: 'mute' });
    expect((await gateway.send(stream.endpoint, { json: hello() })).status).toBe(202);
    for (const json of [request('tools/list'), hello('again')]) {
      expect((await gateway.send(stream.endpoint, { json })).status).toBe(400);
    }
  });

  it('initializes once', async () => {
    const stream = await initialized();
    const { status } = await gateway.send(stream.endpoint, { json: hello('again') });
    expect(status).toBe(400);
    expect(stream.text()).not.toContain('again');
  });

  it.each<[string, () => { headers?: Record<string, string>; path?: (endpoint: string) => string }]>([
    ['another principal', () => ({ headers: bearer(tokenWith({ sub: 'did:talos:two', scope: 'tool:reference' })) })],
    [
      'the same one with another capability',
      () => ({ headers: bearer(tokenWith({ sub: 'did:talos:one', scope: 'tool:*' })) }),
    ],
    ['its own caller at another server', () => ({ path: (endpoint) => endpoint.replace('reference', 'other') })],
  ])('of %s does not get into the session, nor onto its stream', async (_, change) => {
    const own = bearer(tokenWith({ sub: 'did:talos:one', scope: 'tool:*' }));
    const used = change().path === undefined ? bearer(granted()) : own;
    const stream = await initialized(strict, used);
    const before = stream.text();
    const { headers = used, path = (endpoint: string) => endpoint } = change();
    const answer = await strict.send(path(stream.endpoint), { json: request('ping', {}, 'stolen'), headers });
    expect([answer.status, codeOf(answer.body)]).toEqual([404, 'SESSION_NOT_FOUND']);
    expect(answer.headers.get('x-talos-audit-ref')).not.toBeNull();
    expect(stream.text()).toBe(before);
  });

  it('after the client has left finds no session', async () => {
    const stream = await initialized();
    stream.leave();
    const post = async () => (await gateway.send(stream.endpoint, { json: request('ping') })).status;
    await expect.poll(post, { timeout: 20_000 }).toBe(404);
  });

  it('reaches no session of Streamable HTTP by its id, nor the other way round', async () => {
    const stream = await initialized();
    const id = new URL(stream.endpoint, gateway.url).searchParams.get('session_id') ?? '';
    const answer = await gateway.send('/mcp/reference', { json: request('ping'), headers: { 'mcp-session-id': id } });
    expect(answer.status).toBe(404);
    const opened = await gateway.send('/mcp/reference', { json: hello() });
    const other = opened.headers.get('mcp-session-id') ?? '';
    expect((await gateway.send(`/mcp/reference/messages?session_id=${other}`, { json: request('ping') })).status).toBe(
      404,
    );
  });
});

describe('an end from this side', () => {
  it('comes with the end of the capability', async () => {
    const token = tokenWith({ sub: 'did:talos:revoked', scope: 'tool:reference' });
    const stream = await initialized(strict, bearer(token));
    const revoke = { token: productionEnv.AUTH_ADMIN_SECRET, json: { token } };
    expect((await strict.send('/admin/v1/capabilities/revoke', revoke)).status).toBe(200);
    await stream.over;
    expect((await strict.send(stream.endpoint, { json: request('ping'), headers: bearer(token) })).status).not.toBe(
      202,
    );
  });
});

describe('the id of a session', () => {
  it('is in no record, line or metric', async () => {
    const stream = await initialized();
    const id = new URL(stream.endpoint, gateway.url).searchParams.get('session_id') ?? '';
    await gateway.send(`/mcp/other/messages?session_id=${id}`, { json: request('ping') });
    const told = [
      gateway.logText(),
      JSON.stringify(await itemsOf(gateway)),
      (await gateway.send('/metrics')).text,
      (await gateway.send('/sessions')).text,
    ];
    expect(told.join('\n')).not.toContain(id);
  });
});
