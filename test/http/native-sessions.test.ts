/** Sessions of MCP clients by hand: whose they are, what they carry both ways, and everything that must not work. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import {
  itemsOf,
  productionEnv,
  type SendOptions,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { ask, everything, initialize, notification, request } from '../support/native-client.ts';
import { type ReferenceServer, startReferenceServer } from '../support/reference/server.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

let reference: ReferenceServer;
let plain: Upstream;
let gateway: TestGateway;
let strict: TestGateway;
const clock = wallClock();

beforeAll(async () => {
  reference = await startReferenceServer();
  plain = await startUpstream({ tools: [], calls: {} });
  const servers = { reference: reference.url, plain: plain.url };
  [gateway, strict] = await Promise.all([
    startTestGateway({ servers }),
    startTestGateway({ servers, env: { ...productionEnv, TALOS_API_KEY_PEPPER: 'p'.repeat(32) }, clock }),
  ]);
});

afterAll(async () => {
  await Promise.all([gateway.stop(), strict.stop()]);
  await Promise.all([reference.stop(), plain.close()]);
});

const call = (name: string, args: JsonObject = {}, id: JsonObject[string] = 7, meta?: JsonObject) =>
  request('tools/call', { name, arguments: args, ...(meta === undefined ? {} : { _meta: meta }) }, id);

async function asAdmin(path: string, options: SendOptions): Promise<JsonObject> {
  const answer = await strict.send(`/admin/v1/${path}`, { token: productionEnv.AUTH_ADMIN_SECRET, ...options });
  expect(answer.status, answer.text).toBeLessThan(300);
  return answer.body;
}

const errorOf = (message: JsonObject) => message['error'] as JsonObject;

describe('a session', () => {
  it('is opened by initialize under an id that nobody guesses, and is on record from then to its end', async () => {
    const session = await initialize(gateway.url);
    expect(session.sessionId).toMatch(/^[A-Za-z0-9_-]{22,}$/);
    const ended = await ask(gateway.url, { ...session, method: 'DELETE' });
    expect(ended.status).toBe(200);
    const later = await ask(gateway.url, { ...session, message: request('ping') });
    await later.over;
    expect([later.status, errorOf(later.body())['code']]).toEqual([404, -32_001]);
    const records = (await itemsOf(gateway)).filter(({ method }) => String(method).startsWith('mcp.session.'));
    expect(records.slice(0, 2).map(({ method }) => method)).toEqual(['mcp.session.close', 'mcp.session.open']);
    expect(JSON.stringify(records)).not.toContain(session.sessionId);
    expect(records[0]).toMatchObject({ meta: { session_ended_by: 'client_ended' } });
  });

  it('answers with one body as long as nothing precedes the answer', async () => {
    // Newer ones are told where to resume when the answer takes a while.
    const session = await initialize(gateway.url, { version: '2025-06-18' });
    const answer = await ask(gateway.url, { ...session, message: call('test_simple_text') });
    await answer.over;
    expect(answer.headers.get('content-type')).toContain('application/json');
    expect(answer.body()).toMatchObject({ id: 7, result: { content: [{ type: 'text' }] } });
    expect((answer.body()['result'] as JsonObject)['_meta']).toEqual({
      'org.talosprotocol/auditRef': answer.headers.get('x-talos-audit-ref'),
    });
  });

  it('tells of progress on a stream that the answer ends', async () => {
    const session = await initialize(gateway.url);
    const answer = await ask(gateway.url, {
      ...session,
      message: call('test_tool_with_progress', {}, 'p', { progressToken: 'mine' }),
    });
    await answer.over;
    expect(answer.headers.get('content-type')).toContain('text/event-stream');
    const said = answer.events.map(({ message }) => message);
    expect(said.map((message) => (message['params'] as JsonObject | undefined)?.['progress'])).toEqual([
      0,
      50,
      100,
      undefined,
    ]);
    expect(said[0]).toMatchObject({ params: { progressToken: 'mine' } });
    expect(said[3]).toMatchObject({ id: 'p', result: { _meta: { 'org.talosprotocol/auditRef': expect.any(String) } } });
    expect(answer.events.every(({ id }) => id !== undefined)).toBe(true);
    expect(answer.comments).toEqual([expect.stringMatching(/^audit_ref [0-9a-f-]{36}$/)]);
  });

  it('gives one body to who takes nothing else', async () => {
    const session = await initialize(gateway.url);
    const answer = await ask(gateway.url, {
      ...session,
      headers: { accept: 'application/json' },
      message: call('test_tool_with_progress', {}, 'p', { progressToken: 1 }),
    });
    await answer.over;
    expect(answer.body()).toMatchObject({ id: 'p', result: {} });
  });
});

describe('what a server asks of its client', () => {
  const asks = { message: 'Who are you?' };

  it('reaches it on the stream of the call, and its reply goes back on record', async () => {
    const session = await initialize(gateway.url);
    const answer = await ask(gateway.url, { ...session, message: call('test_elicitation', asks) });
    const asked = await answer.said('elicitation/create');
    expect(asked).toMatchObject({ params: { message: 'Who are you?' } });
    const reply = {
      jsonrpc: '2.0',
      id: asked['id'] ?? null,
      result: { action: 'accept', content: { username: 'u', email: 'e' } },
    };
    expect((await ask(gateway.url, { ...session, message: reply })).status).toBe(202);
    expect(JSON.stringify(await answer.answer(7))).toContain('action=accept');
    const [item] = (await itemsOf(gateway)).filter(({ method }) => method === 'mcp.server.request');
    expect(item).toMatchObject({
      outcome: 'OK',
      meta: {
        rpc_method: 'elicitation/create',
        server_id: 'reference',
        request_hash: expect.stringMatching(/^[0-9a-f]{64}$/),
        response_hash: expect.stringMatching(/^[0-9a-f]{64}$/),
      },
    });
    // A second reply is nobody's.
    const second = await ask(gateway.url, { ...session, message: reply });
    expect(second.status).toBe(400);
  });

  it('is answered once, by the session that was asked', async () => {
    const [session, other] = [await initialize(gateway.url), await initialize(gateway.url)];
    const answer = await ask(gateway.url, { ...session, message: call('test_sampling', { prompt: 'x' }) });
    const asked = await answer.said('sampling/createMessage');
    const stolen = {
      jsonrpc: '2.0',
      id: asked['id'] ?? null,
      result: { role: 'assistant', content: { type: 'text', text: 'stolen' }, model: 'm' },
    };
    expect((await ask(gateway.url, { ...other, message: stolen })).status).toBe(400);
    expect((await ask(gateway.url, { ...session, message: { ...stolen, id: 4711 } })).status).toBe(400);
    expect((await ask(gateway.url, { ...session, message: { ...stolen, id: String(asked['id']) } })).status).toBe(400);
    const outside = await ask(gateway.url, { message: stolen });
    expect(outside.status).toBe(202);
    expect(answer.events.some(({ message }) => message['id'] === 7)).toBe(false);
    const refused = { jsonrpc: '2.0', id: asked['id'] ?? null, error: { code: -1, message: 'no' } };
    expect((await ask(gateway.url, { ...session, message: refused })).status).toBe(202);
    expect(JSON.stringify(await answer.answer(7))).not.toContain('stolen');
  });

  it('is not even asked for where the client does not offer it', async () => {
    const session = await initialize(gateway.url, { capabilities: {} });
    const answer = await ask(gateway.url, { ...session, message: call('test_elicitation', asks) });
    await answer.answer(7);
    expect(answer.events.filter(({ message }) => message['method'] !== undefined)).toEqual([]);
  });

  it('needs a right of its own', async () => {
    const token = tokenWith({ scope: 'tool:reference/method:test_elicitation' });
    const session = await initialize(strict.url, { token });
    const answer = await ask(strict.url, { ...session, message: call('test_elicitation', asks) });
    const said = await answer.answer(7);
    expect(answer.events.filter(({ message }) => message['method'] === 'elicitation/create')).toEqual([]);
    expect(JSON.stringify(said)).not.toContain('action=');
  });

  it('is given up with the call that it belongs to', async () => {
    const session = await initialize(gateway.url);
    const answer = await ask(gateway.url, { ...session, message: call('test_elicitation', asks, 'c') });
    const asked = await answer.said('elicitation/create');
    await ask(gateway.url, { ...session, message: notification('notifications/cancelled', { requestId: 'c' }) });
    await answer.over;
    expect(answer.events.filter(({ message }) => message['id'] === 'c')).toEqual([]);
    const late = { jsonrpc: '2.0', id: asked['id'] ?? null, result: { action: 'decline' } };
    await expect
      .poll(async () => (await ask(gateway.url, { ...session, message: late })).status, { timeout: 20_000 })
      .toBe(400);
  });
});

describe('nobody else gets into a session', () => {
  const whole = () => tokenWith({ scope: 'tool:reference' });
  const other = () => tokenWith({ scope: 'tool:reference', sub: 'did:talos:other' });

  it.each<[string, () => { token?: string; path?: string; sessionId?: string }]>([
    ['another principal', () => ({ token: other() })],
    [
      'the same principal with another capability',
      () => ({ token: tokenWith({ scope: 'tool:reference', exp: clock.nowSec + 3_000 }) }),
    ],
    ['the address of another server', () => ({ path: '/mcp/plain', token: tokenWith({ scope: 'tool:plain' }) })],
    ['the address of all servers', () => ({ path: '/mcp' })],
    ['an id that nobody has', () => ({ sessionId: 'A'.repeat(43) })],
    ['an id that is none', () => ({ sessionId: 'x' })],
    ['an id as long as a header may be', () => ({ sessionId: 'A'.repeat(8_000) })],
  ])('by %s', async (_, wrong) => {
    const session = await initialize(strict.url, { token: whole() });
    for (const use of [
      { message: request('tools/list') },
      { message: notification('notifications/cancelled', { requestId: 1 }) },
      { message: { jsonrpc: '2.0', id: 1, result: {} } },
      { method: 'GET' as const },
      { method: 'DELETE' as const },
    ]) {
      const answer = await ask(strict.url, { ...session, ...wrong(), ...use });
      await answer.over;
      expect([answer.status, errorOf(answer.body())]).toMatchObject([404, { code: -32_001 }]);
    }
    const own = await ask(strict.url, { ...session, message: request('ping') });
    expect(own.status).toBe(200);
  });

  it('and who tries is on record', async () => {
    const session = await initialize(strict.url, { token: whole() });
    const answer = await ask(strict.url, { ...session, token: other(), message: request('tools/list') });
    await answer.over;
    const reader = tokenWith({ scope: 'tool:gateway/method:events.read' });
    const { body } = await strict.send(`/api/events/${answer.headers.get('x-talos-audit-ref')}`, { token: reader });
    expect(body['record']).toMatchObject({ outcome: 'denied', meta: { denial_detail: 'session' } });
  });

  it('by a credential that is none', async () => {
    const session = await initialize(strict.url, { token: whole() });
    const answer = await ask(strict.url, { ...session, token: 'nonsense', message: request('ping') });
    expect(answer.status).toBe(401);
    const nobody = await ask(strict.url, { sessionId: session.sessionId, message: request('ping') });
    expect(nobody.status).toBe(401);
  });

  it('by a page of another origin', async () => {
    const session = await initialize(strict.url, { token: whole() });
    for (const method of ['GET', 'DELETE'] as const) {
      const answer = await ask(strict.url, { ...session, method, headers: { origin: 'https://evil.example' } });
      expect(answer.status).toBe(403);
    }
    expect((await ask(strict.url, { ...session, message: request('ping') })).status).toBe(200);
  });
});

describe('a message in a session', () => {
  it.each<[string, JsonObject, number]>([
    ['opens it again', request('initialize', { protocolVersion: '2025-11-25' }), 400],
    ['is a response without an id', { jsonrpc: '2.0', result: {} }, 400],
    ['is a response with an id that is none', { jsonrpc: '2.0', id: {}, result: {} }, 400],
    ['is a response whose result is none', { jsonrpc: '2.0', id: 1, result: 'x' }, 400],
    ['is a response whose error is none', { jsonrpc: '2.0', id: 1, error: {} }, 400],
    ['is a response to nothing', { jsonrpc: '2.0', id: 1, result: {} }, 400],
  ])('that %s is refused', async (_, message, status) => {
    const session = await initialize(gateway.url);
    const answer = await ask(gateway.url, { ...session, message });
    expect(answer.status).toBe(status);
  });

  it.each<[string, JsonObject]>([
    ['a cancellation of nothing', notification('notifications/cancelled', { requestId: 99 })],
    ['a cancellation without an id', notification('notifications/cancelled')],
    ['progress of nothing', notification('notifications/progress', { progressToken: 1, progress: 1 })],
    ['a notification that nobody knows', notification('notifications/nonsense')],
  ])('that is %s changes nothing', async (_, message) => {
    const session = await initialize(gateway.url);
    expect((await ask(gateway.url, { ...session, message })).status).toBe(202);
    expect((await ask(gateway.url, { ...session, message: request('ping') })).status).toBe(200);
  });

  it('with the id of a request that is open is refused', async () => {
    const session = await initialize(gateway.url);
    const first = await ask(gateway.url, { ...session, message: call('test_elicitation', { message: '?' }, 5) });
    await first.said('elicitation/create');
    const second = await ask(gateway.url, { ...session, message: request('ping', {}, 5) });
    await second.over;
    expect([second.status, errorOf(second.body())['code']]).toEqual([400, -32_600]);
    await ask(gateway.url, { ...session, message: notification('notifications/cancelled', { requestId: 5 }) });
    await first.over;
    expect((await ask(gateway.url, { ...session, message: request('ping', {}, 5) })).status).toBe(200);
  });

  it('that is larger than a body may be is refused', async () => {
    const session = await initialize(gateway.url);
    const answer = await ask(gateway.url, { ...session, message: request('ping', { pad: 'x'.repeat(1_100_000) }) });
    expect(answer.status).toBe(413);
  });
});

describe('the stream of a session', () => {
  it('needs a client that takes events, and a session', async () => {
    const session = await initialize(gateway.url);
    const deaf = await ask(gateway.url, { ...session, headers: { accept: 'application/json' } });
    expect(deaf.status).toBe(406);
    const none = await ask(gateway.url, { method: 'GET' });
    expect([none.status, none.headers.get('allow')]).toEqual([405, 'POST']);
  });

  it.each(['nonsense', '0-99', '17-1', '-1', '0', '0-1-2'])(
    'does not go on at %j, which is no event of it',
    async (id) => {
      const session = await initialize(gateway.url);
      const answer = await ask(gateway.url, { ...session, headers: { 'last-event-id': id } });
      expect(answer.status).toBe(400);
      expect((await ask(gateway.url, { ...session, message: request('ping') })).status).toBe(200);
    },
  );

  it('tells that the tools have changed', async () => {
    const session = await initialize(gateway.url);
    await ask(gateway.url, { ...session, message: request('tools/list') });
    const stream = await ask(gateway.url, session);
    expect(stream.status).toBe(200);
    await (await ask(gateway.url, { ...session, message: call('test_trigger_tool_change') })).over;
    await stream.said('notifications/tools/list_changed');
    stream.cut();
  });

  it('goes on where it broke off', async () => {
    const session = await initialize(gateway.url);
    const stream = await ask(gateway.url, session);
    await expect.poll(() => stream.ids.length, { timeout: 20_000 }).toBeGreaterThan(0);
    stream.cut();
    await (await ask(gateway.url, { ...session, message: call('test_trigger_prompt_change') })).over;
    const resumed = await ask(gateway.url, { ...session, headers: { 'last-event-id': stream.ids[0] ?? '' } });
    await resumed.said('notifications/prompts/list_changed');
    resumed.cut();
  });

  it('of a call goes on where it broke off, to its answer', async () => {
    const session = await initialize(gateway.url);
    const answer = await ask(gateway.url, { ...session, message: call('test_elicitation', { message: '?' }, 'cut') });
    const asked = await answer.said('elicitation/create');
    answer.cut();
    const reply = { jsonrpc: '2.0', id: asked['id'] ?? null, result: { action: 'decline' } };
    expect((await ask(gateway.url, { ...session, message: reply })).status).toBe(202);
    const resumed = await ask(gateway.url, { ...session, headers: { 'last-event-id': answer.ids[0] ?? '' } });
    expect(JSON.stringify(await resumed.answer('cut'))).toContain('action=decline');
    expect(await resumed.over).toBe(false);
    // It can be read as often as it is kept.
    const again = await ask(gateway.url, { ...session, headers: { 'last-event-id': answer.ids[0] ?? '' } });
    await again.answer('cut');
  });

  it('is had by its newest connection alone', async () => {
    const session = await initialize(gateway.url);
    const [first, second] = [await ask(gateway.url, session), await ask(gateway.url, session)];
    expect(await first.over).toBe(false);
    second.cut();
  });
});

describe('what is gone is over within a second', () => {
  it('when the session is ended by its client', async () => {
    const session = await initialize(gateway.url);
    const stream = await ask(gateway.url, session);
    const open = ask(gateway.url, { ...session, message: call('test_elicitation', { message: '?' }) });
    await stream.said('elicitation/create');
    await ask(gateway.url, { ...session, method: 'DELETE' });
    expect(await stream.over).toBe(false);
    expect(errorOf(await (await open).answer(7))).toMatchObject({ data: { code: 'CALL_CANCELLED' } });
  });

  it('when its capability is revoked', async () => {
    const token = tokenWith({ scope: 'tool:reference', exp: clock.nowSec + 2_000 });
    const session = await initialize(strict.url, { token });
    const stream = await ask(strict.url, session);
    const { status } = await strict.send('/admin/v1/capabilities/revoke', {
      token: productionEnv.AUTH_ADMIN_SECRET,
      json: { token, reason: 'test' },
    });
    expect(status).toBeLessThan(300);
    await stream.over;
    const later = await ask(strict.url, { ...session, message: request('ping') });
    expect([401, 403, 404]).toContain(later.status);
  });

  it.each<[string, (principal: string, keyId: string) => Promise<unknown>]>([
    ['its API key is revoked', (_, keyId) => asAdmin(`api-keys/${keyId}`, { method: 'DELETE' })],
    [
      'the role that lets its caller in is taken away',
      (principal) => asAdmin(`rbac/bindings/${principal}`, { method: 'DELETE' }),
    ],
  ])('when %s', async (_, take) => {
    const principal = `user-${Math.random().toString(36).slice(2)}`;
    const created = await asAdmin('api-keys', { json: { name: principal, principal_id: principal, permissions: [] } });
    await asAdmin('rbac/bindings', {
      json: { principal_id: principal, bindings: [{ role_id: 'PlatformAdmin', scope: 'global' }] },
    });
    const session = await initialize(strict.url, { token: String(created['api_key']) });
    const stream = await ask(strict.url, session);
    expect(stream.status).toBe(200);
    await take(principal, String((created['key'] as JsonObject)['id']));
    expect(await stream.over).toBe(false);
    const later = await ask(strict.url, { ...session, message: request('ping') });
    expect([401, 404]).toContain(later.status);
  });

  it('when its capability expires', async () => {
    const token = tokenWith({ scope: 'tool:reference', exp: clock.nowSec + 10 });
    const session = await initialize(strict.url, { token });
    const stream = await ask(strict.url, session);
    clock.nowSec += 100;
    await stream.over;
    clock.nowSec -= 100;
    const later = await ask(strict.url, { ...session, message: request('ping') });
    await later.over;
    expect([later.status, errorOf(later.body())['code']]).toEqual([404, -32_001]);
  });
});

it('what works in sessions is offered, and nothing else', async () => {
  const { answer } = await initialize(gateway.url);
  const { capabilities } = (answer.body()['result'] ?? {}) as { capabilities?: JsonObject };
  expect(capabilities).toMatchObject({
    tools: { listChanged: true },
    resources: { subscribe: true },
    prompts: { listChanged: true },
    logging: {},
  });
  const bare = await initialize(gateway.url, { path: '/mcp/plain', capabilities: everything });
  expect(bare.answer.body()).toMatchObject({ result: { capabilities: { tools: {} } } });
});
