/** Refusals before any work is done: each in the shape that its clients read, and with the headers of every answer. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Answer, type SendOptions, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { parseAnswer, sendRaw } from '../support/http-raw.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

let upstream: Upstream;
let gateway: TestGateway;

beforeAll(async () => {
  upstream = await startUpstream({ calls: { echo } });
  gateway = await startTestGateway({ servers: { tested: upstream.url } });
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

const callPath = '/v1/mcp/servers/tested/tools/echo:call';
const goodEvent = { event_type: 'deploy', actor: 'ci', action: 'start' };

function expectEnvelope({ body, headers }: Answer, code: string, retryable = false) {
  expect(body).toMatchObject({
    code,
    retryable,
    message: expect.stringMatching(/./),
    request_id: headers.get('x-request-id'),
  });
}

const safetyHeaders = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-site',
  'x-talos-region': 'local',
};

function expectSafetyHeaders(headers: Readonly<Record<string, string>>) {
  expect(headers).toMatchObject(safetyHeaders);
  expect(headers['x-request-id']).toMatch(/^\S+$/);
}

describe('a name with NUL', () => {
  it.each<[string, string]>([
    ['DELETE', '/admin/v1/secrets/a%00b'],
    ['DELETE', '/admin/v1/rbac/roles/a%00b'],
    ['DELETE', '/admin/v1/rbac/bindings/a%00b'],
    ['DELETE', '/admin/v1/api-keys/a%00b'],
    ['GET', '/admin/v1/secrets/rotation-status/a%00b'],
    ['GET', '/admin/v1/approvals/a%00b'],
    ['DELETE', '/admin/v1/mcp/servers/a%00b'],
    ['GET', '/admin/v1/mcp/pins/a%00b/c'],
    ['DELETE', '/v1/mcp/servers/a%00b/connection'],
    ['GET', '/v1/mcp/servers/a%00b/tools'],
    ['GET', '/v1/mcp/servers/tested/tools/a%00b/schema'],
    ['GET', '/mcp/a%00b/sse'],
    ['GET', '/api/events/a%00b'],
    ['GET', '/proof/a%00b'],
  ])('names nothing: %s %s', async (method, path) => {
    const answer = await gateway.send(path, {
      token: 'x',
      method,
      headers: { accept: 'text/event-stream, application/json' },
    });
    expect([answer.status, answer.text]).toEqual([expect.toBeOneOf([400, 404]), answer.text]);
    expect(answer.body).toMatchObject({ retryable: false });
  });

  it('costs a call to such a tool no more than that', async () => {
    const answer = await gateway.send('/v1/mcp/servers/tested/tools/a%00b:call', { token: 'x', json: { input: {} } });
    expect([answer.status, answer.body['retryable']]).toEqual([404, false]);
  });
});

describe('paths and methods', () => {
  it.each([
    '/',
    '/nope',
    '/api',
    '/api/events/a/b',
    '/v1/mcp',
    '/v1/mcp/servers/tested',
    '/admin/v1/governance/agents',
    '/v1/models',
    '/admin/v1/governance/logs',
    '/health/',
    '/HEALTHZ',
    '//healthz',
    '/healthz/../version/x',
  ])('%s is not found', async (path) => {
    const answer = parseAnswer(await requestText(`GET ${path} HTTP/1.1`));
    expect(answer.status).toBe(404);
    expect(JSON.parse(answer.body)).toMatchObject({
      detail: 'Not Found',
      code: 'NOT_FOUND',
      request_id: answer.headers['x-request-id'],
    });
    expectSafetyHeaders(answer.headers);
  });

  it.each([
    ['PUT', '/api/events', 'GET, HEAD, POST'],
    ['DELETE', '/healthz', 'GET, HEAD'],
    ['POST', '/api/events/stats', 'GET, HEAD'],
    ['GET', '/api/events/batch', undefined],
    ['PATCH', callPath, 'POST'],
    ['GET', callPath, 'POST'],
    ['HEAD', callPath, 'POST'],
    ['DELETE', '/v1/mcp/servers', 'GET, HEAD'],
    ['POST', '/v1/mcp/servers/tested/tools/echo/schema', 'GET, HEAD'],
    ['OPTIONS', '/api/events', 'GET, HEAD, POST'],
    ['TRACE', '/api/events', 'GET, HEAD, POST'],
  ])('%s %s is not allowed, and the answer says what is', async (method, path, allow) => {
    const answer = parseAnswer(await requestText(`${method} ${path} HTTP/1.1`, 'Authorization: Bearer anybody\r\n'));
    if (allow === undefined) {
      // It reads like an event id, and there is no such event.
      expect(answer.status).toBe(404);
      return;
    }
    expect({ status: answer.status, allow: answer.headers['allow'] }).toEqual({ status: 405, allow });
    if (method !== 'HEAD')
      expect(JSON.parse(answer.body)).toMatchObject({ detail: 'Method Not Allowed', code: 'METHOD_NOT_ALLOWED' });
    expectSafetyHeaders(answer.headers);
  });

  it.each([
    '/%ZZ',
    '/api/events/%C0%AF',
    '/v1/mcp/servers/tested/tools/%E0%A4%A:call',
    '/v1/mcp/servers/%FF/tools/echo:call',
    `/api/events/${'a'.repeat(1025)}`,
  ])('a path that cannot be decoded or is too long is a bad request: %s', async (path) => {
    const answer = parseAnswer(await requestText(`GET ${path} HTTP/1.1`));
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.body)).toMatchObject({
      code: 'INVALID_REQUEST',
      detail: expect.any(String),
      request_id: answer.headers['x-request-id'],
    });
    expectSafetyHeaders(answer.headers);
  });

  async function requestText(line: string, more = ''): Promise<string> {
    const { status, headers, body } = await sendRaw(
      gateway.url,
      `${line}\r\nHost: talos\r\nConnection: close\r\n${more}\r\n`,
    );
    const fields = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    return `HTTP/1.1 ${status} X\r\n${fields.join('')}\r\n${body}`;
  }
});

describe('what is not HTTP, or too much of it', () => {
  const long = 'a'.repeat(33_000);
  it.each([
    ['garbage', 'GARBAGE\r\n\r\n', 400, 'INVALID_REQUEST'],
    ['a header without a colon', 'GET /healthz HTTP/1.1\r\nHost: talos\r\nnothing\r\n\r\n', 400, 'INVALID_REQUEST'],
    [
      'two lengths',
      'POST /api/events HTTP/1.1\r\nHost: talos\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na',
      400,
      'INVALID_REQUEST',
    ],
    [
      'length and chunks',
      'POST /api/events HTTP/1.1\r\nHost: talos\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
      400,
      'INVALID_REQUEST',
    ],
    [
      'a chunk size that is none',
      'POST /api/events HTTP/1.1\r\nHost: talos\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n',
      400,
      'INVALID_REQUEST',
    ],
    [
      'a header too large',
      `GET /healthz HTTP/1.1\r\nHost: talos\r\nX-Large: ${long}\r\n\r\n`,
      431,
      'HEADERS_TOO_LARGE',
    ],
    ['a URL too large', `GET /healthz?${long} HTTP/1.1\r\nHost: talos\r\n\r\n`, 431, 'HEADERS_TOO_LARGE'],
  ])('%s', async (_, text, status, code) => {
    const answer = await sendRaw(gateway.url, text);
    expect(answer.status).toBe(status);
    const body = JSON.parse(answer.body) as Record<string, unknown>;
    expect(body).toEqual({
      detail: expect.any(String),
      code,
      message: body['detail'],
      retryable: false,
      request_id: answer.headers['x-request-id'],
    });
    expectSafetyHeaders(answer.headers);
    expect(answer.headers['connection']).toBe('close');
  });
});

describe('bodies', () => {
  const faults: readonly (readonly [string, SendOptions])[] = [
    ['cut off', { raw: '{"event_type":' }],
    ['two values', { raw: '{} {}' }],
    ['a key twice', { raw: '{"event_type":"a","event_type":"b","actor":"c","action":"d"}' }],
    ['a key twice by an escape', { raw: '{"event_type":"a","\\u0065vent_type":"b","actor":"c","action":"d"}' }],
    ['NaN', { raw: '{"event_type":"a","actor":"b","action":"c","metadata":{"n":NaN}}' }],
    ['Infinity', { raw: '{"event_type":"a","actor":"b","action":"c","metadata":{"n":-Infinity}}' }],
    ['a number beyond a double', { raw: '{"event_type":"a","actor":"b","action":"c","metadata":{"n":1e400}}' }],
    ['a comment', { raw: '{/* */}' }],
    ['single quotes', { raw: "{'event_type':'a'}" }],
    ['a comma too many', { raw: '{"event_type":"a",}' }],
    ['half a surrogate pair', { raw: '{"event_type":"\\ud800","actor":"b","action":"c"}' }],
    ['not UTF-8', { raw: new Uint8Array([0x7b, 0x22, 0xff, 0x22, 0x7d]) }],
    ['a byte order mark', { raw: `\ufeff${JSON.stringify(goodEvent)}` }],
    ['nested too deeply', { raw: `${'['.repeat(40)}${']'.repeat(40)}` }],
  ];

  it.each(faults)('that are no good JSON are 400: %s', async (_, options) => {
    const answer = await gateway.send('/api/events', options);
    expect(answer.status).toBe(400);
    expectEnvelope(answer, 'INVALID_JSON');
    expect(answer.body['error']).toBe(answer.body['message']);
  });

  const wrong: readonly (readonly [string, string, unknown, readonly (string | number)[], string])[] = [
    ['nothing', '/api/events', undefined, ['body'], 'type'],
    ['null', '/api/events', null, ['body'], 'type'],
    ['a list', '/api/events', [goodEvent], ['body'], 'type'],
    ['no actor', '/api/events', { event_type: 'a', action: 'b' }, ['body', 'actor'], 'missing'],
    ['a number in place of text', '/api/events', { ...goodEvent, actor: 5 }, ['body', 'actor'], 'type'],
    ['an empty action', '/api/events', { ...goodEvent, action: '' }, ['body', 'action'], 'minLength'],
    [
      'an actor of 201 characters',
      '/api/events',
      { ...goodEvent, actor: 'a'.repeat(201) },
      ['body', 'actor'],
      'maxLength',
    ],
    [
      'an event type of 201 characters',
      '/api/events',
      { ...goodEvent, event_type: 'a'.repeat(201) },
      ['body', 'event_type'],
      'maxLength',
    ],
    [
      'a resource of 201 characters',
      '/api/events',
      { ...goodEvent, resource: 'a'.repeat(201) },
      ['body', 'resource'],
      'maxLength',
    ],
    ['metadata that is a list', '/api/events', { ...goodEvent, metadata: [] }, ['body', 'metadata'], 'type'],
    [
      'the second event without an actor',
      '/api/events/batch',
      [goodEvent, { event_type: 'a', action: 'b' }],
      ['body', 1, 'actor'],
      'missing',
    ],
    ['an empty batch', '/api/events/batch', [], ['body'], 'minItems'],
    ['a batch of 1,001', '/api/events/batch', Array.from({ length: 1001 }, () => goodEvent), ['body'], 'maxItems'],
    ['a call without input', callPath, {}, ['body', 'input'], 'missing'],
    ['a call with a list as input', callPath, { input: [] }, ['body', 'input'], 'type'],
    ['a call with null as input', callPath, { input: null }, ['body', 'input'], 'type'],
    ['a call with an empty request id', callPath, { input: {}, request_id: '' }, ['body', 'request_id'], 'minLength'],
    [
      'a call with a request id of 129 characters',
      callPath,
      { input: {}, request_id: 'a'.repeat(129) },
      ['body', 'request_id'],
      'maxLength',
    ],
    ['a call with a number as request id', callPath, { input: {}, request_id: 7 }, ['body', 'request_id'], 'type'],
  ];

  it.each(wrong)('that do not match their schema are 422: %s', async (_, path, json, loc, type) => {
    const raw = json === undefined ? '' : JSON.stringify(json);
    const answer = await gateway.send(path, { raw, token: 'anybody' });
    expect(answer.status).toBe(422);
    expectEnvelope(answer, 'VALIDATION_FAILED');
    expect(answer.body['detail']).toContainEqual({ loc, type, msg: expect.stringMatching(/./) });
  });

  it.each([
    'text/plain',
    'application/xml',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=a',
    'application/json-patch+json',
    'nonsense',
  ])('of the type %s are 415', async (type) => {
    const answer = await gateway.send('/api/events', { raw: 'a=b', headers: { 'content-type': type } });
    expect(answer.status).toBe(415);
    expectEnvelope(answer, 'UNSUPPORTED_MEDIA_TYPE');
    expect(answer.body['error']).toBe('Send the body as application/json.');
  });

  it.each(['application/json; charset=utf-8', 'APPLICATION/JSON'])('of the type %s are taken', async (type) => {
    const answer = await gateway.send('/api/events', { json: goodEvent, headers: { 'content-type': type } });
    expect(answer.status).toBe(200);
  });

  const mebibyte = 1024 * 1024;
  const eventOf = (bytes: number) => {
    const head = JSON.stringify({ ...goodEvent, metadata: { text: '' } });
    return head.replace('""', `"${'x'.repeat(bytes - head.length)}"`);
  };

  function chunked(text: string): ReadableStream {
    const bytes = new TextEncoder().encode(text);
    let at = 0;
    return new ReadableStream({
      pull(controller) {
        if (at >= bytes.length) return controller.close();
        controller.enqueue(bytes.subarray(at, at + 65_536));
        at += 65_536;
      },
    });
  }

  it.each([
    ['an event', '/api/events', mebibyte + 1],
    ['an event of twelve mebibytes', '/api/events', 12 * mebibyte],
    ['a call', callPath, mebibyte + 1],
    ['a batch', '/api/events/batch', 16 * mebibyte + 1],
  ])('larger than their route accepts are 413, of a known length or in chunks: %s', async (_, path, bytes) => {
    const text = `"${'x'.repeat(bytes - 2)}"`;
    for (const raw of [text, chunked(text)]) {
      // The gateway may close the connection while the body is still on its way.
      const answer = await gateway.send(path, { raw, token: 'anybody' });
      expect(answer.status).toBe(413);
      expectEnvelope(answer, 'PAYLOAD_TOO_LARGE');
    }
  });

  it('of the largest size are still read', async () => {
    const answer = await gateway.send('/api/events', { raw: eventOf(mebibyte) });
    expect(answer.status).toBe(200);
  });

  it('without JSON leave nothing in the log', async () => {
    const before = await gateway.send('/api/events/stats?from=0&to=9999999999');
    await gateway.send('/api/events', { raw: '{"event_type":"a"}' });
    await gateway.send('/api/events/batch', { json: [goodEvent, {}] });
    const after = await gateway.send('/api/events/stats?from=0&to=9999999999');
    expect(after.body).toEqual(before.body);
  });
});

describe('queries', () => {
  it.each([
    'limit=abc',
    'limit=1.5',
    'limit=',
    'limit=1e2',
    'limit=true',
    'limit=1&limit=2',
    'from=NaN',
    'from=x',
    'to=',
    'outcome=MAYBE',
    'session_id=a&session_id=b',
    `tool=${'a'.repeat(1025)}`,
  ])('GET /api/events?%s is 422', async (query) => {
    const answer = await gateway.send(`/api/events?${query}`);
    expect(answer.status).toBe(422);
    expectEnvelope(answer, 'VALIDATION_FAILED');
    const name = query.split('=')[0];
    expect(answer.body['detail']).toContainEqual({
      loc: expect.arrayContaining(['query', name]),
      msg: expect.any(String),
      type: expect.any(String),
    });
  });

  it.each(['', 'from=0', 'to=1', 'from=a&to=1'])('GET /api/events/stats?%s is 422', async (query) => {
    const answer = await gateway.send(`/api/events/stats?${query}`);
    expect(answer.status).toBe(422);
    expectEnvelope(answer, 'VALIDATION_FAILED');
  });

  it.each([
    'before=nonsense',
    'cursor=',
    'after_cursor=AAAA',
    `before=${'a'.repeat(500)}`,
    `cursor=${Buffer.from('1:not-a-uuid').toString('base64url')}`,
    `cursor=${Buffer.from('01:018c7a3e-0000-7000-8000-000000000000').toString('base64url')}`,
  ])('GET /api/events?%s is a bad cursor', async (query) => {
    const answer = await gateway.send(`/api/events?${query}`);
    expect(answer.status).toBe(400);
    expectEnvelope(answer, 'TALOS_INVALID_CURSOR');
    expect(answer.body['detail']).toEqual({ code: 'TALOS_INVALID_CURSOR', message: answer.body['message'] });
  });

  it('keys that nobody knows are ignored', async () => {
    const answer = await gateway.send('/api/events?run_id=1&limit=2&whatever=x');
    expect(answer.status).toBe(200);
  });
});

describe('request ids', () => {
  it('are the one that the caller sent', async () => {
    const answer = await gateway.send('/nope', { headers: { 'x-request-id': 'my-id/1:2' } });
    expect(answer.headers.get('x-request-id')).toBe('my-id/1:2');
    expect(answer.body['request_id']).toBe('my-id/1:2');
  });

  it.each(['', 'a'.repeat(129), 'has blank', 'tab\tinside'])('are new ones in place of "%s"', async (id) => {
    const answer = await gateway.send('/nope', { headers: { 'x-request-id': id } });
    expect(answer.headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('of two requests are different', async () => {
    const [first, second] = await Promise.all([gateway.send('/healthz'), gateway.send('/healthz')]);
    expect(first.headers.get('x-request-id')).not.toBe(second.headers.get('x-request-id'));
  });

  it('sent twice are not joined', async () => {
    const { headers } = await sendRaw(
      gateway.url,
      'GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\nX-Request-Id: a\r\nX-Request-Id: b\r\n\r\n',
    );
    expect(headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/);
  });
});
