/** JWTs from outside: of the administration, and of an OpenID Connect issuer whose keys change and which may be away. */
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { productionEnv, recordOf, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { adminToken, hs256, signedJwt } from '../support/identity.ts';
import { testNowSec, tokenWith, trustedIssuer } from '../support/issuer.ts';
import { type OidcIssuer, rsaKey, startOidcIssuer } from '../support/oidc-issuer.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

const secret = productionEnv.AUTH_ADMIN_SECRET;
const rsa = rsaKey();
const ed = generateKeyPairSync('ed25519');

let upstream: Upstream;
let issuer: OidcIssuer;
let gateway: TestGateway;

const clock = { ...wallClock(), ahead: 0, monotonic: () => performance.now() + clock.ahead };

beforeAll(async () => {
  upstream = await startUpstream({ calls: { echo } });
  issuer = await startOidcIssuer();
  issuer.keys = { rsa: rsa.publicKey, ed: ed.publicKey };
  gateway = await startTestGateway({
    env: {
      ...productionEnv,
      TALOS_API_KEY_PEPPER: 'a pepper that only this test knows, long enough',
      TALOS_OIDC_ISSUER: issuer.url,
      TALOS_OIDC_AUDIENCE: 'talos',
      TALOS_OIDC_TEAM_CLAIM: 'org.team',
      TALOS_OIDC_PERMISSIONS_CLAIM: 'scope',
    },
    servers: { weather: upstream.url },
    clock,
  });
});

afterAll(async () => {
  await gateway.stop();
  await issuer.close();
  await upstream.close();
});

const read = (token: string) => gateway.send('/api/events?limit=1', { token });
const stats = (token: string) => gateway.send('/admin/v1/audit/stats', { token });

const claims = (changes: object = {}) => ({
  iss: issuer.url,
  aud: 'talos',
  sub: 'user-1',
  org: { team: 'blue' },
  scope: 'openid events:read email',
  iat: testNowSec - 10,
  exp: testNowSec + 600,
  ...changes,
});
const oidc = (changes: object = {}, key: KeyObject = rsa.privateKey, header: object = { kid: 'rsa' }) =>
  signedJwt(claims(changes), key, header);

async function expectRefused(token: string): Promise<void> {
  const answer = await read(token);
  expect([answer.status, answer.body['code']]).toEqual([401, 'AUTH_INVALID']);
  expect(answer.headers.get('www-authenticate')).toContain('error="invalid_token"');
  const asAdmin = await stats(token);
  expect([asAdmin.status, asAdmin.body['code']]).toEqual([403, 'ADMIN_AUTH_INVALID']);
}

describe('POST /admin/v1/auth/token', () => {
  const ask = (json: JsonObject, given: string | undefined = secret) =>
    gateway.send('/admin/v1/auth/token', {
      json,
      headers: given === undefined ? {} : { 'x-talos-admin-secret': given },
    });

  it('answers a token that names its bearer and carries what was asked', async () => {
    const answer = await ask({ permissions: ['llm.read', 'audit.read'], principal: 'broker', ttl_seconds: 300 });
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({
      token_type: 'Bearer',
      principal: 'broker',
      permissions: ['audit.read', 'llm.read'],
      expires_in: 300,
      expires_at: new Date((testNowSec + 300) * 1000).toISOString(),
    });
    const token = String(answer.body['token']);
    expect((await stats(token)).status).toBe(200);
    expect((await gateway.send('/admin/v1/api-keys', { json: { name: 'x' }, token })).status).toBe(403);
    const { record } = await recordOf(gateway, answer, adminToken());
    expect(record).toMatchObject({ surface_id: 'admin.auth.token', outcome: 'success' });
    expect(JSON.stringify(record)).not.toContain(token);
  });

  it('has defaults', async () => {
    const { body } = await ask({ permissions: ['audit.read'] });
    expect(body).toMatchObject({ principal: 'dev-admin', expires_in: 3_600 });
    expect(body['session_id']).toMatch(/./);
  });

  it.each([
    ['a wrong secret', `${secret}x`],
    ['an empty secret', ''],
    ['no secret', undefined],
  ])('tells %s nothing else', async (_, given) => {
    for (const json of [{ permissions: ['audit.read'] }, { nonsense: 1 }]) {
      const headers: Record<string, string> = given === undefined ? {} : { 'x-talos-admin-secret': given };
      const answer = await gateway.send('/admin/v1/auth/token', { json, headers });
      expect([answer.status, answer.body['detail']]).toEqual([401, 'Invalid admin secret']);
    }
  });

  it.each<[string, JsonObject, number]>([
    ['no permissions', { permissions: [] }, 422],
    ['too long a time', { permissions: ['audit.read'], ttl_seconds: 86_401 }, 422],
    ['too short a time', { permissions: ['audit.read'], ttl_seconds: 59 }, 422],
    ['what is no permission', { permissions: ['Everything!'] }, 400],
    ['the name of nobody', { permissions: ['audit.read'], principal: 'anonymous' }, 400],
    ['what agents do, by the secret alone', { permissions: ['audit.read', 'mcp.invoke'] }, 400],
    ['the same of other services', { permissions: ['a2a.invoke'] }, 400],
    ['the same by a star', { permissions: ['mcp:*'] }, 400],
    ['the same by what is no key', { permissions: ['mcp.invoke'], data_plane_token: 'anything' }, 400],
  ])('refuses %s', async (_, json, status) => {
    expect((await ask(json)).status).toBe(status);
  });

  it('gives what agents do to who shows a key that carries it', async () => {
    const keyWith = async (permissions: string[]) => {
      const { body } = await gateway.send('/admin/v1/api-keys', { token: secret, json: { name: 'k', permissions } });
      return String(body['api_key']);
    };
    const permissions = ['mcp.invoke', 'audit.read'];
    const refused = await ask({ permissions, data_plane_token: await keyWith(['events:read']) });
    expect(refused.body).toMatchObject({ code: 'TALOS_DENIED', details: { denial_reason: 'SCOPE_MISMATCH' } });
    const { record } = await recordOf(gateway, refused, adminToken());
    expect(record).toMatchObject({ outcome: 'denied', principal: { principal_id: 'admin-user' } });
    const given = await ask({ permissions, data_plane_token: await keyWith(['mcp:invoke']) });
    expect([given.status, given.body['permissions']]).toEqual([200, ['audit.read', 'mcp.invoke']]);
  });
});

describe('a token of the administration is refused', () => {
  const good = { sub: 'a', exp: testNowSec + 600, permissions: ['*:*'] };

  it('unless it is good', async () => {
    expect((await read(hs256(good, secret))).status).toBe(200);
    expect((await read(hs256({ ...good, exp: testNowSec - 59 }, secret))).status).toBe(200);
  });

  it.each<[string, () => string]>([
    ['under another secret', () => hs256(good, 'change-me-in-prod')],
    ['under no secret', () => hs256(good, '')],
    ['expired', () => hs256({ ...good, exp: testNowSec - 61 }, secret)],
    ['without an end', () => hs256({ sub: 'a' }, secret)],
    ['with an end that is text', () => hs256({ ...good, exp: String(testNowSec + 600) }, secret)],
    ['not yet valid', () => hs256({ ...good, nbf: testNowSec + 61 }, secret)],
    ['from the future', () => hs256({ ...good, iat: testNowSec + 61 }, secret)],
    ['issued at a text', () => hs256({ ...good, iat: 'now' }, secret)],
    ['with the algorithm none', () => `${hs256(good, secret, { alg: 'none' }).split('.').slice(0, 2).join('.')}.`],
    ['with the algorithm None and a signature', () => hs256(good, secret, { alg: 'None' })],
    ['with HS512 in its header', () => hs256(good, secret, { alg: 'HS512' })],
    ['with RS256 in its header', () => hs256(good, secret, { alg: 'RS256' })],
    ['with EdDSA in its header', () => hs256(good, secret, { alg: 'EdDSA' })],
    ['with an extension that it calls critical', () => hs256(good, secret, { crit: ['exp'] })],
    ['with a payload that is not encoded', () => hs256(good, secret, { b64: false, crit: ['b64'] })],
    ['with another payload', () => swapPayload(hs256(good, secret), { ...good, sub: 'root' })],
    ['with a longer signature', () => `${hs256(good, secret)}A`],
    ['with another spelling of its signature', () => respell(hs256(good, secret))],
    ['with padding', () => `${hs256(good, secret)}=`],
    ['in four parts', () => `${hs256(good, secret)}.x`.replace('.x', '.eA')],
    ['for nobody', () => hs256({ ...good, sub: '' }, secret)],
    ['for anonymous', () => hs256({ ...good, sub: 'anonymous' }, secret)],
    ['for the gateway itself', () => hs256({ ...good, sub: 'gateway' }, secret)],
    ['for an object', () => hs256({ ...good, sub: { $ne: '' } }, secret)],
    ['of a team that is no text', () => hs256({ ...good, team_id: 5 }, secret)],
    ['whose payload is an array', () => hs256([good], secret)],
    [
      'signed with the public key of the issuer',
      () => hs256(good, rsa.publicKey.export({ type: 'spki', format: 'pem' })),
    ],
    ['signed with the public key of a trusted issuer', () => hs256(good, trustedIssuer.did)],
    ['signed with the hash of the secret', () => hs256(good, createHash('sha256').update(secret).digest())],
  ])('%s', async (_, token) => {
    await expectRefused(token());
  });

  it('and without permissions it opens nothing', async () => {
    const token = hs256({ sub: 'a', exp: testNowSec + 600 }, secret);
    expect((await stats(token)).status).toBe(403);
    expect((await read(token)).status).toBe(403);
  });

  it('in place of a capability', async () => {
    const answer = await gateway.send('/api/events', { capability: hs256(good, secret) });
    expect(answer.status).toBe(403);
    expect(answer.body).toMatchObject({ details: { denial_reason: 'SIGNATURE_INVALID' } });
  });
});

function swapPayload(token: string, payload: object): string {
  const [header, , signature] = token.split('.');
  return `${header}.${Buffer.from(JSON.stringify(payload)).toString('base64url')}.${signature}`;
}

/** The same bytes to a lenient decoder: the last letter has bits that mean nothing. */
function respell(token: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return token.slice(0, -1) + alphabet[alphabet.indexOf(token.slice(-1)) ^ 1];
}

describe('a token of the issuer', () => {
  it('names its bearer, their team and what they may do', async () => {
    expect((await read(oidc())).status).toBe(200);
    expect((await read(oidc({}, ed.privateKey, { kid: 'ed' }))).status).toBe(200);
    expect((await read(oidc({ aud: ['other', 'talos'] }))).status).toBe(200);
    const denied = await stats(oidc());
    expect(denied.status).toBe(403);
    const { record } = await recordOf(gateway, denied, adminToken());
    expect(record['principal']).toEqual({ auth_mode: 'bearer', principal_id: 'user-1', team_id: 'blue' });
  });

  it('is asked after once, however often it comes', async () => {
    await Promise.all(Array.from({ length: 20 }, () => read(oidc())));
    expect(issuer.asked.filter((path) => path === '/keys')).toHaveLength(1);
  });

  it.each<[string, () => string]>([
    ['of another audience', () => oidc({ aud: 'other' })],
    ['of no audience', () => oidc({ aud: undefined })],
    ['of an audience that only begins so', () => oidc({ aud: 'talos-other' })],
    ['of an issuer with a slash more', () => oidc({ iss: `${issuer.url}/` })],
    ['of another issuer', () => oidc({ iss: 'https://evil.example' })],
    ['expired', () => oidc({ exp: testNowSec - 61 })],
    ['without an end', () => oidc({ exp: undefined })],
    ['not yet valid', () => oidc({ nbf: testNowSec + 61 })],
    ['from the future', () => oidc({ iat: testNowSec + 61 })],
    ['under another key', () => oidc({}, rsaKey().privateKey)],
    ['under a key of another kind', () => oidc({}, rsa.privateKey, { kid: 'ed' })],
    ['with its own key', () => oidc({}, rsaKey().privateKey, { jwk: rsa.publicKey.export({ format: 'jwk' }) })],
    [
      'with the public key as a shared secret',
      () => hs256(claims(), rsa.publicKey.export({ type: 'spki', format: 'pem' }), { kid: 'rsa' }),
    ],
    ['under the admin secret', () => hs256(claims(), secret)],
    ['with the algorithm none', () => `${hs256(claims(), '', { alg: 'none' }).split('.').slice(0, 2).join('.')}.`],
    ['with an algorithm that is not on the list', () => oidc({}, rsa.privateKey, { kid: 'rsa', alg: 'RS512' })],
    ['of nobody', () => oidc({ sub: undefined })],
    ['of the administrator', () => oidc({ sub: 'admin-user' })],
    ['of the subject of a capability', () => oidc({ sub: 'did:talos:agent' })],
    ['of the holder of an API key', () => oidc({ sub: 'key:01890000-0000-7000-8000-000000000000' })],
    ['of a name with a line end', () => oidc({ sub: 'a\nb' })],
    ['with another spelling of its signature', () => respell(oidc())],
  ])('is refused: %s', async (_, token) => {
    await expectRefused(token());
  });

  it('carries only what are permissions', async () => {
    expect((await read(oidc({ scope: 'openid email' }))).status).toBe(403);
    expect((await read(oidc({ scope: { 'events:read': true } }))).status).toBe(403);
    expect((await read(oidc({ scope: ['events.read', 5, null] }))).status).toBe(200);
  });

  it('is no capability, nor a capability one of its tokens', async () => {
    const capability = tokenWith({ scope: 'tool:gateway/method:events.read', constraints: { team_id: '*' } });
    expect((await read(capability)).status).toBe(200);
    expect((await gateway.send('/api/events', { capability: oidc() })).status).toBe(403);
  });
});

describe('keys of the issuer', () => {
  const asked = () => issuer.asked.filter((path) => path === '/keys').length;
  const later = (ms: number) => {
    clock.ahead += ms;
  };

  it('are asked for anew when a token names one that is not known, and not at once again', async () => {
    const next = rsaKey();
    later(60_000);
    issuer.keys = { ...issuer.keys, next: next.publicKey };
    const before = asked();
    expect((await read(oidc({}, next.privateKey, { kid: 'next' }))).status).toBe(200);
    expect(asked()).toBe(before + 1);
    for (let n = 0; n < 20; n++)
      expect((await read(oidc({}, rsa.privateKey, { kid: `made-up-${n}` }))).status).toBe(401);
    expect(asked()).toBe(before + 1);
  });

  it('that were withdrawn count no more once they are old', async () => {
    issuer.keys = { ed: ed.publicKey };
    expect((await read(oidc())).status).toBe(200);
    later(601_000);
    expect((await read(oidc())).status).toBe(401);
    issuer.keys = { rsa: rsa.publicKey, ed: ed.publicKey };
    later(60_000);
    expect((await read(oidc())).status).toBe(200);
  });

  it('go on to count while the issuer is away, for a day; one that is not known is a 503', async () => {
    issuer.broken = { status: 500 };
    later(3_600_000);
    expect((await read(oidc())).status).toBe(200);
    const unknown = await read(oidc({}, rsa.privateKey, { kid: 'unknown' }));
    expect([unknown.status, unknown.body['code']]).toEqual([503, 'IDENTITY_PROVIDER_UNAVAILABLE']);
    expect(unknown.headers.get('retry-after')).toMatch(/^\d+$/);
    later(86_400_000);
    expect((await read(oidc())).status).toBe(503);
    expect((await read(adminToken())).status).toBe(200);
    expect(gateway.logText()).toContain('cannot be had');
    issuer.broken = undefined;
    later(60_000);
    expect((await read(oidc())).status).toBe(200);
  });

  it.each<[string, Pick<Partial<OidcIssuer>, 'discovery' | 'broken'>]>([
    ['a discovery document of another issuer', { discovery: { issuer: 'https://evil.example' } }],
    ['keys at an address of another kind', { discovery: { jwks_uri: 'file:///etc/passwd' } }],
    ['keys at a metadata address', { discovery: { jwks_uri: 'http://169.254.169.254/keys' } }],
    ['keys nowhere', { discovery: { jwks_uri: undefined } }],
    ['a redirect', { broken: { status: 302, location: '/keys' } }],
    ['what is no JSON', { broken: { status: 200, body: '<html>' } }],
    ['an array', { broken: { status: 200, body: '[]' } }],
    ['more than is read', { broken: { status: 200, body: `{"a":"${'x'.repeat(1_000_000)}"}` } }],
  ])('are not taken from %s', async (_, wrong) => {
    Object.assign(issuer, wrong);
    try {
      later(90_000_000);
      expect((await read(oidc())).status).toBe(503);
    } finally {
      issuer.discovery = {};
      issuer.broken = undefined;
    }
  });
});

describe('the metadata of the protected resource', () => {
  const path = '/.well-known/oauth-protected-resource';

  it.each(['', '/mcp', '/mcp/weather', '/v1/mcp'])('names the issuer: %s', async (suffix) => {
    const { status, body } = await gateway.send(path + suffix);
    expect(status).toBe(200);
    expect(body).toMatchObject({
      resource: `${gateway.url}${suffix === '' ? '/' : suffix}`,
      authorization_servers: [issuer.url],
      bearer_methods_supported: ['header'],
    });
  });

  it.each(['/admin', '/mcp/../admin', '/mcp/%3Cscript%3E', '/mcp//evil.example', '/mcp/weather/more'])(
    'is of no other path: %s',
    async (suffix) => {
      const { status, text } = await gateway.send(path + suffix);
      expect(status).toBe(404);
      expect(text).not.toContain('evil.example');
    },
  );

  it('is where a refusal leads', async () => {
    const missing = await gateway.send('/v1/mcp/servers');
    const metadata = /resource_metadata="([^"]+)"/.exec(missing.headers.get('www-authenticate') ?? '')?.[1] ?? '';
    expect(missing.headers.get('www-authenticate')).not.toContain('error');
    expect(metadata).toBe(`${gateway.url}${path}/v1/mcp/servers`);
    expect((await gateway.send(new URL(metadata).pathname)).status).toBe(200);
  });
});
