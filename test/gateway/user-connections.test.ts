/**
 * Accounts of users at a tool server, from end to end: a gateway, an authorization server and a tool server that takes its
 * tokens alone, each of them real. What must not happen is tried more often than what must.
 */
import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import {
  type AuthorizationServer,
  clientId,
  clientSecret,
  publicClientId,
  startAuthorizationServer,
} from '../support/authorization-server.ts';
import {
  type Answer,
  callTool,
  dumpOf,
  eventually,
  itemsOf,
  startTestGateway,
  type TestGateway,
} from '../support/gateway.ts';
import { type GuardedServer, startGuardedServer } from '../support/guarded-server.ts';
import { hs256 } from '../support/identity.ts';
import { ask, initialize, request } from '../support/native-client.ts';

const adminSecret = 'an admin secret that only this test knows';
const masterKey = `k1:${'11'.repeat(32)}`;

let issuer: AuthorizationServer;
let tool: GuardedServer;
let gateway: TestGateway;
/** Another gateway on the same database. */
let other: TestGateway;
let folder: string;

const tokens = new Map<string, string>();

/** A token of the administration's kind, which names this user; always the same one. */
function tokenOf(user: string, claims: JsonObject = {}): string {
  const key = JSON.stringify([user, claims]);
  const now = Math.floor(Date.now() / 1000);
  const token =
    tokens.get(key) ?? hs256({ sub: user, iat: now, exp: now + 3_600, permissions: ['*:*'], ...claims }, adminSecret);
  tokens.set(key, token);
  return token;
}

function configFile(auth: object): string {
  return JSON.stringify({
    servers: {
      drive: {
        name: 'Drive',
        url: tool.url,
        auth: { type: 'oauth', issuer: issuer.url, client_id: clientId, client_secret: clientSecret, ...auth },
      },
      named: { url: tool.url, auth: { type: 'oauth', client_id: publicClientId, ...auth } },
      exchanged: {
        url: tool.url,
        auth: {
          type: 'token_exchange',
          token_url: `${issuer.url}/token`,
          client_id: clientId,
          client_secret: clientSecret,
        },
      },
      own: {
        url: tool.url,
        auth: {
          type: 'client_credentials',
          token_url: `${issuer.url}/token`,
          client_id: clientId,
          client_secret: clientSecret,
          resource: tool.url,
        },
      },
    },
  });
}

beforeAll(async () => {
  issuer = await startAuthorizationServer();
  tool = await startGuardedServer(issuer);
  folder = await mkdtemp(join(tmpdir(), 'talos-accounts-'));
  const env = {
    AUTH_ADMIN_SECRET: adminSecret,
    TALOS_MASTER_KEY: masterKey,
    TALOS_LOG_KEY_FILE: join(folder, 'log.key'),
  };
  const file = configFile({ scopes: ['files:read'] });
  gateway = await startTestGateway({ env, file });
  other = await startTestGateway({ env, file, databaseUrl: () => gateway.database.url });
});

afterAll(async () => {
  await other?.stop();
  await gateway?.stop();
  await tool?.close();
  await issuer?.close();
  await rm(folder, { recursive: true });
});

beforeEach(() => {
  Object.assign(issuer, {
    metadata: {},
    expiresIn: 3_600,
    broken: undefined,
    iss: issuer.url,
    beforeRefresh: undefined,
  });
  Object.assign(tool, { metadata: {}, refusesAll: false });
});

const path = '/v1/mcp/servers/drive/connection';
/** Of the server whose authorization server it names itself. */
const namedPath = '/v1/mcp/servers/named/connection';

function whoami(user: string, options: { at?: TestGateway; server?: string; token?: string } = {}): Promise<Answer> {
  const { at = gateway, server = 'drive', token = tokenOf(user) } = options;
  return callTool(at, 'whoami', {}, { server, token });
}

const saidIn = ({ body }: Answer): unknown =>
  ((body['output'] as JsonObject | undefined)?.['content'] as JsonObject[] | undefined)?.[0]?.['text'];

async function setOut(user: string, at = gateway, to = path): Promise<string> {
  const { status, body, text } = await at.send(to, { method: 'POST', token: tokenOf(user) });
  expect(status, text).toBe(200);
  return String(body['authorization_url']);
}

/** What the page answers that a browser comes back to, and goes on from. */
async function comeBack(
  address: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; text: string }> {
  const form = {
    accept: 'text/html',
    'content-type': 'application/x-www-form-urlencoded',
    'sec-fetch-site': 'same-origin',
    ...headers,
  };
  const response = await fetch(address, { method: 'POST', headers: form });
  return { status: response.status, text: await response.text() };
}

async function connect(user: string, at = gateway): Promise<void> {
  const { status, text } = await comeBack(issuer.allow(await setOut(user, at), user));
  expect(status, text).toBe(200);
}

/** An MCP session that has used the account, with its stream. */
async function sessionOf(user: string, at: TestGateway) {
  const session = await initialize(at.url, { path: '/mcp/drive', token: tokenOf(user) });
  const message = request('tools/call', { name: 'whoami', arguments: {} });
  const again = async () => (await ask(at.url, { ...session, message })).status;
  expect(await again()).toBe(200);
  return { stream: await ask(at.url, session), ask: again };
}

async function query(text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: gateway.database.url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end();
  }
}

/** The access token has ended, as far as the gateways know. */
const endToken = (user: string) =>
  query(`UPDATE upstream_connection SET expires_at = now() - interval '1 second' WHERE principal_id = '${user}'`);

const refreshes = () => issuer.tokenRequests.filter(({ grant_type: type }) => type === 'refresh_token').length;

describe('an account', () => {
  it('is demanded, connected, used, shown and disconnected', async () => {
    const before = await whoami('alice');
    expect(before.status).toBe(403);
    expect(before.body).toMatchObject({
      code: 'CONNECTION_REQUIRED',
      details: { connect: { method: 'POST', path } },
      audit_ref: expect.any(String),
    });
    expect((await gateway.send(path, { token: tokenOf('alice') })).body).toMatchObject({ state: 'not_connected' });

    await connect('alice');
    expect(saidIn(await whoami('alice'))).toBe('alice');
    const shown = await gateway.send(path, { token: tokenOf('alice') });
    expect(shown.body).toMatchObject({ state: 'connected', scopes: ['files:read'] });

    const gone = await gateway.send(path, { method: 'DELETE', token: tokenOf('alice') });
    expect(gone.body).toMatchObject({ state: 'not_connected', revoked: true });
    expect(issuer.revoked.at(-1)).toMatch(/^refresh-/);
    await expect
      .poll(async () => (await whoami('alice', { at: other })).body['code'], { timeout: 20_000 })
      .toBe('CONNECTION_REQUIRED');
    expect((await gateway.send(path, { method: 'DELETE', token: tokenOf('alice') })).status).toBe(404);
  });

  it('that is disconnected ends what its user has open, at every gateway, and nothing of others', async () => {
    for (const user of ['liv', 'mia']) await connect(user);
    const [here, there] = [await sessionOf('liv', gateway), await sessionOf('liv', other)];
    const others = [await sessionOf('mia', gateway), await sessionOf('mia', other)];
    expect((await gateway.send(path, { method: 'DELETE', token: tokenOf('liv') })).status).toBe(200);
    expect(await here.ask()).toBe(404);
    expect(await there.stream.over).toBe(false);
    expect(await there.ask()).toBe(404);
    for (const { ask: again, stream } of others) {
      expect(await again()).toBe(200);
      stream.cut();
      expect(await stream.over).toBe(true);
    }
  });

  it('that is exchanged for another one ends what was opened with the first, at every gateway', async () => {
    await connect('nia');
    const sessions = [await sessionOf('nia', gateway), await sessionOf('nia', other)];
    await comeBack(issuer.allow(await setOut('nia'), 'somebody else'));
    for (const { stream, ask: again } of sessions) {
      expect(await stream.over).toBe(false);
      expect(await again()).toBe(404);
    }
    for (const at of [gateway, other]) expect(saidIn(await whoami('nia', { at }))).toBe('somebody else');
  });

  it('is of one user alone, with a list of tools of its own', async () => {
    await connect('ann');
    await connect('ben');
    const from = tool.seen.length;
    expect(saidIn(await whoami('ann'))).toBe('ann');
    expect(saidIn(await whoami('ben'))).toBe('ben');
    expect((await whoami('eve')).body['code']).toBe('CONNECTION_REQUIRED');
    expect(new Set(tool.seen.slice(from))).toEqual(new Set(['ann', 'ben']));
    const list = await gateway.send('/v1/mcp/servers/drive/tools', { token: tokenOf('ann') });
    const names = (list.body['tools'] as JsonObject[]).map(({ name }) => name);
    expect(names).toContain('only_ann');
    expect(names).not.toContain('only_ben');
    expect((await gateway.send('/v1/mcp/servers/drive/tools', { token: tokenOf('eve') })).status).toBe(403);
  });

  it('is found by what the server says, for a client without a secret', async () => {
    const before = issuer.tokenRequests.length;
    const address = issuer.allow(await setOut('nell', gateway, namedPath), 'nell');
    expect((await comeBack(address)).status).toBe(200);
    expect(saidIn(await whoami('nell', { server: 'named' }))).toBe('nell');
    expect(issuer.tokenRequests[before]).toMatchObject({ client_id: publicClientId });
    expect(issuer.tokenRequests[before]).not.toHaveProperty('client_secret');
  });

  it('is not used to tell an administrator what its user may call', async () => {
    await connect('olaf');
    const from = tool.seen.length;
    const explain = (server: string) =>
      gateway.send('/admin/v1/policy/explain', {
        token: adminSecret,
        json: { server_id: server, tool_name: 'whoami', principal: { id: 'olaf', permissions: ['*:*'] } },
      });
    expect((await explain('drive')).body).toMatchObject({
      decision: 'allow',
      tool_known: false,
      lists_per_user: true,
    });
    expect(tool.seen.slice(from)).not.toContain('olaf');
    expect((await explain('own')).body).toMatchObject({ decision: 'allow', tool_known: true, lists_per_user: false });
  });

  it('of another team is another account', async () => {
    await connect('tom');
    const elsewhere = tokenOf('tom', { team_id: 'blue' });
    expect((await whoami('tom', { token: elsewhere })).body['code']).toBe('CONNECTION_REQUIRED');
  });

  it('that was connected through one gateway is used through another', async () => {
    await connect('ada', other);
    expect(saidIn(await whoami('ada'))).toBe('ada');
  });

  it('is on record when it is connected and disconnected, and its tokens are nowhere to be read', async () => {
    await connect('canary');
    expect(saidIn(await whoami('canary'))).toBe('canary');
    const state = new URL(await setOut('canary')).searchParams.get('state') ?? '';
    await gateway.send(path, { method: 'DELETE', token: tokenOf('canary') });
    await connect('canary');
    const records = (await itemsOf(gateway)).filter(
      (item) => (item['meta'] as JsonObject)['event_type'] === 'connection',
    );
    const surfaces = records
      .filter((item) => JSON.stringify(item).includes('canary'))
      .map((item) => JSON.stringify(item));
    for (const id of ['mcp.connections.start', 'mcp.connections.finish', 'mcp.connections.delete'])
      expect(
        surfaces.some((text) => text.includes(id)),
        id,
      ).toBe(true);

    const everywhere = [await dumpOf(gateway), gateway.logText(), other.logText()].join('\n');
    const metrics = await gateway.send('/metrics');
    for (const secret of [...issuer.revoked, state, clientSecret, tokenOf('canary')]) {
      expect(everywhere.includes(secret), secret.slice(0, 12)).toBe(false);
      expect(metrics.text.includes(secret)).toBe(false);
    }
    expect(everywhere).not.toMatch(/(access|refresh|code)-[\w-]{24}/);
  });
});

describe('the way to the authorization server and back', () => {
  const finish = (address: string) => comeBack(address);

  it('asks before it connects, on a page that runs nothing', async () => {
    const address = issuer.allow(await setOut('paula'), 'paula');
    const page = await fetch(address);
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(page.headers.get('content-security-policy')).toBe(
      "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    );
    const text = await page.text();
    expect(text).toContain('“paula” of this gateway will act at Drive');
    expect(text).not.toMatch(/code-|<script/);
    expect((await whoami('paula')).body['code']).toBe('CONNECTION_REQUIRED');
    expect((await finish(address)).status).toBe(200);
    expect(saidIn(await whoami('paula'))).toBe('paula');
  });

  it('asks for what the server wants, for that server', async () => {
    const { searchParams: asked } = new URL(await setOut('quinn'));
    expect(asked.get('resource')).toBe(tool.url);
    expect(asked.get('scope')).toBe('files:read');
    expect(asked.get('redirect_uri')).toBe(`${gateway.url}/v1/mcp/oauth/callback/drive`);
    expect(asked.get('code_challenge')).toMatch(/^[\w-]{43}$/);
  });

  it.each([
    ['a state that nobody set out with', (url: URL) => url.searchParams.set('state', 'x'.repeat(43))],
    ['no state', (url: URL) => url.searchParams.delete('state')],
    ['the state of another server', (url: URL) => Object.assign(url, { pathname: '/v1/mcp/oauth/callback/exchanged' })],
    ['the name of another issuer', (url: URL) => url.searchParams.set('iss', 'https://other.example')],
    ['no name of the issuer, who always says it', (url: URL) => url.searchParams.delete('iss')],
    ['no code', (url: URL) => url.searchParams.delete('code')],
  ])('refuses %s', async (_, change) => {
    const url = new URL(issuer.allow(await setOut('rita'), 'rita'));
    change(url);
    const { status, text } = await finish(url.href);
    expect(status).toBe(400);
    expect(text).toContain('Not connected');
    expect((await whoami('rita')).body['code']).toBe('CONNECTION_REQUIRED');
  });

  it('asks the store of no state that no gateway made', async () => {
    const own = new URL(issuer.allow(await setOut('rolf'), 'rolf'));
    const madeUp = new URL(own);
    madeUp.searchParams.set('state', randomBytes(32).toString('base64url'));
    const bothOf = async (url: URL) => [(await fetch(url)).status, (await finish(url.href)).status];
    await query('ALTER TABLE upstream_consent RENAME TO upstream_consent_away');
    try {
      expect(await bothOf(madeUp)).toEqual([400, 400]);
      expect(await bothOf(own)).toEqual([503, 503]);
    } finally {
      await query('ALTER TABLE upstream_consent_away RENAME TO upstream_consent');
    }
    expect((await finish(own.href)).status).toBe(200);
  });

  it('refuses a code that another user got: it is bound to the challenge of their own way', async () => {
    const [mine, theirs] = [issuer.allow(await setOut('sam'), 'sam'), issuer.allow(await setOut('sue'), 'sue')];
    const mixed = new URL(mine);
    mixed.searchParams.set('code', new URL(theirs).searchParams.get('code') ?? '');
    expect((await finish(mixed.href)).status).toBe(403);
    expect((await whoami('sam')).body['code']).toBe('CONNECTION_REQUIRED');
  });

  it('is gone once: state and code are good one time', async () => {
    const address = issuer.allow(await setOut('tess'), 'tess');
    expect((await finish(address)).status).toBe(200);
    expect((await finish(address)).status).toBe(400);
    const again = await fetch(address);
    expect([again.status, await again.json()]).toEqual([400, expect.objectContaining({ code: 'CONSENT_INVALID' })]);
    expect(saidIn(await whoami('tess'))).toBe('tess');
  });

  it('is too long after ten minutes', async () => {
    const address = issuer.allow(await setOut('ugo'), 'ugo');
    await query("UPDATE upstream_consent SET expires_at = now() - interval '1 second' WHERE principal_id = 'ugo'");
    expect((await fetch(address)).status).toBe(400);
    expect((await finish(address)).status).toBe(400);
  });

  it('says so when the user did not allow it, and repeats nothing that came along', async () => {
    const url = new URL(issuer.allow(await setOut('vera'), 'vera'));
    url.searchParams.delete('code');
    url.searchParams.set('error', '<b>access_denied</b>');
    const page = await fetch(url, { headers: { accept: 'text/html' } });
    expect(page.status).toBe(403);
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(await page.text()).not.toContain('access_denied');
  });

  it('does not take the answer of another site’s form, nor an authorization server without PKCE', async () => {
    const address = issuer.allow(await setOut('walt'), 'walt');
    expect((await comeBack(address, { 'sec-fetch-site': 'cross-site' })).status).toBe(403);
    issuer.metadata = { code_challenge_methods_supported: ['plain'] };
    const { status, body } = await gateway.send(path, { method: 'POST', token: tokenOf('walt') });
    expect([status, body['code']]).toEqual([503, 'CREDENTIAL_UNAVAILABLE']);
  });

  it.each([
    ['metadata of another resource', () => ({ tool: { resource: 'https://bank.example/mcp' } })],
    ['metadata of a resource below the server', () => ({ tool: { resource: `${tool.url}/below` } })],
    ['metadata without an authorization server', () => ({ tool: { authorization_servers: [] } })],
    [
      'an authorization server at a metadata address',
      () => ({ tool: { authorization_servers: ['http://169.254.169.254'] } }),
    ],
    ['metadata of another issuer', () => ({ issuer: { issuer: 'https://other.example' } })],
    ['an address that is none of http', () => ({ issuer: { authorization_endpoint: 'javascript:alert(1)' } })],
    ['no token endpoint', () => ({ issuer: { token_endpoint: undefined } })],
    [
      'an authorization server that sends elsewhere',
      () => ({ issuer: { token_endpoint: 'http://user:pw@x.example' } }),
    ],
  ])('does not set out for %s', async (_, bend) => {
    const bent: { tool?: object; issuer?: object } = bend();
    Object.assign(tool, { metadata: bent.tool ?? {} });
    Object.assign(issuer, { metadata: bent.issuer ?? {} });
    const { status, body, text } = await gateway.send(namedPath, { method: 'POST', token: tokenOf('xena') });
    expect([status, body['code']]).toEqual([503, 'CREDENTIAL_UNAVAILABLE']);
    expect(text).not.toMatch(/169\.254|javascript|bank\.example/);
  });

  it('does not set out for an authorization server in a private network that nobody but the server names', async () => {
    const elsewhere = issuer.url.replace('127.0.0.1', 'localhost');
    Object.assign(tool, { metadata: { authorization_servers: [elsewhere] } });
    issuer.metadata = { issuer: elsewhere };
    const { body } = await gateway.send(namedPath, { method: 'POST', token: tokenOf('xena') });
    expect(body['code']).toBe('CREDENTIAL_UNAVAILABLE');
    expect(gateway.logText()).toContain('private and loopback addresses are dialled only for');
  });

  it.each([
    ['is down', { status: 500, body: 'no' }, 503],
    ['says nothing', { status: 200, body: '' }, 503],
    ['says too much', { status: 200, body: 'x'.repeat(300_000) }, 503],
    ['leads to a metadata address', { status: 307, location: 'http://169.254.169.254/latest' }, 503],
    ['gives a token that is none', { status: 200, body: '{"access_token":"a b","token_type":"Bearer"}' }, 503],
    ['gives a token of another kind', { status: 200, body: '{"access_token":"ab","token_type":"DPoP"}' }, 503],
    ['knows the client no more', { status: 401, body: '{"error":"invalid_client"}' }, 503],
    ['refuses the code', { status: 400, body: '{"error":"invalid_grant"}' }, 403],
  ])('ends without a connection when the token endpoint %s', async (_, broken, expected) => {
    const address = issuer.allow(await setOut('yara'), 'yara');
    issuer.broken = broken;
    expect((await finish(address)).status).toBe(expected);
    issuer.broken = undefined;
    expect((await whoami('yara')).body['code']).toBe('CONNECTION_REQUIRED');
  });

  it('is for those alone who may use the server, and for servers with accounts', async () => {
    expect((await gateway.send(path, { method: 'POST' })).status).toBe(401);
    const none = await gateway.send('/v1/mcp/servers/nobody/connection', { method: 'POST', token: tokenOf('zoe') });
    expect(none.status).toBe(404);
    const without = await gateway.send('/v1/mcp/servers/own/connection', { method: 'POST', token: tokenOf('zoe') });
    expect(without.body['code']).toBe('INVALID_REQUEST');
  });

  it('keeps no more than a few open for one user', async () => {
    for (let count = 0; count < 10; count++) await setOut('zed');
    const [row] = await query("SELECT count(*)::int AS count FROM upstream_consent WHERE principal_id = 'zed'");
    expect(row?.['count']).toBe(8);
  });
});

describe('a token that ends', () => {
  it('is refreshed once, by all calls and gateways together', async () => {
    await connect('fay');
    expect(saidIn(await whoami('fay'))).toBe('fay');
    expect(saidIn(await whoami('fay', { at: other }))).toBe('fay');
    await endToken('fay');
    issuer.expireAccess();
    const before = refreshes();
    // Whoever comes second finds the first one at work.
    const refused = tool.refused + 8;
    issuer.beforeRefresh = async () =>
      void (await eventually(() => tool.refused >= refused, 3_000).catch(() => undefined));
    const calls = [gateway, other].flatMap((at) => [1, 2, 3, 4].map(() => whoami('fay', { at })));
    expect((await Promise.all(calls)).map(saidIn)).toEqual(Array(8).fill('fay'));
    expect(refreshes() - before).toBe(1);
    // The token that came with it is good for the next time, at either gateway.
    issuer.beforeRefresh = undefined;
    await endToken('fay');
    issuer.expireAccess();
    await expect.poll(async () => saidIn(await whoami('fay', { at: other })), { timeout: 20_000 }).toBe('fay');
    expect(refreshes() - before).toBe(2);
  });

  it('before its time is renewed when the server refuses it', async () => {
    await connect('gil');
    expect(saidIn(await whoami('gil'))).toBe('gil');
    issuer.expireAccess();
    expect(saidIn(await whoami('gil'))).toBe('gil');
  });

  it('is asked for once more and not again, when the server refuses everything', async () => {
    await connect('hal');
    expect(saidIn(await whoami('hal'))).toBe('hal');
    tool.refusesAll = true;
    const before = refreshes();
    for (let count = 0; count < 3; count++) expect((await whoami('hal')).body['code']).toBe('CONNECTION_EXPIRED');
    expect(refreshes() - before).toBe(1);
    expect((await gateway.send('/v1/mcp/servers', { token: tokenOf('hal') })).text).not.toContain('"down"');
  });

  it('is lost when the grant was taken back: that is said, and on record', async () => {
    await connect('ida');
    expect(saidIn(await whoami('ida'))).toBe('ida');
    const grant = issuer.tokenRequests.length;
    issuer.broken = { status: 400, body: '{"error":"invalid_grant","error_description":"secret reason"}' };
    await endToken('ida');
    await expect
      .poll(async () => (await whoami('ida')).body, { timeout: 20_000 })
      .toMatchObject({ code: 'CONNECTION_EXPIRED', details: { connect: { path } } });
    expect((await whoami('ida', { at: other })).body['code']).toBe('CONNECTION_EXPIRED');
    expect(issuer.tokenRequests.length - grant).toBe(1);
    expect((await gateway.send(path, { token: tokenOf('ida') })).body['state']).toBe('expired');
    const lost = await eventually(async () =>
      (await itemsOf(gateway)).find((item) => JSON.stringify(item).includes('mcp.connections.lost')),
    );
    expect(lost['meta']).toMatchObject({ connection_of: 'ida', server_id: 'drive' });
    expect(gateway.logText()).not.toContain('secret reason');
    issuer.broken = undefined;
    await connect('ida');
    expect(saidIn(await whoami('ida'))).toBe('ida');
  });

  it.each([
    ['jan1', 'is down', { status: 503, body: '' }],
    ['jan2', 'does not know the client', { status: 401, body: '{"error":"invalid_client"}' }],
    ['jan3', 'says too much', { status: 200, body: 'x'.repeat(300_000) }],
  ])('of %s is not lost when the authorization server %s', async (user, _, broken) => {
    await connect(user);
    await endToken(user);
    issuer.broken = broken;
    const { status, body } = await whoami(user);
    expect([status, body['code'], body['retryable']]).toEqual([503, 'CREDENTIAL_UNAVAILABLE', true]);
    issuer.broken = undefined;
    expect(saidIn(await whoami(user))).toBe(user);
  });

  it('says nothing of the server when the authorization server does not answer', async () => {
    await connect('lea');
    await endToken('lea');
    const healthOf = async () => {
      const { body } = await gateway.send('/v1/mcp/servers', { token: tokenOf('lea') });
      return (body['servers'] as JsonObject[]).find(({ id }) => id === 'drive')?.['health'];
    };
    const before = await healthOf();
    issuer.broken = { hang: true };
    expect((await whoami('lea')).body['code']).toBe('CREDENTIAL_UNAVAILABLE');
    expect(await healthOf()).toBe(before);
    issuer.broken = undefined;
    expect(saidIn(await whoami('lea'))).toBe('lea');
  });

  it('stays ended when the user disconnects while it is refreshed', async () => {
    await connect('kim');
    expect(saidIn(await whoami('kim'))).toBe('kim');
    await endToken('kim');
    issuer.beforeRefresh = async () => void (await gateway.send(path, { method: 'DELETE', token: tokenOf('kim') }));
    await expect.poll(async () => (await whoami('kim')).body['code'], { timeout: 20_000 }).toBe('CONNECTION_REQUIRED');
    expect(await query("SELECT 1 FROM upstream_connection WHERE principal_id = 'kim'")).toEqual([]);
  });

  it('that another gateway died over is refreshed when its lease is over', async () => {
    await connect('leo');
    await query(`UPDATE upstream_connection SET expires_at = now() - interval '1 second', lease_id = gen_random_uuid(),
      lease_until = now() + interval '1 second' WHERE principal_id = 'leo'`);
    expect(saidIn(await whoami('leo'))).toBe('leo');
  });

  it('lacks a scope: that is said, and costs no refresh', async () => {
    await connect('mia');
    const before = refreshes();
    const answer = await callTool(gateway, 'delete_all', {}, { server: 'drive', token: tokenOf('mia') });
    expect(answer.body).toMatchObject({
      code: 'UPSTREAM_SCOPE_INSUFFICIENT',
      details: { server_id: 'drive', scopes: ['files:delete'] },
    });
    expect(refreshes()).toBe(before);
  });
});

describe('at rest', () => {
  it('a row of one user does not open as another’s, nor for another purpose', async () => {
    await connect('nan');
    await connect('oli');
    await query(`UPDATE upstream_connection SET envelope = (SELECT envelope FROM upstream_connection WHERE principal_id = 'nan'),
      version = version + 1 WHERE principal_id = 'oli'`);
    const { status, body } = await whoami('oli');
    expect([status, body['code']]).toEqual([503, 'CREDENTIAL_UNAVAILABLE']);
    await query("UPDATE upstream_connection SET purpose = repeat('0', 64) WHERE principal_id = 'nan'");
    expect((await whoami('nan')).body['code']).toBe('CONNECTION_REQUIRED');
  });

  it('tokens go with the rotation of the keys of secrets', async () => {
    await connect('pia');
    const ids = () =>
      query("SELECT kek_id, envelope->>'nonce_b64u' AS nonce FROM upstream_connection WHERE principal_id = 'pia'");
    const [before] = await ids();
    const started = await gateway.send('/admin/v1/secrets/rotate-all', { method: 'POST', token: adminSecret });
    expect(started.status, started.text).toBe(200);
    const [after] = await eventually(async () => {
      const rows = await ids();
      return rows[0]?.['nonce'] !== before?.['nonce'] && rows;
    });
    expect(after?.['kek_id']).toBe('k1');
    await expect.poll(async () => saidIn(await whoami('pia')), { timeout: 20_000 }).toBe('pia');
  });
});

describe('token exchange', () => {
  const exchanges = () => issuer.tokenRequests.filter(({ grant_type: type }) => type?.endsWith('token-exchange'));

  it('shows the server a token of the caller, had once for theirs', async () => {
    const from = exchanges().length;
    for (let count = 0; count < 3; count++) expect(saidIn(await whoami('ann', { server: 'exchanged' }))).toBe('ann');
    const [first, ...more] = exchanges().slice(from);
    expect(more).toEqual([]);
    expect(first).toMatchObject({ subject_token: tokenOf('ann'), resource: tool.url });
    expect(saidIn(await whoami('ben', { server: 'exchanged' }))).toBe('ben');
    expect(exchanges()[from + 1]?.['subject_token']).toBe(tokenOf('ben'));
  });

  it('is not shared by tokens that say something else of the same user, and shared by those that do not', async () => {
    const from = exchanges().length;
    const exp = Math.floor(Date.now() / 1000) + 1_800;
    await whoami('cat', { server: 'exchanged', token: tokenOf('cat', { scope: 'all' }) });
    await whoami('cat', { server: 'exchanged', token: tokenOf('cat', { scope: 'little' }) });
    expect(exchanges().length - from).toBe(2);
    await whoami('cat', { server: 'exchanged', token: tokenOf('cat', { scope: 'all', exp, jti: 'next' }) });
    expect(exchanges().length - from).toBe(2);
  });

  it.each([
    ['a text of development mode', 'anybody'],
    ['an API key', 'key'],
  ])('needs a token: %s is none', async (_, kind) => {
    let token = kind;
    if (kind === 'key') {
      const json = { name: 'for-exchange', permissions: ['*:*'] };
      token = String((await gateway.send('/admin/v1/api-keys', { token: adminSecret, json })).body['api_key']);
    }
    const from = exchanges().length;
    const { status, body } = await whoami('', { server: 'exchanged', token });
    expect([status, body['code']]).toEqual([403, 'CALLER_TOKEN_REQUIRED']);
    expect(exchanges().length).toBe(from);
  });

  it('is refused for whom the authorization server refuses, and tells the admin of no secret', async () => {
    const { status, body } = await whoami('mallory', { server: 'exchanged' });
    expect([status, body['code']]).toEqual([403, 'CREDENTIAL_REFUSED']);
  });

  it('fails without harm when the authorization server is down', async () => {
    issuer.broken = { status: 500 };
    const { status, body } = await whoami('dan', { server: 'exchanged' });
    expect([status, body['code']]).toEqual([503, 'CREDENTIAL_UNAVAILABLE']);
    issuer.broken = undefined;
    expect(saidIn(await whoami('dan', { server: 'exchanged' }))).toBe('dan');
  });
});

describe('client credentials', () => {
  it('are one token for everybody', async () => {
    const count = () => issuer.tokenRequests.filter(({ grant_type: type }) => type === 'client_credentials').length;
    expect(saidIn(await whoami('ann', { server: 'own' }))).toBe('the gateway');
    const before = count();
    expect(saidIn(await whoami('ben', { server: 'own' }))).toBe('the gateway');
    expect(count()).toBe(before);
  });
});
