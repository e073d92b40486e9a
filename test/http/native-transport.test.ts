/** The transport of the native endpoint by hand: batches, bodies that cannot be read, and requests that nobody waits for. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { outcomesOf, productionEnv, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { said, sendJson, sendResult } from '../support/mcp-scripted.ts';
import {
  ask,
  both,
  initialize,
  type NativeOptions,
  notification,
  request,
  stateless,
} from '../support/native-client.ts';
import { type ReferenceServer, startReferenceServer } from '../support/reference/server.ts';
import { echo, type Gate, gate, startUpstream, type Upstream } from '../support/upstream.ts';

const path = '/mcp/tested';
let held: Gate;
let upstream: Upstream;
let forgetful: Upstream;
let reference: ReferenceServer;
let gateway: TestGateway;
let strict: TestGateway;

beforeAll(async () => {
  held = gate();
  reference = await startReferenceServer();
  upstream = await startUpstream({
    calls: {
      echo,
      other: echo,
      held: held.respond,
      fails: (received, response) => sendResult(received, response, { ...said('no'), isError: true }),
    },
  });
  let forgets = 2;
  forgetful = await startUpstream({
    era: 'session',
    calls: {
      forgets(received, response) {
        if (forgets-- <= 0) return sendResult(received, response, said('found again'));
        const error = { code: -32_000, message: 'Bad Request: No valid session ID provided' };
        return sendJson(response, { jsonrpc: '2.0', error }, 400);
      },
    },
  });
  const servers = { tested: upstream.url, forgetful: forgetful.url, reference: reference.url };
  gateway = await startTestGateway({ servers });
  const limits = { TALOS_RATE_LIMIT: 'true', TALOS_RATE_LIMIT_KEY_RPS: '1', TALOS_RATE_LIMIT_KEY_BURST: '8' };
  const env = { ...productionEnv, ...limits };
  strict = await startTestGateway({ servers, env, clock: wallClock() });
});

afterAll(async () => {
  held.open();
  await Promise.all([gateway.stop(), strict.stop()]);
  await Promise.all([upstream.close(), forgetful.close(), reference.stop()]);
});

const call = (name: string, id: JsonValue, args: JsonObject = {}) =>
  request('tools/call', { name, arguments: args }, id);

async function post(options: NativeOptions & { readonly text: string }, to = gateway) {
  const { token, sessionId, headers } = options;
  const response = await fetch(to.url + (options.path ?? path), {
    method: 'POST',
    headers: {
      accept: both,
      'content-type': 'application/json',
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(sessionId === undefined ? {} : { 'mcp-session-id': sessionId }),
      ...headers,
    },
    body: options.text,
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? undefined : (JSON.parse(text) as JsonValue), response };
}

const postAll = (session: NativeOptions, messages: JsonValue, to = gateway) =>
  post({ ...session, text: JSON.stringify(messages) }, to);
const older = (more: NativeOptions = { path }) => initialize(gateway.url, { ...more, version: '2025-03-26' });
const idOf = (answer: JsonValue) => (answer as JsonObject)['id'];

/** The answer to a request, among those to a batch. */
function answerIn(body: JsonValue | undefined, id: JsonValue): JsonObject {
  const found = Array.isArray(body) ? body.find((each: JsonValue) => idOf(each) === id) : undefined;
  return (found ?? {}) as JsonObject;
}

describe('a batch in a session of 2025-03-26', () => {
  it('is answered as one, each request for itself and on record', async () => {
    const session = await older();
    const before = upstream.calls.length;
    const batch = [
      request('ping', {}, 'p'),
      call('echo', 1, { n: 1 }),
      notification('notifications/roots/list_changed'),
      call('fails', 2),
      call('unknown', 3),
      request('no/such', {}, 4),
    ];
    const { status, body, response } = await postAll(session, batch);
    expect([status, response.headers.get('content-type')]).toEqual([200, 'application/json; charset=utf-8']);
    expect((body as JsonValue[]).map(idOf)).toEqual(['p', 1, 2, 3, 4]);
    expect(answerIn(body, 'p')['result']).toEqual({});
    expect(answerIn(body, 2)).toMatchObject({ result: { isError: true } });
    expect(answerIn(body, 3)).toMatchObject({ error: { code: -32_602 } });
    expect(answerIn(body, 4)).toMatchObject({ error: { code: -32_601 } });
    expect(
      upstream.calls
        .slice(before)
        .map(({ name }) => name)
        .sort(),
    ).toEqual(['echo', 'fails']);
    const auditRef = (answerIn(body, 1)['result'] as JsonObject)['_meta'];
    expect(auditRef).toEqual({ 'org.talosprotocol/auditRef': expect.any(String) });
    expect(await outcomesOf(gateway, 'tool=echo&limit=1')).toMatchObject([{ outcome: 'OK' }]);
  });

  it('of notifications alone is taken with 202', async () => {
    const session = await older();
    const { status, body } = await postAll(session, [
      notification('notifications/initialized'),
      notification('notifications/cancelled', { requestId: 9 }),
    ]);
    expect([status, body]).toEqual([202, undefined]);
  });

  it('has its faulty messages answered, and the others served', async () => {
    const { status, body } = await postAll(await older(), [7, { jsonrpc: '1.0' }, [], request('ping', {}, 'good')]);
    expect(status).toBe(200);
    expect((body as JsonValue[]).map(idOf)).toEqual([null, null, null, 'good']);
    expect((body as JsonObject[])[0]).toMatchObject({ error: { code: -32_600 } });
  });

  it('lends no message the right of another', async () => {
    const token = tokenWith({ scope: 'tool:tested/method:echo' });
    const session = await initialize(strict.url, { path, token, version: '2025-03-26' });
    const before = upstream.calls.length;
    const { body } = await postAll(session, [call('echo', 1), call('other', 2)], strict);
    expect(answerIn(body, 1)).toHaveProperty('result');
    expect(answerIn(body, 2)).toMatchObject({ error: { data: { code: 'TALOS_DENIED' } } });
    expect(upstream.calls.slice(before).map(({ name }) => name)).toEqual(['echo']);
  });

  it('counts as many messages as it has', async () => {
    const token = tokenWith({ scope: 'tool:tested', sub: 'who-counts' });
    const session = await initialize(strict.url, { path, token, version: '2025-03-26' });
    const pings = Array.from({ length: 40 }, (_, id) => request('ping', {}, id));
    const { body } = await postAll(session, pings, strict);
    const refused = (body as JsonObject[]).filter(({ error }) => error !== undefined);
    expect(refused.length).toBeGreaterThan(20);
    expect(refused[0]).toMatchObject({ error: { data: { code: 'RATE_LIMITED', retryable: true } } });
  });

  it.each<[string, (session: NativeOptions) => Promise<{ status: number; body: JsonValue | undefined }>, string]>([
    ['that is empty', (session) => postAll(session, []), 'empty'],
    ['with initialize', (session) => postAll(session, [request('ping'), request('initialize', {}, 2)]), 'initialize'],
    [
      'that is too large',
      (session) =>
        postAll(
          session,
          Array.from({ length: 51 }, () => notification('x')),
        ),
      '50',
    ],
    [
      'under one idempotency key',
      (session) => postAll({ ...session, headers: { 'idempotency-key': 'one-key-for-all' } }, [call('echo', 1)]),
      'Idempotency-Key',
    ],
    [
      'of another revision by its header',
      (session) => postAll({ ...session, headers: { 'mcp-protocol-version': '2025-06-18' } }, [request('ping')]),
      '2025-03-26',
    ],
  ])('is refused %s', async (_, send, words) => {
    const { status, body } = await send(await older());
    expect([status, body]).toMatchObject([400, { jsonrpc: '2.0', id: null, error: { code: -32_600 } }]);
    expect(JSON.stringify(body)).toContain(words);
  });

  it.each(['2024-11-05', '2025-06-18', '2025-11-25'])('is refused in one of %s', async (version) => {
    const session = await initialize(gateway.url, { path, version });
    const { status, body } = await postAll(session, [request('ping')]);
    expect([status, body]).toMatchObject([400, { id: null, error: { code: -32_600 } }]);
    expect(JSON.stringify(body)).toContain('2025-03-26');
  });

  it('is refused without a session, and in one that is not there', async () => {
    expect((await postAll({}, [request('ping')])).status).toBe(400);
    const { status, body } = await postAll({ sessionId: 'not-there' }, [request('ping')]);
    expect([status, body]).toMatchObject([404, { error: { code: -32_001 } }]);
  });
});

describe('a body that cannot be read', () => {
  it.each<[string, NativeOptions & { text: string }, number, number]>([
    ['is no JSON', { text: '{' }, 400, -32_700],
    ['is JSON twice', { text: '{}{}' }, 400, -32_700],
    ['names a member twice', { text: '{"jsonrpc":"2.0","jsonrpc":"2.0","method":"ping","id":1}' }, 400, -32_700],
    ['is empty', { text: '' }, 400, -32_600],
    ['is too large', { text: JSON.stringify('x'.repeat(1_100_000)) }, 413, -32_600],
    ['is of another type', { text: '{}', headers: { 'content-type': 'text/plain' } }, 415, -32_600],
    ['is no message', { text: '7' }, 400, -32_600],
  ])('is answered in the words of the protocol: it %s', async (_, sent, status, code) => {
    for (const at of [path, '/mcp']) {
      const answer = await post({ ...sent, path: at });
      expect([answer.status, answer.body]).toMatchObject([status, { jsonrpc: '2.0', id: null, error: { code } }]);
      expect(answer.body).not.toHaveProperty('code');
    }
  });

  it('is answered so where messages of the older transport are posted', async () => {
    const answer = await post({ text: '{', path: `${path}/messages?session_id=x` });
    expect([answer.status, answer.body]).toMatchObject([400, { id: null, error: { code: -32_700 } }]);
  });

  it('is answered as ever elsewhere', async () => {
    const answer = await post({ text: '{', path: '/v1/mcp/servers/tested/tools/echo:call', token: 'anybody' });
    expect([answer.status, answer.body]).toMatchObject([400, { code: 'INVALID_JSON' }]);
  });
});

describe('a request that its client has cancelled', () => {
  it.each([both, 'application/json'])('is not answered, and is on record: %s', async (accept) => {
    const session = await initialize(gateway.url, { path });
    const waiting = held.waiting();
    const answer = ask(gateway.url, { ...session, headers: { accept }, message: call('held', 'c') });
    await expect.poll(held.waiting, { timeout: 20_000 }).toBe(waiting + 1);
    await ask(gateway.url, { ...session, message: notification('notifications/cancelled', { requestId: 'c' }) });
    const { events, over, status, body } = await answer;
    expect(await over).toBe(false);
    expect([events, body()]).toEqual([[], {}]);
    // A stream that had begun ends.
    if (accept !== both) expect(status).toBe(202);
    await expect
      .poll(() => outcomesOf(gateway, 'tool=held&limit=1'), { timeout: 20_000 })
      .toMatchObject([{ outcome: 'ERROR', meta: { error: 'CALL_CANCELLED' } }]);
    const again = await ask(gateway.url, { ...session, message: request('ping', {}, 'c') });
    expect(await again.answer('c')).toMatchObject({ result: {} });
  });
});

describe('a stream of a request that its client has cancelled', () => {
  it('ends without an answer', async () => {
    const session = await initialize(gateway.url, { path });
    // An answer that takes a while begins with where to resume.
    const stream = await ask(gateway.url, { ...session, message: call('held', 'slow') });
    expect([stream.status, stream.headers.get('content-type')]).toEqual([200, 'text/event-stream; charset=utf-8']);
    await ask(gateway.url, { ...session, message: notification('notifications/cancelled', { requestId: 'slow' }) });
    expect(await stream.over).toBe(false);
    expect(stream.events).toEqual([]);
  });

  it('is answered when the cancellation is of another', async () => {
    const session = await initialize(gateway.url, { path });
    const waiting = held.waiting();
    const answer = ask(gateway.url, { ...session, message: call('held', 'kept') });
    await expect.poll(held.waiting, { timeout: 20_000 }).toBe(waiting + 1);
    await ask(gateway.url, { ...session, message: notification('notifications/cancelled', { requestId: 'other' }) });
    held.open();
    expect(await (await answer).answer('kept')).toHaveProperty('result');
  });
});

describe('the server behind the endpoint', () => {
  it('ends the session when it has lost its own, however it says so', async () => {
    const session = await initialize(gateway.url, { path: '/mcp/forgetful' });
    const lost = await ask(gateway.url, { ...session, message: call('forgets', 1) });
    expect(await lost.answer(1)).toMatchObject({ error: { data: { code: 'UPSTREAM_UNAVAILABLE' } } });
    const later = await ask(gateway.url, { ...session, message: request('ping') });
    await later.over;
    expect([later.status, later.body()]).toMatchObject([404, { error: { code: -32_001 } }]);
    // Over the connection that all share the call is made in a new one.
    const shared = await ask(gateway.url, { path: '/mcp/forgetful', message: call('forgets', 2) });
    expect(await shared.answer(2)).toHaveProperty('result');
  });

  it('is called by its own name in either era', async () => {
    const { answer } = await initialize(gateway.url, { path: '/mcp/reference' });
    expect(await answer.answer('init')).toMatchObject({ result: { serverInfo: { name: 'reference' } } });
    const discovered = await ask(gateway.url, { path: '/mcp/reference', ...stateless('server/discover') });
    expect(await discovered.answer(1)).toMatchObject({
      result: { _meta: { 'io.modelcontextprotocol/serverInfo': { name: 'reference' } } },
    });
  });
});
