/** Credentials over the wire in production: a capability for everything, and nothing learned without one. */
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import {
  callTool,
  productionEnv,
  recordOf,
  type SendOptions,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { openRaw, sendRaw } from '../support/http-raw.ts';
import { adminToken } from '../support/identity.ts';
import { tokenWith } from '../support/issuer.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

let upstream: Upstream;
let gateway: TestGateway;

beforeAll(async () => {
  upstream = await startUpstream({ calls: { echo, other: echo, 'a:b': echo, 'sub/tool': echo } });
  gateway = await startTestGateway({
    env: { ...productionEnv, MCP_SERVER_SECOND: upstream.url },
    servers: { weather: upstream.url },
    clock: wallClock(),
  });
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

const grant = (scope: string, more: JsonObject = {}) => tokenWith({ scope, ...more });
const call = (tool: string, options: SendOptions & { server?: string } = {}) =>
  callTool(gateway, tool, {}, { server: 'weather', ...options });
const event = { event_type: 'deploy', actor: 'ci', action: 'start' };
const reader = grant('tool:gateway/method:events.read', { constraints: { team_id: '*' } });

/** Records that everybody who may see all can see. */
const count = async () =>
  Number((await gateway.send('/api/events/stats?from=0&to=9999999999', { token: reader })).body['count']);

describe('without a capability', () => {
  it.each([
    'anything',
    'cap_test',
    'talos_read_allow',
    'tlk_123',
    'a.b.c',
    'eyJ9',
    productionEnv.AUTH_ADMIN_SECRET.replaceAll(' ', '-'),
  ])('a Bearer value is 401 everywhere: %s', async (token) => {
    for (const path of [
      '/v1/mcp/servers',
      '/v1/mcp/servers/weather/tools',
      '/api/events',
      '/api/events/stats?from=0&to=1',
    ]) {
      const answer = await gateway.send(path, { token });
      expect(answer.status).toBe(401);
      expect(answer.body['code']).toBe('AUTH_INVALID');
    }
    expect((await call('echo', { token })).status).toBe(401);
  });

  it('events are neither read nor written, and strangers leave no trace', async () => {
    const before = await count();
    for (const path of [
      '/api/events',
      '/api/events?limit=1',
      '/api/events/00000000-0000-7000-8000-000000000000',
      '/api/events/stats?from=0&to=1',
    ]) {
      const answer = await gateway.send(path);
      expect(answer.status).toBe(403);
      expect(answer.body).toMatchObject({
        code: 'TALOS_DENIED',
        details: { denial_reason: 'NO_CAPABILITY' },
        detail: answer.body['message'],
      });
      expect(answer.body).not.toHaveProperty('audit_ref');
    }
    expect(await count()).toBe(before);
  });

  it.each(['/api/events', '/api/events/batch', '/api/events/log'])(
    'POST %s is refused in the words that clients know',
    async (path) => {
      const before = await count();
      const json = path.endsWith('batch') ? [event] : event;
      const answer = await gateway.send(path, { json });
      expect(answer.status).toBe(403);
      const sentence = 'Direct audit submission disabled in production. Audits are generated as side-effects.';
      expect(answer.body).toMatchObject({
        error: sentence,
        message: sentence,
        code: 'EVENT_SUBMISSION_DISABLED',
        details: { denial_reason: 'NO_CAPABILITY' },
      });
      expect(await count()).toBe(before);
    },
  );

  it('probes, version, metrics and documentation answer', async () => {
    for (const path of [
      '/healthz',
      '/readyz',
      '/health/ready',
      '/version',
      '/metrics',
      '/metrics/summary',
      '/api/gateway/status',
      '/openapi.json',
      '/docs',
    ]) {
      expect((await gateway.send(path)).status).toBe(200);
    }
    expect((await gateway.send('/version')).body['dev_mode']).toBe(false);
  });
});

describe('scope', () => {
  it.each([
    ['tool:weather', 'echo', true],
    ['tool:weather/method:echo', 'echo', true],
    ['tool:*', 'echo', true],
    ['tool:second tool:weather/method:echo', 'echo', true],
    ['tool:weather/method:a%3Ab', 'a:b', true],
    ['tool:weather/method:sub%2Ftool', 'sub/tool', true],
    ['tool:weather/method:other', 'echo', false],
    ['tool:second', 'echo', false],
    ['tool:weather/method:ech', 'echo', false],
    ['tool:weather/method:ECHO', 'echo', false],
    ['tool:gateway', 'echo', false],
    ['tool:gateway/method:events.read', 'echo', false],
  ])('"%s" and the tool %s: %s', async (scope, tool, allowed) => {
    const before = upstream.calls.length;
    const token = grant(scope);
    const answer = await call(tool, { token });
    expect(answer.status).toBe(allowed ? 200 : 403);
    expect(upstream.calls.length).toBe(before + (allowed ? 1 : 0));
    const { record, meta } = await recordOf(gateway, answer, reader);
    expect(record['outcome']).toBe(allowed ? 'success' : 'denied');
    expect(meta['capability_hash']).toMatch(/^[0-9a-f]{64}$/);
    if (allowed) return;
    expect(answer.body).toMatchObject({
      code: 'TALOS_DENIED',
      details: { denial_reason: 'SCOPE_MISMATCH' },
      audit_ref: record['event_id'],
    });
    expect(meta).toMatchObject({
      denial_reason: 'SCOPE_MISMATCH',
      denial_detail: 'scope',
      server_id: 'weather',
      tool_name: tool,
    });
  });

  it('in the header wins over the one of the identity', async () => {
    const identity = grant('tool:gateway/method:events.read', { sub: 'agent-1' });
    const answer = await call('echo', { token: identity, capability: grant('tool:weather', { sub: 'agent-2' }) });
    expect(answer.status).toBe(200);
    const { record } = await recordOf(gateway, answer, reader);
    expect(record['principal']).toMatchObject({ principal_id: 'agent-1' });
    const narrowed = await call('echo', { token: grant('tool:weather'), capability: grant('tool:second') });
    expect(narrowed.status).toBe(403);
    const broken = await call('echo', { token: grant('tool:weather'), capability: 'cap_broken' });
    expect(broken.status).toBe(403);
  });
});

describe('a caller who may not', () => {
  const parts = (answer: { status: number; body: JsonObject }) => {
    const { request_id: _1, audit_ref: _2, ...body } = answer.body;
    return { status: answer.status, body };
  };

  it('cannot tell whether a tool or a server exists', async () => {
    const token = grant('tool:weather/method:other');
    const [existing, missing, elsewhere, nowhere] = await Promise.all([
      call('echo', { token }),
      call('no-such-tool', { token }),
      call('echo', { token, server: 'second' }),
      call('echo', { token, server: 'nowhere' }),
    ]);
    expect(parts(missing)).toEqual(parts(existing));
    expect(parts(nowhere)).toEqual(parts(elsewhere));
    for (const path of ['tools/echo/schema', 'tools/no-such-tool/schema']) {
      const answer = await gateway.send(`/v1/mcp/servers/weather/${path}`, { token });
      expect({ path, status: answer.status }).toEqual({ path, status: 403 });
    }
    const [second, none] = await Promise.all([
      gateway.send('/v1/mcp/servers/second/tools', { token }),
      gateway.send('/v1/mcp/servers/nowhere/tools', { token }),
    ]);
    expect(parts(none)).toEqual(parts(second));
  });

  it('sees in lists only what they may call', async () => {
    const token = grant('tool:weather/method:other');
    const servers = await gateway.send('/v1/mcp/servers', { token });
    expect((servers.body['servers'] as JsonObject[]).map(({ id }) => id)).toEqual(['weather']);
    const tools = await gateway.send('/v1/mcp/servers/weather/tools', { token });
    expect((tools.body['tools'] as JsonObject[]).map(({ name }) => name)).toEqual(['other']);
    expect((await gateway.send('/v1/mcp/servers', { token: reader })).body).toEqual({ servers: [] });
  });

  it('is told of a missing tool once they may call it', async () => {
    const answer = await call('no-such-tool', { token: grant('tool:weather') });
    expect(answer.status).toBe(404);
    expect((await recordOf(gateway, answer, reader)).record['outcome']).toBe('failure');
  });
});

describe('constraints', () => {
  it.each<[string, JsonObject, number]>([
    ['another method', { method: 'other' }, 403],
    ['the same method', { method: 'echo' }, 200],
    ['allowed tools with it', { allowed_tools: ['echo', 'x'] }, 200],
    ['allowed tools without it', { allowed_tools: ['x'] }, 403],
    ['read only', { read_only: true }, 403],
    ['a schema hash of another schema', { schema_hash: `sha256:${'0'.repeat(64)}` }, 403],
    ['paths, and a call without any', { paths: ['/tmp/**'] }, 403],
    ['one that nobody knows', { whatever: 1 }, 403],
    ['proof of possession', { bearer: false }, 401],
  ])('%s', async (_, constraints, status) => {
    const before = upstream.calls.length;
    const answer = await call('echo', { token: grant('tool:weather', { constraints }) });
    expect(answer.status).toBe(status);
    expect(upstream.calls.length).toBe(before + (status === 200 ? 1 : 0));
  });

  it('on paths judge the arguments', async () => {
    const token = grant('tool:weather', { constraints: { paths: ['/tmp/**'] } });
    const send = (path: string) => callTool(gateway, 'echo', { path }, { server: 'weather', token });
    expect((await send('/tmp/a/b')).status).toBe(200);
    for (const path of ['/etc/passwd', '/tmp/../etc/passwd', '/tmp/%2e%2e/etc', ''])
      expect((await send(path)).status).toBe(403);
  });

  it('say which one it was in the record, not to the caller', async () => {
    const answer = await call('echo', { token: grant('tool:weather', { constraints: { method: 'other' } }) });
    expect(answer.text).not.toContain('constraint');
    expect((await recordOf(gateway, answer, reader)).meta).toMatchObject({
      denial_reason: 'SCOPE_MISMATCH',
      denial_detail: 'constraint:method',
    });
  });
});

describe('events', () => {
  const writer = (constraints?: JsonObject) =>
    grant('tool:gateway/method:events.write', constraints === undefined ? {} : { constraints });

  it('are written with events.write, and read with events.read', async () => {
    expect((await gateway.send('/api/events', { json: event, token: writer() })).status).toBe(200);
    expect((await gateway.send('/api/events/batch', { json: [event], capability: writer() })).status).toBe(200);
    expect((await gateway.send('/api/events', { token: reader })).status).toBe(200);
    expect((await gateway.send('/api/events', { capability: reader })).status).toBe(200);
  });

  it.each([
    ['reading with events.write', () => gateway.send('/api/events', { token: writer() })],
    ['writing with events.read', () => gateway.send('/api/events', { json: event, token: reader })],
    ['reading with a tool', () => gateway.send('/api/events', { token: grant('tool:weather') })],
    [
      'writing with every tool of another server',
      () => gateway.send('/api/events', { json: event, token: grant('tool:weather tool:second') }),
    ],
    ['writing with read_only', () => gateway.send('/api/events', { json: event, token: writer({ read_only: true }) })],
  ])('are refused to the wrong grant, on record: %s', async (_, send) => {
    const answer = await send();
    expect(answer.status).toBe(403);
    expect(answer.body).toMatchObject({ code: 'TALOS_DENIED', details: { denial_reason: 'SCOPE_MISMATCH' } });
    const { record } = await recordOf(gateway, answer, reader);
    expect(record).toMatchObject({ outcome: 'denied', principal: { principal_id: 'did:talos:agent' } });
  });

  it('carry the submitter and the team, whatever the event says', async () => {
    const token = grant('tool:gateway/method:events.write', { sub: 'agent-9', constraints: { team_id: 'blue' } });
    const answer = await gateway.send('/api/events', {
      json: { ...event, metadata: { team_id: 'red', submitted_by: 'root' } },
      token,
    });
    const { record, meta } = await recordOf(gateway, answer, reader);
    expect(record['principal']).toEqual({ auth_mode: 'bearer', principal_id: 'ci', team_id: 'blue' });
    expect(meta['submitted_by']).toBe('agent-9');
  });

  it('are seen by their own team, and by who may see all', async () => {
    const team = (name: string) => ({ constraints: { team_id: name } });
    const submit = async (name: string) => {
      const answer = await gateway.send('/api/events', {
        json: { ...event, event_type: 'team-test' },
        token: grant('tool:gateway/method:events.write', team(name)),
      });
      return String(answer.body['event_id']);
    };
    const [red, green] = [await submit('red'), await submit('green')];
    const sees = async (token: string) => {
      const { body } = await gateway.send('/api/events?event_type=team-test', { token });
      const listed = (body['items'] as JsonObject[]).map((item) => item['event_id']);
      const single = await Promise.all(
        [red, green].map(async (id) => (await gateway.send(`/api/events/${id}`, { token })).status),
      );
      const counted = (await gateway.send('/api/events/stats?from=0&to=9999999999', { token })).body['count'];
      return { listed, single, counted };
    };
    const redReader = grant('tool:gateway/method:events.read', team('red'));
    expect(await sees(redReader)).toEqual({ listed: [red], single: [200, 404], counted: 1 });
    expect(await sees(grant('tool:gateway/method:events.read', team('green')))).toEqual({
      listed: [green],
      single: [404, 200],
      counted: 1,
    });
    expect(await sees(reader)).toMatchObject({ listed: [green, red], single: [200, 200] });
    expect(await sees(grant('tool:gateway/method:events.read', team('nobody')))).toEqual({
      listed: [],
      single: [404, 404],
      counted: 0,
    });
    expect(await sees(grant('tool:gateway/method:events.read'))).toMatchObject({ listed: [], single: [404, 404] });
  });
});

describe('without bearer capabilities', () => {
  it('a capability of somebody else is not honoured', async () => {
    const own = await startTestGateway({
      env: { ...productionEnv, TALOS_BEARER_CAPABILITIES: 'false' },
      servers: { weather: upstream.url },
      clock: wallClock(),
    });
    try {
      const identity = adminToken({ sub: 'agent-1' });
      const send = (capability: string) =>
        callTool(own, 'echo', {}, { server: 'weather', token: identity, capability });
      const bearer = await callTool(own, 'echo', {}, { server: 'weather', token: grant('tool:weather') });
      expect(bearer.status).toBe(401);
      expect(bearer.body).toMatchObject({ code: 'AUTH_INVALID', details: { denial_reason: 'SCOPE_MISMATCH' } });
      expect((await send(grant('tool:weather', { sub: 'agent-1' }))).status).toBe(200);
      const stolen = await send(grant('tool:weather', { sub: 'agent-2' }));
      expect(stolen.status).toBe(403);
      expect(stolen.body).toMatchObject({ details: { denial_reason: 'SCOPE_MISMATCH' } });
    } finally {
      await own.stop();
    }
  });
});

describe('who may not submit events', () => {
  const head = (token: string) =>
    `POST /api/events/batch HTTP/1.1\r\nHost: t\r\nConnection: close\r\n${token}Content-Type: application/json\r\nContent-Length: 16000000\r\n\r\n`;

  it.each([
    ['a stranger', () => ''],
    ['a reader', () => `Authorization: Bearer ${reader}\r\n`],
  ])('is told so before the body is read: %s', async (_, token) => {
    const socket = await openRaw(gateway.url);
    socket.write(head(token()));
    const [answer] = await once(socket, 'data');
    socket.destroy();
    expect(String(answer)).toMatch(/^HTTP\/1\.1 403 /);
  });
});

describe('two Authorization headers', () => {
  it.each([
    ['a good one first', () => [reader, 'junk']],
    ['a good one last', () => ['junk', reader]],
    ['the same one twice', () => [reader, reader]],
  ])('are no credential: %s', async (_, tokens) => {
    const fields = tokens().map((token) => `Authorization: Bearer ${token}\r\n`);
    const text = `GET /api/events HTTP/1.1\r\nHost: t\r\nConnection: close\r\n${fields.join('')}\r\n`;
    const { status, body } = await sendRaw(gateway.url, text);
    expect(status).toBe(401);
    expect(JSON.parse(body)).toMatchObject({ code: 'AUTH_INVALID' });
  });
});
