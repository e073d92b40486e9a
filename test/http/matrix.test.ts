/**
 * Every route and every method of MCP with every kind of credential, generated from the surface table: what is not said
 * here about a surface fails, so that no route can come without somebody saying who may use it.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { permissionOfAction } from '../../src/core/permission.ts';
import { type Surface, type SurfaceId, surfaceOf, surfaces } from '../../src/core/surfaces.ts';
import {
  type Answer,
  productionEnv,
  type SendOptions,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { adminToken, attest, hs256, signedJwt } from '../support/identity.ts';
import {
  goodClaims,
  issuerOfSeed,
  signedText,
  strangeIssuer,
  testNowSec,
  tokenOfText,
  tokenWith,
} from '../support/issuer.ts';
import { type OidcIssuer, rsaKey, startOidcIssuer } from '../support/oidc-issuer.ts';
import { answerFaults } from '../support/openapi.ts';
import { connect, initMessage, watch } from '../support/stream.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

const internal = /^\/internal\//;
const routed = Object.keys(surfaces)
  .map((id) => id as SurfaceId)
  // `mcp.methods.relay` is a way of using the address of `mcp.native`.
  .filter((id) => !internal.test(surfaceOf(id).template) && id !== 'mcp.methods.relay');

/**
 * Who gets through: `public` everybody; `events`, `submit` and `chat` whoever has the right, and the stranger is told
 * 403; `bearer` and `mcp` tell him 401; `admin` takes the admin secret too and tells wrong credentials 403; `self` is for
 * everybody who is known; `token` for the admin secret alone; `list` shows everybody who is known what they may see;
 * `socket` judges what comes after the upgrade.
 */
type Gate =
  | 'public'
  | 'events'
  | 'submit'
  | 'chat'
  | 'bearer'
  | 'list'
  | 'servers'
  | 'mcp'
  | 'admin'
  | 'self'
  | 'token'
  | 'socket';

interface Expected {
  readonly gate: Gate;
  /** What whoever may gets, when it is not 200. */
  readonly status?: number | readonly number[];
  /** The parameters of the template, and the query. */
  readonly at?: Readonly<Record<string, string>>;
  readonly query?: string;
  readonly json?: () => JsonValue;
  /** The key that clients of an inherited route read in an error. */
  readonly legacy?: 'detail' | 'error';
  /** Asks for the right to see every team's. */
  readonly all?: true;
}

let count = 0;
const fresh = () => `m${++count}`;
const anId = '018bcfe5-6800-7000-8000-000000000000';
const aTool = { server_id: 'tested', tool_name: 'nobody' };
const aHash = `sha256:${'00'.repeat(32)}`;
const event = { event_type: 'deploy', actor: 'ci', action: 'start' };
const hello = { jsonrpc: '2.0', id: 1, method: 'tools/list' };
const open: Expected = { gate: 'public' };
const detail = 'detail' as const;
const admin: Expected = { gate: 'admin', legacy: detail };

const expected: Record<string, Expected> = {
  'health.healthz': open,
  'health.health': open,
  'health.live': open,
  'health.ready': open,
  'health.readyz': open,
  'health.ollama': { ...open, status: 503 },
  'health.tga': { ...open, status: 503 },
  'gateway.version': open,
  'gateway.metrics': open,
  'gateway.metrics.summary': open,
  'gateway.status': open,
  'gateway.peers': open,
  // Without an issuer there is nobody to name.
  'oauth.resource': open,
  'oauth.resource.of': { ...open, at: { resource_path: 'mcp' } },
  'docs.openapi': open,
  'docs.ui': open,
  'log.checkpoint': open,
  'log.keys': open,
  'log.tile': { ...open, at: { level: '0', tile: '000.p/1' } },
  'log.consistency': { ...open, query: '?from=1&to=1' },
  'log.root': open,
  'log.entries': { gate: 'events', at: { tile: '000.p/1' }, all: true },
  'log.proof': { gate: 'events', at: { event_id: anId }, status: 404, legacy: detail },
  'events.proof': { gate: 'events', at: { event_id: anId }, status: 404, legacy: detail },
  'events.list': { gate: 'events', legacy: detail },
  'events.stats': { gate: 'events', query: '?from=0&to=1', legacy: detail },
  'events.records': { gate: 'events', query: '?limit=1' },
  'events.get': { gate: 'events', at: { event_id: anId }, status: 404, legacy: detail },
  'events.stream': { gate: 'socket' },
  'events.sse': { gate: 'events' },
  'events.sse.api': { gate: 'events' },
  'events.ticket': { gate: 'events' },
  'gateway.sessions': { gate: 'events' },
  'events.submit': { gate: 'submit', json: () => event, legacy: 'error' },
  'events.submit.batch': { gate: 'submit', json: () => [event], legacy: 'error' },
  'events.submit.log': { gate: 'submit', json: () => ({ event_type: 'x', action: 'y' }), legacy: 'error' },
  'admin.audit.stats': admin,
  'admin.telemetry.stats': admin,
  'admin.me': { gate: 'self', legacy: detail },
  'admin.gateway.status': admin,
  'admin.config.export': admin,
  'admin.config.apply': { ...admin, json: () => ({ version: '1.0' }) },
  'admin.rbac.roles.list': admin,
  'admin.rbac.roles.create': { ...admin, json: () => ({ name: fresh(), permissions: [] }) },
  'admin.rbac.roles.delete': { ...admin, at: { role_id: 'nobody' }, status: 404 },
  'admin.rbac.permissions.list': admin,
  'admin.rbac.bindings.list': admin,
  'admin.rbac.bindings.create': { ...admin, json: () => ({ principal_id: fresh(), bindings: [] }) },
  'admin.rbac.bindings.delete': { ...admin, at: { principal_id: 'nobody' }, status: 404 },
  'admin.secrets.list': admin,
  'admin.secrets.set': { ...admin, json: () => ({ name: fresh(), value: 'v' }) },
  'admin.secrets.delete': { ...admin, at: { name: 'nobody' }, status: 404 },
  'admin.secrets.kek': admin,
  // One at a time: the second one is told that the first one runs.
  'admin.secrets.rotate': { ...admin, status: [200, 409] },
  'admin.secrets.rotation': { ...admin, at: { op_id: anId }, status: 404 },
  'admin.auth.token': { gate: 'token', json: () => ({ permissions: ['events:read'] }), legacy: detail },
  'admin.keys.list': admin,
  'admin.keys.create': { ...admin, json: () => ({ name: fresh(), permissions: [] }) },
  'admin.keys.rotate': { ...admin, at: { key_id: anId }, status: 404, json: () => ({}) },
  'admin.keys.revoke': { ...admin, at: { key_id: anId }, status: 404 },
  'admin.capabilities.grant': {
    gate: 'admin',
    json: () => ({ subject: 'did:talos:x', scope: 'tool:x', ttl_seconds: 60 }),
    status: 501,
  },
  'admin.capabilities.revoke': { gate: 'admin', json: () => ({ capability_hash: 'ab'.repeat(32) }) },
  'admin.capabilities.revocations': { gate: 'admin' },
  'admin.capabilities.inspect': { gate: 'admin', json: () => ({ token: tokenWith() }) },
  'admin.policy.explain': { gate: 'admin', json: () => ({ server_id: 'tested', tool_name: 'echo' }) },
  'admin.mcp.servers.list': admin,
  'admin.mcp.servers.get': { ...admin, at: { server_id: 'nobody' }, status: 404 },
  'admin.mcp.servers.add': { ...admin, json: () => ({ id: fresh(), url: 'https://tools.example/' }) },
  'admin.mcp.servers.change': { ...admin, at: { server_id: 'nobody' }, status: 404, json: () => ({ tags: [] }) },
  'admin.mcp.servers.remove': { ...admin, at: { server_id: 'nobody' }, status: 404 },
  'admin.mcp.pins.list': admin,
  'admin.mcp.pins.get': { ...admin, at: aTool, status: 404 },
  'admin.mcp.pins.approve': { ...admin, at: aTool, status: 404, json: () => ({ definition_hash: aHash }) },
  'admin.mcp.pins.reject': { ...admin, at: aTool, status: 404, json: () => ({ definition_hash: aHash }) },
  'admin.mcp.pins.forget': { ...admin, at: aTool, status: 404 },
  'admin.mcp.pins.forget.all': { ...admin, at: { server_id: 'nobody' }, status: 404 },
  'admin.mcp.policies.list': admin,
  'admin.mcp.policies.get': { ...admin, at: { policy_id: 'nobody' }, status: 404 },
  'admin.mcp.policies.add': { ...admin, json: () => ({ id: fresh(), team_id: 'a team of nobody' }) },
  'admin.mcp.policies.change': { ...admin, at: { policy_id: 'nobody' }, status: 404, json: () => ({}) },
  'admin.mcp.policies.remove': { ...admin, at: { policy_id: 'nobody' }, status: 404 },
  'admin.mcp.approvals.list': admin,
  'admin.mcp.approvals.get': { ...admin, at: { approval_id: anId }, status: 404 },
  'admin.mcp.approvals.approve': { ...admin, at: { approval_id: anId }, status: 404, json: () => ({}) },
  'admin.mcp.approvals.deny': { ...admin, at: { approval_id: anId }, status: 404, json: () => ({}) },
  'admin.mcp.servers.test': { ...admin, at: { server_id: 'nobody' }, status: 404 },
  'mcp.servers.list': { gate: 'servers', legacy: detail },
  'mcp.tools.list': { gate: 'bearer', at: { server_id: 'tested' }, legacy: detail },
  'mcp.tools.schema': { gate: 'bearer', at: { server_id: 'tested', tool_name: 'echo' }, legacy: detail },
  'mcp.tools.call': {
    gate: 'bearer',
    at: { server_id: 'tested', tool_name: 'echo' },
    json: () => ({ input: {} }),
    legacy: detail,
  },
  // The server is one without accounts, and nobody comes back from anywhere.
  'mcp.connections.start': { gate: 'bearer', at: { server_id: 'tested' }, status: 400, legacy: detail },
  'mcp.connections.get': { gate: 'bearer', at: { server_id: 'tested' }, status: 400, legacy: detail },
  'mcp.connections.delete': { gate: 'bearer', at: { server_id: 'tested' }, status: 404, legacy: detail },
  // Without an address of its own the gateway says nothing of itself as a client.
  'mcp.connections.client': { ...open, at: { server_id: 'tested' }, status: 404 },
  'mcp.connections.arrive': { ...open, at: { server_id: 'tested' }, status: 400 },
  'mcp.connections.finish': { ...open, at: { server_id: 'tested' }, status: 400 },
  'mcp.tools.chat': {
    gate: 'chat',
    json: () => ({ session_id: fresh(), model: 'm', messages: [{ role: 'user', content: 'x' }] }),
    legacy: 'error',
  },
  'mcp.native': { gate: 'mcp', at: { server_id: 'tested' }, json: () => hello },
  'mcp.native.all': { gate: 'mcp', json: () => ({ ...hello, method: 'initialize' }) },
  // Without a session there is nothing to listen to, or to end.
  'mcp.native.listen': { gate: 'list', at: { server_id: 'tested' }, status: 405 },
  'mcp.native.listen.all': { gate: 'list', status: 405 },
  'mcp.native.end': { gate: 'list', at: { server_id: 'tested' }, status: 405 },
  'mcp.native.end.all': { gate: 'list', status: 405 },
  'mcp.native.sse': { gate: 'bearer', at: { server_id: 'tested' } },
  'mcp.native.messages': {
    gate: 'list',
    at: { server_id: 'tested' },
    query: '?session_id=x',
    json: () => hello,
    status: 404,
  },
};

const secret = productionEnv.AUTH_ADMIN_SECRET;
const env = {
  ...productionEnv,
  TALOS_RATE_LIMIT: 'false',
  TALOS_API_KEY_PEPPER: 'a pepper that only this test knows, long enough',
};

let upstream: Upstream;
let gateway: TestGateway;
let folder: string;
/** API keys by what they may. */
const keys = new Map<string, string>();
/** What was made at the gateway, by the name of the credential. */
const made = new Map<string, string>();
const signer = issuerOfSeed('33'.repeat(32));
const clock = wallClock();
const rsa = rsaKey();
let oidc: OidcIssuer;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-matrix-'));
  const completion = { messages: [{ role: 'assistant', content: 'hi' }] };
  const answerRpc =
    (result: JsonObject) =>
    ({ message }: { message: JsonObject }, response: { end: (t: string) => void }) =>
      response.end(JSON.stringify({ jsonrpc: '2.0', id: message['id'] ?? null, result }));
  upstream = await startUpstream({ calls: { echo, chat: answerRpc(completion) as never } });
  oidc = await startOidcIssuer();
  oidc.keys = { k1: rsa.publicKey };
  const identity = {
    TALOS_OIDC_ISSUER: oidc.url,
    TALOS_OIDC_AUDIENCE: 'talos',
    TALOS_OIDC_PERMISSIONS_CLAIM: 'scope',
    TALOS_ATTESTATION_KEYS: signer.did,
  };
  gateway = await startTestGateway({
    env: { ...env, ...identity, TALOS_LOG_KEY_FILE: join(folder, 'log.key'), MCP_CONNECTOR_URL: upstream.url },
    servers: { tested: upstream.url },
    clock,
  });
  for (const id of routed) await keyFor(id);
  await keyOf('powerless', []);
  await makeOthers();
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
  await oidc.close();
  await rm(folder, { recursive: true });
});

async function tell(path: string, json: JsonValue, method = 'POST'): Promise<JsonObject> {
  const { status, body, text } = await gateway.send(path, { token: secret, json, method });
  expect([path, status], text).toEqual([path, 200]);
  return body;
}

async function makeOthers(): Promise<void> {
  const permissions = ['*:*'];
  const revoked = await tell('/admin/v1/api-keys', { name: fresh(), permissions });
  made.set('revoked key', String(revoked['api_key']));
  await tell(`/admin/v1/api-keys/${(revoked['key'] as JsonObject)['id']}`, {}, 'DELETE');
  const expired = await tell('/admin/v1/api-keys', { name: fresh(), permissions, expires_in_seconds: 1 });
  made.set('expired key', String(expired['api_key']));
  clock.nowSec += 2;
  await tell('/admin/v1/capabilities/revoke', { token: revokedCapability() });
  for (const principal_id of ['holder', signer.did]) {
    await tell('/admin/v1/rbac/bindings', { principal_id, bindings: [{ role_id: 'PlatformAdmin', scope: 'global' }] });
  }
  const presented = { ...bearer(adminToken({ sub: 'bearer', permissions: [] })), 'x-talos-capability': everything() };
  const { headers } = await gateway.send('/api/events', { headers: presented });
  expect(headers.get('x-talos-session')).toMatch(/./);
  made.set('session', headers.get('x-talos-session') ?? '');
  const spent = attest(signer, { path: '/api/events', opcode: 'events.list', nonce: spentNonce });
  expect((await gateway.send('/api/events', { headers: spent })).status).toBe(200);
}

async function keyOf(name: string, permissions: string[], team = 'default'): Promise<string> {
  const known = keys.get(name);
  if (known !== undefined) return known;
  const json = { name: fresh(), principal_id: fresh(), team_id: team, permissions };
  const { body, text } = await gateway.send('/admin/v1/api-keys', { token: secret, json });
  expect(body['api_key'], text).toMatch(/^tlk_/);
  keys.set(name, String(body['api_key']));
  return String(body['api_key']);
}

const keyFor = (id: SurfaceId) => keyOf(rightOf(id).join(' '), rightOf(id));

/** The permissions that a surface asks for. */
function rightOf(id: SurfaceId): string[] {
  const { action } = surfaceOf(id);
  if (action === undefined) return ['mcp:invoke'];
  const { permission } = permissionOfAction(action);
  return [permission, ...(expected[id]?.all ? [`${permission}:all`] : [])];
}

function scopeOf(id: SurfaceId): string {
  const { action } = surfaceOf(id);
  if (action !== undefined) return `tool:gateway/method:${action}`;
  return id === 'mcp.tools.chat' ? 'tool:connector/method:chat' : 'tool:tested';
}

/**
 * What a credential comes to: refused as nobody's, refused as a wrong kind, known but with a capability that does not
 * count, known but without any right, known but without this one, or let in.
 */
type Standing =
  | Verdicted
  /** Whoever signed is not known, or said it before: nobody is asked what they may. */
  | 'unsigned'
  | 'replayed';
type Verdicted = 'stranger' | 'scheme' | 'invalid' | 'spoilt' | 'unbound' | 'powerless' | 'right' | 'secret';

interface Credential {
  readonly standing: Standing;
  readonly headers: (id: SurfaceId, body?: JsonValue) => Readonly<Record<string, string>>;
}

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const wide = { scope: 'tool:* tool:gateway' };
const past = { iat: testNowSec - 9_000, exp: testNowSec - 8_000 };
const claims = { sub: 'someone', iat: testNowSec, exp: testNowSec + 600, permissions: ['*:*'] };
const unsigned = (header: object) => {
  const parts = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'));
  return `${parts.join('.')}.`;
};

const everything = () => tokenWith({ ...wide, constraints: { team_id: '*' } });
const revokedCapability = () => tokenWith({ ...wide, sub: 'did:talos:revoked' });
const spentNonce = 'a nonce that was used before';
const attested =
  (who: typeof signer, nonce?: string): Credential['headers'] =>
  (id, body) =>
    attest(who, {
      ...{ path: pathOf(id), opcode: id, method: surfaceOf(id).method },
      ...(body === undefined ? {} : { body }),
      ...(nonce === undefined ? {} : { nonce }),
    });
const oidcToken = (scope: string, changes: JsonObject = {}) =>
  signedJwt({ ...claims, iss: oidc.url, aud: 'talos', sub: 'user', scope, ...changes }, rsa.privateKey, { kid: 'k1' });

const credentials: Readonly<Record<string, Credential>> = {
  none: { standing: 'stranger', headers: () => ({}) },
  'an empty Bearer': { standing: 'invalid', headers: () => ({ authorization: 'Bearer x y' }) },
  'another scheme': { standing: 'scheme', headers: () => ({ authorization: 'Basic YTpi' }) },
  'a word': { standing: 'invalid', headers: () => bearer('nonsense') },
  'a string of development': { standing: 'invalid', headers: () => bearer('cap_test') },
  'a capability of a stranger': {
    standing: 'invalid',
    headers: () => bearer(tokenOfText(signedText(goodClaims({ ...wide, iss: strangeIssuer.did }), strangeIssuer))),
  },
  'a capability that a stranger signed in the name of an issuer': {
    standing: 'invalid',
    headers: () => bearer(tokenOfText(signedText(goodClaims(wide), strangeIssuer))),
  },
  'an expired capability': { standing: 'invalid', headers: () => bearer(tokenWith({ ...wide, ...past })) },
  'a capability that is cut': { standing: 'invalid', headers: () => bearer(tokenWith(wide).slice(0, -8)) },
  'a key that nobody made': { standing: 'invalid', headers: () => bearer(`tlk_${'A'.repeat(43)}`) },
  'a token under another secret': { standing: 'invalid', headers: () => bearer(hs256(claims, 'another secret')) },
  'an expired token': { standing: 'invalid', headers: () => bearer(adminToken(past)) },
  'a token without a signature': { standing: 'invalid', headers: () => bearer(unsigned({ alg: 'none' })) },
  'a token of another algorithm': { standing: 'invalid', headers: () => bearer(unsigned({ alg: 'RS256' })) },
  'a revoked key': { standing: 'invalid', headers: () => bearer(made.get('revoked key') ?? '') },
  'an expired key': { standing: 'invalid', headers: () => bearer(made.get('expired key') ?? '') },
  'a revoked capability': { standing: 'invalid', headers: () => bearer(revokedCapability()) },
  'a token of the issuer for somebody else': {
    standing: 'invalid',
    headers: () => bearer(oidcToken('*:*', { aud: 'another' })),
  },
  'a token of the issuer without a permission': { standing: 'unbound', headers: () => bearer(oidcToken('openid')) },
  'a signature of a key that nobody knows': {
    standing: 'unsigned',
    headers: attested(strangeIssuer),
  },
  'a signature with a nonce that was used': {
    standing: 'replayed',
    headers: attested(signer, spentNonce),
  },
  'a signature of a known key': { standing: 'right', headers: attested(signer) },
  'a token whose bearer has a role': {
    standing: 'right',
    headers: () => bearer(adminToken({ sub: 'holder', permissions: [] })),
  },
  'a token of the issuer with the permission': {
    standing: 'right',
    headers: (id) => bearer(oidcToken(rightOf(id).join(' '))),
  },
  'a session of the capability': {
    standing: 'right',
    headers: () => ({
      ...bearer(adminToken({ sub: 'bearer', permissions: [] })),
      'x-talos-session': made.get('session') ?? '',
    }),
  },
  'a capability for something else': {
    standing: 'powerless',
    headers: () => bearer(tokenWith({ scope: 'tool:elsewhere/method:nothing' })),
  },
  'a token without a permission': {
    standing: 'unbound',
    headers: () => bearer(adminToken({ permissions: [] })),
  },
  'a key without a permission': {
    standing: 'unbound',
    headers: () => bearer(keys.get('powerless') ?? ''),
  },
  'a good key beside an expired capability': {
    standing: 'spoilt',
    headers: (id) => ({
      ...bearer(keys.get(rightOf(id).join(' ')) ?? ''),
      'x-talos-capability': tokenWith({ ...wide, ...past }),
    }),
  },
  'a good key beside a capability for something else': {
    standing: 'powerless',
    headers: (id) => ({
      ...bearer(keys.get(rightOf(id).join(' ')) ?? ''),
      'x-talos-capability': tokenWith({ scope: 'tool:elsewhere/method:nothing' }),
    }),
  },
  'the capability': {
    standing: 'right',
    headers: (id) => bearer(tokenWith({ scope: scopeOf(id), constraints: { team_id: '*' } })),
  },
  'a token with the permission': {
    standing: 'right',
    headers: (id) => bearer(adminToken({ permissions: rightOf(id) })),
  },
  'a key with the permission': { standing: 'right', headers: (id) => bearer(keys.get(rightOf(id).join(' ')) ?? '') },
  'the admin secret': {
    standing: 'secret',
    headers: (id) => (id === 'admin.auth.token' ? { 'x-talos-admin-secret': secret } : bearer(secret)),
  },
};

type Verdict = readonly [status: number, code?: string];

const missing: Verdict = [401, 'AUTH_MISSING'];
const scheme: Verdict = [401, 'AUTH_SCHEME'];
const invalid: Verdict = [401, 'AUTH_INVALID'];
const forbidden: Verdict = [403, 'ADMIN_AUTH_INVALID'];
const denied: Verdict = [403, 'TALOS_DENIED'];
const spoilt: Verdict = [403, 'TALOS_INVALID_CAPABILITY'];
const disabled: Verdict = [403, 'EVENT_SUBMISSION_DISABLED'];

/** What each gate says to each standing; `undefined` is what whoever may gets. */
const verdicts: Readonly<Record<Exclude<Gate, 'public'>, Readonly<Record<Verdicted, Verdict | undefined>>>> = {
  events: {
    stranger: denied,
    scheme,
    invalid,
    spoilt,
    unbound: denied,
    powerless: denied,
    right: undefined,
    secret: invalid,
  },
  submit: {
    stranger: disabled,
    scheme,
    invalid,
    spoilt,
    unbound: disabled,
    powerless: denied,
    right: undefined,
    secret: invalid,
  },
  chat: {
    stranger: denied,
    scheme,
    invalid,
    spoilt: denied,
    unbound: denied,
    powerless: denied,
    right: undefined,
    secret: invalid,
  },
  bearer: {
    stranger: missing,
    scheme,
    invalid,
    spoilt,
    unbound: denied,
    powerless: denied,
    right: undefined,
    secret: invalid,
  },
  list: {
    stranger: missing,
    scheme,
    invalid,
    spoilt: undefined,
    unbound: undefined,
    powerless: undefined,
    right: undefined,
    secret: invalid,
  },
  servers: {
    stranger: missing,
    scheme,
    invalid,
    spoilt,
    unbound: undefined,
    powerless: undefined,
    right: undefined,
    secret: invalid,
  },
  mcp: {
    stranger: missing,
    scheme,
    invalid,
    spoilt: [200, 'TALOS_INVALID_CAPABILITY'],
    unbound: [200, 'TALOS_DENIED'],
    powerless: [200, 'TALOS_DENIED'],
    right: undefined,
    secret: invalid,
  },
  admin: {
    stranger: missing,
    scheme,
    invalid: forbidden,
    spoilt,
    unbound: denied,
    powerless: denied,
    right: undefined,
    secret: undefined,
  },
  self: {
    stranger: missing,
    scheme,
    invalid: forbidden,
    spoilt: undefined,
    unbound: undefined,
    powerless: undefined,
    right: undefined,
    secret: undefined,
  },
  token: {
    stranger: invalid,
    scheme: invalid,
    invalid,
    spoilt: invalid,
    unbound: invalid,
    powerless: invalid,
    right: invalid,
    secret: undefined,
  },
  socket: {
    stranger: [426, 'UPGRADE_REQUIRED'],
    scheme,
    invalid,
    spoilt: [426, 'UPGRADE_REQUIRED'],
    unbound: [426, 'UPGRADE_REQUIRED'],
    powerless: [426, 'UPGRADE_REQUIRED'],
    right: [426, 'UPGRADE_REQUIRED'],
    secret: invalid,
  },
};

function verdictOf(gate: Gate, standing: Standing): Verdict | undefined {
  if (gate === 'public') return undefined;
  if (standing !== 'unsigned' && standing !== 'replayed') return verdicts[gate][standing];
  // Where the secret alone counts, no signature is looked at.
  return gate === 'token' || standing === 'unsigned' ? invalid : [401, 'REPLAY_DETECTED'];
}

function pathOf(id: SurfaceId): string {
  const { at = {}, query = '' } = expected[id] ?? {};
  const path = surfaceOf(id).template.replaceAll(/\{([^}]+)\}/g, (_, name: string) => at[name] ?? anId);
  return path + query;
}

/** What a template may mean, a name with slashes in it too. */
const patternOf = (template: string) =>
  new RegExp(
    `^${template
      .split(/\{[^}]+\}/)
      .map((part) => part.replaceAll(/[.*+?^$()|[\]\\]/g, '\\$&'))
      .join('.+')}$`,
  );

async function send(id: SurfaceId, headersFor: Credential['headers'], method?: string): Promise<Answer> {
  const json = expected[id]?.json?.();
  const headers = headersFor(id, json);
  const response = await fetch(gateway.url + pathOf(id), {
    method: method ?? surfaceOf(id).method,
    redirect: 'manual',
    headers: { ...headers, ...(json === undefined ? {} : { 'content-type': 'application/json' }) },
    ...(json === undefined ? {} : { body: JSON.stringify(json) }),
  });
  // A stream has no end: that it begins is the answer.
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true;
  if (isStream) await response.body?.cancel();
  const text = isStream ? '' : await response.text();
  // A tile may begin with any byte.
  const isObject = text.startsWith('{') && response.headers.get('content-type')?.includes('json') === true;
  const body = isObject ? (JSON.parse(text) as JsonObject) : {};
  return { status: response.status, headers: response.headers, body, text };
}

const secrets = () => [secret, env.TALOS_API_KEY_PEPPER, ...keys.values()];

function checkError(answer: Answer, code: string, legacy: string | undefined): void {
  const { body, headers, text } = answer;
  expect(body).toMatchObject({ code, message: expect.stringMatching(/./), retryable: expect.any(Boolean) });
  expect(body['request_id']).toBe(headers.get('x-request-id'));
  if (legacy !== undefined) expect(body[legacy]).toBe(body['message']);
  if (answer.status === 401) expect(headers.get('www-authenticate')).toMatch(/^Bearer realm="talos"/);
  else if (code === 'TALOS_DENIED') expect(headers.get('www-authenticate')).toContain('insufficient_scope');
  else expect(headers.get('www-authenticate')).toBeNull();
  const isInvalid = code === 'AUTH_INVALID' || code === 'REPLAY_DETECTED';
  if (!isInvalid) expect(headers.get('www-authenticate') ?? '').not.toContain('invalid_token');
  expect(text).not.toMatch(/\n\s+at |node_modules|\.ts:\d/);
  for (const known of secrets()) expect(text).not.toContain(known);
}

function checkHeaders({ headers }: Answer): void {
  expect(headers.get('x-request-id')).toMatch(/./);
  expect(headers.get('x-content-type-options')).toBe('nosniff');
  expect(headers.get('x-frame-options')).toBe('DENY');
  expect(headers.get('content-security-policy')).toMatch(/default-src/);
  expect(headers.get('access-control-allow-origin')).toBeNull();
  expect(headers.get('server')).toBeNull();
}

/** An answer that is JSON is as the document of the API says. */
function checkBody(id: SurfaceId, { status, headers, text }: Answer): void {
  const isJson = headers.get('content-type')?.startsWith('application/json') === true;
  // The document does not describe itself.
  if (isJson && text !== '' && id !== 'docs.openapi')
    expect.soft([id, answerFaults(id, status, JSON.parse(text))]).toEqual([id, []]);
}

const errorIn = ({ body }: Answer) => (body['error'] as JsonObject | undefined)?.['data'] as JsonObject | undefined;

describe('every route', () => {
  it('is spoken of here, and nothing else is', () => {
    expect(Object.keys(expected).sort()).toEqual([...routed].sort());
  });

  it.each(routed)('%s answers each credential as its gate says', async (id) => {
    const what = expected[id];
    if (what === undefined) throw new Error(`Say in this file who may use ${id}.`);
    const { gate, legacy } = what;
    const good = [what.status ?? 200].flat();
    for (const [name, { standing, headers }] of Object.entries(credentials)) {
      const answer = await send(id, headers);
      const verdict = verdictOf(gate, standing);
      const [status, code] = verdict ?? [expect.toBeOneOf(good)];
      expect.soft([name, answer.status, answer.text]).toEqual([name, status, answer.text]);
      checkHeaders(answer);
      if (code !== undefined && gate === 'mcp' && status === 200) expect(errorIn(answer)).toMatchObject({ code });
      else if (code !== undefined) checkError(answer, code, legacy);
      else if (answer.status < 400) checkBody(id, answer);
      // A right that is refused anyway was refused by what is there, and not by who asked.
      else if (answer.status >= 400)
        expect(answer.body['code'] ?? answer.body['status']).not.toMatch(/^(AUTH|ADMIN_AUTH|TALOS_DENIED)/);
    }
  });

  it.each(routed)('%s is not there under other methods', async (id) => {
    const path = pathOf(id).split('?')[0] ?? '';
    const here = routed.map(surfaceOf).filter(({ template }) => patternOf(template).test(path));
    const known = new Set<string>(here.map(({ method }) => method));
    for (const method of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'].filter((each) => !known.has(each))) {
      const { status, body } = await gateway.send(path, { method, token: adminToken() });
      expect([method, status, body['code']]).toEqual([
        method,
        expect.toBeOneOf([404, 405]),
        expect.toBeOneOf(['NOT_FOUND', 'METHOD_NOT_ALLOWED']),
      ]);
    }
  });

  it.each(routed.filter((id) => surfaceOf(id).method === 'GET'))('HEAD of %s opens no more than GET', async (id) => {
    const { status } = await send(id, () => ({}), 'HEAD');
    const asked = (await send(id, () => ({}))).status;
    expect(status === asked || status >= 400).toBe(true);
  });
});

it('what is there is answered as the document says', async () => {
  const token = tokenWith({ scope: 'tool:gateway/method:events.write' });
  const { body } = await gateway.send('/api/events', { json: { ...event, metadata: { deep: { er: 1 } } }, token });
  const eventId = String(body['event_id']);
  const role = await tell('/admin/v1/rbac/roles', { name: fresh(), permissions: ['events:read'], description: 'x' });
  await tell('/admin/v1/rbac/bindings', { principal_id: 'there', bindings: [{ role_id: 'Auditor', scope: 'global' }] });
  await tell('/admin/v1/secrets', { name: 'there', value: 'v' });
  const made = await tell('/admin/v1/api-keys', { name: 'there', permissions: [], expires_in_seconds: 600 });
  const keyId = String((made['key'] as JsonObject)['id']);
  const rotation = await gateway.send('/admin/v1/secrets/rotate-all', { token: secret, method: 'POST' });
  await tell('/admin/v1/mcp/servers', { id: 'there', url: 'https://tools.example/', tags: ['x'] });
  const reader = tokenWith({ scope: 'tool:gateway/method:events.read', constraints: { team_id: '*' } });
  const asked: [SurfaceId, string, SendOptions?][] = [
    ['events.get', `/api/events/${eventId}`, { token: reader }],
    ['events.list', '/api/events?limit=3', { token: reader }],
    ['events.proof', `/api/events/${eventId}/proof`, { token: reader }],
    ['log.proof', `/proof/${eventId}`, { token: reader }],
    ['admin.rbac.bindings.list', '/admin/v1/rbac/bindings'],
    ['admin.rbac.roles.delete', `/admin/v1/rbac/roles/${String(role['role_id'])}`, { method: 'DELETE' }],
    ['admin.rbac.bindings.delete', '/admin/v1/rbac/bindings/there', { method: 'DELETE' }],
    ['admin.secrets.list', '/admin/v1/secrets'],
    ['admin.secrets.delete', '/admin/v1/secrets/there', { method: 'DELETE' }],
    ['admin.keys.list', '/admin/v1/api-keys'],
    ['admin.keys.rotate', `/admin/v1/api-keys/${keyId}/rotate`, { json: {} }],
    ['admin.keys.revoke', `/admin/v1/api-keys/${keyId}`, { method: 'DELETE' }],
    ['admin.mcp.servers.get', '/admin/v1/mcp/servers/there'],
    ['admin.mcp.servers.change', '/admin/v1/mcp/servers/there', { method: 'PATCH', json: { tags: ['y'] } }],
    ['admin.mcp.servers.test', '/admin/v1/mcp/servers/tested:test', { method: 'POST' }],
    ['admin.mcp.servers.remove', '/admin/v1/mcp/servers/there', { method: 'DELETE' }],
    ['admin.capabilities.revocations', '/admin/v1/capabilities/revocations'],
    ['admin.config.export', '/admin/v1/config:export'],
  ];
  const id = String(rotation.body['op_id'] ?? '');
  if (rotation.status === 200) asked.push(['admin.secrets.rotation', `/admin/v1/secrets/rotation-status/${id}`]);
  for (const [surfaceId, path, options] of asked) {
    const ask = () => gateway.send(path, { token: secret, ...options });
    // A proof is there once a checkpoint covers the record.
    const isProof = surfaceId.endsWith('proof');
    if (isProof) await expect.poll(async () => (await ask()).status, { timeout: 20_000 }).toBe(200);
    const answer = await ask();
    expect([path, answer.status], answer.text).toEqual([path, 200]);
    checkBody(surfaceId, answer);
  }
});

describe('data of another team', () => {
  const byTeam = new Set<string | undefined>(['events.read', 'admin.audit.read', 'admin.telemetry.read']);
  const readers = routed.filter((id) => byTeam.has((surfaceOf(id) as Surface).action));
  /** Whoever may read all of this, of one team. */
  const readerOf = (team: string, sub = `did:talos:reader-of-${team}`) => {
    const scope = [...byTeam].map((action) => `tool:gateway/method:${action}`).join(' ');
    return bearer(tokenWith({ scope, sub, constraints: { team_id: team } }));
  };
  const report = async (team: string, actor: string) => {
    const token = tokenWith({ scope: 'tool:gateway/method:events.write', constraints: { team_id: team } });
    const written = await gateway.send('/api/events', { json: { ...event, actor, metadata: { actor } }, token });
    const eventId = String(written.body['event_id'] ?? written.headers.get('x-talos-audit-ref'));
    expect(eventId).toMatch(/^[0-9a-f-]{36}$/);
    return eventId;
  };

  /** What is theirs and not ours: by how the surface shows it. */
  type Check = (id: SurfaceId, team: string) => Promise<void>;

  const inAnswer: Check = async (id, team) => {
    const eventId = await report(team, `actor-of-${team}`);
    const path = surfaceOf(id).template.replace('{event_id}', eventId).replace('{tile}', '000.p/1');
    const { query = '' } = expected[id] ?? {};
    const ask = (headers: Readonly<Record<string, string>>) => gateway.send(path + query, { headers });
    const theirs = await ask(readerOf('other'));
    expect(theirs.text).not.toContain(`actor-of-${team}`);
    if (path.includes(eventId)) expect([theirs.status, theirs.body['code']]).toEqual([404, 'NOT_FOUND']);
    if (expected[id]?.all) expect([theirs.status, theirs.body['code']]).toEqual([403, 'TALOS_DENIED']);
    else if (!path.includes('proof')) expect((await ask(readerOf(team))).status).toBe(200);
  };

  /** Numbers of a team that nobody else is in: those of others are not among them. */
  const inNumbers =
    (path: string, numberIn: (body: JsonObject) => unknown): Check =>
    async (_, team) => {
      const read = async (of: string) => numberIn((await gateway.send(path, { headers: readerOf(of) })).body);
      expect(await read(`nobody-of-${team}`)).toBe(0);
      await report(team, 'somebody');
      await report(team, 'somebody');
      expect(Number(await read(team))).toBeGreaterThan(0);
      expect(await read(`nobody-of-${team}`)).toBe(0);
    };

  /** Who is told of the first and not of the second. */
  const marks = (team: string) => ({ mine: { team, actor: fresh() }, other: { team: 'other', actor: fresh() } });

  const inStream =
    (pathOf: (id: SurfaceId) => Promise<string>): Check =>
    async (id, team) => {
      const aborter = new AbortController();
      const path = await pathOf(id);
      const headers = path.includes('ticket') ? {} : readerOf('other');
      const response = await fetch(gateway.url + path, { headers, signal: aborter.signal });
      expect(response.status).toBe(200);
      const { mine, other } = marks(team);
      for (const { team: of, actor } of [mine, other]) await report(of, actor);
      let seen = '';
      const decoder = new TextDecoder();
      for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
        seen += decoder.decode(chunk);
        if (seen.includes(`"${other.actor}"`)) break;
      }
      aborter.abort();
      expect(seen).not.toContain(`"${mine.actor}"`);
    };

  const inSocket: Check = async (_, team) => {
    const ts = new Date(testNowSec * 1000).toISOString();
    const client = await watch(gateway, { ts }, { headers: readerOf('other') });
    const { mine, other } = marks(team);
    for (const { team: of, actor } of [mine, other]) await report(of, actor);
    const seen = () => JSON.stringify(client.items());
    await expect.poll(seen, { timeout: 20_000 }).toContain(`"${other.actor}"`);
    expect(seen()).not.toContain(`"${mine.actor}"`);
    await client.close();
  };

  const inSessions: Check = async (_, team) => {
    const ts = new Date(testNowSec * 1000).toISOString();
    const client = await watch(gateway, { ts }, { headers: readerOf(team, `did:talos:watcher-of-${team}`) });
    const ask = async (of: string) => (await gateway.send('/sessions', { headers: readerOf(of) })).text;
    expect(await ask('other')).not.toContain(String(client.of('init_ack')[0]?.['session_id']));
    expect(await ask('other')).not.toContain(`watcher-of-${team}`);
    expect(await ask(team)).toContain(`watcher-of-${team}`);
    await client.close();
  };

  const ticketFor = async () => {
    const { body, text } = await gateway.send('/api/events/ticket', { method: 'POST', headers: readerOf('other') });
    expect(body['ticket'], text).toMatch(/./);
    return `/events?after_cursor=&ticket=${String(body['ticket'])}`;
  };

  const checks: Readonly<Record<string, Check>> = {
    'events.stream': inSocket,
    'events.sse': inStream(async (id) => `${surfaceOf(id).template}?after_cursor=`),
    'events.sse.api': inStream(async (id) => `${surfaceOf(id).template}?after_cursor=`),
    'events.ticket': inStream(ticketFor),
    'gateway.sessions': inSessions,
    'events.stats': inNumbers('/api/events/stats?from=0&to=4102444800', ({ count }) => count),
    'admin.audit.stats': inNumbers('/admin/v1/audit/stats', ({ requests_24h: requests }) => requests),
    'admin.telemetry.stats': inNumbers('/admin/v1/telemetry/stats', ({ requests_total: requests }) => requests),
  };

  it.each(readers)('%s shows nothing of it', async (id) => {
    await (checks[id] ?? inAnswer)(id, `mine-${id.replaceAll('.', '-')}`);
  });
});

describe('the WebSocket', () => {
  const initWith = async (headers: Readonly<Record<string, string>>, capability = ''): Promise<string> => {
    const client = await connect(gateway, { headers });
    client.send(initMessage({ capability, ts: new Date(testNowSec * 1000).toISOString() }));
    const first = await Promise.race([client.next('init_ack'), client.next('error')]);
    await client.close();
    return String(first['type'] === 'error' ? first['code'] : first['type']);
  };

  it.each(Object.entries(credentials))('with %s lets in whoever may', async (_, { standing, headers }) => {
    if (['scheme', 'invalid', 'secret', 'unsigned', 'replayed'].includes(standing)) {
      await expect(connect(gateway, { headers: headers('events.stream') })).rejects.toThrow('401');
      return;
    }
    const ends = { right: 'init_ack', spoilt: 'CAPABILITY_EXPIRED' } as const;
    const what = await initWith(headers('events.stream'));
    expect(what).toBe(ends[standing as keyof typeof ends] ?? 'AUTH_FAILED');
  });

  it.each([
    ['a stranger signed', () => tokenOfText(signedText(goodClaims(wide), strangeIssuer))],
    ['has expired', () => tokenWith({ ...wide, ...past })],
    ['is for something else', () => tokenWith({ scope: 'tool:elsewhere' })],
    ['is a string of development', () => 'talos_read_allow'],
  ])('a capability in the first message that %s lets nobody in', async (_, token) => {
    expect(await initWith({}, token())).toMatch(/^(AUTH_FAILED|CAPABILITY_EXPIRED)$/);
    const key = keys.get(rightOf('events.stream').join(' ')) ?? '';
    expect(await initWith(bearer(key), token())).toMatch(/^(AUTH_FAILED|CAPABILITY_EXPIRED)$/);
  });
});

describe('every method of MCP', () => {
  const stateless = {
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': {},
  };
  const methods: readonly [method: string, scope: string | undefined, params: JsonObject][] = [
    ['initialize', 'tool:tested/method:echo', { protocolVersion: '2025-11-25' }],
    ['server/discover', 'tool:tested/method:echo', {}],
    ['tools/list', 'tool:tested/method:echo', {}],
    ['tools/call', 'tool:tested/method:echo', { name: 'echo', arguments: {} }],
    ['resources/list', 'tool:tested/method:rpc.resources.list', {}],
    ['resources/templates/list', 'tool:tested/method:rpc.resources.templates.list', {}],
    ['resources/read', 'tool:tested/method:rpc.resources.read', { uri: 'x:y' }],
    ['prompts/list', 'tool:tested/method:rpc.prompts.list', {}],
    ['prompts/get', 'tool:tested/method:rpc.prompts.get', { name: 'p' }],
    ['completion/complete', 'tool:tested/method:rpc.completion.complete', { ref: {}, argument: {} }],
    // Nobody serves these without a session, or at all, whoever asks.
    ['logging/setLevel', undefined, {}],
    ['resources/subscribe', undefined, {}],
    ['sampling/createMessage', undefined, {}],
    ['rpc.anything', undefined, {}],
  ];

  const ask = (method: string, params: JsonObject, headers: Credential['headers']) => {
    const isStateless = method === 'server/discover';
    const meta = isStateless ? { _meta: stateless } : {};
    const era = isStateless ? { 'mcp-protocol-version': '2026-07-28', 'mcp-method': method } : {};
    const json = { jsonrpc: '2.0', id: 7, method, params: { ...params, ...meta } };
    return gateway.send('/mcp/tested', { json, headers: { ...headers('mcp.native', json), ...era } });
  };

  it.each(methods)('%s is for whoever may', async (method, scope, params) => {
    for (const [name, { standing, headers }] of Object.entries(credentials)) {
      const isExact = standing === 'right' && name === 'the capability';
      const given: Credential['headers'] = isExact ? () => bearer(tokenWith({ scope: scope ?? 'tool:*' })) : headers;
      const answer = await ask(method, params, given);
      const verdict = verdictOf('mcp', standing);
      if (verdict !== undefined && verdict[0] !== 200) {
        expect([name, answer.status, answer.body['code']]).toEqual([name, ...verdict]);
        continue;
      }
      expect([name, answer.status, answer.body['id']]).toEqual([name, 200, 7]);
      const data = errorIn(answer);
      if (scope === undefined) expect(answer.body['error']).toMatchObject({ code: -32_601 });
      else if (verdict !== undefined) expect([name, data?.['code']]).toEqual([name, verdict[1]]);
      else expect([name, data?.['code']]).not.toEqual([name, 'TALOS_DENIED']);
    }
  });

  describe('in a session', () => {
    const owned = () => bearer(tokenWith({ scope: 'tool:tested', sub: 'did:talos:owner' }));
    const open = async (headers: Credential['headers']) => {
      const answer = await ask('initialize', { protocolVersion: '2025-11-25' }, headers);
      return answer.headers.get('mcp-session-id') ?? '';
    };
    const within =
      (session: string, headers: Credential['headers']): Credential['headers'] =>
      (id, body) => ({ ...headers(id, body), 'mcp-session-id': session, 'mcp-protocol-version': '2025-11-25' });

    it.each(['ping', 'tools/list', 'tools/call'])('%s is for its owner alone, whatever others may', async (method) => {
      const session = await open(owned);
      expect(session).toMatch(/./);
      const params = { name: 'echo', arguments: {} };
      const own = await ask(method, params, within(session, owned));
      expect([own.status, own.body['error']]).toEqual([200, undefined]);
      const before = upstream.calls.length;
      for (const [name, { headers }] of Object.entries(credentials)) {
        const { status, body } = await ask(method, params, within(session, headers));
        expect([name, status, body['result']]).toEqual([name, expect.toBeOneOf([401, 403, 404]), undefined]);
      }
      expect(upstream.calls.length).toBe(before);
    });

    it.each([
      ['logging/setLevel', 'rpc.logging.setLevel', { level: 'error' }],
      ['resources/subscribe', 'rpc.resources.subscribe', { uri: 'x:y' }],
      ['resources/unsubscribe', 'rpc.resources.unsubscribe', { uri: 'x:y' }],
    ] as const)('%s is for whoever may, and not opened by a tool', async (method, name, params) => {
      const may = () => bearer(tokenWith({ scope: `tool:tested/method:${name} tool:tested/method:echo` }));
      const allowed = await ask(method, params, within(await open(may), may));
      expect(allowed.status).toBe(200);
      expect(errorIn(allowed)?.['code']).not.toBe('TALOS_DENIED');
      const mayNot = () => bearer(tokenWith({ scope: 'tool:tested/method:echo' }));
      const denied = await ask(method, params, within(await open(mayNot), mayNot));
      expect(errorIn(denied)).toMatchObject({ code: 'TALOS_DENIED', denial_reason: 'SCOPE_MISMATCH' });
    });
  });

  it.each(methods.filter(([, scope]) => scope?.includes('rpc.')))(
    '%s is not opened by a tool',
    async (method, _, params) => {
      const token = tokenWith({ scope: 'tool:tested/method:echo' });
      const answer = await ask(method, params, () => bearer(token));
      expect(errorIn(answer)).toMatchObject({ code: 'TALOS_DENIED', denial_reason: 'SCOPE_MISMATCH' });
    },
  );
});
