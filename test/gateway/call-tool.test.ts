/** Tool calls over REST: what callers get, what the log keeps, and what the tool server sees. */
import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { surfaces } from '../../src/core/surfaces.ts';
import {
  callTool,
  dumpOf,
  eventually,
  itemsOf,
  outcomesOf,
  recordOf,
  startTestGateway,
  type TestGateway,
} from '../support/gateway.ts';
import { type Respond, said, sendError, sendJson, sendResult } from '../support/mcp-scripted.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

const strictTool: JsonObject = {
  name: 'forecast',
  description: 'Tells the weather.',
  inputSchema: {
    type: 'object',
    properties: { city: { type: 'string', minLength: 2 }, days: { type: 'integer' } },
    required: ['city'],
    additionalProperties: false,
  },
  outputSchema: { type: 'object' },
};

const names = [
  'a.b',
  'a/b',
  'a:b',
  'a:call',
  'call',
  ':call',
  'schema',
  'wetter für morgen',
  '天気',
  '🌦️',
  'a%2Fb',
  'a?b',
  'a#b',
  'a;b',
  'a b',
  '..x',
  '.x',
  'x'.repeat(400),
  "it's",
  'a\\b',
  'a+b',
  'a&b=c',
];

let raw = '';
const remembering: Respond = (received, response) => {
  raw = JSON.stringify({
    jsonrpc: '2.0',
    id: received.message['id'] ?? null,
    result: { ...said('exact'), z: 1, a: 'ä' },
  });
  response.writeHead(200, { 'content-type': 'application/json' }).end(raw);
};

let looksIntoTheLog: () => Promise<void>;
let upstream: Upstream;
let gateway: TestGateway;

beforeAll(async () => {
  upstream = await startUpstream({
    tools: [strictTool],
    calls: {
      echo,
      remembering,
      fails: (received, response) =>
        sendResult(received, response, {
          isError: true,
          content: [
            { type: 'text', text: 'no such city' },
            { type: 'text', text: 'try another' },
          ],
        }),
      'fails silently': (received, response) => sendResult(received, response, { isError: true, content: [] }),
      refuses: (received, response) => sendError(received, response, -32_099, 'not today'),
      'refuses in detail': (received, response) =>
        sendJson(response, {
          jsonrpc: '2.0',
          id: received.message['id'] ?? null,
          error: { code: -1, message: 'm', data: { hint: [1] } },
        }),
      'error null': (received, response) =>
        sendJson(response, { jsonrpc: '2.0', id: received.message['id'] ?? null, error: null, result: said('fine') }),
      hang: () => undefined,
      looks: async (received, response) => {
        await looksIntoTheLog();
        sendResult(received, response, said('looked'));
      },
      structured: (received, response) =>
        sendResult(received, response, {
          content: [],
          structuredContent: { error: null, n: 1.5, big: 2 ** 53, deep: [[[{}]]] },
          _meta: { usage: 1 },
        }),
      ...Object.fromEntries(
        names.map((name) => [
          name,
          ((received, response) => sendResult(received, response, said(`I am ${name}`))) as Respond,
        ]),
      ),
    },
  });
  gateway = await startTestGateway({ servers: { tested: upstream.url } });
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

const sha256 = (data: string) => createHash('sha256').update(data).digest('hex');
const uuidv7 = expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
const wholeMs = expect.toSatisfy((ms: unknown) => Number.isInteger(ms) && Number(ms) >= 0);

describe('a call that succeeds', () => {
  it('answers the output, the time, the request id and the record, and no error', async () => {
    const answer = await callTool(gateway, 'echo', { text: 'hello' });
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({
      request_id: answer.headers.get('x-request-id'),
      output: { content: [{ type: 'text', text: '{"text":"hello"}' }] },
      timing_ms: wholeMs,
      audit_ref: uuidv7,
    });
    expect(answer.headers.get('x-talos-audit-ref')).toBe(answer.body['audit_ref']);
  });

  it('passes on whatever the tool gave, untouched', async () => {
    const { body } = await callTool(gateway, 'structured');
    expect(body['output']).toEqual({
      content: [],
      structuredContent: { error: null, n: 1.5, big: 2 ** 53, deep: [[[{}]]] },
      _meta: { usage: 1 },
    });
  });

  it('is one also when the server says "error": null beside its result', async () => {
    const { body } = await callTool(gateway, 'error null');
    expect(body).toMatchObject({ output: { content: [{ type: 'text', text: 'fine' }] } });
    expect(body).not.toHaveProperty('error');
  });

  it.each(['req-1', 'ünïcode id', 'with "quotes" and \\', 'line\nend', '\u0000'])(
    'echoes the request id of the body: %j',
    async (requestId) => {
      const answer = await callTool(gateway, 'echo', {}, { requestId, headers: { 'x-request-id': 'header-id' } });
      expect(answer.status).toBe(200);
      expect(answer.body['request_id']).toBe(requestId);
      const { record, item } = await recordOf(gateway, answer);
      expect(record['request_id']).toBe(requestId);
      expect(item['correlation_id']).toBe(requestId);
    },
  );

  it('carries the request id to the tool server', async () => {
    await callTool(gateway, 'echo', {}, { requestId: 'to-the-server' });
    expect(upstream.calls.at(-1)).toEqual({ name: 'echo', args: {}, requestId: 'to-the-server' });
  });

  it.each([
    { text: '', nested: { list: [1, [2, { three: 3 }]], nothing: null }, yes: true },
    { 'key with . / : and 天気': 'ü \u2028 🌦️', __proto__x: 1 },
    { big: 1e21, small: 5e-324, negative: -0.5, whole: 9007199254740991 },
  ])('sends the arguments as they came: %j', async (input) => {
    await callTool(gateway, 'echo', input as JsonObject);
    expect(upstream.calls.at(-1)?.args).toEqual(input);
  });

  it('keeps an argument named __proto__ a plain argument', async () => {
    const raw = '{"input":{"__proto__":{"polluted":true}}}';
    const answer = await gateway.send('/v1/mcp/servers/tested/tools/echo:call', { raw, token: 'anybody' });
    expect(answer.status).toBe(200);
    expect(JSON.stringify(answer.body['output'])).toContain('polluted');
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
});

describe('the record of a call', () => {
  it('says who, what, how it ended, and nothing of the content', async () => {
    const input = { z: [1.0, 1e22, 'ü'], a: { nested: true } };
    const answer = await callTool(gateway, 'remembering', input, { requestId: 'r-1', sessionId: 's-1' });
    const { record, meta, item } = await recordOf(gateway, answer);
    const schemaHash = `sha256:${sha256(canonicalize({ type: 'object' }) ?? '')}`;
    const definition = { name: 'remembering', inputSchema: { type: 'object' } };
    expect(meta).toEqual({
      event_type: 'mcp_tool_call',
      server_id: 'tested',
      tool_name: 'remembering',
      latency_ms: answer.body['timing_ms'],
      request_hash: sha256(
        canonicalize({ method: 'tools/call', params: { name: 'remembering', arguments: input } }) ?? '',
      ),
      response_hash: sha256(raw),
      schema_hash: schemaHash,
      definition_hash: `sha256:${sha256(canonicalize(definition) ?? '')}`,
      session_id: 's-1',
      phase: 'outcome',
      intent_id: uuidv7,
    });
    expect(record).toEqual({
      schema_id: 'talos.audit_event',
      schema_version: 'v1',
      event_id: answer.body['audit_ref'],
      ts: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      request_id: 'r-1',
      surface_id: 'mcp.tools.call',
      outcome: 'success',
      principal: { auth_mode: 'bearer', principal_id: 'dev-user', team_id: 'default' },
      http: { method: 'POST', path: '/v1/mcp/servers/{server_id}/tools/{tool_name}:call', status_code: 200 },
      resource: { resource_type: 'tool', resource_id: 'tested/remembering' },
      meta,
      event_hash: expect.any(String),
    });
    const { event_hash: claimed, ...hashed } = record;
    expect(claimed).toBe(sha256(canonicalize(hashed) ?? ''));
    expect(item).toMatchObject({
      outcome: 'OK',
      tool: 'remembering',
      session_id: 's-1',
      metrics: { latency_ms: meta['latency_ms'] },
    });
    expect(item).not.toHaveProperty('denial_reason');
  });

  it('is in the log before the answer arrives', async () => {
    const answer = await callTool(gateway, 'echo');
    const { body } = await gateway.send('/api/events?limit=1');
    expect((body['items'] as JsonObject[])[0]?.['event_id']).toBe(answer.body['audit_ref']);
  });

  it('names the one that was durable before the call, and agrees with it', async () => {
    const answer = await callTool(gateway, 'echo', { n: 1 }, { requestId: 'r-intent', sessionId: 's-2' });
    const { record, meta } = await recordOf(gateway, answer);
    const { body } = await gateway.send(`/api/events/${meta['intent_id']}`);
    const intent = body['record'] as JsonObject;
    const { phase: _1, intent_id: _2, latency_ms: _3, response_hash: _4, ...common } = meta;
    expect(intent).toEqual({
      ...record,
      event_id: meta['intent_id'],
      ts: expect.any(String),
      http: { ...(record['http'] as JsonObject), status_code: 100 },
      meta: { ...common, phase: 'intent' },
      event_hash: expect.any(String),
    });
    expect(String(intent['event_id']) < String(record['event_id'])).toBe(true);
  });

  it('that was durable before the call is there when the tool server is reached', async () => {
    let found: JsonObject[] = [];
    looksIntoTheLog = async () => {
      found = await itemsOf(gateway, 'correlation_id=r-during');
    };
    await callTool(gateway, 'looks', {}, { requestId: 'r-during' });
    expect(found).toMatchObject([{ meta: { phase: 'intent' }, http: { status_code: 100 } }]);
  });

  it('of a call that is not sent is the only one', async () => {
    await callTool(gateway, 'forecast', {}, { requestId: 'r-not-sent' });
    await callTool(gateway, 'missing', {}, { requestId: 'r-not-sent' });
    const items = await itemsOf(gateway, 'correlation_id=r-not-sent');
    expect(items.map((item) => (item['meta'] as JsonObject)['phase'])).toEqual([undefined, undefined]);
  });

  it('is one per call, in an order that everybody sees alike', async () => {
    const before = (await gateway.send('/api/events/stats?from=0&to=9999999999')).body['count'] as number;
    const answers = await Promise.all(Array.from({ length: 40 }, (_, n) => callTool(gateway, 'echo', { n })));
    const after = (await gateway.send('/api/events/stats?from=0&to=9999999999')).body['count'];
    expect(after).toBe(before + 40);
    const listed = (await outcomesOf(gateway)).slice(0, 40).map((item) => item['event_id']);
    expect(new Set(listed)).toEqual(new Set(answers.map(({ body }) => body['audit_ref'])));
    expect(listed).toEqual(listed.toSorted().reverse());
  });
});

describe('a tool that fails', () => {
  it('is an answer with the error in it, and a failure in the log', async () => {
    const answer = await callTool(gateway, 'fails', {}, { requestId: 'r-2' });
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({
      request_id: 'r-2',
      error: {
        code: 500,
        message: 'no such city\ntry another',
        category: 'INTERNAL',
        retryable: false,
        details: {
          result: {
            isError: true,
            content: [
              { type: 'text', text: 'no such city' },
              { type: 'text', text: 'try another' },
            ],
          },
        },
      },
      timing_ms: wholeMs,
      audit_ref: uuidv7,
    });
    const { record, meta, item } = await recordOf(gateway, answer);
    expect(record).toMatchObject({ outcome: 'failure', http: { status_code: 200 } });
    expect(meta).toMatchObject({
      error: 'INTERNAL',
      code: 500,
      response_hash: expect.stringMatching(/^[0-9a-f]{64}$/),
    });
    expect(item['outcome']).toBe('ERROR');
    expect(JSON.stringify(record)).not.toContain('no such city');
  });

  it('has a sentence also when it says nothing', async () => {
    const { body } = await callTool(gateway, 'fails silently');
    expect(body['error']).toMatchObject({ message: 'The tool reported an error.' });
  });

  it.each([
    ['refuses', { code: -32_099, message: 'not today', category: 'MCP_PROTOCOL', retryable: false }],
    [
      'refuses in detail',
      { code: -1, message: 'm', category: 'MCP_PROTOCOL', retryable: false, details: { data: { hint: [1] } } },
    ],
  ])('over JSON-RPC is the same: %s', async (tool, error) => {
    const answer = await callTool(gateway, tool);
    expect(answer.status).toBe(200);
    expect(answer.body['error']).toEqual(error);
    expect(answer.body).not.toHaveProperty('output');
    expect((await recordOf(gateway, answer)).meta).toMatchObject({ error: 'MCP_PROTOCOL', code: error.code });
  });
});

describe('arguments that the tool does not take', () => {
  it.each([
    [{}, 'city'],
    [{ town: 'Lisbon' }, 'city'],
    [{ city: 5 }, 'city'],
    [{ city: 'x' }, 'city'],
    [{ city: 'Lisbon', days: 1.5 }, 'days'],
    [{ city: 'Lisbon', extra: 'canary-argument-value' }, 'extra'],
  ])('never reach it: %j', async (input, name) => {
    const before = upstream.calls.length;
    const answer = await callTool(gateway, 'forecast', input as JsonObject, { requestId: 'r-3' });
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual({
      request_id: 'r-3',
      error: {
        code: 400,
        message: expect.stringMatching(new RegExp(`^Input does not match schema: .*${name}`)),
        category: 'SCHEMA_MISMATCH',
        retryable: false,
        details: { validation_errors: expect.arrayContaining([expect.stringContaining(name)]) },
      },
      timing_ms: wholeMs,
      audit_ref: uuidv7,
    });
    expect(answer.text).not.toContain('canary');
    expect(upstream.calls.length).toBe(before);
    const { record, meta } = await recordOf(gateway, answer);
    expect(record).toMatchObject({ outcome: 'failure', http: { status_code: 200 } });
    expect(meta).toMatchObject({ error: 'SCHEMA_MISMATCH', code: 400 });
    expect(meta).not.toHaveProperty('response_hash');
  });

  it('that fit reach it', async () => {
    const answer = await callTool(gateway, 'forecast', { city: 'Lisbon', days: 2 });
    expect(answer.body).toMatchObject({ output: { content: [{ text: 'forecast' }] } });
  });
});

describe('tool names', () => {
  it.each(names)('%j is called, listed and described under its own name', async (name) => {
    const answer = await callTool(gateway, name);
    expect(answer.body).toMatchObject({ output: { content: [{ text: `I am ${name}` }] } });
    expect(upstream.calls.at(-1)?.name).toBe(name);
    const { meta, record } = await recordOf(gateway, answer);
    if (name.length <= 200) expect(meta['tool_name']).toBe(name);
    else expect(meta['tool_name']).toMatch(/^x{183}#[0-9a-f]{16}$/);
    expect((record['resource'] as JsonObject)['resource_id']).toHaveLength(Math.min(200, `tested/${name}`.length));
    const schema = await gateway.send(`/v1/mcp/servers/tested/tools/${encodeURIComponent(name)}/schema`, {
      token: 'anybody',
    });
    expect(schema.body).toMatchObject({ server_id: 'tested', tool_name: name, json_schema: { type: 'object' } });
  });

  it('are decoded once, not twice', async () => {
    const twice = await gateway.send(`/v1/mcp/servers/tested/tools/${encodeURIComponent('a%2Fb')}:call`, {
      token: 't',
      json: { input: {} },
    });
    expect(twice.body).toMatchObject({ output: { content: [{ text: 'I am a%2Fb' }] } });
    const once = await gateway.send('/v1/mcp/servers/tested/tools/a%2Fb:call', { token: 't', json: { input: {} } });
    expect(once.body).toMatchObject({ output: { content: [{ text: 'I am a/b' }] } });
  });

  it('with an encoded verb are not calls', async () => {
    const answer = await gateway.send('/v1/mcp/servers/tested/tools/echo%3Acall', { token: 't', json: { input: {} } });
    expect(answer.status).toBe(404);
  });

  it.each([
    '/v1/mcp/servers/tested/tools/echo',
    '/v1/mcp/servers/tested/tools/:call',
    '/v1/mcp/servers/tested/tools/a/b:call',
    '/v1/mcp/servers/tested/tools/echo:CALL',
    '/v1/mcp/servers//tools/echo:call',
    '/v1/mcp/servers/tested/tools/echo:call/',
  ])('that are none are not found: %s', async (path) => {
    const before = upstream.calls.length;
    const answer = await gateway.send(path, { token: 't', json: { input: {} } });
    expect(answer.status).toBe(404);
    expect(answer.body).toMatchObject({ detail: 'Not Found', code: 'NOT_FOUND' });
    expect(upstream.calls.length).toBe(before);
  });

  it('that nobody has are 404 and a failure on record', async () => {
    const answer = await callTool(gateway, 'missing', {}, { requestId: 'r-4' });
    expect(answer.status).toBe(404);
    expect(answer.body).toMatchObject({
      detail: 'Tool not found',
      code: 'TOOL_NOT_FOUND',
      request_id: 'r-4',
      retryable: false,
    });
    const { record, meta } = await recordOf(gateway, answer);
    expect(record).toMatchObject({ outcome: 'failure', http: { status_code: 404 }, request_id: 'r-4' });
    expect(meta).toMatchObject({ error: 'TOOL_NOT_FOUND', tool_name: 'missing' });
    expect(answer.body['audit_ref']).toBe(record['event_id']);
  });

  it('on a server that nobody has are 404 too', async () => {
    const answer = await callTool(gateway, 'echo', {}, { server: 'nowhere' });
    expect(answer.status).toBe(404);
    expect(answer.body).toMatchObject({
      detail: "Server 'nowhere' not found in gateway registry",
      code: 'SERVER_NOT_FOUND',
    });
    expect((await recordOf(gateway, answer)).record).toMatchObject({ outcome: 'failure' });
  });
});

describe('lists', () => {
  it('of servers name them, without what is secret', async () => {
    const { status, body } = await gateway.send('/v1/mcp/servers', { token: 'anybody' });
    expect(status).toBe(200);
    expect(body).toEqual({
      servers: [
        {
          id: 'tested',
          name: 'tested',
          transport: 'http',
          tags: [],
          health: 'up',
          metadata: { upstream: upstream.url },
        },
      ],
    });
  });

  it('of tools are what the server defines, and whose they are', async () => {
    const { status, body } = await gateway.send('/v1/mcp/servers/tested/tools', { token: 'anybody' });
    expect(status).toBe(200);
    const tools = body['tools'] as JsonObject[];
    expect(tools).toContainEqual({ ...strictTool, server_id: 'tested' });
    expect(tools.map(({ name }) => name)).toEqual(expect.arrayContaining(names));
  });

  it('of a server that nobody has are 404', async () => {
    const { status, body } = await gateway.send('/v1/mcp/servers/nowhere/tools', { token: 'anybody' });
    expect(status).toBe(404);
    expect(body).toMatchObject({ detail: "Server 'nowhere' not found in gateway registry", code: 'SERVER_NOT_FOUND' });
  });

  it('describe a tool with hashes that anybody can recompute', async () => {
    const { body } = await gateway.send('/v1/mcp/servers/tested/tools/forecast/schema', { token: 'anybody' });
    expect(body).toEqual({
      server_id: 'tested',
      tool_name: 'forecast',
      json_schema: strictTool['inputSchema'],
      schema_hash: `sha256:${sha256(canonicalize(strictTool['inputSchema']) ?? '')}`,
      definition_hash: `sha256:${sha256(canonicalize(strictTool) ?? '')}`,
      version: '1.0.0',
    });
  });

  it('know no schema of a tool that is not there', async () => {
    const { status, body } = await gateway.send('/v1/mcp/servers/tested/tools/missing/schema', { token: 'anybody' });
    expect(status).toBe(404);
    expect(body).toMatchObject({ detail: 'Tool not found', code: 'TOOL_NOT_FOUND' });
  });

  it('leave no record', async () => {
    const count = async () => (await gateway.send('/api/events/stats?from=0&to=9999999999')).body['count'];
    const before = await count();
    await gateway.send('/v1/mcp/servers/tested/tools', { token: 'anybody' });
    await gateway.send('/v1/mcp/servers/tested/tools/missing/schema', { token: 'anybody' });
    expect(await count()).toBe(before);
  });
});

describe('what may not be seen', () => {
  it('is neither in the database, nor in the process log, nor in the metrics', async () => {
    const canaries = { argument: 'canary-in-an-argument', header: 'canary-in-a-token', result: 'canary-in-a-result' };
    await callTool(
      gateway,
      'echo',
      { secret: canaries.argument, [`key-${canaries.argument}`]: canaries.result },
      { token: canaries.header },
    );
    await callTool(gateway, 'forecast', { city: 5, [canaries.argument]: canaries.argument });
    await callTool(gateway, 'fails', { secret: canaries.argument }, { capability: `cap_${canaries.header}` });
    await callTool(gateway, `missing`, { secret: canaries.argument }, { token: `tlk_${canaries.header}` });
    await gateway.send(`/nowhere/${canaries.argument}?token=${canaries.header}`, { token: canaries.header });
    const everything = [await dumpOf(gateway), gateway.logText(), (await gateway.send('/metrics')).text].join('\n');
    expect(everything).toContain('mcp.tools.call');
    for (const canary of Object.values(canaries)) expect(everything).not.toContain(canary);
  });
});

describe('the credential of a tool server', () => {
  it('is sent to it, and shown to nobody', async () => {
    let received: unknown;
    const server = await startUpstream({
      calls: {
        whoami: ({ headers, url }, response) => {
          received = [headers['authorization'], headers['x-api-key'], url];
          response.destroy();
        },
      },
    });
    const own = await startTestGateway({
      env: { SERVER_TOKEN: 'canary-of-a-server' },
      file: `servers:
  tested: { url: '${server.url}?key=canary-in-a-url', headers: { Authorization: 'Bearer \${SERVER_TOKEN}', X-Api-Key: canary-in-a-header } }
`,
    });
    const answers = [
      await callTool(own, 'whoami', {}, { token: 'canary-of-a-caller', headers: { cookie: 'a=canary-in-a-cookie' } }),
      await own.send('/v1/mcp/servers', { token: 'anybody' }),
      await own.send('/v1/mcp/servers/tested/tools', { token: 'anybody' }),
      await own.send('/metrics'),
    ];
    expect(received).toEqual(['Bearer canary-of-a-server', 'canary-in-a-header', '/?key=canary-in-a-url']);
    expect(answers[1]?.body).toMatchObject({ servers: [{ metadata: { upstream: server.url } }] });
    const everything = [...answers.map(({ text }) => text), own.logText(), await dumpOf(own)].join('\n');
    expect(everything).not.toContain('canary');
    await own.stop();
    await server.close();
  });
});

describe('a caller who leaves', () => {
  it('takes the call back, and the record says so', async () => {
    const before = upstream.calls.length;
    const leaving = new AbortController();
    const call = callTool(gateway, 'hang', {}, { requestId: 'left', signal: leaving.signal });
    await eventually(() => upstream.calls.length > before);
    leaving.abort();
    await expect(call).rejects.toThrow();
    const record = await eventually(async () => (await outcomesOf(gateway, 'correlation_id=left'))[0]);
    expect(record).toMatchObject({ outcome: 'ERROR', meta: { error: 'CALL_CANCELLED' }, http: { status_code: 499 } });
    const counted = `gateway_requests_total{method="POST",endpoint="${surfaces['mcp.tools.call'].template}",status="499"} 1`;
    await eventually(async () => (await gateway.send('/metrics')).text.includes(counted));
  });
});
