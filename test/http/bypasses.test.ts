/** Ways around a constraint, a limit or a proof that must stay closed, in production. */
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import { delegateCapability } from '../../src/core/capability-grant.ts';
import type { JsonObject } from '../../src/core/json.ts';
import {
  type Answer,
  dumpOf,
  productionEnv,
  recordOf,
  type SendOptions,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { sendRaw } from '../support/http-raw.ts';
import { adminToken, attest } from '../support/identity.ts';
import { issuerOfSeed, testNowSec, tokenWith, trustedIssuer } from '../support/issuer.ts';
import { sendResult } from '../support/mcp-scripted.ts';
import { leapingClock, openSse } from '../support/stream.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

let upstream: Upstream;
let gateway: TestGateway;

beforeAll(async () => {
  upstream = await startUpstream({
    calls: { chat: (received, response) => sendResult(received, response, { messages: [] }) },
  });
  gateway = await startTestGateway({
    env: { ...productionEnv, TALOS_RATE_LIMIT: 'false' },
    clock: wallClock(),
    file: `servers:
  connector: { url: ${upstream.url}, transport: jsonrpc }
  limited: { url: ${upstream.url}, transport: jsonrpc, rate_limit: "1/hour" }
`,
  });
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

const rpc = (server: string, method: string, params: JsonObject, token: string) =>
  gateway.send(`/mcp/${server}`, { token, json: { jsonrpc: '2.0', id: 1, method, params } });
const reasonOf = ({ body }: Answer) => ((body['error'] as JsonObject)['data'] as JsonObject | undefined)?.['code'];

describe('the name of whoever was given a capability by its holder', () => {
  it('is that of nobody else', async () => {
    const holder = issuerOfSeed('77'.repeat(32));
    const parent = tokenWith({ scope: 'tool:connector', sub: holder.did, delegatable: true });
    const terms = { parent, privateKey: holder.privateKey, nowSec: testNowSec, ttlSec: 600 };
    const child = delegateCapability({ ...terms, subject: 'alice' });
    const answer = await rpc('connector', 'tools/call', { name: 'chat', arguments: {} }, child);
    const reader = tokenWith({ scope: 'tool:gateway/method:events.read' });
    const { record } = await recordOf(gateway, answer, reader);
    expect(record['principal']).toMatchObject({ principal_id: `alice@${holder.did}` });
  });
});

describe('what is passed on to a tool server', () => {
  const within = tokenWith({ scope: 'tool:connector', constraints: { paths: ['/open/**'] } });

  it.each<[string, JsonObject]>([
    ['the address itself', { uri: 'file:///closed/a' }],
    ['an argument of the same name beside it', { uri: 'file:///closed/a', arguments: { uri: '/open/a' } }],
    ['a list of both', { uri: ['/open/a', 'file:///closed/a'] }],
    ['an address in another member', { uri: '/open/a', arguments: { path: '/closed/a' } }],
    ['none', {}],
  ])('is judged by the paths that are sent: %s', async (_, params) => {
    const answer = await rpc('connector', 'resources/read', params, within);
    expect(reasonOf(answer)).toBe('TALOS_DENIED');
  });

  it('is let through where the paths match', async () => {
    const answer = await rpc('connector', 'resources/read', { uri: 'file:///open/a' }, within);
    expect(reasonOf(answer)).not.toBe('TALOS_DENIED');
  });

  it('counts against the limit of the server, whichever way it comes', async () => {
    const token = tokenWith({ scope: 'tool:limited', sub: 'did:talos:often' });
    await rpc('limited', 'tools/call', { name: 'chat', arguments: {} }, token);
    const answer = await rpc('limited', 'resources/read', { uri: 'x:y' }, token);
    expect(reasonOf(answer)).toBe('RATE_LIMITED');
    // And says when to come back, in both places where clients look.
    const { data } = answer.body['error'] as { data?: JsonObject };
    expect(Number(data?.['retry_after'])).toBeGreaterThan(60);
    expect(answer.headers.get('retry-after')).toBe(String(data?.['retry_after']));
  });
});

const say = (changes: JsonObject = {}): JsonObject => ({
  session_id: 's',
  model: 'small',
  messages: [{ role: 'user', content: 'hi' }],
  ...changes,
});
const chat = (changes: JsonObject, options: SendOptions = {}) =>
  gateway.send('/mcp/tools/chat', { json: say(changes), ...options });
const chatWith = (constraints: JsonObject, more: object = {}) =>
  tokenWith({ scope: 'tool:connector/method:chat', constraints, ...more });

describe('chat', () => {
  it('obeys a schema of the capability', async () => {
    const properties = { model: { const: 'small' } };
    const capability = chatWith({ input_schema: { type: 'object', properties } });
    expect((await chat({ capability })).status).toBe(200);
    const before = upstream.calls.length;
    expect((await chat({ capability, model: 'large' })).status).toBe(403);
    expect(upstream.calls.length).toBe(before);
  });

  it('counts uses and rates of the capability', async () => {
    const once = chatWith({ max_calls: 1 });
    expect([(await chat({ capability: once })).status, (await chat({ capability: once })).status]).toEqual([200, 403]);
    const hourly = chatWith({ rate_limit: '1/hour' });
    expect([(await chat({ capability: hourly })).status, (await chat({ capability: hourly })).status]).toEqual([
      200, 429,
    ]);
  });

  it('of a session whose capability demands possession needs the proof each time', async () => {
    const holder = issuerOfSeed('55'.repeat(32));
    const capability = chatWith({ bearer: false }, { sub: holder.did });
    const token = adminToken({ sub: 'carol', permissions: [] });
    const signed = (body: JsonObject) => ({
      token,
      headers: attest(holder, { path: '/mcp/tools/chat', opcode: 'mcp.tools.chat', body }),
    });
    const bound = { session_id: 's-possession', capability };
    expect((await chat(bound, signed(say(bound)))).status).toBe(200);
    const again = { session_id: 's-possession' };
    expect((await chat(again, signed(say(again)))).status).toBe(200);
    expect((await chat(again, { token })).status).toBe(403);
  });

  it('leaves nothing of a stranger in the log', async () => {
    const [session, other] = ['s-of-a-stranger', 's-of-another-stranger'];
    expect((await chat({ session_id: session })).status).toBe(403);
    expect((await chat({ session_id: other, capability: 'cap_test' })).status).toBe(403);
    const dump = await dumpOf(gateway);
    expect([dump.includes(session), dump.includes(other)]).toEqual([false, false]);
  });
});

it('a session that was bound under an issuer who is trusted no more is over', async () => {
  const token = adminToken({ sub: 'dave', permissions: [] });
  expect((await chat({ session_id: 's-issuer', capability: chatWith({}) }, { token })).status).toBe(200);
  const other = issuerOfSeed('66'.repeat(32)).did;
  const later = await startTestGateway({
    env: { ...productionEnv, TALOS_TRUSTED_ISSUERS: other, TALOS_RATE_LIMIT: 'false', MCP_CONNECTOR_URL: upstream.url },
    clock: wallClock(),
  });
  try {
    // The same session as another gateway would find it.
    const { default: pg } = await import('pg');
    const [from, to] = [gateway, later].map(({ database }) => new pg.Client({ connectionString: database.url }));
    await Promise.all([from?.connect(), to?.connect()]);
    const { rows } = (await from?.query('SELECT * FROM chat_session')) ?? { rows: [] };
    for (const { key_hash: key, capability, expires_at: until } of rows) {
      await to?.query('INSERT INTO chat_session VALUES ($1, $2, $3)', [key, JSON.stringify(capability), until]);
    }
    await Promise.all([from?.end(), to?.end()]);
    const answer = await later.send('/mcp/tools/chat', { json: say({ session_id: 's-issuer' }), token });
    expect([answer.status, answer.body['details']]).toEqual([403, { denial_reason: 'SIGNATURE_INVALID' }]);
  } finally {
    await later.stop();
  }
});

it('a stream that was opened by a signed request ends when the key beside the signature is revoked', async () => {
  const clock = leapingClock();
  const own = await startTestGateway({
    env: {
      ...productionEnv,
      TALOS_RATE_LIMIT: 'false',
      TALOS_API_KEY_PEPPER: 'a pepper that only this test knows, long enough',
    },
    servers: { tested: upstream.url },
    clock,
  });
  try {
    const admin = { token: productionEnv.AUTH_ADMIN_SECRET };
    const made = await own.send('/admin/v1/api-keys', { ...admin, json: { name: 'k', permissions: ['events:read'] } });
    const timestamp = Math.floor(Date.now() / 1000);
    const stream = await openSse(own, '/events', {
      ...attest(issuerOfSeed('55'.repeat(32)), { path: '/events', opcode: 'events.sse', timestamp }),
      authorization: `Bearer ${String(made.body['api_key'])}`,
    });
    expect(stream.status).toBe(200);
    const { body } = await own.send('/admin/v1/api-keys', admin);
    const [key] = (body['api_keys'] ?? body['keys'] ?? body['items']) as unknown as JsonObject[];
    const id = String(key?.['id'] ?? key?.['key_id']);
    expect((await own.send(`/admin/v1/api-keys/${id}`, { ...admin, method: 'DELETE' })).status).toBe(200);
    clock.leap(bounds.streamReauthoriseMs);
    await expect.poll(() => stream.of('error').length, { timeout: 20_000 }).toBe(1);
    await stream.ended;
  } finally {
    await own.stop();
  }
});

it('strangers who ask for a probe at once cause one question', async () => {
  let asked = 0;
  let isReleased = false;
  const waiting: (() => void)[] = [];
  const service = createServer((_, response) => {
    asked++;
    if (isReleased) response.end('{}');
    else waiting.push(() => response.end('{}'));
  }).listen(0, '127.0.0.1');
  await once(service, 'listening');
  const own = await startTestGateway({
    env: { OLLAMA_URL: `http://127.0.0.1:${(service.address() as AddressInfo).port}` },
  });
  try {
    const probes = Array.from({ length: 20 }, () => own.send('/health/ollama'));
    await expect.poll(() => waiting.length, { timeout: 20_000 }).toBe(1);
    // All of them are there by the time that one who came last is answered.
    await own.send('/healthz');
    isReleased = true;
    for (const answer of waiting) answer();
    const statuses = (await Promise.all(probes)).map(({ status }) => status);
    expect(new Set(statuses)).toEqual(new Set([200]));
    expect(asked).toBeLessThan(20);
  } finally {
    await own.stop();
    service.closeAllConnections();
    service.close();
  }
});

describe('who may give rights', () => {
  let own: TestGateway;
  let folder: string;
  const admin = { token: productionEnv.AUTH_ADMIN_SECRET };
  const keyOf = async (principal_id: string, team_id: string, permissions: string[]) => {
    const json = { name: principal_id, principal_id, team_id, permissions };
    return { token: String((await own.send('/admin/v1/api-keys', { ...admin, json })).body['api_key']) };
  };
  const bind = async (principal_id: string, role_id: string, more: JsonObject = {}) => {
    const json = { principal_id, bindings: [{ role_id, scope: 'global', ...more }] };
    expect((await own.send('/admin/v1/rbac/bindings', { ...admin, json })).status).toBe(200);
  };

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'talos-bypasses-'));
    const keyFile = join(folder, 'issuer.pem');
    await writeFile(keyFile, trustedIssuer.privateKey.export({ type: 'pkcs8', format: 'pem' }));
    own = await startTestGateway({
      env: {
        ...productionEnv,
        TALOS_API_KEY_PEPPER: 'a pepper that only this test knows, long enough',
        TALOS_ISSUER_KEY_FILE: keyFile,
      },
      servers: { tested: upstream.url },
      clock: wallClock(),
    });
  });
  afterAll(async () => {
    await own.stop();
    await rm(folder, { recursive: true });
  });

  it('of one team gives nobody a role that shows all teams', async () => {
    const maker = await keyOf('maker', 'red', ['rbac:write', 'events:read', 'audit:read']);
    for (const role_id of ['TeamViewer', 'Auditor', 'TeamAdmin']) {
      const json = { principal_id: 'maker', bindings: [{ role_id, scope: 'global' }] };
      const { status, body } = await own.send('/admin/v1/rbac/bindings', { ...maker, json });
      expect([role_id, status, body['code']]).toEqual([role_id, 403, 'TALOS_DENIED']);
    }
    for (const permissions of [['events:read'], ['telemetry:read'], ['audit:read']]) {
      const json = { name: `of-${permissions[0]?.replace(':', '-')}`, permissions };
      expect((await own.send('/admin/v1/rbac/roles', { ...maker, json })).status).toBe(403);
    }
    const seesAll = await keyOf('sees-all', 'red', ['rbac:write', 'events:read', 'events:read:all']);
    const json = { name: 'of-all', permissions: ['events:read'] };
    expect((await own.send('/admin/v1/rbac/roles', { ...seesAll, json })).status).toBe(200);
  });

  it('with the administration alone grants no capability for tools, events or rights', async () => {
    const operator = await keyOf('operator', 'default', []);
    await bind('operator', 'Operator');
    const grant = (scope: string, constraints: JsonObject = {}) =>
      own.send('/admin/v1/capabilities', { ...operator, json: { subject: 'me', scope, constraints, ttl_seconds: 60 } });
    const wider = [
      ...['tool:*', 'tool:tested', 'tool:tested/method:echo', 'tool:gateway', 'tool:gateway/method:*'],
      ...['events.read', 'events.write', 'admin.rbac.write', 'admin.keys.write', 'admin.capabilities.write'].map(
        (action) => `tool:gateway/method:${action}`,
      ),
      'tool:gateway/method:admin.gateway.read tool:*',
    ];
    for (const scope of wider) {
      const { status, body } = await grant(scope);
      expect([scope, status, body['code']]).toEqual([scope, 403, 'TALOS_DENIED']);
    }
    const older = await grant('tools/call', { tool: 'tested', method: 'echo' });
    expect([older.status, older.body['token']]).toEqual([403, undefined]);
    expect((await grant('tool:gateway/method:admin.gateway.read', { team_id: '*' })).status).toBe(200);
    const agent = await keyOf('agent', 'red', ['capabilities:write', 'mcp:invoke', 'events:read']);
    const ofAgent = (scope: string, team_id: string) => {
      const json = { subject: 'me', scope, constraints: { team_id }, ttl_seconds: 60 };
      return own.send('/admin/v1/capabilities', { ...agent, json });
    };
    expect((await ofAgent('tool:tested', 'red')).status).toBe(200);
    expect((await ofAgent('tool:gateway/method:events.read', 'red')).status).toBe(200);
    for (const team of ['*', 'blue', 'default']) {
      expect((await ofAgent('tool:gateway/method:events.read', team)).status).toBe(403);
    }
  });

  it('is not widened by an export of the configuration that is applied again', async () => {
    await bind('ann', 'TeamMember', { team_id: 'red' });
    const exported = (await own.send('/admin/v1/config:export', admin)).body;
    const { rbac } = exported as { rbac: JsonObject };
    const applied = await own.send('/admin/v1/config:apply', { ...admin, json: { version: '1.0', rbac } });
    expect(applied.status, applied.text).toBe(200);
    const { bindings } = (await own.send('/admin/v1/rbac/bindings', admin)).body as unknown as {
      bindings: { principal_id: string; bindings: JsonObject[] }[];
    };
    const [of] = bindings.filter(({ principal_id }) => principal_id === 'ann');
    expect(of?.bindings).toMatchObject([{ team_id: 'red', scope: { scope_type: 'global' } }]);
    const blue = await keyOf('ann', 'blue', []);
    const call = await own.send('/v1/mcp/servers/tested/tools/chat:call', { ...blue, json: { input: {} } });
    expect(call.status).toBe(403);
  });
});

describe('whoever makes up names', () => {
  const holder = issuerOfSeed('77'.repeat(32));
  const parent = tokenWith({ scope: 'tool:*', sub: holder.did, delegatable: true });
  const terms = { parent, privateKey: holder.privateKey, nowSec: testNowSec, ttlSec: 600 };
  const callLimited = (options: SendOptions) =>
    gateway.send('/v1/mcp/servers/limited/tools/chat:call', { json: { input: {} }, ...options });

  it('for those to whom they pass a capability on is counted as one', async () => {
    const statuses: number[] = [];
    for (const subject of ['x1', 'x2', 'x3']) {
      statuses.push((await callLimited({ token: delegateCapability({ ...terms, subject }) })).status);
    }
    expect(statuses).toEqual([200, 429, 429]);
    // However the child is shown, and whoever stands between.
    const next = issuerOfSeed('78'.repeat(32));
    const between = delegateCapability({ ...terms, subject: next.did, delegatable: true });
    const grandchild = { ...terms, parent: between, privateKey: next.privateKey, subject: 'x4' };
    expect((await callLimited({ token: delegateCapability(grandchild) })).status).toBe(429);
  });

  it('by keys of their own is counted as one', async () => {
    const capability = tokenWith({ scope: 'tool:limited', sub: 'did:talos:signs-with-many-keys' });
    const statuses: number[] = [];
    for (const seed of ['91', '92', '93']) {
      const path = '/v1/mcp/servers/limited/tools/chat:call';
      const headers = attest(issuerOfSeed(seed.repeat(32)), { path, opcode: 'mcp.tools.call', body: { input: {} } });
      statuses.push((await callLimited({ capability, headers })).status);
    }
    expect(statuses).toEqual([200, 429, 429]);
  });
});

describe('a call within paths', () => {
  const token = tokenWith({ scope: 'tool:connector', sub: 'did:talos:paths', constraints: { paths: ['/open/**'] } });
  const raw = (text: string) => gateway.send('/v1/mcp/servers/connector/tools/chat:call', { token, raw: text });

  it.each([
    ['a key twice', '{"input":{"path":"/open/a","path":"/closed/a"}}', 400],
    ['the input twice', '{"input":{"path":"/open/a"},"input":{"path":"/closed/a"}}', 400],
    ['a key twice, once with escapes', '{"input":{"path":"/open/a","p\\u0061th":"/closed/a"}}', 400],
    ['a path under __proto__', '{"input":{"path":"/open/a","__proto__":{"path":"/closed/a"}}}', 403],
    ['a path under constructor', '{"input":{"path":"/open/a","constructor":{"path":"/closed/a"}}}', 403],
    ['a list in a list', '{"input":{"path":["/open/a",["/closed/a"]]}}', 403],
    ['an object for a path', '{"input":{"path":{"toString":"/open/a"}}}', 403],
    ['a way out', '{"input":{"path":"/open/../closed/a"}}', 403],
    ['a way out that is encoded', '{"input":{"path":"/open/%2e%2e/closed"}}', 403],
    ['a way out that is encoded twice', '{"input":{"path":"/open/%252e%252e/closed"}}', 403],
    ['a way out by a backslash', '{"input":{"path":"/open/..\\\\closed"}}', 403],
    ['a NUL', '{"input":{"path":"/open/a\\u0000/../../closed"}}', 403],
    ['a half of a pair', '{"input":{"path":"/open/\\ud800"}}', 400],
    ['two slashes', '{"input":{"path":"//open/a"}}', 403],
    ['a file of another host', '{"input":{"path":"file://closed/open/a"}}', 403],
    ['a file without slashes', '{"input":{"uri":"file:closed"}}', 403],
    ['no path', '{"input":{"Path":"/open/a"}}', 403],
    ['an input that is a list', '{"input":[{"path":"/open/a"}]}', 422],
  ])('is refused, and not sent: %s', async (_, text, status) => {
    const before = upstream.calls.length;
    const answer = await raw(text);
    expect([answer.status, upstream.calls.length]).toEqual([status, before]);
  });
});

describe('headers', () => {
  const path = '/v1/mcp/servers/connector/tools/chat:call';
  const strong = adminToken({ sub: 'strong', permissions: ['*:*'] });
  const weak = tokenWith({ scope: 'tool:elsewhere' });

  it.each<[string, string[]]>([
    ['a capability for something else', [`x-talos-capability: ${weak}`]],
    ['an empty capability', ['x-talos-capability: ']],
    ['a capability twice', [`x-talos-capability: ${weak}`, `x-talos-capability: ${tokenWith({ scope: 'tool:*' })}`]],
    ['the good one first', [`x-talos-capability: ${tokenWith({ scope: 'tool:*' })}`, `x-talos-capability: ${weak}`]],
    ['an empty session', ['x-talos-session: ']],
    ['a session of nobody', [`x-talos-session: ${'0'.repeat(32)}`]],
    ['a weak capability beside a session', [`x-talos-capability: ${weak}`, `x-talos-session: ${'0'.repeat(32)}`]],
    ['capital letters', [`X-TALOS-CAPABILITY: ${weak}`]],
  ])('that take less than the caller has are enforced: %s', async (_, lines) => {
    const head = [`POST ${path} HTTP/1.1`, 'host: localhost', 'connection: close', `authorization: Bearer ${strong}`];
    const body = '{"input":{}}';
    const rest = ['content-type: application/json', `content-length: ${body.length}`, '', body];
    const before = upstream.calls.length;
    const answer = await sendRaw(gateway.url, [...head, ...lines, ...rest].join('\r\n'));
    expect([answer.status, upstream.calls.length]).toEqual([403, before]);
  });
});

it('a resource of a capability is the one that is sent', async () => {
  const scope = 'tool:connector/method:rpc.resources.read/resource:x%3Ay';
  const token = tokenWith({ scope, sub: 'did:talos:one-resource' });
  const read = (params: JsonObject) => rpc('connector', 'resources/read', params, token);
  expect(reasonOf(await read({ uri: 'x:y' }))).not.toBe('TALOS_DENIED');
  for (const params of [
    { uri: 'x:z' },
    {},
    { uri: ['x:y'] },
    { name: 'x:y' },
    { uri: 'X:y' },
    { uri: 'x:y ' },
    { uri: 'x:%79' },
  ]) {
    expect([params, reasonOf(await read(params))]).toEqual([params, 'TALOS_DENIED']);
  }
  expect(reasonOf(await rpc('connector', 'tools/call', { name: 'chat', arguments: { uri: 'x:y' } }, token))).toBe(
    'TALOS_DENIED',
  );
});

describe('a capability under max_calls', () => {
  it('lets no more through, however many ways are taken at once', async () => {
    const capability = tokenWith({ scope: 'tool:connector', sub: 'did:talos:few', constraints: { max_calls: 5 } });
    const jwt = { token: adminToken({ sub: 'erin', permissions: ['mcp:invoke'] }) };
    const path = '/v1/mcp/servers/connector/tools/chat:call';
    const opened = await gateway.send('/v1/mcp/servers/connector/tools', { ...jwt, capability });
    const session = { 'x-talos-session': opened.headers.get('x-talos-session') ?? '' };
    const child = (() => {
      const holder = issuerOfSeed('79'.repeat(32));
      const parent = tokenWith({
        scope: 'tool:connector',
        sub: holder.did,
        delegatable: true,
        constraints: { max_calls: 3 },
      });
      const terms = { parent, privateKey: holder.privateKey, nowSec: testNowSec, ttlSec: 600 };
      return (subject: string) => delegateCapability({ ...terms, subject, constraints: { max_calls: 1_000 } });
    })();
    const before = upstream.calls.length;
    const call = { name: 'chat', arguments: {} };
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, n) => [
        gateway.send(path, { token: capability, json: { input: {} } }),
        rpc('connector', 'tools/call', call, capability),
        chat({ capability, session_id: `few-${n}` }, jwt),
        gateway.send(path, { ...jwt, headers: session, json: { input: {} } }),
        gateway.send(path, { ...jwt, capability, json: { input: {}, idempotency_key: `few-${n}` } }),
        gateway.send(path, { token: child(`few-${n}`), json: { input: {} } }),
      ]).flat(),
    );
    expect(answers.filter(({ status, body }) => status === 200 && body['error'] === undefined)).toHaveLength(8);
    expect(upstream.calls.length - before).toBe(8);
    const rest = await gateway.send(path, { ...jwt, headers: session, json: { input: {} } });
    expect(rest.status).toBe(403);
  });
});

it('a revoked capability is refused at once whichever way it was remembered', async () => {
  const capability = tokenWith({ scope: 'tool:connector', sub: 'did:talos:revoked-soon' });
  const jwt = { token: adminToken({ sub: 'frank', permissions: ['mcp:invoke'] }) };
  const path = '/v1/mcp/servers/connector/tools/chat:call';
  const input = { json: { input: {} } };
  const opened = await gateway.send(path, { ...jwt, capability, ...input });
  const session = { 'x-talos-session': opened.headers.get('x-talos-session') ?? '' };
  const hello = { jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25' } };
  const native = await gateway.send('/mcp/connector', { token: capability, json: hello });
  const inSession = {
    'mcp-session-id': native.headers.get('mcp-session-id') ?? '',
    'mcp-protocol-version': '2025-11-25',
  };
  expect((await chat({ capability, session_id: 's-revoked' }, jwt)).status).toBe(200);
  const ways = () => [
    gateway.send(path, { token: capability, ...input }),
    gateway.send(path, { ...jwt, capability, ...input }),
    gateway.send(path, { ...jwt, headers: session, ...input }),
    chat({ session_id: 's-revoked' }, jwt),
    chat({ session_id: 's-revoked', capability }, jwt),
    rpc('connector', 'tools/call', { name: 'chat', arguments: {} }, capability),
    gateway.send('/mcp/connector', {
      ...{ token: capability, headers: inSession },
      json: { jsonrpc: '2.0', id: 2, method: 'tools/call', params: { name: 'chat', arguments: {} } },
    }),
  ];
  const allowed = await Promise.all(ways());
  expect(allowed.map(({ status }) => status)).toEqual(Array(allowed.length).fill(200));
  const admin = { token: productionEnv.AUTH_ADMIN_SECRET, json: { token: capability } };
  expect((await gateway.send('/admin/v1/capabilities/revoke', admin)).status).toBe(200);
  const before = upstream.calls.length;
  for (const answer of await Promise.all(ways())) {
    expect([answer.status, answer.text]).toEqual([expect.toBeOneOf([401, 403, 404]), answer.text]);
  }
  expect(upstream.calls.length).toBe(before);
});
