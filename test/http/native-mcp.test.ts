/** The native MCP endpoint, spoken to by the official clients of both generations and by hand. */
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Client as OlderClient } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as OlderTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import {
  type Answer,
  itemsOf,
  outcomesOf,
  productionEnv,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { strangeIssuer, tokenOfText, tokenWith } from '../support/issuer.ts';
import { everythingProgram } from '../support/mcp-processes.ts';
import { sendError, toolNamed } from '../support/mcp-scripted.ts';
import { echo, startEverythingServer, startUpstream, type Upstream } from '../support/upstream.ts';

let web: { url: string; stop: () => Promise<void> };
let scripted: Upstream;
let gateway: TestGateway;
let strict: TestGateway;

beforeAll(async () => {
  web = await startEverythingServer();
  scripted = await startUpstream({
    tools: [
      { ...toolNamed('typed'), inputSchema: { type: 'object', properties: { n: { type: 'integer' } } } },
      toolNamed('echo'),
      toolNamed('erring'),
      toolNamed('hidden'),
    ],
    calls: {
      echo,
      typed: echo,
      hidden: echo,
      erring: (received, response) => sendError(received, response, -32_011, 'no such city'),
    },
  });
  gateway = await startTestGateway({
    file: `servers:
  stdio: { command: ${JSON.stringify(process.execPath)}, args: [${JSON.stringify(everythingProgram)}, stdio] }
  http: { url: ${web.url} }
  tested: { url: ${scripted.url} }
  down: { url: http://127.0.0.1:9/ }
`,
  });
  strict = await startTestGateway({
    servers: { tested: scripted.url, web: web.url },
    env: productionEnv,
    clock: wallClock(),
  });
});

afterAll(async () => {
  await Promise.all([gateway.stop(), strict.stop()]);
  await scripted.close();
  await web.stop();
});

/** One JSON-RPC message by hand. */
function post(to: TestGateway, path: string, message: JsonValue, headers: Record<string, string> = {}, token?: string) {
  return to.send(path, { json: message, headers, ...(token === undefined ? {} : { token }) });
}

const request = (method: string, params: JsonObject = {}, id: JsonValue = 1): JsonObject => ({
  jsonrpc: '2.0',
  id,
  method,
  params,
});

const envelope = {
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientCapabilities': {},
};

const stateless = (method: string, params: JsonObject = {}) => request(method, { ...params, _meta: envelope });

const statelessHeaders = (method: string, name?: string) => ({
  'mcp-protocol-version': '2026-07-28',
  'mcp-method': method,
  ...(name === undefined ? {} : { 'mcp-name': name }),
});

const errorOf = ({ body }: Answer) => body['error'] as JsonObject;
const resultOf = ({ body }: Answer) => body['result'] as JsonObject;

describe.each(['legacy', 'auto', { pin: '2026-07-28' }] as const)('the official client in mode %j', (mode) => {
  it.each(['stdio', 'http'])('uses the official server over %s as if it were there', async (server) => {
    const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode } });
    await client.connect(new StreamableHTTPClientTransport(new URL(`${gateway.url}/mcp/${server}`)));
    const { tools } = await client.listTools();
    expect(tools.map(({ name }) => name)).toEqual(expect.arrayContaining(['echo', 'get-sum']));
    const called = await client.callTool({ name: 'echo', arguments: { message: 'native' } });
    expect(called.content).toEqual([{ type: 'text', text: 'Echo: native' }]);
    const { resources } = await client.listResources();
    const { contents } = await client.readResource({ uri: resources[0]?.uri ?? '' });
    expect(contents[0]?.uri).toBe(resources[0]?.uri);
    const { prompts } = await client.listPrompts();
    expect(prompts.length).toBeGreaterThan(0);
    const { messages } = await client.getPrompt({ name: 'simple-prompt' });
    expect(messages[0]?.content).toMatchObject({ type: 'text' });
    await client.close();
  });

  it('finds the tools of all servers under one address, and is not kept by one that is down', async () => {
    const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode } });
    await client.connect(new StreamableHTTPClientTransport(new URL(`${gateway.url}/mcp`)));
    const names = (await client.listTools()).tools.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(['stdio__echo', 'http__echo', 'tested__echo']));
    expect(names.filter((name) => name.startsWith('down'))).toEqual([]);
    const { content } = await client.callTool({ name: 'http__get-sum', arguments: { a: 2, b: 40 } });
    expect(JSON.stringify(content)).toContain('42');
    await expect(client.callTool({ name: 'nobody__echo', arguments: {} })).rejects.toThrow('Unknown tool');
    await client.close();
  });
});

it('the official client of the first generation works unchanged', async () => {
  const client = new OlderClient({ name: 'test', version: '1' });
  await client.connect(new OlderTransport(new URL(`${gateway.url}/mcp/http`)));
  expect(client.getServerCapabilities()).toMatchObject({ tools: {}, resources: {}, prompts: {} });
  expect(await client.ping()).toEqual({});
  const called = await client.callTool({ name: 'get-sum', arguments: { a: 1, b: 2 } });
  expect(JSON.stringify(called.content)).toContain('3');
  await expect(client.callTool({ name: 'nonsense', arguments: {} })).rejects.toMatchObject({ code: -32_602 });
  await client.setLoggingLevel('debug');
  await client.close();
});

describe('a call', () => {
  it('has the same record as over REST, and its reference in the header', async () => {
    const answer = await post(gateway, '/mcp/tested', request('tools/call', { name: 'echo', arguments: { a: 1 } }));
    expect(answer.status).toBe(200);
    const ref = answer.headers.get('x-talos-audit-ref');
    const [item] = await outcomesOf(gateway, 'tool=echo&server_id=tested&limit=1');
    expect(item).toMatchObject({ event_id: ref, method: 'mcp.tools.call', outcome: 'OK' });
    expect(item).toMatchObject({ http: { path: '/mcp/{server_id}' } });
  });

  it('that fails in the tool, or by its arguments, says so in a result that a model can read', async () => {
    const answer = await post(gateway, '/mcp/tested', request('tools/call', { name: 'typed', arguments: { n: 'x' } }));
    expect(resultOf(answer)).toMatchObject({ isError: true });
    expect(JSON.stringify(resultOf(answer))).toContain('does not match schema');
    const upstream = await post(gateway, '/mcp/tested', request('tools/call', { name: 'erring' }));
    expect(errorOf(upstream)).toMatchObject({ code: -32_011, message: 'no such city' });
    const unknown = await post(gateway, '/mcp/tested', request('tools/call', { name: 'nonsense' }));
    expect(errorOf(unknown)).toMatchObject({ code: -32_602, data: { code: 'TOOL_NOT_FOUND' } });
    const down = await post(gateway, '/mcp/down', request('tools/call', { name: 'echo' }));
    expect(errorOf(down)).toMatchObject({ data: { code: 'UPSTREAM_UNAVAILABLE', retryable: true } });
  });

  it.each<[string, JsonObject]>([
    ['no name', {}],
    ['a name that is none', { name: 1 }],
    ['arguments that are a list', { name: 'echo', arguments: [] }],
  ])('with %s is refused as such', async (_, params) => {
    const answer = await post(gateway, '/mcp/tested', request('tools/call', params));
    expect(errorOf(answer)).toMatchObject({ code: -32_602 });
  });
});

describe('a message', () => {
  it.each<[string, JsonValue]>([
    ['is a list', [request('ping')]],
    ['has no version', { id: 1, method: 'ping' }],
    ['has an id that is null', { jsonrpc: '2.0', id: null, method: 'ping' }],
    ['has an id that is a fraction', { jsonrpc: '2.0', id: 1.5, method: 'ping' }],
    ['has params that are a list', { jsonrpc: '2.0', id: 1, method: 'ping', params: [] }],
    ['has neither method nor result', { jsonrpc: '2.0', id: 1 }],
  ])('that %s is refused with 400', async (_, message) => {
    const answer = await post(gateway, '/mcp/tested', message);
    expect(answer.status).toBe(400);
    expect(errorOf(answer)['code']).toBeLessThan(-32_599);
  });

  it('that is no JSON is refused', async () => {
    const answer = await gateway.send('/mcp/tested', { raw: '{', headers: { 'content-type': 'application/json' } });
    expect(answer.status).toBe(400);
  });

  it('that nobody answers is taken with 202 and nothing else', async () => {
    for (const message of [
      { jsonrpc: '2.0', method: 'notifications/initialized' },
      { jsonrpc: '2.0', id: 7, result: {} },
    ]) {
      const answer = await post(gateway, '/mcp/tested', message);
      expect([answer.status, answer.text]).toEqual([202, '']);
    }
  });

  it('of a method that is not served says so, in the stateless era with 404', async () => {
    expect(await post(gateway, '/mcp/tested', request('sampling/createMessage'))).toMatchObject({
      status: 200,
      body: { error: { code: -32_601 } },
    });
    const answer = await post(gateway, '/mcp/tested', stateless('ping'), statelessHeaders('ping'));
    expect([answer.status, errorOf(answer)['code']]).toEqual([404, -32_601]);
    const outside = await post(gateway, '/mcp', request('resources/subscribe', { uri: 'talos+http+demo://x' }));
    expect(errorOf(outside)['code']).toBe(-32_601);
  });

  it('for a server that does not exist names it', async () => {
    const answer = await post(gateway, '/mcp/nobody', request('tools/list'));
    expect(errorOf(answer)).toMatchObject({ data: { code: 'SERVER_NOT_FOUND' } });
  });

  it.each(['GET', 'DELETE', 'PUT'])('cannot be sent by %s', async (method) => {
    const answer = await gateway.send('/mcp/tested', { method });
    expect([answer.status, answer.headers.get('allow')]).toEqual([405, expect.stringMatching(/^POST/)]);
  });

  it('of an older client is answered in its version, or in the newest that has sessions', async () => {
    for (const [asked, given] of [
      ['2024-11-05', '2024-11-05'],
      ['2025-06-18', '2025-06-18'],
      ['1999-01-01', '2025-11-25'],
    ]) {
      const answer = await post(gateway, '/mcp/tested', request('initialize', { protocolVersion: asked ?? '' }));
      expect(resultOf(answer)).toMatchObject({ protocolVersion: given, capabilities: { tools: {} } });
    }
  });
});

describe('headers of the stateless era', () => {
  const call = stateless('tools/call', { name: 'echo', arguments: {} });

  it('must say what the body says', async () => {
    const good = statelessHeaders('tools/call', 'echo');
    expect((await post(gateway, '/mcp/tested', call, good)).status).toBe(200);
    const encoded = { ...good, 'mcp-name': `=?base64?${Buffer.from('echo').toString('base64')}?=` };
    expect((await post(gateway, '/mcp/tested', call, encoded)).status).toBe(200);
    for (const wrong of [
      statelessHeaders('tools/list', 'echo'),
      statelessHeaders('tools/call', 'other'),
      statelessHeaders('tools/call'),
      { 'mcp-protocol-version': '2026-07-28', 'mcp-name': 'echo' },
      { 'mcp-method': 'tools/call', 'mcp-name': 'echo' },
      { ...good, 'mcp-protocol-version': '2025-11-25' },
    ]) {
      const answer = await post(gateway, '/mcp/tested', call, wrong as Record<string, string>);
      expect([answer.status, errorOf(answer)['code']]).toEqual([400, -32_020]);
    }
  });

  it('need the envelope in the body', async () => {
    const headers = statelessHeaders('tools/list');
    for (const message of [
      request('tools/list'),
      request('tools/list', { _meta: {} }),
      request('tools/list', { _meta: { 'io.modelcontextprotocol/protocolVersion': '2026-07-28' } }),
    ]) {
      const answer = await post(gateway, '/mcp/tested', message, headers);
      expect([answer.status, errorOf(answer)['code']]).toEqual([400, -32_602]);
    }
  });

  it('name a version that is served', async () => {
    const meta = { ...envelope, 'io.modelcontextprotocol/protocolVersion': '2031-01-01' };
    const headers = { ...statelessHeaders('tools/list'), 'mcp-protocol-version': '2031-01-01' };
    const answer = await post(gateway, '/mcp/tested', request('tools/list', { _meta: meta }), headers);
    expect(answer.status).toBe(400);
    expect(errorOf(answer)).toMatchObject({ code: -32_022, data: { requested: '2031-01-01' } });
    const older = await post(gateway, '/mcp/tested', request('tools/list'), { 'mcp-protocol-version': '1999-01-01' });
    expect([older.status, errorOf(older)['code']]).toEqual([400, -32_022]);
  });

  it('get results of their era, whatever the server speaks', async () => {
    const list = await post(gateway, '/mcp/http', stateless('tools/list'), statelessHeaders('tools/list'));
    expect(resultOf(list)).toMatchObject({ resultType: 'complete', cacheScope: 'private', ttlMs: expect.any(Number) });
    const older = await post(gateway, '/mcp/http', request('tools/list'));
    expect(resultOf(older)).not.toHaveProperty('resultType');
    expect(resultOf(older)).not.toHaveProperty('ttlMs');
  });
});

describe('in production', () => {
  const echoOnly = () => tokenWith({ scope: 'tool:tested/method:echo' });

  it('a stranger is asked for a credential', async () => {
    const answer = await post(strict, '/mcp/tested', request('initialize'));
    expect(answer.status).toBe(401);
    expect(answer.headers.get('www-authenticate')).toMatch(/^Bearer /);
  });

  it.each<[string, () => string]>([
    ['no token at all', () => 'nonsense'],
    ['expired', () => tokenWith({ scope: 'tool:tested', exp: 1_600_000_000, iat: 1_500_000_000 })],
    ['of an issuer that nobody trusts', () => tokenWith({ scope: 'tool:tested', iss: strangeIssuer.did })],
    ['malformed', () => tokenOfText('{"v":"1"}')],
  ])('a bearer that is %s opens nothing', async (_, token) => {
    const answer = await post(strict, '/mcp/tested', request('tools/list'), {}, token());
    expect(answer.status).toBe(401);
  });

  it('a capability shows and opens what it names, and nothing else', async () => {
    const list = await post(strict, '/mcp/tested', request('tools/list'), {}, echoOnly());
    expect((resultOf(list)['tools'] as JsonObject[]).map(({ name }) => name)).toEqual(['echo']);
    const called = await post(strict, '/mcp/tested', request('tools/call', { name: 'echo' }), {}, echoOnly());
    expect(resultOf(called)).toHaveProperty('content');
    const before = scripted.calls.length;
    const denied = await post(strict, '/mcp/tested', request('tools/call', { name: 'hidden' }), {}, echoOnly());
    expect(denied.status).toBe(200);
    expect(errorOf(denied)).toMatchObject({ data: { code: 'TALOS_DENIED', denial_reason: 'SCOPE_MISMATCH' } });
    expect(scripted.calls.length).toBe(before);
    const reader = tokenWith({ scope: 'tool:gateway/method:events.read' });
    const { body } = await strict.send(`/api/events/${denied.headers.get('x-talos-audit-ref')}`, { token: reader });
    expect(body['record']).toMatchObject({ outcome: 'denied' });
  });

  it('another server is refused, and its tools stay unknown', async () => {
    for (const method of ['initialize', 'tools/list', 'resources/list']) {
      const answer = await post(strict, '/mcp/web', request(method), {}, echoOnly());
      expect(errorOf(answer)).toMatchObject({ data: { code: 'TALOS_DENIED' } });
    }
    const all = await post(strict, '/mcp', request('tools/list'), {}, echoOnly());
    expect((resultOf(all)['tools'] as JsonObject[]).map(({ name }) => name)).toEqual(['tested__echo']);
    const call = await post(strict, '/mcp', request('tools/call', { name: 'web__echo' }), {}, echoOnly());
    expect(errorOf(call)).toMatchObject({ code: -32_602 });
  });

  it('what is not a tool needs a scope of its own, and is recorded', async () => {
    const prompts = tokenWith({ scope: 'tool:web/method:rpc.prompts.get' });
    const hello = await post(strict, '/mcp/web', request('initialize'), {}, prompts);
    expect(Object.keys(resultOf(hello)['capabilities'] as JsonObject)).toEqual(['tools', 'prompts']);
    const got = await post(strict, '/mcp/web', request('prompts/get', { name: 'simple-prompt' }), {}, prompts);
    expect(resultOf(got)).toHaveProperty('messages');
    expect(got.headers.get('x-talos-audit-ref')).not.toBeNull();
    const read = await post(strict, '/mcp/web', request('resources/read', { uri: 'demo://x' }), {}, prompts);
    expect(errorOf(read)).toMatchObject({ data: { denial_reason: 'SCOPE_MISMATCH' } });
    const whole = tokenWith({ scope: 'tool:web' });
    const missing = await post(strict, '/mcp/web', request('resources/read', { uri: 'demo://nope' }), {}, whole);
    expect(errorOf(missing)['code']).toEqual(expect.any(Number));
    const token = tokenWith({ scope: 'tool:gateway/method:events.read' });
    const { body } = await strict.send('/api/events?limit=10', { token });
    const relayed = (body['items'] as unknown as JsonObject[]).filter(({ method }) => method === 'mcp.methods.relay');
    expect(relayed.slice(0, 3).map(({ outcome }) => outcome)).toEqual(['ERROR', 'DENY', 'OK']);
  });

  it('a page of an origin that is not listed is refused before anything else', async () => {
    const headers = { origin: 'https://evil.example' };
    const answer = await post(strict, '/mcp/tested', request('tools/list'), headers, echoOnly());
    expect([answer.status, answer.body['code']]).toEqual([403, 'ORIGIN_NOT_ALLOWED']);
  });
});

it('in development mode pages of this machine may speak to it, others not', async () => {
  const local = await post(gateway, '/mcp/tested', request('ping'), { origin: 'http://localhost:5173' });
  expect(local.status).toBe(200);
  const strange = await post(gateway, '/mcp/tested', request('ping'), { origin: 'http://evil.example' });
  expect(strange.status).toBe(403);
  expect((await itemsOf(gateway)).length).toBeGreaterThan(0);
});
