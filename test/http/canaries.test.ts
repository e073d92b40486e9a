/**
 * Unmistakable secrets in everything that comes in, and a search of everything that comes out: the log of the process at
 * its loudest, all tables, the metrics, what others are answered, what administrators can see, what is kept on disk while
 * the log cannot be written, what live streams carry, and what is forwarded.
 */
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { type Surface, surfaces } from '../../src/core/surfaces.ts';
import { type AuditService, startAuditService } from '../support/audit-service.ts';
import { canary, forgetPlanted, known, leaksIn, plantedCount, plantedTexts } from '../support/canaries.ts';
import {
  type Answer,
  callTool,
  dumpOf,
  eventually,
  productionEnv,
  type SendOptions,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { openRaw, sendRaw } from '../support/http-raw.ts';
import { attest, hs256 } from '../support/identity.ts';
import { issuerOfSeed, strangeIssuer, testNowSec, tokenWith, trustedIssuer } from '../support/issuer.ts';
import { scriptedStdioProgram } from '../support/mcp-processes.ts';
import { said, sendError, sendResult, toolNamed } from '../support/mcp-scripted.ts';
import { startStoreProxy } from '../support/store-proxy.ts';
import { connect, initMessage, openSse, type SseClient, type StreamClient, watch } from '../support/stream.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

const masterKey = 'c0'.repeat(31);
const env = {
  ...productionEnv,
  AUTH_ADMIN_SECRET: canary('admin-secret'),
  TALOS_API_KEY_PEPPER: canary('pepper'),
  TALOS_MASTER_KEY: `main:${known('master-key', `${masterKey}ee`)}`,
  AUDIT_IP_HMAC_KEY: canary('address-key'),
  AUDIT_IP_HMAC_KEY_ID: 'k1',
  SOME_SERVER_TOKEN: canary('variable'),
  OTHER_API_KEY: canary('other-variable'),
  TALOS_RATE_LIMIT: 'false',
};
const admin = env.AUTH_ADMIN_SECRET;
const agent = issuerOfSeed('77'.repeat(32));
/** Every answer to those who planted something and were refused. */
const refusals: Answer[] = [];

let folder: string;
let upstream: Upstream;
let target: AuditService;
let gateway: TestGateway;
let issuerKey: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-canaries-'));
  issuerKey = join(folder, 'issuer.pem');
  await writeFile(issuerKey, trustedIssuer.privateKey.export({ type: 'pkcs8', format: 'pem' }));
  const number = { type: 'object', properties: { n: { type: 'integer' } }, additionalProperties: false };
  upstream = await startUpstream({
    tools: [toolNamed('tell'), toolNamed('fail'), toolNamed('drop'), { ...toolNamed('typed'), inputSchema: number }],
    calls: {
      tell: (received, response) => sendResult(received, response, said(canary('result'))),
      fail: (received, response) => sendError(received, response, -32_011, canary('error-of-a-tool')),
      drop: (_, response) => void response.destroy(),
      chat: (received, response) =>
        sendResult(received, response, { messages: [{ role: 'assistant', content: canary('completion') }] }),
    },
  });
  target = await startAuditService();
  gateway = await startTestGateway({
    env: { ...envOf('main'), TALOS_AUDIT_URL: target.url },
    clock: wallClock(),
    databaseUrl: (url) => url.replace('@', `:${canary('database-password')}@`),
    file: `servers:
  tested:
    url: ${upstream.url}?key=${canary('upstream-query')}
    transport: jsonrpc
    headers: { authorization: "Bearer ${canary('upstream-header')}", x-of-variable: "\${SOME_SERVER_TOKEN}", x-stored: "\${secret:stored}" }
  connector: { url: ${upstream.url}, transport: jsonrpc }
  down: { url: "http://127.0.0.1:9/?key=${canary('upstream-path')}", transport: jsonrpc }
  local:
    command: ${process.execPath}
    args: [${scriptedStdioProgram}]
    call_timeout: 0.3
    env: { TOKEN: ${canary('process-environment')}, STORED: { secret: stored } }
  broken: { command: ${process.execPath}, args: ["-e", "console.error(process.env.TOKEN); process.exit(3)"], env: { TOKEN: ${canary('broken-environment')} } }
`,
  });
});

/** For a gateway with a data folder of its own; keys are elsewhere. */
function envOf(name: string) {
  const keys = { TALOS_ISSUER_KEY_FILE: issuerKey, TALOS_LOG_KEY_FILE: join(folder, 'log.key') };
  return { ...env, ...keys, TALOS_DATA_DIR: dataFolder(name) };
}

const dataFolder = (name: string) => join(folder, `data-${name}`);

/** Every file below the data folder of a gateway. */
async function filesOf(name: string): Promise<[string, string][]> {
  const entries = await readdir(dataFolder(name), { recursive: true, withFileTypes: true }).catch(() => []);
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  // What was done with in the meantime holds nothing any more.
  const read = (path: string) => readFile(path, 'latin1').catch(() => '');
  return await Promise.all(paths.map(async (path) => [path, await read(path)] as [string, string]));
}

afterAll(forgetPlanted);
afterAll(async () => {
  await gateway?.stop();
  await target?.close();
  await upstream?.close();
  await rm(folder, { recursive: true });
});

async function refused(path: string, options: SendOptions): Promise<void> {
  const answer = await gateway.send(path, options);
  expect([path, answer.status]).toEqual([path, expect.toSatisfy((status: number) => status >= 400)]);
  refusals.push(answer);
}

const asAdmin = (path: string, json?: JsonValue, method?: string) =>
  gateway.send(`/admin/v1/${path}`, {
    token: admin,
    ...(json === undefined ? {} : { json }),
    ...(method === undefined ? {} : { method }),
  });

const everything = (changes: object = {}) =>
  tokenWith({ scope: 'tool:* tool:gateway', sub: 'did:talos:reader', ...changes });

/** Credentials of every kind, good and bad, where they belong and where they do not. */
async function plantCredentials(): Promise<void> {
  const wrong = [
    canary('bearer'),
    `tlk_${known('made-up-key', `${'Zq_'.repeat(14)}x`)}`,
    known('forged-token', hs256({ sub: 'x', exp: testNowSec + 60 }, 'another secret')),
    known('expired-token', hs256({ sub: 'x', exp: testNowSec - 9_000 }, admin)),
    known('strange-capability', everything({ iss: strangeIssuer.did })),
    known('expired-capability', everything({ iat: 1_500_000_000, exp: 1_600_000_000 })),
  ];
  for (const token of wrong) {
    for (const path of ['/api/events', '/admin/v1/me', '/v1/mcp/servers', '/mcp/tested', '/events']) {
      await refused(path, path.startsWith('/mcp') ? { token, json: {} } : { token });
    }
    await gateway.send('/healthz', { token, headers: { cookie: `session=${canary(`cookie-${plantedCount()}`)}` } });
    await refused(`/nowhere/${canary(`path-${plantedCount()}`)}?token=${canary(`query-${plantedCount()}`)}`, { token });
    const capability = token;
    await refused('/api/events', { token: everything(), capability });
    await refused('/admin/v1/auth/token', {
      json: { permissions: ['a:b'] },
      headers: { 'x-talos-admin-secret': token },
    });
  }
  await refused('/api/events', { headers: { authorization: `Basic ${canary('basic')}` } });
  await refused('/api/events', { token: everything(), headers: { 'x-talos-session': canary('session') } });
  await refused(`/events?ticket=${canary('ticket')}`, {});
  const raw = await openRaw(gateway.url);
  raw.destroy();
  await sendRaw(gateway.url, `GARBAGE ${canary('raw')}\r\nauthorization: ${canary('raw-header')}\r\n\r\n`);
}

/** Credentials that the gateway itself gives out: to whoever asked, and to nobody else. */
async function plantIssued(): Promise<void> {
  const key = await asAdmin('api-keys', { name: 'k', principal_id: 'p', permissions: ['events:read'] });
  known('api-key', String(key.body['api_key']).slice(12));
  await gateway.send('/api/events', { token: String(key.body['api_key']) });
  const rotated = await asAdmin(
    `api-keys/${String((key.body['key'] as JsonObject | undefined)?.['id'] ?? key.body['id'])}/rotate`,
    {},
  );
  if (rotated.status === 200) known('rotated-key', String(rotated.body['api_key']).slice(12));
  const headers = { 'x-talos-admin-secret': admin };
  const token = await gateway.send('/admin/v1/auth/token', { json: { permissions: ['events:read'] }, headers });
  known('issued-token', String(token.body['token']));
  await gateway.send('/api/events', { token: String(token.body['token']) });
  const granted = await asAdmin('capabilities', { subject: 'did:talos:x', scope: 'tool:tested', ttl_seconds: 600 });
  const capability = known('granted-capability', String(granted.body['token']));
  await callTool(gateway, 'tell', {}, { token: capability });
  const good = known('good-capability', everything({ sub: agent.did }));
  const someone = { token: String(token.body['token']) };
  const opened = await gateway.send('/api/events', { ...someone, capability: good });
  const session = { 'x-talos-session': known('session-id', String(opened.headers.get('x-talos-session'))) };
  expect((await gateway.send('/api/events', { ...someone, headers: session })).status).toBe(200);
  await refused('/api/events', { headers: session });
  const ticket = await gateway.send('/api/events/ticket', { token: good, method: 'POST' });
  known('stream-ticket', String(ticket.body['ticket']));
  await asAdmin('capabilities/inspect', { token: good });
  await asAdmin('capabilities/revoke', { token: capability, reason: 'a test' });
  await refused('/v1/mcp/servers/tested/tools', { token: capability });
  const attested = attest(agent, { path: '/api/events', opcode: 'events.list' });
  known('attestation', String(attested['x-talos-signature']));
  await gateway.send('/api/events', { capability: good, headers: attested });
  await refused('/api/events', { capability: good, headers: attested });
}

/** What agents say to tools and models, and what those answer, whether it works or not. */
async function plantArguments(): Promise<void> {
  const token = everything();
  const tools: [string, string][] = [
    ['tested', 'tell'],
    ['tested', 'fail'],
    ['tested', 'drop'],
    ['tested', 'typed'],
    ['tested', 'missing'],
    ['local', 'echo'],
    ['local', 'environment'],
    ['broken', 'x'],
    ['down', 'x'],
    ['nobody', 'x'],
  ];
  for (const [server, tool] of tools) {
    const input = { n: canary(`argument-${server}-${tool}`), [canary(`name-${server}-${tool}`)]: 1, text: 'x' };
    const answer = await callTool(gateway, tool, input, { token, server });
    if (answer.status >= 400) refusals.push(answer);
    const params = { name: tool, arguments: { ...input, x: canary(`native-${server}-${tool}`) } };
    const mcp = (method: string, more: JsonObject) =>
      gateway.send(`/mcp/${server}`, { token, json: { jsonrpc: '2.0', id: 1, method, params: more } });
    await mcp('tools/call', params);
    await mcp('resources/read', { uri: `file:///${canary(`uri-${server}-${tool}`)}` });
    await mcp('prompts/get', { name: 'p', arguments: { a: canary(`prompt-${server}-${tool}`) } });
    await mcp('initialize', { clientInfo: { name: canary(`client-${server}-${tool}`), version: '1' } });
  }
  await asAdmin('policy/explain', { server_id: 'tested', tool_name: 'tell', input: { a: canary('explained') } });
  const say = (content: string) => ({ session_id: 's', model: 'm', messages: [{ role: 'user', content }] });
  await gateway.send('/mcp/tools/chat', { token, json: say(canary('message')) });
  const capability = known('chat-capability', everything({ scope: 'tool:connector', sub: 'did:talos:chat' }));
  await gateway.send('/mcp/tools/chat', { json: { ...say(canary('second-message')), capability } });
  await refused('/mcp/tools/chat', { json: { ...say(canary('refused-message')), capability: canary('chat-string') } });
}

/** Secrets of the store, and bodies that are not what they should be. */
async function plantBodies(): Promise<void> {
  expect((await asAdmin('secrets', { name: 'stored', value: canary('stored') })).status).toBe(200);
  await refused('/admin/v1/secrets', { token: admin, json: { name: '!', value: canary('stored-wrongly') } });
  await refused('/admin/v1/secrets', { token: admin, json: { name: 'x', value: [canary('stored-as-a-list')] } });
  await callTool(gateway, 'tell', {}, { token: everything() });
  await callTool(gateway, 'environment', {}, { token: everything(), server: 'local' });
  await asAdmin('secrets/rotate-all', undefined, 'POST');
  for (const path of Object.values<Surface>(surfaces).filter(
    ({ method, template }) => method === 'POST' && !template.includes('{') && !template.startsWith('/internal'),
  )) {
    const { template } = path;
    const token = template.startsWith('/admin') ? admin : everything();
    const place = template.replaceAll(/\W/g, '-');
    refusals.push(await gateway.send(template, { token, raw: `{"broken": "${canary(`broken${place}`)}` }));
    refusals.push(await gateway.send(template, { token, json: [{ wrong: canary(`wrong${place}`) }] }));
    refusals.push(
      await gateway.send(template, { token, raw: canary(`text${place}`), headers: { 'content-type': 'text/plain' } }),
    );
  }
  const client = await connect(gateway, { headers: { authorization: `Bearer ${everything()}` } });
  client.send(initMessage({ capability: canary('init'), ts: new Date(testNowSec * 1000).toISOString() }));
  await client.closed;
}

/** What a gateway keeps on disk while the log cannot be written, and what it says meanwhile. */
async function outage(policy: 'spool' | 'continue'): Promise<[string, string][]> {
  const store = await startStoreProxy();
  const limping = await startTestGateway({
    env: { ...envOf(policy), TALOS_AUDIT_ON_FAILURE: policy },
    servers: { tested: upstream.url },
    clock: wallClock(),
    databaseUrl: () => store.urlOf(gateway.database.url),
  });
  try {
    const claims = { sub: policy, iat: testNowSec - 10, exp: testNowSec + 3_600, permissions: ['events:write'] };
    const token = known(`token-${policy}`, hs256(claims, admin));
    const answers: Answer[] = [];
    const report = async () => {
      const json = { event_type: 'deploy', actor: policy, action: 'start' };
      const headers = { cookie: `session=${canary(`cookie-${policy}-${answers.length}`)}` };
      answers.push(await limping.send('/api/events', { token, json, headers }));
      return answers.at(-1)?.status;
    };
    await expect.poll(report, { timeout: 20_000 }).toBe(200);
    await store.cut();
    await expect.poll(report, { timeout: 20_000 }).toBe(202);
    const files = await eventually(async () => {
      const found = await filesOf(policy);
      return found.some(([path, text]) => path.includes('spool') && text !== '') ? found : undefined;
    }, 20_000);
    const said = answers.map(({ text, headers }) => text + JSON.stringify([...headers]));
    return [...files, [`the log while ${policy}`, limping.logText()], [`the answers while ${policy}`, said.join()]];
  } finally {
    await store.restore();
    await limping.stop();
    await store.close();
  }
}

/** Those who watch while it is planted. */
async function watchers(): Promise<{ readonly sse: SseClient; readonly socket: StreamClient }> {
  const authorization = `Bearer ${everything({ sub: 'did:talos:watcher', constraints: { team_id: '*' } })}`;
  const ts = new Date(testNowSec * 1000).toISOString();
  const socket = await watch(gateway, { ts }, { headers: { authorization } });
  const sse = await openSse(gateway, '/events', { authorization });
  expect(sse.status).toBe(200);
  return { sse, socket };
}

/** What they and the service that records are forwarded to were told, once they were told of everything. */
async function told({ sse, socket }: Awaited<ReturnType<typeof watchers>>): Promise<[string, string][]> {
  const last = await callTool(gateway, 'tell', {}, { token: everything() });
  const id = String(last.body['audit_ref']);
  const frames = () => JSON.stringify(socket.messages);
  const forwarded = () => JSON.stringify(target.taken);
  for (const text of [frames, sse.text, forwarded]) await eventually(() => text().includes(id), 20_000);
  await socket.close();
  sse.close();
  return [
    ['the frames of the WebSocket', frames()],
    ['the SSE stream', sse.text()],
    ['what is forwarded', forwarded()],
  ];
}

/** What anybody but the one who planted may be shown. */
async function outputs(): Promise<[string, string][]> {
  const token = everything({ constraints: { team_id: '*' } });
  const shown: [string, string][] = [
    ['the database', await dumpOf(gateway)],
    ['the log of the process', gateway.logText()],
  ];
  for (const { method, template } of Object.values<Surface>(surfaces)) {
    // Streams have no end; there are clients that watch them.
    if (method !== 'GET' || template.includes('{') || /events$|sse$|stream$/.test(template)) continue;
    for (const credential of [undefined, template.startsWith('/admin') ? admin : token]) {
      const answer = await gateway.send(template, credential === undefined ? {} : { token: credential });
      shown.push([template, answer.text + JSON.stringify([...answer.headers])]);
    }
  }
  shown.push(['the events', (await gateway.send('/api/events?limit=500', { token })).text]);
  for (const [at, answer] of refusals.entries()) {
    shown.push([`refusal ${at}`, answer.text + JSON.stringify([...answer.headers])]);
  }
  return shown;
}

it('nothing that is secret comes out anywhere', async () => {
  const watching = await watchers();
  await plantBodies();
  await plantCredentials();
  await plantIssued();
  await plantArguments();
  const shown = [
    ...(await told(watching)),
    ...(await outage('spool')),
    ...(await outage('continue')),
    ...(await filesOf('main')),
    ...(await outputs()),
  ];
  expect(plantedCount()).toBeGreaterThan(100);
  expect(shown.find(([where]) => where === 'the database')?.[1]).toContain('mcp.tools.chat');
  expect(shown.find(([where]) => where.endsWith('.spool'))?.[1]).toContain('deploy');
  expect(shown.find(([where]) => where === '/metrics')?.[1]).toContain('gateway_requests_total');
  expect(leaksIn(shown)).toEqual([]);
  for (const text of plantedTexts()) expect(text.length).toBeGreaterThan(12);
});
