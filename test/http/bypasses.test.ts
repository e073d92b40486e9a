/** Ways around a constraint, a limit or a proof that must stay closed, in production. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
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
import { adminToken, attest } from '../support/identity.ts';
import { issuerOfSeed, testNowSec, tokenWith } from '../support/issuer.ts';
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
