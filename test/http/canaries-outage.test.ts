/**
 * Secrets where they are used while things go wrong: the passwords of the database and of the shared store, tokens of an
 * issuer that is away, credentials of tool servers that fail, ids of MCP sessions. Nothing of them comes out.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { canary, forgetPlanted, known, leaksIn, plantedTexts } from '../support/canaries.ts';
import {
  type Answer,
  callTool,
  dumpOf,
  productionEnv,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { signedJwt } from '../support/identity.ts';
import { strangeIssuer, testNowSec, tokenWith } from '../support/issuer.ts';
import { freePort } from '../support/mcp-processes.ts';
import { type OidcIssuer, rsaKey, startOidcIssuer } from '../support/oidc-issuer.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { type StoreProxy, startStoreProxy } from '../support/store-proxy.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

const shown: [where: string, output: string][] = [];
const token = tokenWith({ scope: 'tool:* tool:gateway/method:events.read' });
const rsa = rsaKey();

let folder: string;
let upstream: Upstream;
let failing: Server;
let issuer: OidcIssuer;
let redis: TestRedis;
let store: StoreProxy;
let gateway: TestGateway;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-canaries-outage-'));
  upstream = await startUpstream({ calls: { echo } });
  // It fails in every way that a path of its can ask for, and says why with all that it was sent.
  failing = createServer((request, response) => {
    const said = JSON.stringify({ headers: request.headers, url: request.url });
    const status = Number(/status=(\d+)/.exec(request.url ?? '')?.[1] ?? 500);
    response
      .writeHead(status, { 'content-type': 'text/html', location: `http://127.0.0.1:9/${said.length}` })
      .end(said);
  });
  await new Promise<void>((resolve) => failing.listen(0, '127.0.0.1', resolve));
  issuer = await startOidcIssuer();
  issuer.keys = { k1: rsa.publicKey };
  redis = await startRedis();
  store = await startStoreProxy();
  const at = `http://127.0.0.1:${(failing.address() as AddressInfo).port}`;
  const servers = [401, 403, 404, 500, 503, 302].map(
    (status) =>
      `  s${status}: { url: "${at}/?status=${status}&key=${canary(`query-${status}`)}", headers: { authorization: "Bearer ${canary(`header-${status}`)}", x-key: "${canary(`key-${status}`)}" } }`,
  );
  gateway = await startTestGateway({
    env: {
      ...productionEnv,
      TALOS_LOG_KEY_FILE: join(folder, 'log.key'),
      TALOS_OIDC_ISSUER: issuer.url,
      TALOS_OIDC_AUDIENCE: 'talos',
      REDIS_URL: redis.url.replace('//', `//:${canary('redis-password')}@`),
      TALOS_RATE_LIMIT: 'true',
      TALOS_RATE_LIMIT_IP_RPS: '100000',
      TALOS_RATE_LIMIT_IP_BURST: '100000',
      TALOS_RATE_LIMIT_KEY_RPS: '100000',
      TALOS_RATE_LIMIT_KEY_BURST: '100000',
    },
    clock: wallClock(),
    databaseUrl: (url) => store.urlOf(url).replace('@', `:${canary('database-password')}@`),
    file: `servers:
  tested: { url: ${upstream.url} }
  gone: { url: "http://127.0.0.1:${await freePort()}/?key=${canary('query-gone')}", headers: { authorization: "Bearer ${canary('header-gone')}" } }
${servers.join('\n')}
`,
  });
});

afterAll(forgetPlanted);
afterAll(async () => {
  await store.restore();
  await gateway?.stop();
  await store?.close();
  await redis?.stop();
  await issuer?.close();
  failing?.close();
  await upstream?.close();
  await rm(folder, { recursive: true });
});

const keep = (where: string, answer: Answer) => {
  shown.push([where, answer.text + JSON.stringify([...answer.headers])]);
  return answer;
};

const oidcToken = (place: string, changes: JsonObject = {}, key = rsa.privateKey, kid = 'k1') =>
  known(
    `token-${place}`,
    signedJwt(
      { iss: issuer.url, aud: 'talos', sub: 'user', exp: testNowSec + 600, scope: 'events:read', ...changes },
      key,
      { kid },
    ),
  );

async function tokensOfTheIssuer(): Promise<void> {
  const tokens = [
    oidcToken('good'),
    oidcToken('expired', { exp: testNowSec - 600 }),
    oidcToken('of-another', { aud: 'other' }),
    oidcToken('forged', {}, rsaKey().privateKey),
    oidcToken('of-an-unknown-key', {}, rsaKey().privateKey, 'k2'),
    oidcToken('of-another-algorithm', {}, strangeIssuer.privateKey),
  ];
  for (const given of tokens) {
    for (const path of ['/api/events', '/admin/v1/me', '/v1/mcp/servers'])
      keep(path, await gateway.send(path, { token: given }));
  }
}

async function failingServers(): Promise<void> {
  for (const server of ['s401', 's403', 's404', 's500', 's503', 's302', 'gone']) {
    keep(server, await callTool(gateway, 'x', {}, { token, server }));
    keep(server, await gateway.send(`/v1/mcp/servers/${server}/tools`, { token }));
    const read = { jsonrpc: '2.0', id: 1, method: 'resources/read', params: { uri: 'x:y' } };
    keep(server, await gateway.send(`/mcp/${server}`, { token, json: read }));
  }
}

async function sessionsOfClients(): Promise<void> {
  const hello = { jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25' } };
  const opened = await gateway.send('/mcp/tested', { token, json: hello });
  const id = known('mcp-session', String(opened.headers.get('mcp-session-id')));
  expect(id.length).toBeGreaterThan(20);
  const headers = { 'mcp-session-id': id, 'mcp-protocol-version': '2025-11-25' };
  const list = { jsonrpc: '2.0', id: 2, method: 'tools/list' };
  expect((await gateway.send('/mcp/tested', { token, json: list, headers })).status).toBe(200);
  const other = tokenWith({ scope: 'tool:*', sub: 'did:talos:other' });
  keep('a session of another', await gateway.send('/mcp/tested', { token: other, json: list, headers }));
  keep(
    'a session that is none',
    await gateway.send('/mcp/tested', {
      token,
      json: list,
      headers: { ...headers, 'mcp-session-id': canary('made-up-session') },
    }),
  );
}

/** What is told of everything that happened. */
async function told(): Promise<void> {
  keep('the metrics', await gateway.send('/metrics'));
  keep('the events', await gateway.send('/api/events?limit=500', { token }));
  keep('the servers', await gateway.send('/admin/v1/mcp/servers', { token: productionEnv.AUTH_ADMIN_SECRET }));
  keep('the configuration', await gateway.send('/admin/v1/config:export', { token: productionEnv.AUTH_ADMIN_SECRET }));
  shown.push(['the database', await dumpOf(gateway)], ['the log of the process', gateway.logText()]);
}

it('nothing that is secret comes out while things go wrong', async () => {
  await tokensOfTheIssuer();
  await failingServers();
  await sessionsOfClients();
  await told();

  issuer.broken = { status: 500, body: canary('what the issuer says') };
  keep(
    'an issuer that is away',
    await gateway.send('/api/events', { token: oidcToken('late', {}, rsaKey().privateKey, 'k3') }),
  );

  await redis.kill();
  await expect.poll(async () => (await gateway.send('/api/events', { token })).status, { timeout: 20_000 }).toBe(503);
  keep('without the shared store', await gateway.send('/api/events', { token }));
  keep('not ready', await gateway.send('/readyz'));
  expect(gateway.logText()).toContain('the shared store (REDIS_URL) does not answer');
  await redis.restart();
  await expect.poll(async () => (await gateway.send('/api/events', { token })).status, { timeout: 20_000 }).toBe(200);

  await store.cut();
  await expect.poll(async () => (await callTool(gateway, 'echo', {}, { token })).status, { timeout: 20_000 }).toBe(503);
  for (const path of ['/api/events', '/readyz', '/health/ready', '/log/checkpoint']) {
    keep('without the store', await gateway.send(path, { token }));
  }
  keep(
    'without the store',
    await gateway.send('/mcp/tools/chat', { token, json: { session_id: 's', model: 'm', messages: [] } }),
  );
  expect(gateway.logText()).toContain('the audit log cannot be written');
  await store.restore();
  await expect.poll(async () => (await callTool(gateway, 'echo', {}, { token })).status, { timeout: 20_000 }).toBe(200);
  await told();

  expect(plantedTexts().length).toBeGreaterThan(30);
  for (const text of plantedTexts()) expect(text.length).toBeGreaterThan(12);
  expect(leaksIn(shown)).toEqual([]);
});
