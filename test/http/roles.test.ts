/** Roles, teams and the snapshot of the configuration, on a whole gateway: who may what, and that every change is on record. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import {
  type Answer,
  callTool,
  productionEnv,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { checkLog } from '../support/log-checker.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

const admin = productionEnv.AUTH_ADMIN_SECRET;
const folder = await mkdtemp(join(tmpdir(), 'talos-roles-'));
const env = {
  ...productionEnv,
  TALOS_RATE_LIMIT: 'false',
  TALOS_API_KEY_PEPPER: 'a pepper that only this test knows, long enough',
  TALOS_LOG_KEY_FILE: join(folder, 'log.key'),
};

let upstream: Upstream;
let gateway: TestGateway;
beforeAll(async () => {
  upstream = await startUpstream({ calls: { echo, other: echo } });
  gateway = await startTestGateway({ env, clock: wallClock(), servers: { tested: upstream.url } });
});
afterAll(async () => {
  await gateway.stop();
  await upstream.close();
  await rm(folder, { recursive: true });
});

const ask = (path: string, token: string, json?: JsonValue, method?: string): Promise<Answer> =>
  gateway.send(path, {
    token,
    ...(json === undefined ? {} : { json }),
    ...(method === undefined ? {} : { method }),
  });

/** An API key of a principal. */
async function keyOf(principal: string, team: string, permissions: string[] = []): Promise<string> {
  const answer = await ask('/admin/v1/api-keys', admin, {
    name: principal,
    principal_id: principal,
    team_id: team,
    permissions,
  });
  expect([answer.status, answer.text]).toEqual([expect.toBeOneOf([200, 201]), answer.text]);
  return String(answer.body['api_key']);
}

async function bind(principal: string, role: string, scope: JsonValue = 'global'): Promise<void> {
  const answer = await ask('/admin/v1/rbac/bindings', admin, {
    principal_id: principal,
    bindings: [{ role_id: role, scope }],
  });
  expect([answer.status, answer.text]).toEqual([200, answer.text]);
}

const unbind = (principal: string) =>
  ask(`/admin/v1/rbac/bindings/${encodeURIComponent(principal)}`, admin, undefined, 'DELETE');
const call = async (token: string, tool = 'echo') => (await callTool(gateway, tool, {}, { token })).status;

describe('a tool call without a capability', () => {
  it('needs a role, where it holds, and only as long as it is held', async () => {
    const key = await keyOf('caller', 'red');
    expect(await call(key)).toBe(403);
    await bind('caller', 'TeamMember', { scope_type: 'team', attributes: { team: 'blue' } });
    expect(await call(key)).toBe(403);
    await unbind('caller');
    await bind('caller', 'TeamMember', { scope_type: 'path', attributes: { server: 'tested', tool: 'echo' } });
    expect([await call(key), await call(key, 'other')]).toEqual([200, 403]);
    const { body } = await ask('/v1/mcp/servers/tested/tools', key);
    expect(JSON.stringify(body)).toContain('"echo"');
    expect(JSON.stringify(body)).not.toContain('"other"');
    expect((await unbind('caller')).status).toBe(200);
    expect(await call(key)).toBe(403);
    expect((await unbind('caller')).status).toBe(404);
  });

  it('is refused on record with the reason', async () => {
    const key = await keyOf('reader-only', 'red', ['events:read']);
    const answer = await callTool(gateway, 'echo', {}, { token: key });
    expect([answer.status, answer.body['code']]).toEqual([403, 'TALOS_DENIED']);
    const { body } = await ask(`/api/events/${answer.headers.get('x-talos-audit-ref')}`, key);
    expect((body['record'] as JsonObject)['meta']).toMatchObject({ denial_detail: 'rbac_permission_denied' });
  });

  it('is allowed by what the key carries, but a capability beside it is enforced', async () => {
    const key = await keyOf('carrier', 'red', ['mcp:invoke']);
    expect(await call(key)).toBe(200);
    const capability = tokenWith({ sub: 'carrier', scope: 'tool:elsewhere' });
    expect((await callTool(gateway, 'echo', {}, { token: key, capability })).status).toBe(403);
  });
});

describe('the events of teams', () => {
  const idsFor = async (token: string) => {
    const { status, body } = await ask('/api/events?limit=500', token);
    expect(status).toBe(200);
    const items = body['items'] as unknown as JsonObject[];
    return items.map((item) => ({ id: String(item['event_id']), team: teamOf(item) }));
  };
  const teamOf = (item: JsonObject) => (item['principal'] as JsonObject | undefined)?.['team_id'] ?? item['team_id'];
  let red: string;
  let blue: string;
  let redEvent: string;

  beforeAll(async () => {
    red = await keyOf('red-member', 'red', ['mcp:invoke', 'events:read', 'audit:read']);
    blue = await keyOf('blue-member', 'blue', ['mcp:invoke', 'events:read', 'audit:read']);
    for (const token of [red, blue]) expect(await call(token)).toBe(200);
    redEvent = (await callTool(gateway, 'echo', {}, { token: red })).headers.get('x-talos-audit-ref') ?? '';
  });

  it.each([
    (id: string) => `/api/events/${id}`,
    (id: string) => `/api/events/${id}/proof`,
    (id: string) => `/proof/${id}`,
  ])('are not there for other teams: %s', async (path) => {
    const answers = [await ask(path(redEvent), red), await ask(path(redEvent), blue)];
    expect(answers.map(({ status }) => status)).toEqual([200, 404]);
  });

  it('are listed and counted for their own team', async () => {
    const [ofRed, ofBlue] = [await idsFor(red), await idsFor(blue)];
    expect(ofRed.map(({ id }) => id)).toContain(redEvent);
    expect(ofBlue.map(({ id }) => id)).not.toContain(redEvent);
    const shared = new Set(ofRed.map(({ id }) => id));
    expect(ofBlue.filter(({ id }) => shared.has(id))).toEqual([]);
    const counted = await Promise.all(
      [red, blue].map(async (token) => (await ask('/admin/v1/audit/stats', token)).body['requests_24h']),
    );
    const all = (await ask('/admin/v1/audit/stats', admin)).body['requests_24h'];
    expect(Number(counted[0])).toBeGreaterThan(Number(counted[1]));
    expect(Number(all)).toBeGreaterThan(Number(counted[0]) + Number(counted[1]));
  });

  it('are shown to members of another team by a role there, and all by a global one', async () => {
    const auditor = await keyOf('auditor', 'green');
    expect((await ask('/api/events', auditor)).status).toBe(403);
    await bind('auditor', 'TeamViewer', 'team:blue');
    expect((await idsFor(auditor)).map(({ id }) => id)).not.toContain(redEvent);
    expect((await idsFor(auditor)).length).toBeGreaterThan(0);
    expect((await ask('/log/tile/entries/000.p/1', auditor)).status).toBe(403);
    await bind('auditor', 'Auditor');
    expect((await idsFor(auditor)).map(({ id }) => id)).toContain(redEvent);
    expect((await ask('/log/tile/entries/000.p/1', auditor)).status).toBe(200);
  });
});

describe('the routes of the administration', () => {
  const writes: readonly [string, string, JsonValue | undefined][] = [
    ['POST', '/admin/v1/rbac/roles', { name: 'x', permissions: [] }],
    ['DELETE', '/admin/v1/rbac/roles/x', undefined],
    ['POST', '/admin/v1/rbac/bindings', { principal_id: 'x', bindings: [] }],
    ['DELETE', '/admin/v1/rbac/bindings/x', undefined],
    ['POST', '/admin/v1/secrets', { name: 'x', value: 'y' }],
    ['DELETE', '/admin/v1/secrets/x', undefined],
    ['POST', '/admin/v1/secrets/rotate-all', {}],
    ['POST', '/admin/v1/config:apply', { version: '1.0' }],
    ['GET', '/admin/v1/rbac/roles', undefined],
    ['GET', '/admin/v1/rbac/permissions', undefined],
    ['GET', '/admin/v1/rbac/bindings', undefined],
    ['GET', '/admin/v1/secrets', undefined],
    ['GET', '/admin/v1/secrets/kek-status', undefined],
    ['GET', '/admin/v1/secrets/rotation-status/00000000-0000-4000-8000-000000000000', undefined],
    ['GET', '/admin/v1/config:export', undefined],
    ['GET', '/admin/v1/gateway/status', undefined],
  ];
  let member: string;
  beforeAll(async () => {
    member = await keyOf('team-member', 'red', ['mcp:*', 'events:*', 'messages:*']);
    await bind('team-member', 'TeamAdmin', 'team:red');
  });

  it.each(writes)('%s %s is closed to who has no right to it', async (method, path, json) => {
    const send = (token?: string) =>
      gateway.send(path, {
        method,
        ...(json === undefined ? {} : { json }),
        ...(token === undefined ? {} : { token }),
      });
    expect((await send()).status).toBe(401);
    expect((await send('guessed')).status).toBe(403);
    const denied = await send(member);
    expect([denied.status, denied.body['code']]).toEqual([403, 'TALOS_DENIED']);
    expect(denied.headers.get('x-talos-audit-ref')).toMatch(/^[0-9a-f-]{36}$/);
    expect((await send(tokenWith({ scope: 'tool:gateway/method:events.read' }))).status).toBe(403);
  });

  it('tell who the caller is', async () => {
    expect((await ask('/admin/v1/me', admin)).body).toMatchObject({ id: 'admin-user', roles: ['admin', 'operator'] });
    const { body } = await ask('/admin/v1/me', member);
    expect(body).toMatchObject({ id: 'team-member', team_id: 'red', roles: ['TeamAdmin'] });
    expect(body['permissions']).toEqual(expect.arrayContaining(['audit:read', 'mcp:*']));
    expect(body['bindings']).toHaveLength(1);
    expect((await gateway.send('/admin/v1/me')).status).toBe(401);
  });

  it('tell how the gateway does', async () => {
    const { status, body } = await ask('/admin/v1/gateway/status', admin);
    expect([status, body['status'], typeof body['timestamp']]).toEqual([200, 'HEALTHY', 'number']);
  });
});

describe('roles', () => {
  const make = (json: JsonValue, token = admin) => ask('/admin/v1/rbac/roles', token, json);

  it.each([
    [{ name: 'a b', permissions: [] }, 422],
    [{ name: '', permissions: [] }, 422],
    [{ name: 'x' }, 422],
    [{ name: 'x', permissions: ['nonsense'] }, 400],
    [{ name: 'x', permissions: ['a:b:c:d'] }, 400],
    [{ name: 'Auditor', permissions: [] }, 409],
  ])('are refused: %j', async (json, status) => {
    expect((await make(json)).status).toBe(status);
  });

  it.each([
    [{ principal_id: '', bindings: [] }, 422],
    [{ principal_id: 'gateway', bindings: [] }, 400],
    [{ principal_id: 'a\u0000b', bindings: [] }, 400],
    [{ principal_id: 'p', bindings: [{ role_id: 'nothing', scope: 'global' }] }, 404],
    [{ principal_id: 'p', bindings: [{ role_id: 'Auditor', scope: 'org:x' }] }, 400],
    [{ principal_id: 'p', bindings: [{ role_id: 'Auditor', scope: 'team' }] }, 400],
    [{ principal_id: 'p', bindings: [{ role_id: 'Auditor', scope: { scope_type: 'team', attributes: {} } }] }, 400],
    [
      {
        principal_id: 'p',
        bindings: [{ role_id: 'Auditor', scope: { scope_type: 'global', attributes: { a: 'b' } } }],
      },
      400,
    ],
    [{ principal_id: 'p', bindings: [{ role_id: 'Auditor', scope: { scope_type: 'org', attributes: {} } }] }, 422],
    [{ principal_id: 'p', bindings: [{ role_id: 'Auditor' }] }, 422],
  ])('cannot be given so: %j', async (json, status) => {
    expect((await ask('/admin/v1/rbac/bindings', admin, json)).status).toBe(status);
  });

  it('are made, held, and deleted when nobody holds them', async () => {
    const made = await make({ name: 'Caller', description: "it's \\ ours", permissions: ['mcp.invoke', 'mcp:invoke'] });
    expect(made.body).toMatchObject({ name: 'Caller', permissions: ['mcp:invoke'], built_in: false });
    const id = String(made.body['role_id']);
    expect((await make({ name: 'Caller', permissions: [] })).status).toBe(409);
    await bind("o'holder", id);
    expect((await ask(`/admin/v1/rbac/roles/${id}`, admin, undefined, 'DELETE')).status).toBe(409);
    expect((await unbind("o'holder")).status).toBe(200);
    expect((await ask(`/admin/v1/rbac/roles/${id}`, admin, undefined, 'DELETE')).status).toBe(200);
    expect((await ask(`/admin/v1/rbac/roles/${id}`, admin, undefined, 'DELETE')).status).toBe(404);
    expect((await ask('/admin/v1/rbac/roles/Auditor', admin, undefined, 'DELETE')).body['code']).toBe('ROLE_BUILT_IN');
  });

  it('are never given by who does not have them', async () => {
    const operator = await keyOf('operator', 'red');
    await bind('operator', 'Operator');
    const give = (role: string) =>
      ask('/admin/v1/rbac/bindings', operator, {
        principal_id: 'operator',
        bindings: [{ role_id: role, scope: 'global' }],
      });
    for (const role of ['PlatformAdmin', 'TeamMember', 'Auditor'])
      expect([role, (await give(role)).status]).toEqual([role, 403]);
    expect((await make({ name: 'Escape', permissions: ['*:*'] }, operator)).status).toBe(403);
    expect((await make({ name: 'Keeper', permissions: ['secrets:read'] }, operator)).status).toBe(200);
  });

  it('an id of a binding belongs to one principal', async () => {
    const binding = { binding_id: 'one', role_id: 'TeamViewer', scope: 'team:red' };
    const give = (principal_id: string) => ask('/admin/v1/rbac/bindings', admin, { principal_id, bindings: [binding] });
    expect([(await give('first')).status, (await give('second')).status, (await give('first')).status]).toEqual([
      200, 409, 200,
    ]);
    expect((await ask('/admin/v1/rbac/bindings/first?binding_id=two', admin, undefined, 'DELETE')).status).toBe(404);
    expect((await ask('/admin/v1/rbac/bindings/first?binding_id=one', admin, undefined, 'DELETE')).status).toBe(200);
  });
});

describe('the snapshot of the configuration', () => {
  it('applies what it exported, and replaces the roles as a whole', async () => {
    const before = (await ask('/admin/v1/config:export', admin)).body;
    expect(before).toMatchObject({
      version: '1.0',
      upstreams: [{ id: 'tested', url: upstream.url, transport: 'http' }],
    });
    await bind('too-much', 'PlatformAdmin');
    expect((await ask('/admin/v1/config:apply', admin, before)).body).toMatchObject({ status: 'success' });
    const after = (await ask('/admin/v1/config:export', admin)).body;
    expect(JSON.stringify(after['rbac'])).not.toContain('too-much');
    const names = (snapshot: JsonObject) => JSON.stringify((snapshot['rbac'] as JsonObject)['roles']);
    expect(names(after)).toBe(names(before));
  });

  it.each<[JsonValue, number, string]>([
    [{}, 400, 'CONFIG_SNAPSHOT_INVALID'],
    [[], 400, 'CONFIG_SNAPSHOT_INVALID'],
    [{ version: '2.0' }, 400, 'CONFIG_SNAPSHOT_INVALID'],
    [{ version: '1.0', rbac: { roles: 'all' } }, 400, 'CONFIG_SNAPSHOT_INVALID'],
    [{ version: '1.0', upstreams: [] }, 409, 'CONFIG_CHANGE_REFUSED'],
    [{ version: '1.0', rbac: { roles: [{ name: 'x', permissions: ['a?:b'] }], bindings: [] } }, 400, 'INVALID_REQUEST'],
    [
      {
        version: '1.0',
        rbac: { roles: [], bindings: [{ principal_id: 'p', bindings: [{ role_id: 'x', scope: 'global' }] }] },
      },
      404,
      'NOT_FOUND',
    ],
  ])('refuses %j and applies nothing of it', async (json, status, code) => {
    const before = (await ask('/admin/v1/rbac/bindings', admin)).text;
    const answer = await ask('/admin/v1/config:apply', admin, json);
    expect([answer.status, answer.body['code']]).toEqual([status, code]);
    expect((await ask('/admin/v1/rbac/bindings', admin)).text).toBe(before);
  });
});

describe('two gateways on one database', () => {
  it('know of each other, and forget what was taken away', async () => {
    const second = await startTestGateway({
      env,
      clock: wallClock(),
      servers: { tested: upstream.url },
      databaseUrl: () => gateway.database.url,
    });
    try {
      const key = await keyOf('everywhere', 'red');
      const there = async () => (await callTool(second, 'echo', {}, { token: key })).status;
      expect(await there()).toBe(403);
      await bind('everywhere', 'TeamMember', 'team:red');
      await expect.poll(there, { timeout: 20_000 }).toBe(200);
      await unbind('everywhere');
      await expect.poll(there, { timeout: 20_000 }).toBe(403);
    } finally {
      await second.stop();
    }
  });
});

it('leaves a sound log, with a record for every change and every refused one', async () => {
  const records = (await checkLog({ url: gateway.database.url })).map(({ record }) => record);
  const of = (surface: string) => records.filter((record) => String(record['surface_id']) === surface);
  expect(of('admin.rbac.roles.create').map(({ outcome }) => outcome)).toEqual(
    expect.arrayContaining(['success', 'failure', 'denied']),
  );
  expect(of('admin.config.apply').map(({ outcome }) => outcome)).toEqual(
    expect.arrayContaining(['success', 'failure']),
  );
  expect(of('admin.rbac.bindings.delete').length).toBeGreaterThan(5);
});
