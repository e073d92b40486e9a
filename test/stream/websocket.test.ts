/** The WebSocket of the live stream, as clients of every kind use it and misuse it. */
import { randomUUID } from 'node:crypto';
import { Ajv } from 'ajv';
import addFormats from 'ajv-formats';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeCursor } from '../../src/core/cursor.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { productionEnv, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { sendRaw } from '../support/http-raw.ts';
import { liveToken } from '../support/live-token.ts';
import {
  connect,
  initMessage,
  leapingClock,
  leapToHeartbeat,
  report,
  type StreamClient,
  watch,
} from '../support/stream.ts';
import { describeVectors, vector } from '../support/vectors.ts';

const wait = { timeout: 20_000 };
const clock = leapingClock();
let development: TestGateway;
let production: TestGateway;

beforeAll(async () => {
  [development, production] = await Promise.all([
    startTestGateway({ clock }),
    startTestGateway({
      env: { ...productionEnv, TALOS_CORS_ORIGINS: 'https://dashboard.example.com' },
      servers: { tested: 'http://127.0.0.1:9/' },
    }),
  ]);
});

afterAll(async () => {
  await Promise.all([development.stop(), production.stop()]);
});

const tested = (client: StreamClient) =>
  client.items().filter(({ event_type }) => event_type !== 'session_open' && event_type !== 'session_close');
const actions = (client: StreamClient) => tested(client).map(({ metadata }) => (metadata as JsonObject)['action']);

/** Sends a first message and resolves with what came back before the end, and the close code. */
async function ending(
  gateway: TestGateway,
  first: unknown,
  options = {},
): Promise<{ error: JsonObject; code: number }> {
  const client = await connect(gateway, options);
  if (typeof first === 'string' || Buffer.isBuffer(first)) client.raw(first);
  else client.send(first);
  const code = await client.closed;
  expect(client.messages.map(({ type }) => type)).toEqual(['error']);
  return { error: client.messages[0] as JsonObject, code };
}

describe('a session', () => {
  it('is acknowledged with what the contract asks for, and a place to resume at', async () => {
    const client = await connect(development);
    client.send(initMessage());
    const ack = await client.next('init_ack');
    expect(ack['session_id']).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(ack['heartbeat_interval_ms']).toBeGreaterThanOrEqual(1_000);
    const opened = await development.send(`/api/events/${decodeCursor(String(ack['last_cursor'])).eventId}`);
    expect(opened.body['item']).toMatchObject({ event_type: 'session_open', session_id: ack['session_id'] });
    await client.close();
  });

  it('gets what is recorded after it began, in order, and nothing from before', async () => {
    await report(development, [{ action: 'before' }]);
    const client = await watch(development);
    await report(development, [{ action: 'one' }, { action: 'two' }]);
    await report(development, [{ action: 'three' }]);
    await expect.poll(() => actions(client), wait).toEqual(['one', 'two', 'three']);
    await client.close();
  });

  it('is on record from its beginning to its end', async () => {
    const client = await connect(development);
    client.send(initMessage({ filters: { tool: 'x' } }));
    const { session_id: id } = await client.next('init_ack');
    await client.close();
    const records = async () =>
      (await development.send(`/api/events?session_id=${String(id)}`)).body['items'] as unknown as JsonObject[];
    await expect.poll(async () => (await records()).length, wait).toBe(2);
    const [close, open] = await records();
    expect(open).toMatchObject({ event_type: 'session_open', surface_id: 'events.stream', outcome: 'OK' });
    expect(open?.['meta']).toMatchObject({ stream_transport: 'websocket', stream_filter: '{"tool":"x"}' });
    expect(close).toMatchObject({ event_type: 'session_close' });
    expect(close?.['meta']).toMatchObject({ stream_ended_by: 'client_left', stream_events_sent: 0 });
  });

  it('is listed while it is open, with what the client says it has', async () => {
    const client = await connect(development);
    client.send(initMessage());
    const { session_id: id } = await client.next('init_ack');
    const [cursor] = await report(development, [{ action: 'acknowledged' }]);
    client.send({ type: 'ack', cursor });
    const listed = async () => {
      const { body } = await development.send('/sessions');
      return (body['sessions'] as unknown as JsonObject[]).find(({ session_id }) => session_id === id);
    };
    await expect.poll(async () => (await listed())?.['acknowledged_cursor'], wait).toBe(cursor);
    expect(await listed()).toMatchObject({ transport: 'websocket', principal: 'dev-user', paused: false });
    expect(Date.parse(String((await listed())?.['created_at']))).not.toBeNaN();
    await client.close();
    await expect.poll(listed, wait).toBeUndefined();
  });

  it('is counted while it is open', async () => {
    const client = await watch(development);
    const { text } = await development.send('/metrics');
    expect(Number(/^gateway_active_sessions (\d+)$/m.exec(text)?.[1])).toBeGreaterThanOrEqual(1);
    const summary = await development.send('/metrics/summary');
    expect(summary.body['active_sessions']).toBeGreaterThanOrEqual(1);
    await client.close();
  });

  it('goes on exactly after a cursor', async () => {
    const cursors = await report(
      development,
      Array.from({ length: 150 }, (_, n) => ({ action: `old ${n}` })),
    );
    const client = await watch(development, { after_cursor: cursors[19] });
    expect(client.of('init_ack')[0]?.['last_cursor']).toBe(cursors[19]);
    const expected = Array.from({ length: 130 }, (_, n) => `old ${n + 20}`);
    await expect.poll(() => actions(client), wait).toEqual(expected);
    await report(development, [{ action: 'new' }]);
    await expect.poll(() => actions(client), wait).toEqual([...expected, 'new']);
    await client.close();
  });

  it('tells in heartbeats where it stands, over what its filter leaves out too', async () => {
    const client = await watch(development, { filters: { tool: 'no such tool' } });
    const [cursor] = await report(development, [{ action: 'unseen' }]);
    await expect
      .poll(async () => {
        await leapToHeartbeat(clock, () => client.of('heartbeat').length);
        return client.of('heartbeat').at(-1)?.['last_cursor'];
      }, wait)
      .toBe(cursor);
    expect(client.of('heartbeat')[0]).toMatchObject({
      interval_ms: client.of('init_ack')[0]?.['heartbeat_interval_ms'],
    });
    expect(client.items()).toEqual([]);
    // A client's own heartbeat says what it has.
    client.send({ type: 'heartbeat', last_cursor: '' });
    client.send({ type: 'heartbeat', last_cursor: cursor });
    client.send({ type: 'pause' });
    await client.next('paused');
    await client.close();
  });
});

describe('filters', () => {
  const events = [
    { event_type: 'deploy', actor: 'a', action: 'both', metadata: { session_id: 's1', correlation_id: 'c1' } },
    { event_type: 'deploy', actor: 'b', action: 'no keys' },
    { event_type: 'build', actor: 'a', action: 'other session', metadata: { session_id: 's2' } },
    { event_type: 'build', actor: 'a', action: 'hidden', metadata: { nested: { session_id: 's1' } } },
  ];
  const cases = [
    [{ session_id: 's1' }, ['both']],
    [{ correlation_id: 'c1' }, ['both']],
    [{ event_type: 'deploy' }, ['both', 'no keys']],
    [{ agent_id: 'a' }, ['both', 'other session', 'hidden']],
    [{ agent_id: 'a', event_type: 'build' }, ['other session', 'hidden']],
    [{ outcome: 'OK', event_type: 'deploy' }, ['both', 'no keys']],
    [{ outcome: 'success', session_id: '', tool: null, event_type: 'deploy' }, ['both', 'no keys']],
    [{ tool: 'x' }, []],
    [{ server_id: 'x' }, []],
    [{ outcome: 'DENY' }, []],
  ] as const;

  it.each(cases)('%j gives the same live and from the table', async (filters, expected) => {
    const before = await report(development, [{ action: 'before', event_type: 'start' }]);
    const live = await watch(development, { filters });
    await report(development, events);
    const after = await report(development, [{ action: 'after', event_type: 'end' }]);
    const old = await watch(development, { filters, after_cursor: before[0] });
    for (const client of [live, old]) {
      // Without a filter from here on, so that the end shows that all before it was judged.
      await expect.poll(() => actions(client).filter((action) => action !== 'after'), wait).toEqual(expected);
      client.send({ type: 'subscribe', filters: { event_type: 'end' }, after_cursor: before[0] });
      await client.next('subscribed');
      await expect.poll(() => actions(client).at(-1), wait).toBe('after');
      expect(actions(client).filter((action) => action !== 'after')).toEqual(expected);
    }
    expect(after).toHaveLength(1);
    await Promise.all([live.close(), old.close()]);
  });

  it('are refused when they are not known', async () => {
    const { error, code } = await ending(development, initMessage({ filters: { denied_by: 'EXPIRED' } }));
    expect({ code, error: error['code'] }).toEqual({ code: 4003, error: 'INVALID_MESSAGE' });
  });

  it('change while connected', async () => {
    const client = await watch(development, { filters: { agent_id: 'nobody' } });
    await report(development, [{ action: 'unseen' }]);
    client.send({ type: 'subscribe', filters: { agent_id: 'somebody' } });
    await client.next('subscribed');
    await report(development, [{ action: 'seen', actor: 'somebody' }, { action: 'unseen' }]);
    await expect.poll(() => actions(client), wait).toEqual(['seen']);
    client.send({ type: 'subscribe', filters: null });
    await client.next('subscribed');
    await report(development, [{ action: 'all' }]);
    await expect.poll(() => actions(client), wait).toEqual(['seen', 'all']);
    await client.close();
  });
});

describe('a pause', () => {
  it('holds events back, and loses none', async () => {
    const client = await watch(development);
    client.send({ type: 'pause' });
    await client.next('paused');
    await report(development, [{ action: 'held' }]);
    const other = await watch(development);
    await report(development, [{ action: 'held too' }]);
    await expect.poll(() => actions(other), wait).toEqual(['held too']);
    expect(actions(client)).toEqual([]);
    client.send({ type: 'resume' });
    await client.next('resumed');
    await expect.poll(() => actions(client), wait).toEqual(['held', 'held too']);
    await Promise.all([client.close(), other.close()]);
  });

  it('ends at another place when asked to', async () => {
    const cursors = await report(development, [{ action: 'again 1' }, { action: 'again 2' }]);
    const client = await watch(development);
    client.send({ type: 'pause' });
    client.send({ type: 'resume', after_cursor: cursors[0] });
    expect((await client.next('resumed'))['last_cursor']).toBe(cursors[0]);
    await expect.poll(() => actions(client), wait).toEqual(['again 2']);
    await client.close();
  });
});

describe('publishing', () => {
  const event = { event_type: 'deploy', actor: 'ci', action: 'published' };

  it('records the event and answers under its id', async () => {
    const client = await watch(development);
    client.send({ type: 'publish', id: 'p-1', event });
    const answer = await client.next('published');
    expect(answer).toMatchObject({ id: 'p-1', status: 'recorded' });
    const { body } = await development.send(`/api/events/${String(answer['event_id'])}`);
    expect(body['item']).toMatchObject({
      event_type: 'deploy',
      agent_id: 'ci',
      request_id: 'p-1',
      cursor: answer['cursor'],
    });
    await expect.poll(() => actions(client), wait).toEqual(['published']);
    await client.close();
  });

  it('happens once under one key', async () => {
    const client = await watch(development);
    const key = randomUUID();
    client.send({ type: 'publish', id: 'k-1', event, idempotency_key: key });
    const first = await client.next('published');
    client.send({ type: 'publish', id: 'k-2', event, idempotency_key: key });
    expect((await client.next('published'))['event_id']).toBe(first['event_id']);
    client.send({ type: 'publish', id: 'k-3', event: { ...event, action: 'other' }, idempotency_key: key });
    expect(await client.next('error')).toMatchObject({ code: 'INVALID_MESSAGE', details: { id: 'k-3' } });
    await client.close();
  });

  it('is for those who may write; the session goes on without', async () => {
    const client = await watch(production, { capability: liveToken({ scope: 'tool:gateway/method:events.read' }) });
    client.send({ type: 'publish', id: 'no', event });
    expect(await client.next('error')).toMatchObject({ code: 'AUTH_FAILED', details: { id: 'no' } });
    client.send({ type: 'pause' });
    await client.next('paused');
    await client.close();
  });

  it.each([
    { type: 'publish', event },
    { type: 'publish', id: 'x y', event },
    { type: 'publish', id: 'x', event: { ...event, actor: '' } },
    { type: 'publish', id: 'x' },
  ])('is refused when it is %j', async (message) => {
    const client = await watch(development);
    client.send(message);
    expect(await client.closed).toBe(4003);
  });
});

describe('4001 AUTH_FAILED', () => {
  it('for a nonce that was used before', async () => {
    const init = initMessage();
    const client = await connect(development);
    client.send(init);
    await client.next('init_ack');
    const { error, code } = await ending(development, init);
    expect({ code, error: error['code'] }).toEqual({ code: 4001, error: 'AUTH_FAILED' });
    await client.close();
  });

  it.each([
    ['far past', new Date(Date.now() - 3_600_000).toISOString()],
    ['far future', new Date(Date.now() + 9_000_000).toISOString()],
    ['no time', 'yesterday'],
    ['two zones', `${new Date().toISOString().slice(0, 19)}+00:00Z`],
  ])('for a time that is %s', async (_name, ts) => {
    const { error, code } = await ending(production, initMessage({ ts }));
    expect({ code, error: error['code'] }).toEqual({ code: 4001, error: 'AUTH_FAILED' });
    expect(error).not.toHaveProperty('details.ts');
  });

  it.each([
    ['none', ''],
    ['one of development mode', 'talos_read_allow'],
    ['one for something else', liveToken({ scope: 'tool:weather' })],
    ['one that is made up', Buffer.from('{"v":"1"}').toString('base64url')],
  ])('for a capability that is %s', async (_name, capability) => {
    const { error, code } = await ending(production, initMessage({ capability }));
    expect({ code, error: error['code'] }).toEqual({ code: 4001, error: 'AUTH_FAILED' });
    expect(error).not.toHaveProperty('details.error');
  });

  it('leaves the nonce of somebody else alone', async () => {
    const nonce = randomUUID();
    await ending(production, initMessage({ nonce, capability: liveToken({ scope: 'tool:weather' }) }));
    const capability = liveToken({ scope: 'tool:gateway/method:events.read' });
    const client = await watch(production, { nonce, capability });
    await client.close();
  });
});

it('4001 AUTH_FAILED for a capability that is revoked while it is used', async () => {
  const capability = liveToken({
    scope: 'tool:gateway/method:events.read',
    exp: Math.floor(Date.now() / 1000) + 1_234,
  });
  const client = await watch(production, { capability });
  const { status, text } = await production.send('/admin/v1/capabilities/revoke', {
    token: productionEnv.AUTH_ADMIN_SECRET,
    json: { token: capability },
  });
  expect(status, text).toBe(200);
  expect(await client.closed).toBe(4001);
  expect(client.of('error')).toMatchObject([{ code: 'AUTH_FAILED' }]);
});

describe('4002 CAPABILITY_EXPIRED', () => {
  it('for one that has expired', async () => {
    const nowSec = Math.floor(Date.now() / 1000);
    const capability = liveToken({ scope: 'tool:gateway', iat: nowSec - 7_200, exp: nowSec - 3_600 });
    const { error, code } = await ending(production, initMessage({ capability }));
    expect({ code, error: error['code'] }).toEqual({ code: 4002, error: 'CAPABILITY_EXPIRED' });
  });

  it('for one that expires while it is used', async () => {
    // The skew of the clocks is granted beyond it.
    const exp = Math.floor(Date.now() / 1000) - 57;
    const client = await watch(production, { capability: liveToken({ scope: 'tool:gateway', exp }) });
    expect(await client.closed).toBe(4002);
    expect(client.of('error')).toMatchObject([{ code: 'CAPABILITY_EXPIRED' }]);
  });
});

describe('4003 INVALID_FORMAT', () => {
  it.each([
    ['not JSON', 'hello'],
    ['not an object', '[]'],
    ['binary', Buffer.from('{}')],
    ['another message', { type: 'ack', cursor: 'x' }],
    ['without a version', { ...initMessage(), version: undefined }],
    ['of another version', initMessage({ version: 2 })],
    ['with a version as text', initMessage({ version: '1' })],
    ['without a nonce', initMessage({ nonce: '' })],
    ['without a capability', { ...initMessage(), capability: undefined }],
    ['with a key twice', JSON.stringify(initMessage()).replace('{', '{"type":"init",')],
    ['with a cursor that is none', initMessage({ after_cursor: 'x' })],
    ['with filters that are none', initMessage({ filters: [] })],
    ['with a filter that is none', initMessage({ filters: { tool: 1 } })],
    ['with a reason that is none', initMessage({ filters: { denial_reason: '%' } })],
  ])('for a first message that is %s', async (_name, first) => {
    const { error, code } = await ending(development, first);
    expect({ code, error: error['code'] }).toEqual({ code: 4003, error: 'INVALID_MESSAGE' });
  });

  it.each([
    { type: 'init' },
    { type: 'nonsense' },
    { type: 'ack' },
    { type: 'ack', cursor: 'x' },
    { type: 'heartbeat' },
    { type: 'subscribe' },
    { type: 'subscribe', filters: { unknown: 'x' } },
    { type: 'resume', after_cursor: 'x' },
    { type: '__proto__' },
  ])('for a later message that is %j', async (message) => {
    const client = await watch(development);
    client.send(message);
    expect(await client.closed).toBe(4003);
    expect(client.of('error')).toMatchObject([{ code: 'INVALID_MESSAGE' }]);
  });

  it('1009 for a message beyond the bound', async () => {
    const client = await connect(development);
    client.raw('x'.repeat(65 * 1024));
    expect(await client.closed).toBe(1009);
  });
});

describe('4005 POLICY_VIOLATION', () => {
  it('for more messages than anybody needs', async () => {
    const client = await watch(development);
    for (let n = 0; n < 400; n++) client.send({ type: 'heartbeat', last_cursor: '' });
    expect(await client.closed).toBe(4005);
    expect(client.of('error')).toMatchObject([{ code: 'RATE_LIMITED' }]);
  });
});

describe('the upgrade', () => {
  it.each([
    ['https://evil.example', 403],
    ['http://localhost:3000', 403],
    ['null', 403],
  ])('from a page of %s is answered %i in production', async (origin, status) => {
    await expect(connect(production, { headers: { origin } })).rejects.toThrow(String(status));
  });

  it.each(['https://dashboard.example.com'])('from a page of %s is taken', async (origin) => {
    const client = await connect(production, { headers: { origin } });
    await client.close();
  });

  it('from a page of localhost is taken in development, and from the gateway itself', async () => {
    for (const origin of ['http://localhost:3000', development.url]) {
      const client = await connect(development, { headers: { origin } });
      await client.close();
    }
  });

  it('with a credential that does not hold is refused', async () => {
    await expect(connect(production, { headers: { authorization: 'Bearer nonsense' } })).rejects.toThrow('401');
  });

  it('is what the address is for', async () => {
    const { status, body, headers } = await development.send('/api/events/stream');
    expect({ status, code: body['code'] }).toEqual({ status: 426, code: 'UPGRADE_REQUIRED' });
    expect(headers.get('upgrade')).toBe('websocket');
  });

  it('to something else is declined, and the request answered', async () => {
    const answer = await sendRaw(
      development.url,
      'GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n',
    );
    expect(answer.status).toBe(200);
  });

  it('is counted when it begins', async () => {
    const client = await connect(development);
    const { text } = await development.send('/metrics');
    expect(text).toMatch(/gateway_requests_total\{method="GET",endpoint="\/api\/events\/stream",status="101"\} \d+/);
    await client.close();
  });
});

describe('the dashboard', () => {
  it('gets events that pass its cursor check', async () => {
    const client = await watch(
      development,
      { capability: 'talos_read_allow', filters: {} },
      { headers: { origin: 'http://localhost:3000' } },
    );
    client.send({ type: 'heartbeat', last_cursor: '' });
    await report(development, [{ action: 'shown' }]);
    await expect.poll(() => actions(client), wait).toEqual(['shown']);
    const [message] = client.of('event');
    const item = message?.['event'] as JsonObject;
    const { timestamp, event_id: eventId, cursor } = item;
    expect(Number.isInteger(timestamp)).toBe(true);
    expect(decodeCursor(String(cursor))).toEqual({ seconds: timestamp, eventId });
    expect(message?.['cursor']).toBe(cursor);
    expect(development.logText()).toContain('development mode was taken for a capability');
    await client.close();
  });
});

describeVectors('the contract', () => {
  const ajv = addFormats.default(new Ajv({ strict: false }));
  const schema = vector<JsonObject>('schemas/stream/ws_protocol.schema.json');
  // The item that clients read is a superset of the record, which has its own schema.
  const open = JSON.parse(
    JSON.stringify(schema).replace(/\{"\$ref":"[^"]*audit_event\.schema\.json"\}/, '{"type":"object"}'),
  );
  const check = ajv.compile(open);

  it.each(['init', 'init_ack', 'heartbeat', 'error'])('%s: its vector is what we mean', (name) => {
    const { data } = vector<{ data: JsonObject }>(`contracts/stream/${name}_valid.json`);
    expect(check(data)).toBe(true);
  });

  it('holds for every message that old clients get', async () => {
    const client = await watch(development);
    await report(development, [{ action: 'valid' }]);
    await expect.poll(() => actions(client), wait).toEqual(['valid']);
    await leapToHeartbeat(clock, () => client.of('heartbeat').length);
    client.send({ type: 'nonsense' });
    const code = await client.closed;
    for (const message of client.messages) expect(check(message), JSON.stringify(message)).toBe(true);
    expect(new Set(client.messages.map(({ type }) => type))).toEqual(
      new Set(['init_ack', 'event', 'heartbeat', 'error']),
    );
    const codes = vector<Record<string, string>>('schemas/stream/close_codes.json');
    expect(codes[String(code)]).toBe('INVALID_FORMAT');
  });

  it('takes the init of the vector, but for its capability and its age', async () => {
    const { data } = vector<{ data: JsonObject }>('contracts/stream/init_valid.json');
    const client = await watch(development, { ...data, capability: '', ts: new Date(clock.now()).toISOString() });
    await client.close();
  });
});
