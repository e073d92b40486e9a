/** Streams of the native endpoint: what clients without a session listen to, rounds of input, and readers that do not read. */
import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import {
  eventually,
  itemsOf,
  outcomesOf,
  productionEnv,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { event, mcpScript, openEvents, type Respond, sendResult, startScripted } from '../support/mcp-scripted.ts';
import { ask, both, type EventStream, initialize, notification, request, stateless } from '../support/native-client.ts';
import { type ReferenceServer, startReferenceServer } from '../support/reference/server.ts';
import { type Gate, gate, startUpstream, type Upstream } from '../support/upstream.ts';

let reference: ReferenceServer;
let scripted: Upstream;
let bare: Upstream;
let held: Gate;
let gateway: TestGateway;
let strict: TestGateway;
const clock = wallClock();

/** Log messages of 64 KiB each before the answer. */
const flood: Respond = (received, response) => {
  openEvents(response);
  const { params } = received.message as { params: JsonObject & { arguments: { messages: number } } };
  const { progressToken } = (params['_meta'] ?? {}) as JsonObject;
  const text = 'x'.repeat(64 * 1024);
  for (let n = 0; n < params.arguments.messages; n++) {
    const message =
      progressToken === undefined
        ? { method: 'notifications/message', params: { level: 'info', data: text } }
        : { method: 'notifications/progress', params: { progressToken, progress: n, message: text } };
    response.write(event({ jsonrpc: '2.0', ...message }));
  }
  response.end(event({ jsonrpc: '2.0', id: received.message['id'] ?? null, result: { content: [] } }));
};

beforeAll(async () => {
  held = gate();
  reference = await startReferenceServer();
  scripted = await startUpstream({ era: 'session', calls: { flood, held: held.respond } });
  bare = await startUpstream({
    calls: {
      sneaky: (received, response) =>
        sendResult(received, response, {
          resultType: 'input_required',
          inputRequests: { a: { method: 'sampling/createMessage', params: {} } },
        }),
      garbled: (received, response) =>
        sendResult(received, response, { resultType: 'input_required', inputRequests: ['sampling/createMessage'] }),
    },
  });
  const servers = { reference: reference.url, scripted: scripted.url, bare: bare.url };
  [gateway, strict] = await Promise.all([
    startTestGateway({ servers }),
    startTestGateway({ servers, env: productionEnv, clock }),
  ]);
});

afterAll(async () => {
  held.open();
  await Promise.all([gateway.stop(), strict.stop()]);
  await Promise.all([reference.stop(), scripted.close(), bare.close()]);
});

const errorOf = (message: JsonObject) => message['error'] as JsonObject;
const offering = (...names: string[]): JsonObject => ({
  'io.modelcontextprotocol/clientCapabilities': Object.fromEntries(names.map((name) => [name, {}])),
});

async function whole(answer: Promise<EventStream>): Promise<EventStream> {
  await (await answer).over;
  return await answer;
}

interface CallOptions {
  readonly to?: TestGateway;
  readonly path?: string;
  readonly token?: string;
  readonly key?: string;
  readonly meta?: JsonObject;
  /** Beside name and arguments. */
  readonly more?: JsonObject;
}

function call(name: string, { to = gateway, path, token, key, meta, more }: CallOptions = {}): Promise<EventStream> {
  const { message, headers } = stateless('tools/call', { name, arguments: {}, ...more }, meta);
  return ask(to.url, {
    message,
    headers: key === undefined ? headers : { ...headers, 'idempotency-key': key },
    ...(path === undefined ? {} : { path }),
    ...(token === undefined ? {} : { token }),
  });
}

function listen(notifications: JsonValue, more: Omit<CallOptions, 'meta'> & { id?: JsonValue; headers?: object } = {}) {
  const { message, headers } = stateless('subscriptions/listen', { notifications }, {}, more.id ?? 'sub');
  return ask((more.to ?? gateway).url, {
    message,
    headers: { ...headers, ...more.headers },
    ...(more.path === undefined ? {} : { path: more.path }),
    ...(more.token === undefined ? {} : { token: more.token }),
  });
}

describe('a tool that requires input', () => {
  const name = 'test_input_required_result_elicitation';
  const given = { inputResponses: { user_name: { action: 'accept', content: { name: 'Ada' } } } };
  const asking = { meta: offering('elicitation') };

  it('asks, is given it, and answers; each round is a call of its own on record', async () => {
    const first = await whole(call(name, asking));
    expect(first.body()).toMatchObject({
      result: { resultType: 'input_required', inputRequests: { user_name: { method: 'elicitation/create' } } },
    });
    const second = await whole(call(name, { ...asking, more: given }));
    expect(second.body()).toMatchObject({ result: { resultType: 'complete' } });
    expect(JSON.stringify(second.body())).toContain('Hello, Ada!');
    const [last, before] = (await outcomesOf(gateway, `tool=${name}&limit=8`)).map(({ meta }) => meta as JsonObject);
    expect(before).toMatchObject({ asked_for: 'elicitation/create' });
    expect(last).not.toHaveProperty('asked_for');
    expect(last?.['request_hash']).not.toBe(before?.['request_hash']);
    expect(JSON.stringify([last, before])).not.toContain('Ada');
  });

  it('has one idempotency key for all rounds, under which only its answer is repeated', async () => {
    const key = 'rounds';
    for (let n = 0; n < 2; n++) {
      const round = await whole(call(name, { ...asking, key }));
      expect(round.body()).toMatchObject({ result: { resultType: 'input_required' } });
      expect(round.headers.get('idempotent-replayed')).toBeNull();
    }
    const answer = await whole(call(name, { ...asking, key, more: given }));
    expect(JSON.stringify(answer.body())).toContain('Hello, Ada!');
    for (const more of [given, {}]) {
      const again = await whole(call(name, { ...asking, key, more }));
      expect(again.headers.get('idempotent-replayed')).toBe('true');
      expect(JSON.stringify(again.body())).toContain('Hello, Ada!');
    }
    const other = await whole(call(name, { ...asking, key, more: { arguments: { x: 1 } } }));
    expect(errorOf(other.body())).toMatchObject({ data: { code: 'IDEMPOTENCY_CONFLICT' } });
  });

  it.each<[string, JsonObject]>([
    ['responses that are a list', { inputResponses: [] }],
    ['responses that are text', { inputResponses: 'x' }],
    ['a state that is no text', { requestState: { step: 1 } }],
  ])('is not given %s', async (_, more) => {
    const answer = await whole(call(name, { ...asking, more }));
    expect(errorOf(answer.body())['code']).toBe(-32_602);
  });

  it('refuses a state that it did not give', async () => {
    const more = { requestState: 'made up', ...given };
    const answer = await whole(call('test_input_required_result_tampered_state', { ...asking, more }));
    expect(answer.body()).toHaveProperty('error');
  });

  it('that needs what the client does not offer says so, and the status too', async () => {
    const answer = await whole(call('test_missing_capability'));
    expect([answer.status, errorOf(answer.body())]).toMatchObject([
      400,
      { code: -32_021, data: { requiredCapabilities: { sampling: {} } } },
    ]);
  });

  it('does not learn that a client offers what its caller may not be asked', async () => {
    const token = tokenWith({ scope: 'tool:reference/method:test_missing_capability' });
    const meta = offering('sampling');
    const denied = await whole(call('test_missing_capability', { to: strict, token, meta }));
    expect(errorOf(denied.body())['code']).toBe(-32_021);
    const allowed = tokenWith({
      scope: 'tool:reference/method:test_missing_capability tool:reference/method:rpc.sampling.createMessage',
    });
    const asked = await whole(call('test_missing_capability', { to: strict, token: allowed, meta }));
    expect(asked.body()).toMatchObject({ result: { resultType: 'input_required' } });
  });

  it.each(['sneaky', 'garbled'])('and asks for what it may not (%s) has given no valid answer', async (tool) => {
    const answer = await whole(call(tool, { path: '/mcp/bare', meta: offering('elicitation') }));
    expect(errorOf(answer.body())).toMatchObject({ data: { code: 'UPSTREAM_INVALID_RESPONSE' } });
  });
});

describe('listening without a session', () => {
  const prompts = { promptsListChanged: true };

  it('is acknowledged first, and then told of what was asked for alone', async () => {
    const stream = await listen({ ...prompts, resourceSubscriptions: ['test://watched-resource'] });
    expect(stream.headers.get('content-type')).toContain('text/event-stream');
    const acknowledged = await stream.said('notifications/subscriptions/acknowledged');
    expect(acknowledged).toMatchObject({
      params: {
        notifications: { promptsListChanged: true },
        _meta: { 'io.modelcontextprotocol/subscriptionId': 'sub' },
      },
    });
    expect(stream.events[0]?.message).toEqual(acknowledged);
    await whole(call('test_trigger_tool_change'));
    await whole(call('test_trigger_prompt_change'));
    const told = await stream.said('notifications/prompts/list_changed');
    expect(told).toMatchObject({ params: { _meta: { 'io.modelcontextprotocol/subscriptionId': 'sub' } } });
    expect(stream.events.filter(({ message }) => message['method'] === 'notifications/tools/list_changed')).toEqual([]);
    stream.cut();
    const [item] = (await itemsOf(gateway)).filter(
      ({ meta }) => (meta as JsonObject)['rpc_method'] === 'subscriptions/listen',
    );
    expect(item).toMatchObject({ outcome: 'OK', meta: { server_id: 'reference' } });
  });

  it.each<[string, JsonValue]>([
    ['nothing', null],
    ['a list', []],
    ['a flag that is none', { toolsListChanged: 'yes' }],
    ['resources that are no list', { resourceSubscriptions: 'test://watched-resource' }],
    ['resources that are no texts', { resourceSubscriptions: [1] }],
    ['too many resources', { resourceSubscriptions: Array.from({ length: 101 }, (_, n) => `test://${n}`) }],
  ])('to %s is refused', async (_, notifications) => {
    const answer = await whole(listen(notifications));
    expect(errorOf(answer.body())['code']).toBe(-32_602);
  });

  it('needs a client that takes events', async () => {
    const answer = await whole(listen(prompts, { headers: { accept: 'application/json' } }));
    expect([answer.status, errorOf(answer.body())['code']]).toEqual([406, -32_600]);
  });

  it('is not for pages of other origins, nor for strangers', async () => {
    expect((await listen(prompts, { headers: { origin: 'https://evil.example' } })).status).toBe(403);
    expect((await listen(prompts, { to: strict })).status).toBe(401);
  });

  it.each<[string, string, JsonObject]>([
    ['another server', 'tool:scripted', prompts],
    ['tools alone', 'tool:reference/method:test_simple_text', prompts],
    ['resources', 'tool:reference/method:rpc.resources.read', { resourceSubscriptions: ['test://watched-resource'] }],
  ])('needs the right to what is told: one to %s is not enough', async (_, scope, notifications) => {
    const answer = await whole(listen(notifications, { to: strict, token: tokenWith({ scope }) }));
    expect(errorOf(answer.body())).toMatchObject({ data: { code: 'TALOS_DENIED', denial_reason: 'SCOPE_MISMATCH' } });
    expect(answer.headers.get('x-talos-audit-ref')).not.toBeNull();
  });

  it('is over when its capability is revoked', async () => {
    const token = tokenWith({ scope: 'tool:reference', exp: clock.nowSec + 1_000 });
    const stream = await listen(prompts, { to: strict, token });
    await stream.said('notifications/subscriptions/acknowledged');
    await strict.send('/admin/v1/capabilities/revoke', { token: productionEnv.AUTH_ADMIN_SECRET, json: { token } });
    expect(errorOf(await stream.answer('sub'))).toMatchObject({ data: { code: 'TALOS_INVALID_CAPABILITY' } });
    expect(await stream.over).toBe(false);
  });

  it('is had so many times by one caller, and not more often', async () => {
    const token = tokenWith({ scope: 'tool:reference', sub: 'did:talos:many' });
    const listenAgain = () => listen({ toolsListChanged: true }, { to: strict, token });
    const streams = await Promise.all(Array.from({ length: 100 }, listenAgain));
    expect(streams.map(({ status }) => status)).toEqual(streams.map(() => 200));
    const refused = await whole(listenAgain());
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '30']);
    expect(errorOf(refused.body())).toMatchObject({ data: { code: 'SESSIONS_FULL', retry_after: 30 } });
    const other = tokenWith({ scope: 'tool:reference', sub: 'did:talos:few' });
    const second = await listen({ toolsListChanged: true }, { to: strict, token: other });
    expect(second.status).toBe(200);
    for (const stream of [...streams, second]) stream.cut();
    await eventually(async () => {
      const again = await listenAgain();
      again.cut();
      return again.status === 200;
    });
  });
});

describe('who goes away', () => {
  it('without a session has cancelled the call', async () => {
    const before = held.left();
    const { message, headers } = stateless('tools/call', { name: 'held', arguments: {} });
    const leave = new AbortController();
    const answer = fetch(`${gateway.url}/mcp/scripted`, {
      method: 'POST',
      headers: { accept: both, 'content-type': 'application/json', ...headers },
      body: JSON.stringify(message),
      signal: leave.signal,
    }).catch(() => undefined);
    await eventually(() => held.waiting() > 0);
    leave.abort();
    await answer;
    await eventually(() => held.left() > before);
  });

  it('from a session has not, until it says so', async () => {
    const session = await initialize(gateway.url, { path: '/mcp/scripted' });
    const [waiting, left] = [held.waiting(), held.left()];
    const leave = new AbortController();
    const answer = fetch(`${gateway.url}/mcp/scripted`, {
      method: 'POST',
      headers: { accept: both, 'content-type': 'application/json', 'mcp-session-id': session.sessionId },
      body: JSON.stringify(request('tools/call', { name: 'held', arguments: {} }, 'kept')),
      signal: leave.signal,
    }).catch(() => undefined);
    await eventually(() => held.waiting() > waiting);
    leave.abort();
    await answer;
    // The id is still in use: the call goes on.
    const twice = await whole(ask(gateway.url, { ...session, message: request('ping', {}, 'kept') }));
    expect([twice.status, held.left()]).toEqual([400, left]);
    const cancelled = notification('notifications/cancelled', { requestId: 'kept' });
    await ask(gateway.url, { ...session, message: cancelled });
    await eventually(() => held.left() > left);
    const meta = { error: 'CALL_CANCELLED', session_id: expect.any(String) };
    await expect
      .poll(() => outcomesOf(gateway, 'tool=held&limit=1'), { timeout: 20_000 })
      .toMatchObject([{ outcome: 'ERROR', meta }]);
  });
});

describe('who does not read', () => {
  it('is cut off, and the call comes to its end', async () => {
    const { message, headers } = stateless('tools/call', { name: 'flood', arguments: { messages: 512 } });
    const text = JSON.stringify(message);
    const { hostname, port } = new URL(gateway.url);
    const socket = connect(Number(port), hostname);
    await once(socket, 'connect');
    socket.on('error', () => undefined);
    socket.pause();
    const head = { accept: both, 'content-type': 'application/json', 'content-length': text.length, ...headers };
    const lines = Object.entries({ host: 'localhost', ...head }).map(([name, value]) => `${name}: ${value}`);
    socket.write(`POST /mcp/scripted HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n${text}`);
    await eventually(
      async () => /gateway_mcp_streams_cut_total [1-9]/.test((await gateway.send('/metrics')).text),
      20_000,
    );
    await eventually(async () => (await outcomesOf(gateway, 'tool=flood&limit=1')).length === 1);
    socket.destroy();
  });

  it('in a session, and comes back for more than is kept, has lost it', async () => {
    const session = await initialize(gateway.url, { path: '/mcp/scripted' });
    const progress = { _meta: { progressToken: 'p' } };
    const flooded = request('tools/call', { name: 'flood', arguments: { messages: 40 }, ...progress }, 'flood');
    const answer = await ask(gateway.url, { ...session, message: flooded });
    await answer.answer('flood');
    const from = (id: string | undefined) => ask(gateway.url, { ...session, headers: { 'last-event-id': id ?? '' } });
    // What is kept can be had again.
    const near = await from(answer.events.at(-3)?.id);
    await near.answer('flood');
    const far = await whole(from(answer.events[0]?.id));
    expect([far.status, errorOf(far.body())]).toMatchObject([404, { data: { code: 'SESSION_NOT_FOUND' } }]);
    const later = await whole(ask(gateway.url, { ...session, message: request('ping') }));
    expect(later.status).toBe(404);
    const closings = async () => (await itemsOf(gateway)).filter(({ method }) => method === 'mcp.session.close');
    await expect.poll(closings, { timeout: 20_000 }).toMatchObject([{ meta: { session_ended_by: 'stream_gap' } }]);
  });
});

describe('a session that nobody uses', () => {
  it('ends when its time is over, an unused one soon, and one that is listened in never', async () => {
    let aheadMs = 0;
    const ahead: Clock = { now: systemClock.now, monotonic: () => systemClock.monotonic() + aheadMs };
    const idle = await startTestGateway({ servers: { reference: reference.url }, clock: ahead });
    const opened = await whole(
      ask(idle.url, { message: request('initialize', { protocolVersion: '2025-11-25', capabilities: {} }) }),
    );
    const unused = opened.headers.get('mcp-session-id') ?? '';
    const [used, heard] = [await initialize(idle.url), await initialize(idle.url)];
    const stream = await ask(idle.url, heard);
    const isThere = async (sessionId: string) =>
      (await ask(idle.url, { sessionId, headers: { accept: 'application/json' } })).status === 406;
    const endings = async () =>
      (await itemsOf(idle))
        .filter(({ method }) => method === 'mcp.session.close')
        .map(({ meta }) => (meta as JsonObject)['session_ended_by']);
    expect(await isThere(unused)).toBe(true);
    aheadMs = 61_000;
    await expect.poll(endings, { timeout: 20_000 }).toEqual(['idle']);
    aheadMs = 31 * 60_000;
    await expect.poll(endings, { timeout: 20_000 }).toEqual(['idle', 'idle']);
    const statuses = await Promise.all(
      [unused, used.sessionId, heard.sessionId].map(
        async (sessionId) => (await ask(idle.url, { sessionId, message: request('ping') })).status,
      ),
    );
    expect(statuses).toEqual([404, 404, 200]);
    const metrics = (await idle.send('/metrics')).text;
    expect(metrics).toContain('gateway_mcp_sessions 1');
    expect(metrics).toContain('gateway_mcp_sessions_ended_total{reason="idle"} 2');
    stream.cut();
    await idle.stop();
  });
});

it('what a server says of its own accord reaches whoever may use what it is about, and nobody else', async () => {
  const streams: ServerResponse[] = [];
  const { respond } = mcpScript({
    era: 'session',
    methods: { 'resources/subscribe': (received, response) => sendResult(received, response, {}) },
    stream: (_, response) => {
      openEvents(response);
      streams.push(response);
    },
  });
  const server = await startScripted(respond);
  const telling = await startTestGateway({ servers: { scripted: server.url }, env: productionEnv, clock });
  const subscribe = async (scope: string) => {
    const session = await initialize(telling.url, { path: '/mcp/scripted', token: tokenWith({ scope }) });
    const stream = await ask(telling.url, session);
    const asked = request('resources/subscribe', { uri: 'test://a' });
    const answer = await ask(telling.url, { ...session, message: asked });
    return { stream, answer: await answer.answer(1) };
  };
  const all = await subscribe('tool:scripted');
  const some = await subscribe('tool:scripted/method:rpc.resources.subscribe tool:scripted/method:rpc.prompts.get');
  expect([all.answer, some.answer]).toEqual([
    { jsonrpc: '2.0', id: 1, result: {} },
    { jsonrpc: '2.0', id: 1, result: {} },
  ]);
  await eventually(() => streams.length >= 2);
  for (const stream of streams) {
    for (const method of ['resources/updated', 'nonsense', 'resources/list_changed', 'prompts/list_changed']) {
      stream.write(event({ jsonrpc: '2.0', method: `notifications/${method}`, params: { uri: 'test://a' } }));
    }
  }
  await all.stream.said('notifications/prompts/list_changed');
  await some.stream.said('notifications/prompts/list_changed');
  const methods = ({ stream }: typeof all) => stream.events.map(({ message }) => message['method']);
  expect(methods(all)).toEqual([
    'notifications/resources/updated',
    'notifications/resources/list_changed',
    'notifications/prompts/list_changed',
  ]);
  expect(methods(some)).toEqual(['notifications/prompts/list_changed']);
  await telling.stop();
});

it('a client without a session is served as such, whatever session it names', async () => {
  const { message, headers } = stateless('tools/list');
  const answer = await whole(ask(gateway.url, { message, headers: { ...headers, 'mcp-session-id': 'x' } }));
  expect(answer.body()).toMatchObject({ result: { resultType: 'complete', tools: expect.any(Array) } });
});

it('a gateway that stops ends all streams in good order, and answers what waits for an answer', async () => {
  const stopping = await startTestGateway({ servers: { reference: reference.url } });
  const session = await initialize(stopping.url);
  const open = await ask(stopping.url, {
    ...session,
    message: request('tools/call', { name: 'test_elicitation', arguments: { message: '?' } }, 9),
  });
  await open.said('elicitation/create');
  const general = await ask(stopping.url, session);
  const { message, headers } = stateless(
    'subscriptions/listen',
    { notifications: { toolsListChanged: true } },
    {},
    's',
  );
  const listening = await ask(stopping.url, { message, headers });
  await listening.said('notifications/subscriptions/acknowledged');
  await stopping.stop();
  expect(await listening.answer('s')).toMatchObject({
    result: { resultType: 'complete', _meta: { 'io.modelcontextprotocol/subscriptionId': 's' } },
  });
  expect(await open.answer(9)).toHaveProperty('id', 9);
  expect(await Promise.all([open.over, general.over, listening.over])).toEqual([false, false, false]);
});
