/** Tool servers that administrators add, change and remove: on two gateways with one database, and on record. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { childEnv } from '../support/child-env.ts';
import {
  type Answer,
  callTool,
  dumpOf,
  productionEnv,
  recordOf,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { checkLog } from '../support/log-checker.ts';
import { said, sendResult } from '../support/mcp-scripted.ts';
import { echo, type Gate, gate, startUpstream, type Upstream } from '../support/upstream.ts';

const admin = productionEnv.AUTH_ADMIN_SECRET;
const reader = tokenWith({ scope: 'tool:gateway/method:events.read' });
const credential = 'canary-upstream-heron-73310';
const secretRef = (name: string) => `Bearer \${secret:${name}}`;

let folder: string;
let slow: Gate;
let upstream: Upstream;
let first: TestGateway;
let second: TestGateway;
/** The credential of the last call. */
let presented: string | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-servers-'));
  await writeFile(join(folder, 'keys'), `old:${'11'.repeat(32)}\n`);
  slow = gate();
  upstream = await startUpstream({
    calls: {
      echo,
      slow: slow.respond,
      use(received, response) {
        presented = received.headers['authorization']?.toString();
        sendResult(received, response, said('used'));
      },
    },
  });
  const env = {
    ...productionEnv,
    TALOS_RATE_LIMIT: 'false',
    TALOS_SECRETS_KEY_FILE: join(folder, 'keys'),
    TALOS_LOG_KEY_FILE: join(folder, 'log.key'),
    TALOS_API_KEY_PEPPER: 'a pepper that only this test knows, long enough',
  };
  const servers = { fixed: upstream.url };
  first = await startTestGateway({ env, servers, clock: wallClock() });
  second = await startTestGateway({
    env: { ...env, TALOS_MANAGED_STDIO_SERVERS: 'true' },
    servers,
    clock: wallClock(),
    databaseUrl: () => first.database.url,
  });
});

afterAll(async () => {
  slow.open();
  await second.stop();
  await first.stop();
  await upstream.close();
  await rm(folder, { recursive: true });
});

const base = '/admin/v1/mcp/servers';

function ask(path: string, json?: JsonValue, method?: string, token: string = admin, gateway = first): Promise<Answer> {
  return gateway.send(base + path, {
    token,
    ...(json === undefined ? {} : { json }),
    ...(method === undefined ? {} : { method }),
  });
}

const add = (id: string, more: JsonObject = {}) =>
  ask('', { id, url: upstream.url, transport: 'jsonrpc', allow_private: true, ...more });
const change = (id: string, patch: JsonObject) => ask(`/${id}`, patch, 'PATCH');
const remove = (id: string) => ask(`/${id}`, undefined, 'DELETE');
const tryOut = (id: string) => ask(`/${id}:test`, {});
const call = (id: string, gateway: TestGateway, tool = 'echo') =>
  callTool(gateway, tool, {}, { server: id, token: tokenWith({ scope: `tool:${id}` }) });
const statusOf = async (id: string, gateway: TestGateway) => (await call(id, gateway)).status;

/** The ids that an administrator sees. */
async function ids(): Promise<string[]> {
  const { body } = await ask('');
  return (body['servers'] as unknown as JsonObject[]).map(({ id }) => String(id));
}

/** An API key of a principal without roles. */
async function keyWith(permissions: string[]): Promise<string> {
  const json = { name: 'a key', principal_id: 'somebody', permissions };
  const answer = await first.send('/admin/v1/api-keys', { token: admin, json });
  return String(answer.body['api_key']);
}

describe('a server that is added', () => {
  it('is used at once here and within a second elsewhere, changes, stops, starts and goes, all on record', async () => {
    expect(await statusOf('added', first)).toBe(404);
    const added = await add('added', { name: 'Added', tags: ['a'], call_timeout: '5s', rate_limit: '100/hour' });
    expect([added.status, added.body]).toEqual([
      200,
      expect.objectContaining({
        ...{ id: 'added', name: 'Added', transport: 'jsonrpc', tags: ['a'], source: 'api', version: 1 },
        ...{ enabled: true, allow_private: true, url: upstream.url, call_timeout: 5, rate_limit: '100/hour burst 100' },
      }),
    ]);
    expect((await recordOf(first, added, reader)).record).toMatchObject({
      surface_id: 'admin.mcp.servers.add',
      outcome: 'success',
      resource: { resource_type: 'server', resource_id: 'added' },
    });
    expect(await statusOf('added', first)).toBe(200);
    await expect.poll(() => statusOf('added', second), { timeout: 20_000 }).toBe(200);

    const stopped = await change('added', { enabled: false, expected_version: 1 });
    expect([stopped.status, stopped.body['version'], stopped.body['enabled']]).toEqual([200, 2, false]);
    expect(await statusOf('added', first)).toBe(404);
    await expect.poll(() => statusOf('added', second), { timeout: 20_000 }).toBe(404);
    expect(await ids()).toEqual(['added', 'fixed']);

    expect((await change('added', { enabled: null, tags: null })).body).toMatchObject({ enabled: true, tags: [] });
    await expect.poll(() => statusOf('added', second), { timeout: 20_000 }).toBe(200);

    const gone = await remove('added');
    expect([gone.status, gone.body['success']]).toEqual([200, true]);
    expect((await recordOf(first, gone, reader)).record).toMatchObject({ surface_id: 'admin.mcp.servers.remove' });
    expect(await statusOf('added', first)).toBe(404);
    await expect.poll(() => statusOf('added', second), { timeout: 20_000 }).toBe(404);
    expect(await ids()).toEqual(['fixed']);
  });

  it('may have its address and tags in the other spelling', async () => {
    const tags = { team: 'a', tier: 2, beta: true, plain: '' };
    const added = await add('spelled', { url: null, endpoint: upstream.url, tags, transport: 'http' });
    expect(added.status).toBe(400);
    const { url: _, ...entry } = { id: 'spelled', url: '', transport: 'jsonrpc', allow_private: true };
    const spelled = await ask('', { ...entry, endpoint: upstream.url, tags });
    expect(spelled.body).toMatchObject({ url: upstream.url, tags: ['team=a', 'tier=2', 'beta', 'plain'] });
    expect(await statusOf('spelled', first)).toBe(200);
    const moved = await change('spelled', { endpoint: `${upstream.url}elsewhere`, tags: {} });
    expect(moved.body).toMatchObject({ url: `${upstream.url}elsewhere`, tags: [] });
    await remove('spelled');
  });

  it('is shown with the program that it is', async () => {
    const args = ['-e', '0', '--', 'an argument'];
    const program = { id: 'program', transport: 'stdio', command: process.execPath, args, cwd: folder };
    const added = await ask('', program, undefined, admin, second);
    expect(added.body).toMatchObject({ command: process.execPath, args, cwd: folder });
    expect((await ask('/program', undefined, undefined, admin, second)).body).toMatchObject({ args, cwd: folder });
    expect((await change('program', { args: null, cwd: null })).status).toBe(400);
    const bare = await ask('/program', { args: null, cwd: null }, 'PATCH', admin, second);
    expect([bare.body['args'], bare.body['cwd']]).toEqual([[], undefined]);
    expect((await ask('/fixed')).body).not.toHaveProperty('args');
    await remove('program');
  });

  it('finishes the calls that it works on when it is removed', async () => {
    await add('leaving');
    const running = call('leaving', first, 'slow');
    await expect.poll(slow.waiting, { timeout: 20_000 }).toBe(1);
    expect((await remove('leaving')).status).toBe(200);
    expect(await statusOf('leaving', first)).toBe(404);
    slow.open();
    expect((await running).status).toBe(200);
  });

  it('gets its credential by the name of a secret, which nobody is shown', async () => {
    await first.send('/admin/v1/secrets', { token: admin, json: { name: 'upstream', value: credential } });
    const added = await add('trusted', { headers: { authorization: secretRef('upstream') } });
    expect(added.body).toMatchObject({ header_names: ['authorization'], secrets: ['upstream'] });
    expect((await call('trusted', first, 'use')).status).toBe(200);
    expect(presented).toBe(`Bearer ${credential}`);
    const tried = await tryOut('trusted');
    const texts = [added, tried, await ask(''), await ask('/trusted')].map(({ text }) => text);
    expect(texts.join()).not.toContain(credential);
    expect(first.logText() + (await dumpOf(first))).not.toContain(credential);
    await remove('trusted');
  });
});

describe('what is refused', () => {
  it.each<[string, string, JsonObject, string]>([
    ['a credential in the clear', 'x', { headers: { authorization: 'Bearer canary-abc' } }, 'must refer to a secret'],
    [
      'a variable of the gateway',
      'x',
      { headers: { authorization: `\${${'AUTH_ADMIN_SECRET'}}` } },
      'AUTH_ADMIN_SECRET',
    ],
    ['a query', 'x', { url: 'https://example.com/?key=canary' }, 'must not have a query'],
    ['a password in the url', 'x', { url: 'https://u:canary@example.com/' }, 'user'],
    ['a private address', 'x', { url: 'http://10.0.0.1/', allow_private: false }, 'allow_private'],
    ['a loopback address', 'x', { url: 'http://127.0.0.1/', allow_private: false }, 'allow_private'],
    ['another spelling of it', 'x', { url: 'http://2130706433/', allow_private: false }, 'allow_private'],
    ['localhost', 'x', { url: 'http://localhost/', allow_private: false }, 'allow_private'],
    ['a metadata address, allowed or not', 'x', { url: 'http://169.254.169.254/' }, 'never dialled'],
    ['another spelling of that', 'x', { url: 'http://[::ffff:169.254.169.254]/' }, 'never dialled'],
    ['another scheme', 'x', { url: 'file:///etc/passwd' }, 'url'],
    ['a process', 'x', { url: null, transport: 'stdio', command: '/bin/sh' }, 'not started from here'],
    ['a reserved id', 'gateway', {}, 'reserved'],
    ['an id with the separator', 'a__b', {}, 'must be 1 to 63'],
    ['an unknown key', 'x', { publicOnly: false }, 'not a key of a server'],
    ['two addresses', 'x', { endpoint: 'https://example.com/' }, '"endpoint" is not a key of a server'],
    ['a tag that is a map', 'x', { tags: { team: { a: 'b' } } }, 'tags must be'],
    ['a tag that is false', 'x', { tags: { team: false } }, 'tags must be'],
    ['a transport that is none here', 'x', { transport: 'talos_tunnel' }, 'transport must be one of'],
    ['a header of ours', 'x', { headers: { host: 'x', 'mcp-session-id': secretRef('a') } }, 'set by the gateway'],
    ['a wrong flag', 'x', { allow_private: 'yes' }, 'true or false'],
    ['too much', 'x', { tags: Array.from({ length: 900 }, (_, at) => `a tag of many ${at}`) }, 'too much'],
  ])('is %s', async (_, id, fields, sentence) => {
    const answer = await add(id, fields);
    expect([answer.status, answer.body['code']]).toEqual([400, 'INVALID_REQUEST']);
    expect(String(answer.body['detail'])).toContain(sentence);
    expect(answer.text).not.toContain('canary');
    expect((await recordOf(first, answer, reader)).record).toMatchObject({ outcome: 'failure' });
    expect(await ids()).toEqual(['fixed']);
  });

  it('is a body without an id, and one that is no object', async () => {
    expect((await ask('', { url: upstream.url })).status).toBe(422);
    expect((await ask('', [])).status).toBe(422);
  });

  it('is a change that would make a good server bad, which stays as it was', async () => {
    await add('kept');
    expect((await change('kept', { url: 'http://169.254.169.254/' })).status).toBe(400);
    expect((await change('kept', { url: null })).status).toBe(400);
    expect((await change('kept', { allow_private: false })).status).toBe(400);
    expect((await change('kept', { enabled: false, expected_version: 7 })).body['code']).toBe('CONFLICT');
    expect((await ask('/kept')).body).toMatchObject({ version: 1, url: upstream.url, enabled: true });
    expect(await statusOf('kept', first)).toBe(200);
    await remove('kept');
  });

  it('is to change a server of the configuration', async () => {
    const answers = [await add('fixed'), await change('fixed', { enabled: false }), await remove('fixed')];
    for (const { status, body } of answers) {
      expect([status, body['code']]).toEqual([409, 'CONFLICT']);
      expect(body['message']).toContain('change it there');
    }
    expect(await statusOf('fixed', first)).toBe(200);
    expect((await ask('/fixed')).body).toMatchObject({ source: 'configuration' });
  });

  it('is an id that is taken, and one that there is none of', async () => {
    await add('taken');
    expect((await add('taken')).status).toBe(409);
    await remove('taken');
    for (const answer of [await change('taken', {}), await remove('taken'), await ask('/taken'), await tryOut('taken')])
      expect([answer.status, answer.body['code']]).toEqual([404, 'SERVER_NOT_FOUND']);
  });

  it('is a name that leads to a private address when it is dialled', async () => {
    const port = new URL(upstream.url).port;
    // The system resolves it to loopback, and nothing in the name says so.
    await add('rebound', { url: `http://app.localhost:${port}/`, allow_private: false });
    const before = upstream.calls.length;
    expect((await call('rebound', first)).status).toBe(502);
    const { body } = await tryOut('rebound');
    expect(body).toMatchObject({ ok: false, error: { code: 'UPSTREAM_UNAVAILABLE' } });
    expect(upstream.calls).toHaveLength(before);
    await remove('rebound');
  });
});

describe('who may', () => {
  it('see and change them is who has the permission for it', async () => {
    const [nothing, reads, writes] = [await keyWith([]), await keyWith(['mcp:read']), await keyWith(['mcp:write'])];
    const fields = { id: 'theirs', url: upstream.url, transport: 'jsonrpc', allow_private: true };
    for (const token of [nothing, reads]) {
      expect((await ask('', fields, 'POST', token)).status).toBe(403);
      expect((await ask('/fixed', {}, 'PATCH', token)).status).toBe(403);
      expect((await ask('/fixed', undefined, 'DELETE', token)).status).toBe(403);
      expect((await ask('/fixed:test', {}, 'POST', token)).status).toBe(403);
    }
    expect((await ask('', undefined, 'GET', nothing)).status).toBe(403);
    expect((await ask('', undefined, 'GET', reads)).status).toBe(200);
    expect((await ask('', fields, 'POST', writes)).status).toBe(200);
    expect((await first.send(base)).status).toBe(401);
    await remove('theirs');
  });

  it('let a server have a secret is who may set that secret', async () => {
    const [writes, trusted] = [await keyWith(['mcp:write']), await keyWith(['mcp:write', 'secrets:write'])];
    const fields = {
      id: 'greedy',
      url: upstream.url,
      transport: 'jsonrpc',
      allow_private: true,
      headers: { authorization: secretRef('upstream') },
    };
    expect((await ask('', fields, 'POST', writes)).status).toBe(403);
    expect((await ask('', fields, 'POST', trusted)).status).toBe(200);
    // Nor may the other one lead it elsewhere.
    expect((await ask('/greedy', { url: 'https://evil.example/' }, 'PATCH', writes)).status).toBe(403);
    expect((await ask('/greedy', { enabled: false }, 'PATCH', writes)).status).toBe(200);
    expect((await ask('/greedy')).body['url']).toBe(upstream.url);
    await remove('greedy');
  });

  it('let a server have the tokens of whoever calls is who could speak in anybody’s name anyway', async () => {
    const [writes, trusted] = [await keyWith(['mcp:write']), await keyWith(['mcp:write', 'rbac:write'])];
    const auth = { type: 'token_exchange', client_id: 'talos', token_url: 'https://login.example/token' };
    const fields = { id: 'curious', url: upstream.url, transport: 'jsonrpc', allow_private: true, auth };
    expect((await ask('', fields, 'POST', writes)).status).toBe(403);
    expect((await ask('', fields, 'POST', trusted)).status).toBe(200);
    const elsewhere = { auth: { ...auth, token_url: 'https://evil.example/' } };
    expect((await ask('/curious', elsewhere, 'PATCH', writes)).status).toBe(403);
    expect((await ask('/curious')).body['auth']).toEqual({ type: 'token_exchange', client_id: 'talos' });
    await remove('curious');
  });
});

describe('a try', () => {
  it('lists the tools, also of a server that is stopped, and is on record', async () => {
    await add('tried', { enabled: false });
    const good = await tryOut('tried');
    expect(good.body).toMatchObject({ ok: true, server_id: 'tried', tools: ['echo', 'slow', 'use'] });
    expect((await recordOf(first, good, reader)).meta).toMatchObject({ server_id: 'tried', tested_result: 'good' });
    await change('tried', { url: 'http://127.0.0.1:1/' });
    const bad = await tryOut('tried');
    expect([bad.status, bad.body]).toEqual([
      200,
      expect.objectContaining({ ok: false, error: expect.objectContaining({ code: 'UPSTREAM_UNAVAILABLE' }) }),
    ]);
    expect((await recordOf(first, bad, reader)).record).toMatchObject({ outcome: 'failure' });
    await remove('tried');
  });

  it.each(['/fixed', '/fixed:', '/fixed:tests', '/fixed:test:test'])('is no POST to %s', async (path) => {
    expect([404, 405]).toContain((await ask(path, {})).status);
  });
});

describe('a server that is down', () => {
  it('is told apart in lists and figures, delays no list, and says when to come again', async () => {
    await add('down', { url: 'http://127.0.0.1:1/' });
    for (let at = 0; at < 6; at++) await call('down', first);
    const refused = await call('down', first);
    expect([refused.status, refused.body['code']]).toEqual([502, 'UPSTREAM_UNAVAILABLE']);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await ask('/down')).body['health']).toMatchObject({ state: 'down', failures: expect.any(Number) });
    const { body } = await first.send('/v1/mcp/servers', { token: tokenWith({ scope: 'tool:*' }) });
    expect(body['servers']).toContainEqual(expect.objectContaining({ id: 'down', health: 'down' }));
    const list = { jsonrpc: '2.0', id: 1, method: 'tools/list', params: {} };
    const all = await first.send('/mcp', { token: tokenWith({ scope: 'tool:*' }), json: list });
    expect(all.text).toContain('fixed__echo');
    const figures = (await first.send('/metrics')).text;
    expect(figures).toContain('gateway_upstream_up{server="down"} 0');
    await remove('down');
    expect((await first.send('/metrics')).text).not.toContain('{server="down"} 0');
  });
});

describe('talos servers', () => {
  async function talos(...args: string[]): Promise<{ code: number; out: string; err: string }> {
    const child = spawn(process.execPath, ['cli/talos.ts', 'servers', ...args, '--gateway', first.url], {
      env: { ...childEnv, AUTH_ADMIN_SECRET: admin },
    });
    const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
    return { code, out, err };
  }

  it('adds, tries, changes, stops, starts, lists and removes', async () => {
    const fields = [
      '--url',
      upstream.url,
      '--transport',
      'jsonrpc',
      '--header',
      `authorization: ${secretRef('upstream')}`,
    ];
    expect((await talos('add', 'by-hand', ...fields, '--allow-private')).out).toMatch(/^by-hand {2}api {2}/);
    expect(await talos('test', 'by-hand')).toEqual({ code: 0, out: 'echo\nslow\nuse\n', err: expect.any(String) });
    expect((await talos('change', 'by-hand', '--timeout', '9s')).code).toBe(0);
    expect((await ask('/by-hand')).body).toMatchObject({ call_timeout: 9, secrets: ['upstream'] });
    expect((await talos('disable', 'by-hand')).out).toContain('disabled');
    expect((await talos('enable', 'by-hand')).out).not.toContain('disabled');
    expect((await talos('list')).out).toMatch(/^by-hand {2}api .*\nfixed {2}configuration /);
    expect((await talos('remove', 'by-hand')).code).toBe(0);
    expect(await ids()).toEqual(['fixed']);
  });

  it.each([
    [['add', 'x', '--url', 'http://127.0.0.1/'], 'allow_private'],
    [['add', 'x', '--url', 'https://example.com/', '--header', 'authorization'], '--header takes a name'],
    [['add', 'x', '--url', 'https://example.com/', '--auth', 'oauth'], '--auth takes a JSON object'],
    [['add', 'x', '--url', 'https://example.com/', '--auth', '{"type":"token_exchange"}'], 'needs a client_id'],
    [['change', 'fixed', '--timeout', '9s'], 'change it there'],
    [['change', 'fixed'], 'Say what to change'],
    [['remove', 'nobody'], 'SERVER_NOT_FOUND'],
    [['test', 'nobody'], 'SERVER_NOT_FOUND'],
  ])('%j is refused with a sentence', async (args, sentence) => {
    const { code, out, err } = await talos(...args);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(sentence);
  });
});

it('leaves a log that verifies', async () => {
  await checkLog({ url: first.database.url });
});
