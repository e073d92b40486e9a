/**
 * The gateway as a client that nobody registered by hand: named by the document that it publishes, or registered by itself
 * (RFC 7591), once for all gateways and users. What an authorization server may do to it is tried more often than what works.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { clientDocument } from '../../src/gateway/connections/client-document.ts';
import { clientMetadata } from '../../src/mcp/credentials/oauth-registration.ts';
import {
  type AuthorizationServer,
  clientId,
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

const adminSecret = 'an admin secret that only this test knows';
const publicUrl = 'https://gateway.example';

let issuer: AuthorizationServer;
let another: AuthorizationServer;
let tool: GuardedServer;
let gateway: TestGateway;
/** On the same database. */
let other: TestGateway;
/** The same, without an address of its own. */
let nameless: TestGateway;
let folder: string;

function configFile(): string {
  const named = { type: 'oauth', issuer: issuer.url };
  const auths = {
    drive: named,
    dynamic: { ...named, registration: 'dynamic' },
    document: { ...named, registration: 'document' },
    open: { type: 'oauth' },
    silent: { ...named, client_id: publicClientId, resource: false },
    configured: { ...named, client_id: clientId },
  };
  const servers = Object.entries(auths).map(([id, auth]) => [id, { url: tool.url, auth }]);
  return JSON.stringify({ servers: Object.fromEntries(servers) });
}

beforeAll(async () => {
  issuer = await startAuthorizationServer();
  another = await startAuthorizationServer();
  tool = await startGuardedServer(issuer);
  folder = await mkdtemp(join(tmpdir(), 'talos-clients-'));
  const env = {
    AUTH_ADMIN_SECRET: adminSecret,
    TALOS_MASTER_KEY: `k1:${'11'.repeat(32)}`,
    TALOS_LOG_KEY_FILE: join(folder, 'log.key'),
  };
  const file = configFile();
  gateway = await startTestGateway({ env: { ...env, TALOS_PUBLIC_URL: `${publicUrl}/` }, file });
  const databaseUrl = () => gateway.database.url;
  other = await startTestGateway({ env: { ...env, TALOS_PUBLIC_URL: publicUrl }, file, databaseUrl });
  nameless = await startTestGateway({ env, file, databaseUrl });
});

afterAll(async () => {
  for (const one of [nameless, other, gateway]) await one?.stop();
  for (const one of [tool, issuer, another]) await one?.close();
  await rm(folder, { recursive: true });
});

beforeEach(async () => {
  for (const one of [issuer, another]) {
    Object.assign(one, {
      metadata: { registration_endpoint: `${one.url}/register`, token_endpoint_auth_methods_supported: ['none'] },
      broken: undefined,
      brokenRegistration: undefined,
      brokenRevocation: undefined,
      beforeRegistration: undefined,
      registered: {},
    });
    one.registrations.length = 0;
    one.tokenRequests.length = 0;
  }
  Object.assign(tool, { metadata: {} });
  await query('DELETE FROM upstream_client');
});

function tokenOf(user: string): string {
  return hs256({ sub: user, exp: Math.floor(Date.now() / 1000) + 3_600, permissions: ['*:*'] }, adminSecret);
}

const pathOf = (server: string) => `/v1/mcp/servers/${server}/connection`;

const start = (user: string, { at = gateway, server = 'drive' } = {}): Promise<Answer> =>
  at.send(pathOf(server), { method: 'POST', token: tokenOf(user) });

async function setOut(user: string, options: { at?: TestGateway; server?: string } = {}): Promise<string> {
  const { status, body, text } = await start(user, options);
  expect(status, text).toBe(200);
  return String(body['authorization_url']);
}

const clientIn = (url: string) => new URL(url).searchParams.get('client_id');
/** Where an address of the gateway leads in this test. */
const here = (url: string, at = gateway) => url.replace(publicUrl, at.url);

async function finish(address: string, at = gateway): Promise<{ status: number; text: string }> {
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const response = await fetch(here(address, at), { method: 'POST', headers });
  return { status: response.status, text: await response.text() };
}

/** Resolves with the client that the user's tokens were given to. */
async function connect(user: string, server = 'drive'): Promise<string> {
  const url = await setOut(user, { server });
  const { status, text } = await finish(issuer.allow(url, user));
  expect(status, text).toBe(200);
  return clientIn(url) ?? '';
}

async function whoami(user: string, server = 'drive', at = gateway): Promise<unknown> {
  const { body } = await callTool(at, 'whoami', {}, { server, token: tokenOf(user) });
  const content = (body['output'] as JsonObject | undefined)?.['content'] as JsonObject[] | undefined;
  return content?.[0]?.['text'] ?? body['code'];
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

const endToken = (user: string) =>
  query(`UPDATE upstream_connection SET expires_at = now() - interval '1 second' WHERE principal_id = '${user}'`);

const registrationsKept = () => query('SELECT issuer, redirect_uri, kek_id, lease_id FROM upstream_client');

describe('a registration', () => {
  it('is made once, by all users and gateways together, and used for everything that follows', async () => {
    const asked = [gateway, other].flatMap((at) => [1, 2, 3, 4].map((count) => ({ at, user: `user${count}` })));
    // Whoever comes second finds the first one at work.
    const read = issuer.metadataReads + asked.length;
    issuer.beforeRegistration = async () =>
      void (await eventually(() => issuer.metadataReads >= read, 3_000).catch(() => undefined));
    const urls = await Promise.all(asked.map(({ at, user }) => setOut(user, { at })));
    expect(new Set(urls.map(clientIn)).size).toBe(1);
    expect(issuer.registrations).toEqual([
      {
        client_name: 'Talos Gateway',
        client_uri: publicUrl,
        redirect_uris: [`${publicUrl}/v1/mcp/oauth/callback/drive`],
        grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'],
        application_type: 'web',
        token_endpoint_auth_method: 'none',
      },
    ]);

    const id = await connect('ann');
    expect(id).toBe(clientIn(urls[0] ?? ''));
    expect(await whoami('ann')).toBe('ann');
    await endToken('ann');
    issuer.expireAccess();
    await expect.poll(() => whoami('ann', 'drive', other), { timeout: 20_000 }).toBe('ann');
    const gone = await gateway.send(pathOf('drive'), { method: 'DELETE', token: tokenOf('ann') });
    expect(gone.body).toMatchObject({ state: 'not_connected', revoked: true });
    expect(new Set(issuer.tokenRequests.map(({ client_id: asking }) => asking))).toEqual(new Set([id]));
    expect(issuer.registrations).toHaveLength(1);
  });

  it('is another one for another server, and none for a client that was registered by hand', async () => {
    const [drive, dynamic] = [clientIn(await setOut('bea')), clientIn(await setOut('bea', { server: 'dynamic' }))];
    expect(drive).not.toBe(dynamic);
    expect(clientIn(await setOut('bea', { server: 'configured' }))).toBe(clientId);
    expect(issuer.registrations).toHaveLength(2);
  });

  it.each([
    ['basic', ['client_secret_basic', 'client_secret_post'], 'client_secret_basic'],
    ['post', ['client_secret_post'], 'client_secret_post'],
    ['what is the default', undefined, 'client_secret_basic'],
  ])('with a secret shows it as it is registered: %s', async (_, methods, method) => {
    issuer.metadata['token_endpoint_auth_methods_supported'] = methods;
    await connect('cat');
    expect(issuer.registrations[0]?.['token_endpoint_auth_method']).toBe(method);
    await endToken('cat');
    issuer.expireAccess();
    await expect.poll(() => whoami('cat'), { timeout: 20_000 }).toBe('cat');
  });

  it.each([
    ['another method', 'client_secret_post'],
    ['a secret, and says nothing of the method', undefined],
  ])('takes what the server puts in the place of what was asked for: %s', async (_, method) => {
    issuer.registered = { token_endpoint_auth_method: method, client_secret: 'given unasked' };
    await connect('dan');
    expect(issuer.tokenRequests[0]?.['client_secret']).toBe(method && 'given unasked');
  });

  it('is on record, sealed with its secret, and goes with the rotation of the keys', async () => {
    issuer.metadata['token_endpoint_auth_methods_supported'] = ['client_secret_post'];
    const id = await connect('eva');
    const secret = issuer.tokenRequests[0]?.['client_secret'] ?? '';
    expect(secret).toMatch(/^secret-/);
    const item = (await itemsOf(gateway)).find(({ meta }) => (meta as JsonObject)['registered_client'] === id);
    expect(item).toMatchObject({
      principal: { id: 'gateway' },
      meta: { event_type: 'connection', server_id: 'drive', registered_issuer: issuer.url },
    });
    const metrics = await gateway.send('/metrics');
    const everywhere = [await dumpOf(gateway), gateway.logText(), other.logText(), metrics.text].join('\n');
    expect(everywhere).not.toContain(secret);

    const nonce = async () =>
      (await query("SELECT envelope->>'nonce_b64u' AS nonce FROM upstream_client"))[0]?.['nonce'];
    const before = await nonce();
    const kek = await gateway.send('/admin/v1/secrets/kek-status', { token: adminSecret });
    expect(kek.status, kek.text).toBe(200);
    await query("UPDATE upstream_client SET kek_id = 'k0'");
    const stale = await gateway.send('/admin/v1/secrets/kek-status', { token: adminSecret });
    expect(stale.body['stale_counts']).toEqual({ k0: 1 });
    const started = await gateway.send('/admin/v1/secrets/rotate-all', { method: 'POST', token: adminSecret });
    expect(started.status, started.text).toBe(200);
    await expect.poll(nonce, { timeout: 20_000 }).not.toBe(before);
    expect(await connect('eve')).toBe(id);
    expect(issuer.registrations).toHaveLength(1);
  });

  it('whose secret ends before a user has come back is made anew; tokens of the old one are refreshed as before', async () => {
    issuer.metadata['token_endpoint_auth_methods_supported'] = ['client_secret_basic'];
    issuer.registered = { client_secret_expires_at: Math.floor(Date.now() / 1000) + 60 };
    const first = await connect('fay');
    const second = await connect('fin');
    expect(second).not.toBe(first);
    expect(await registrationsKept()).toHaveLength(1);
    await endToken('fay');
    issuer.expireAccess();
    await expect.poll(() => whoami('fay'), { timeout: 20_000 }).toBe('fay');
  });

  it('that may not ask for what the server wants now is made anew', async () => {
    tool.metadata = { scopes_supported: ['files:read'] };
    await connect('gus', 'open');
    await connect('gil', 'open');
    tool.metadata = { scopes_supported: ['files:read', 'files:delete'] };
    await connect('guy', 'open');
    expect(issuer.registrations.map(({ scope }) => scope)).toEqual(['files:read', 'files:read files:delete']);
  });

  it('asks for nothing that is no scope, whatever the tool server says that it wants', async () => {
    tool.metadata = { scopes_supported: ['files:read', 'two words', 'nul\0', 'a"quote', '', 'x'.repeat(201), 7] };
    const first = await setOut('scopes', { server: 'open' });
    expect(new URL(first).searchParams.get('scope')).toBe('files:read');
    expect(clientIn(await setOut('scopes', { server: 'open' }))).toBe(clientIn(first));
    expect(issuer.registrations.map(({ scope }) => scope)).toEqual(['files:read']);
  });

  it('is made anew after a user came back to a server that does not know it', async () => {
    const address = issuer.allow(await setOut('hal'), 'hal');
    issuer.forgetClients();
    expect((await finish(address)).status).toBe(503);
    expect(await whoami('hal')).toBe('CONNECTION_REQUIRED');
    await connect('hal');
    expect(await whoami('hal')).toBe('hal');
    expect(issuer.registrations).toHaveLength(2);
  });

  it('that is known no more when a token is refreshed loses the connection, and is made anew', async () => {
    const first = await connect('ida');
    issuer.forgetClients();
    await endToken('ida');
    issuer.expireAccess();
    await expect.poll(() => whoami('ida'), { timeout: 20_000 }).toBe('CONNECTION_EXPIRED');
    expect(await registrationsKept()).toEqual([]);
    expect(await connect('ida')).not.toBe(first);
    expect(await whoami('ida')).toBe('ida');
  });

  it('is asked after when a user sets out and nobody has for long: a page of the server would tell the user alone', async () => {
    const first = clientIn(await setOut('jan'));
    issuer.forgetClients();
    expect(clientIn(await setOut('jan'))).toBe(first);
    expect(issuer.tokenRequests).toEqual([]);
    const longAgo = "UPDATE upstream_client SET asked_at = now() - interval '1 day'";
    await query(longAgo);
    const second = clientIn(await setOut('jan'));
    expect(second).not.toBe(first);
    await query(longAgo);
    expect(clientIn(await setOut('jan'))).toBe(second);
    expect(clientIn(await setOut('jan'))).toBe(second);
    expect(issuer.tokenRequests.map(({ client_id: asking }) => asking)).toEqual([first, second]);
    issuer.broken = { status: 500 };
    await query(longAgo);
    expect(clientIn(await setOut('jan'))).toBe(second);
  });

  it('that a gateway died over is made when its lease is over', async () => {
    await setOut('kim');
    await query(`UPDATE upstream_client SET registration_id = NULL, envelope = NULL, kek_id = NULL,
      lease_id = gen_random_uuid(), lease_until = now() + interval '1 second'`);
    await setOut('kim');
    expect(issuer.registrations).toHaveLength(2);
    expect(await registrationsKept()).toEqual([expect.objectContaining({ kek_id: 'k1', lease_id: null })]);
  });

  it('does not open as that of another server', async () => {
    await setOut('lea');
    await setOut('lea', { server: 'dynamic' });
    await query(
      'UPDATE upstream_client SET envelope = (SELECT envelope FROM upstream_client ORDER BY client_key LIMIT 1)',
    );
    const states = await Promise.all(
      ['drive', 'dynamic'].map(async (server) => (await start('lea', { server })).status),
    );
    expect(states.sort()).toEqual([200, 503]);
  });

  it('is kept for a few authorization servers of one server, and no more', async () => {
    await query(`INSERT INTO upstream_client (client_key, issuer, redirect_uri)
      SELECT sha256(n::text::bytea), 'https://' || n, '${publicUrl}/v1/mcp/oauth/callback/drive' FROM generate_series(1, 20) n`);
    await setOut('max');
    expect(await registrationsKept()).toHaveLength(8);
  });
});

describe('a registration that fails', () => {
  const redirects = ['https://elsewhere.example/callback'];
  it.each([
    ['nothing good', { brokenRegistration: { status: 500, body: 'canary' } }],
    ['a page', { brokenRegistration: { status: 201, body: '<html>canary</html>' } }],
    ['a list', { brokenRegistration: { status: 201, body: '["canary"]' } }],
    ['too much', { brokenRegistration: { status: 201, body: 'x'.repeat(300_000) } }],
    ['the way to a metadata address', { brokenRegistration: { status: 307, location: 'http://169.254.169.254/' } }],
    [
      'a refusal',
      { brokenRegistration: { status: 400, body: '{"error":"invalid_redirect_uri","error_description":"canary"}' } },
    ],
    ['silence', { brokenRegistration: { hang: true } }],
    ['no client id', { registered: { client_id: undefined } }],
    ['a client id that is a number', { registered: { client_id: 5 } }],
    ['a client id that ends the line', { registered: { client_id: 'a\r\nx: canary' } }],
    ['a client id that is too long', { registered: { client_id: 'a'.repeat(3_000) } }],
    [
      'a secret that ends the line',
      { registered: { client_secret: 'a\ncanary', token_endpoint_auth_method: 'client_secret_post' } },
    ],
    [
      'a secret that is an object',
      { registered: { client_secret: {}, token_endpoint_auth_method: 'client_secret_post' } },
    ],
    [
      'another way to show a secret',
      { registered: { client_secret: 'canary', token_endpoint_auth_method: 'client_secret_jwt' } },
    ],
    ['keys in place of a secret', { registered: { token_endpoint_auth_method: 'private_key_jwt' } }],
    ['another redirect address', { registered: { redirect_uris: redirects } }],
    ['redirect addresses that are none', { registered: { redirect_uris: 'canary' } }],
  ])('with %s leaves nothing behind', async (_, bend) => {
    Object.assign(issuer, bend);
    const { status, body, text } = await start('nan');
    expect([status, body['code'], body['retryable']]).toEqual([503, 'CREDENTIAL_UNAVAILABLE', true]);
    expect(text + gateway.logText()).not.toContain('canary');
    expect(await registrationsKept()).toEqual([]);
    Object.assign(issuer, { brokenRegistration: undefined, registered: {} });
    await setOut('nan');
  });

  it.each([
    ['at a metadata address', 'http://169.254.169.254/register', 'link-local and metadata addresses are never dialled'],
    ['in a private network that nobody but the server names', 'http://localhost:1/register', 'private and loopback'],
    ['that is none of http', 'javascript:alert(1)', 'is not one of http(s)'],
    ['with a credential in it', 'http://user:pw@127.0.0.1:1/register', 'is not one of http(s)'],
    ['with a line end in it', 'http://127.0.0.1:1/\nregister', 'is not one of http(s)'],
  ])('is not tried at an address %s', async (_, url, sentence) => {
    issuer.metadata['registration_endpoint'] = url;
    const { body, text } = await start('oli');
    expect(body['code']).toBe('CREDENTIAL_UNAVAILABLE');
    expect(text).not.toContain('register"');
    expect(await registrationsKept()).toEqual([]);
    expect(gateway.logText()).toContain(sentence);
    // Whoever is registered by hand needs none.
    await setOut('oli', { server: 'configured' });
  });

  it.each([
    [
      'an authorization server that registers nobody',
      'drive',
      { registration_endpoint: undefined },
      'register one by hand',
    ],
    [
      'one that takes documents alone',
      'dynamic',
      { registration_endpoint: undefined, client_id_metadata_document_supported: true },
      'register one by hand',
    ],
    ['one that takes no documents', 'document', {}, 'takes no documents of clients'],
    [
      'one that says so in another way',
      'document',
      { client_id_metadata_document_supported: 'true' },
      'takes no documents of clients',
    ],
  ])('says what to configure: %s', async (_, server, metadata, sentence) => {
    Object.assign(issuer.metadata, metadata);
    const { status, body } = await start('pia', { server });
    expect([status, body['code'], body['retryable']]).toEqual([503, 'CREDENTIAL_UNAVAILABLE', false]);
    expect(body['message']).toContain('auth.client_id');
    expect(gateway.logText()).toContain(sentence);
    expect(issuer.registrations).toEqual([]);
  });

  it('is not tried by a gateway that knows its address from requests alone, whatever they name', async () => {
    issuer.metadata['client_id_metadata_document_supported'] = true;
    const { status, body } = await start('quin', { at: nameless });
    expect([status, body['code'], body['retryable']]).toEqual([503, 'CREDENTIAL_UNAVAILABLE', false]);
    expect(nameless.logText()).toContain('set public_url');
    expect(issuer.registrations).toEqual([]);
    expect((await nameless.send('/v1/mcp/oauth/client/drive')).status).toBe(404);
  });
});

describe('a secret of one authorization server', () => {
  it('is shown to no other, when the tool server names another one', async () => {
    for (const one of [issuer, another]) one.metadata['token_endpoint_auth_methods_supported'] = ['client_secret_post'];
    const address = issuer.allow(await setOut('rob', { server: 'open' }), 'rob');
    tool.metadata = { authorization_servers: [another.url] };
    const elsewhere = another.allow(await setOut('rob', { server: 'open' }), 'rob');
    // The answer of one in the place of the other's, with and without its name.
    for (const name of [another.url, undefined]) {
      const mixed = new URL(another.allow(await setOut('rob', { server: 'open' }), 'rob'));
      mixed.searchParams.set('code', new URL(address).searchParams.get('code') ?? '');
      if (name === undefined) mixed.searchParams.set('iss', issuer.url);
      expect((await finish(mixed.href)).status).toBe(name === undefined ? 400 : 403);
    }
    expect((await finish(address)).status).toBe(200);
    expect((await finish(elsewhere)).status).toBe(200);
    const shown = ({ tokenRequests }: AuthorizationServer) =>
      new Set(tokenRequests.map((form) => form['client_secret']));
    expect([shown(issuer).size, shown(another).size]).toEqual([1, 1]);
    expect(shown(issuer)).not.toEqual(shown(another));
    expect([issuer.registrations.length, another.registrations.length]).toEqual([1, 1]);
  });
});

describe('the document of the gateway', () => {
  it('names it at an authorization server that takes documents, before any registration', async () => {
    issuer.metadata['client_id_metadata_document_supported'] = true;
    const url = await setOut('sue');
    expect(clientIn(url)).toBe(`${publicUrl}/v1/mcp/oauth/client/drive`);
    expect(new URL(url).searchParams.get('redirect_uri')).toBe(`${publicUrl}/v1/mcp/oauth/callback/drive`);
    expect(clientIn(await setOut('sue', { server: 'dynamic' }))).toMatch(/^client-/);
    expect((await finish(await issuer.allowDocument(url, 'sue', here))).status).toBe(200);
    expect(await whoami('sue')).toBe('sue');
    await endToken('sue');
    issuer.expireAccess();
    await expect.poll(() => whoami('sue', 'drive', other), { timeout: 20_000 }).toBe('sue');
    expect(issuer.registrations).toHaveLength(1);
    expect((await registrationsKept()).map((row) => row['redirect_uri'])).toEqual([
      `${publicUrl}/v1/mcp/oauth/callback/dynamic`,
    ]);
  });

  it('is for everybody, may be kept, says its own address, and nothing of which servers there are', async () => {
    const [known, unknown] = await Promise.all(
      ['drive', 'nobody'].map((id) => gateway.send(`/v1/mcp/oauth/client/${id}`)),
    );
    expect(known?.status).toBe(200);
    expect(known?.headers.get('cache-control')).toBe('public, max-age=3600');
    expect(known?.headers.get('content-type')).toMatch(/^application\/json/);
    expect(known?.body).toEqual({
      client_id: `${publicUrl}/v1/mcp/oauth/client/drive`,
      client_name: 'Talos Gateway',
      client_uri: publicUrl,
      redirect_uris: [`${publicUrl}/v1/mcp/oauth/callback/drive`],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      application_type: 'web',
      token_endpoint_auth_method: 'none',
    });
    expect(unknown?.text).toBe(known?.text.replaceAll('drive', 'nobody'));
    expect(Buffer.byteLength(known?.text ?? '')).toBeLessThan(5_000);
  });

  it.each(['A', 'a%2Fb', 'a.b', '..%2f..', '%3Cb%3E', '-a', 'a'.repeat(64)])('is not there for %s', async (id) => {
    const answer = await gateway.send(`/v1/mcp/oauth/client/${id}`);
    expect(answer.status).toBe(404);
    expect(answer.headers.get('cache-control')).not.toContain('public');
  });

  it.each([
    ['no address', undefined],
    ['http', 'http://gateway.example'],
    ['a loopback name', 'https://localhost:8000'],
    ['a name below it', 'https://gateway.localhost'],
    ['a loopback address', 'https://127.0.0.1'],
    ['the same in IPv6', 'https://[::1]:8000'],
    ['a private address', 'https://10.1.2.3'],
    ['a metadata address', 'https://169.254.169.254'],
  ])('is none with %s', (_, url) => expect(clientDocument(url, 'drive')).toBeUndefined());

  it.each([
    ['http://localhost:8000', 'native'],
    ['http://127.0.0.1:8000', 'native'],
    ['http://[::1]', 'native'],
    ['http://127.0.0.1.example', 'web'],
    ['http://notlocalhost', 'web'],
  ])('and a registration say what kind of client is at %s', (url, type) => {
    expect(clientMetadata({ publicUrl: url, redirectUri: url })).toMatchObject({ application_type: type });
  });

  it('may lie below a path', () => {
    expect(clientDocument('https://h.example/talos/', 'drive')).toMatchObject({
      client_id: 'https://h.example/talos/v1/mcp/oauth/client/drive',
      redirect_uris: ['https://h.example/talos/v1/mcp/oauth/callback/drive'],
    });
  });
});

describe('the resource', () => {
  it('is not said where the entry says so', async () => {
    const url = await setOut('tim', { server: 'silent' });
    expect(new URL(url).searchParams.has('resource')).toBe(false);
    const back = issuer.allow(url, 'tim').replace(publicUrl, gateway.url);
    expect((await finish(back)).status).toBe(200);
    expect(issuer.tokenRequests.at(-1)).not.toHaveProperty('resource');
  });
});

describe('who disconnects', () => {
  it.each([
    ['does not answer', { hang: true }],
    ['is down', { status: 500 }],
    ['leads to a metadata address', { status: 307, location: 'http://169.254.169.254/' }],
    ['does not take it', { status: 400, body: '{"error":"unsupported_token_type"}' }],
  ])('is disconnected when the revocation endpoint %s', async (_, broken) => {
    await connect('uma');
    issuer.brokenRevocation = broken;
    const gone = await gateway.send(pathOf('drive'), { method: 'DELETE', token: tokenOf('uma') });
    expect([gone.status, gone.body['revoked']]).toEqual([200, false]);
    expect(await query("SELECT 1 FROM upstream_connection WHERE principal_id = 'uma'")).toEqual([]);
  });
});
