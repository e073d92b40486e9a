/** Accounts of users for MCP clients, and at servers that administrators add and change while the gateway runs. */
import { Client as StatelessClient, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as SessionTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { secretReference } from '../../src/core/secret-reference.ts';
import {
  type AuthorizationServer,
  clientId,
  clientSecret,
  startAuthorizationServer,
} from '../support/authorization-server.ts';
import { describeInBrowser, launchBrowser } from '../support/browser.ts';
import { type Answer, callTool, dumpOf, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { type GuardedServer, startGuardedServer } from '../support/guarded-server.ts';
import { hs256, signedJwt } from '../support/identity.ts';
import { type OidcIssuer, rsaKey, startOidcIssuer } from '../support/oidc-issuer.ts';

const adminSecret = 'an admin secret that only this test knows';

let issuer: AuthorizationServer;
let tool: GuardedServer;
let thief: GuardedServer;
let gateway: TestGateway;
let oidc: OidcIssuer;
const rsa = rsaKey();

beforeAll(async () => {
  issuer = await startAuthorizationServer();
  tool = await startGuardedServer(issuer);
  thief = await startGuardedServer(issuer);
  oidc = await startOidcIssuer();
  oidc.keys = { k1: rsa.publicKey };
  gateway = await startTestGateway({
    env: { AUTH_ADMIN_SECRET: adminSecret, TALOS_OIDC_ISSUER: oidc.url, TALOS_OIDC_AUDIENCE: 'talos' },
    file: JSON.stringify({
      servers: {
        drive: {
          url: tool.url,
          auth: {
            type: 'oauth',
            issuer: issuer.url,
            client_id: clientId,
            client_secret: clientSecret,
            scopes: ['files:read'],
          },
        },
        exchanged: {
          url: tool.url,
          auth: {
            type: 'token_exchange',
            token_url: `${issuer.url}/token`,
            client_id: clientId,
            client_secret: clientSecret,
          },
        },
      },
    }),
  });
  const secret = { name: 'drive-client', value: clientSecret };
  expect((await admin('/admin/v1/secrets', { json: secret })).status).toBe(200);
});

afterAll(async () => {
  await gateway?.stop();
  for (const server of [tool, thief, issuer, oidc]) await server?.close();
});

beforeEach(() => Object.assign(thief, { seen: [], refused: 0 }));

const admin = (path: string, options: object) => gateway.send(path, { token: adminSecret, ...options });

const exp = Math.floor(Date.now() / 1000) + 3_600;
const tokenOf = (user: string) => hs256({ sub: user, exp, permissions: ['*:*'] }, adminSecret);

async function setOut(user: string, server: string): Promise<string> {
  const answer = await gateway.send(`/v1/mcp/servers/${server}/connection`, { method: 'POST', token: tokenOf(user) });
  expect(answer.status, answer.text).toBe(200);
  return String(answer.body['authorization_url']);
}

async function finish(address: string): Promise<number> {
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  return (await fetch(address, { method: 'POST', headers })).status;
}

async function connect(user: string, server = 'drive'): Promise<void> {
  expect(await finish(issuer.allow(await setOut(user, server), user))).toBe(200);
}

const whoami = (user: string, server: string): Promise<Answer> =>
  callTool(gateway, 'whoami', {}, { server, token: tokenOf(user) });

const textOf = (result: unknown) => ((result as JsonObject)['content'] as JsonObject[])[0]?.['text'];

function optionsOf(user: string) {
  return { requestInit: { headers: { authorization: `Bearer ${tokenOf(user)}` } } };
}

const at = (path: string) => new URL(gateway.url + path);

/** The official client of the session era. */
async function sessionClient(user: string, capabilities = {}, path = '/mcp/drive'): Promise<Client> {
  const client = new Client({ name: 'session', version: '1' }, { capabilities });
  // Its own types of a transport are at odds with exactOptionalPropertyTypes.
  const transport = new SessionTransport(at(path), optionsOf(user)) as Parameters<Client['connect']>[0];
  await client.connect(transport);
  onTestFinished(() => client.close());
  return client;
}

/** The same of the stateless one. */
async function statelessClient(user: string, path = '/mcp/drive'): Promise<StatelessClient> {
  const client = new StatelessClient({ name: 'stateless', version: '1' }, { versionNegotiation: { mode: 'auto' } });
  await client.connect(new StreamableHTTPClientTransport(at(path), optionsOf(user)));
  onTestFinished(() => client.close());
  return client;
}

describe('an MCP client', () => {
  it('uses the account of its user, and nobody else’s', async () => {
    await connect('ann');
    await connect('ben');
    for (const user of ['ann', 'ben']) {
      const client = await sessionClient(user);
      const { tools } = await client.listTools();
      expect(tools.map(({ name }) => name)).toEqual(expect.arrayContaining(['whoami', `only_${user}`]));
      expect(textOf(await client.callTool({ name: 'whoami' }))).toBe(user);
      expect(textOf(await (await statelessClient(user)).callTool({ name: 'whoami' }))).toBe(user);
    }
  });

  it('sees at the endpoint of all servers what its user has connected, and is not held up by the rest', async () => {
    await connect('cat');
    const names = async (user: string) => {
      const { tools } = await (await sessionClient(user, {}, '/mcp')).listTools();
      return tools.filter(({ name }) => name.startsWith('drive__')).length;
    };
    // What comes too late for one list is in the next.
    await expect.poll(() => names('cat')).toBeGreaterThan(0);
    expect(await names('nobody')).toBe(0);
  });

  it('that opens addresses is given the one where its user connects', async () => {
    const client = await sessionClient('dan', { elicitation: { url: {} } }, '/mcp');
    const error = await client.callTool({ name: 'drive__whoami' }).catch((thrown: unknown) => thrown as JsonObject);
    expect(error).toMatchObject({ code: -32_042 });
    const [elicitation, ...more] = (error as { data: { elicitations: JsonObject[] } }).data.elicitations;
    expect(more).toEqual([]);
    expect(elicitation).toMatchObject({ mode: 'url', elicitationId: expect.any(String), message: expect.any(String) });
    expect(await finish(issuer.allow(String(elicitation?.['url']), 'dan'))).toBe(200);
    expect(textOf(await client.callTool({ name: 'drive__whoami' }))).toBe('dan');
  });

  it('that opens none is told where there is one', async () => {
    const client = await sessionClient('eve', { elicitation: {} }, '/mcp');
    const error = await client.callTool({ name: 'drive__whoami' }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: -32_000,
      data: { code: 'CONNECTION_REQUIRED', connect: { method: 'POST', path: '/v1/mcp/servers/drive/connection' } },
    });
    expect(JSON.stringify((error as { data: object }).data)).not.toContain('http');
  });
});

describe('an MCP client of one server', () => {
  it('is let in before its user has connected, learns why nothing works, and goes on afterwards', async () => {
    const client = await sessionClient('ida', { elicitation: { url: {} } });
    expect(client.getInstructions()).toContain('your own account');
    const error = await client.listTools().catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: -32_042 });
    await connect('ida');
    expect((await client.listTools()).tools.map(({ name }) => name)).toContain('only_ida');
    expect(textOf(await client.callTool({ name: 'whoami' }))).toBe('ida');
  });
});

describeInBrowser('a browser that comes back', () => {
  it('shows the question, and connects when it is answered', async () => {
    const browser = await launchBrowser();
    onTestFinished(() => browser.close());
    const page = await browser.newPage();
    await page.goto(issuer.allow(await setOut('uma', 'drive'), 'uma'));
    expect(await page.textContent('body')).toContain('“uma” of this gateway will act at drive');
    await page.click('button');
    await page.getByText('is connected to “uma”').waitFor({ timeout: 20_000 });
    expect((await whoami('uma', 'drive')).status).toBe(200);
  });
});

describe('a token of the issuer', () => {
  it('is exchanged for one for the server, and written down nowhere', async () => {
    const claims = { iss: oidc.url, aud: 'talos', sub: 'olga', iat: exp - 3_600, exp };
    const token = signedJwt(claims, rsa.privateKey, { kid: 'k1' });
    const call = () => callTool(gateway, 'whoami', {}, { server: 'exchanged', token });
    expect(textOf((await call()).body['output'])).toBe('olga');
    expect(issuer.tokenRequests.at(-1)).toMatchObject({ subject_token: token });
    const listed = await gateway.send('/v1/mcp/servers', { token });
    expect(listed.body['servers']).toContainEqual(expect.objectContaining({ id: 'exchanged', auth: 'token_exchange' }));
    expect((await dumpOf(gateway)) + gateway.logText()).not.toContain(token);
  });
});

describe('a server that administrators add', () => {
  const unnamed = {
    type: 'oauth',
    client_id: clientId,
    client_secret: secretReference('drive-client'),
    scopes: ['files:read'],
  };
  const auth = { ...unnamed, issuer: 'https://i.example' };
  const reachable = () => ({ ...unnamed, issuer: issuer.url });
  const servers = '/admin/v1/mcp/servers';

  it('has accounts; who changes its address gets nobody’s token', async () => {
    const json = { id: 'moved', url: tool.url, allow_private: true, auth: reachable() };
    const added = await admin(servers, { json });
    expect(added.body).toMatchObject({ auth: { type: 'oauth', client_id: clientId }, secrets: ['drive-client'] });
    expect(added.text).not.toContain(clientSecret);
    await connect('fay', 'moved');
    expect((await whoami('fay', 'moved')).status).toBe(200);

    const away = issuer.allow(await setOut('gil', 'moved'), 'gil');
    expect((await admin(`${servers}/moved`, { method: 'PATCH', json: { url: thief.url } })).status).toBe(200);
    expect((await whoami('fay', 'moved')).body['code']).toBe('CONNECTION_REQUIRED');
    expect(await finish(away)).toBe(400);
    expect((await whoami('gil', 'moved')).body['code']).toBe('CONNECTION_REQUIRED');
    expect([thief.seen, thief.refused]).toEqual([[], 0]);

    expect((await admin(`${servers}/moved`, { method: 'PATCH', json: { url: tool.url } })).status).toBe(200);
    expect((await whoami('fay', 'moved')).status).toBe(200);
    await admin(`${servers}/moved`, { method: 'DELETE' });
    expect((await whoami('fay', 'moved')).status).toBe(404);
  });

  it('is tried with the account of the administrator', async () => {
    await admin(servers, { json: { id: 'tried', url: tool.url, allow_private: true, auth: reachable() } });
    const before = await admin(`${servers}/tried:test`, { method: 'POST' });
    expect(before.body).toMatchObject({ ok: false, error: { code: 'CONNECTION_REQUIRED' } });
    const path = '/v1/mcp/servers/tried/connection';
    const own = await gateway.send(path, { method: 'POST', token: tokenOf('admin-user') });
    expect(await finish(issuer.allow(String(own.body['authorization_url']), 'admin'))).toBe(200);
    const after = await admin(`${servers}/tried:test`, { method: 'POST' });
    expect(after.body).toMatchObject({ ok: true, tools: expect.arrayContaining(['whoami', 'only_admin']) });
  });

  it.each([
    ['in the clear', { url: 'https://drive.example/mcp', auth: { ...auth, client_secret: 'plain' } }],
    ['for whom the server names', { url: 'https://drive.example/mcp', auth: unnamed }],
    ['over http', { url: 'http://drive.example/mcp', auth }],
    [
      'with an authorization server over http',
      { url: 'https://d.example/', auth: { ...auth, issuer: 'http://i.example' } },
    ],
  ])('takes no secret %s', async (_, fields) => {
    const { status, body } = await admin(servers, { json: { id: 'wrong', ...fields } });
    expect([status, body['code']]).toEqual([400, 'INVALID_REQUEST']);
  });

  it('leads to no private address, by way of its authorization server either', async () => {
    const json = { id: 'inward', url: 'https://drive.invalid/mcp', auth: { ...auth, issuer: 'https://127.0.0.1:1' } };
    expect((await admin(servers, { json })).status).toBe(200);
    const path = '/v1/mcp/servers/inward/connection';
    const { status, body } = await gateway.send(path, { method: 'POST', token: tokenOf('hal') });
    expect([status, body['code']]).toEqual([503, 'CREDENTIAL_UNAVAILABLE']);
    expect(gateway.logText()).toContain(
      'private and loopback addresses are dialled only for servers with allow_private',
    );
  });
});
