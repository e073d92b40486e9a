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
  recordOf,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { checkLog } from '../support/log-checker.ts';
import { query } from '../support/log-fixture.ts';
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

/** Sees the events of all teams. */
const auditorToken = () => keyOf('auditor-of-all', 'red', ['events:read:all']);
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

  it('tell the user of development that they may do everything, unless capabilities are demanded', async () => {
    const { url } = gateway.database;
    for (const demanded of ['false', 'true']) {
      const relaxed = await startTestGateway({
        env: {
          TALOS_RATE_LIMIT: 'false',
          TALOS_REQUIRE_CAPABILITY: demanded,
          TALOS_LOG_KEY_FILE: env.TALOS_LOG_KEY_FILE,
        },
        clock: wallClock(),
        databaseUrl: () => url,
      });
      try {
        const permissions = demanded === 'false' ? ['*:*'] : [];
        const roles = demanded === 'false' ? ['admin', 'operator'] : [];
        expect((await relaxed.send('/admin/v1/me', { token: 'anything' })).body).toMatchObject({
          id: 'dev-user',
          ...{ roles, permissions, effective_permissions: permissions },
        });
      } finally {
        await relaxed.stop();
      }
    }
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
    [{ role_id: 'my-role', name: 'X', permissions: ['mcp:invoke'] }, 400],
    [{ role_id: '', name: 'X', permissions: [] }, 400],
    [{ role_id: '018f0000-0000-4000-8000-000000000001', name: 'X', permissions: [] }, 400],
    [{ role_id: '{018f0000-0000-7000-8000-000000000001}', name: 'X', permissions: [] }, 400],
    [{ role_id: '018f0000-0000-7000-8000-00000000000\u0000', name: 'X', permissions: [] }, 400],
    [{ role_id: 7, name: 'X', permissions: [] }, 422],
    [{ role_id: '01900000-0000-7000-8000-000000000001', name: 'X', permissions: [] }, 409],
  ])('are refused: %j', async (json, status) => {
    const answer = await make(json);
    expect([answer.status, answer.text]).toEqual([status, answer.text]);
    expect((await gateway.send('/readyz')).status).toBe(200);
  });

  it('have the id that they are given, once', async () => {
    const role_id = '018F0000-0000-7000-8000-0000000000AB';
    const made = await make({ role_id, name: 'Named', permissions: [] });
    expect(made.body).toMatchObject({ role_id: role_id.toLowerCase(), name: 'Named' });
    for (const id of [role_id, role_id.toLowerCase()])
      expect((await make({ role_id: id, name: 'Other', permissions: [] })).status).toBe(409);
    expect((await ask(`/admin/v1/rbac/roles/${role_id}`, admin, undefined, 'DELETE')).status).toBe(200);
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

  it.each<[string, JsonObject]>([
    ['rbac/roles', { name: 'Escape', permissions: ['*:*'] }],
    ['rbac/bindings', { principal_id: 'keeper', bindings: [{ role_id: 'PlatformAdmin', scope: 'global' }] }],
    ['api-keys', { name: 'escape', permissions: ['events:write'] }],
    ['api-keys', { name: 'escape', principal_id: 'somebody', permissions: [] }],
    ['config:apply', { version: '1.0', rbac: { roles: [{ name: 'Escape', permissions: ['*:*'] }], bindings: [] } }],
  ])(
    'a refused escalation is a denial with a reason, in the answer, on record and in the statistics: %s %j',
    async (path, json) => {
      const keeper = await keyOf('keeper', 'red', ['rbac:write', 'keys:write', 'config:write', 'capabilities:write']);
      const denials = async () => {
        const { body } = await ask('/admin/v1/audit/stats', admin);
        return Number((body['denial_reason_counts'] as JsonObject)['SCOPE_MISMATCH'] ?? 0);
      };
      const before = await denials();
      const answer = await ask(`/admin/v1/${path}`, keeper, json);
      expect([answer.status, answer.text]).toEqual([403, answer.text]);
      expect(answer.body).toMatchObject({ code: 'TALOS_DENIED', details: { denial_reason: 'SCOPE_MISMATCH' } });
      const { record, meta } = await recordOf(gateway, answer, await auditorToken());
      expect(record).toMatchObject({ outcome: 'denied', http: { status_code: 403 } });
      expect(meta).toMatchObject({
        denial_reason: 'SCOPE_MISMATCH',
        denial_detail: 'escalation',
        by_api_key: expect.any(String),
      });
      expect(await denials()).toBe(before + 1);
    },
  );

  it('what nobody may change is a denial too', async () => {
    const answer = await ask('/admin/v1/rbac/roles/Auditor', admin, undefined, 'DELETE');
    expect(answer.body).toMatchObject({ code: 'ROLE_BUILT_IN', details: { denial_reason: 'SCOPE_MISMATCH' } });
    const { record, meta } = await recordOf(gateway, answer, await auditorToken());
    expect([record['outcome'], meta['denial_detail']]).toEqual(['denied', 'role_built_in']);
  });

  it.each(['mcp.typo', 'events:read:everything', 'message:send', 'llm:read'])(
    'a key is not made with a permission that means nothing here: %s',
    async (permission) => {
      const answer = await ask('/admin/v1/api-keys', admin, { name: 'x', permissions: ['mcp.invoke', permission] });
      expect([answer.status, answer.body['code']]).toEqual([400, 'INVALID_REQUEST']);
      expect(answer.body['message']).toContain(permission.replaceAll('.', ':'));
    },
  );

  it('every permission that is listed may be given, and those of capabilities are among them', async () => {
    const { body } = await ask('/admin/v1/rbac/permissions', admin);
    const permissions = body['permissions'] as string[];
    expect(permissions).toEqual(expect.arrayContaining(['messages:send', 'messages:receive', 'mcp:admin']));
    const answer = await ask('/admin/v1/api-keys', admin, {
      name: 'all',
      permissions: [...permissions, 'mcp:*', '*:*'],
    });
    expect([answer.status, answer.text]).toEqual([expect.toBeOneOf([200, 201]), answer.text]);
    const roles = (await ask('/admin/v1/rbac/roles', admin)).body['roles'] as unknown as {
      permissions: string[];
      built_in: boolean;
    }[];
    const builtIn = roles.filter(({ built_in }) => built_in).flatMap((role) => role.permissions);
    expect(builtIn.filter((permission) => !permission.includes('*') && !permissions.includes(permission))).toEqual([]);
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

  it('applies what an older gateway kept, and more bindings of one principal than are given at once', async () => {
    const before = (await ask('/admin/v1/config:export', admin)).body;
    const id = '018f0000-0000-4000-8000-000000000001';
    await query(
      gateway.database.url,
      `INSERT INTO rbac_role (role_id, name, permissions) VALUES ('${id}', 'Old', ARRAY['llm:read']);
       INSERT INTO rbac_binding (binding_id, principal_id, role_id, scope_type, attributes)
         SELECT 'old-' || n, 'old', '${id}', 'global', '{}' FROM generate_series(1, 4000) AS n;
       UPDATE state_version SET version = version + 1 WHERE topic = 'roles'`,
    );
    await bind('old', 'Auditor');
    const exported = (await ask('/admin/v1/config:export', admin)).body;
    expect(JSON.stringify(exported)).toContain('old-4000');
    const same = await ask('/admin/v1/config:apply', admin, exported);
    expect([same.status, same.text]).toEqual([200, same.text]);
    expect(same.body['message']).toMatch(
      /Roles: 0 added, 0 changed, 0 removed, .*Bindings: 0 added, 0 changed, 0 removed/,
    );
    const undone = await ask('/admin/v1/config:apply', admin, before);
    expect(undone.body['message']).toMatch(
      /Roles: 0 added, 0 changed, 1 removed, .*Bindings: 0 added, 0 changed, 4001 removed/,
    );
    expect((await ask('/admin/v1/config:export', admin)).body['rbac']).toEqual(before['rbac']);
  });

  it('says what it adds and changes', async () => {
    const before = (await ask('/admin/v1/config:export', admin)).body;
    const snapshot = (permissions: string[]) => ({
      version: '1.0',
      rbac: {
        roles: [{ name: 'Applied', permissions }],
        bindings: [{ principal_id: 'p', bindings: [{ binding_id: 'applied', role_id: 'Applied', scope: 'global' }] }],
      },
    });
    expect((await ask('/admin/v1/config:apply', admin, snapshot([]))).body['message']).toMatch(
      /Roles: 1 added.*Bindings: 1 added/,
    );
    expect((await ask('/admin/v1/config:apply', admin, snapshot(['mcp:invoke']))).body['message']).toMatch(
      /Roles: 0 added, 1 changed, 0 removed.*Bindings: 0 added, 1 changed, 0 removed/,
    );
    expect((await ask('/admin/v1/config:apply', admin, before)).status).toBe(200);
  });

  it.each<[JsonValue, number, string]>([
    [
      {
        version: '1.0',
        rbac: {
          roles: [],
          bindings: ['p', 'p'].map((principal_id) => ({
            principal_id,
            bindings: [{ binding_id: 'twice', role_id: 'Auditor', scope: 'global' }],
          })),
        },
      },
      409,
      'CONFLICT',
    ],
    [
      { version: '1.0', rbac: { roles: [{ role_id: 'x', name: 'x', permissions: [] }], bindings: [] } },
      400,
      'INVALID_REQUEST',
    ],
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
