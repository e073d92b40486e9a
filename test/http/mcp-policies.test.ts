/** Policies of teams: what a team may use beside what its callers were granted, at every gateway, in calls and lists alike. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import {
  callTool,
  eventually,
  productionEnv,
  recordOf,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { checkLog } from '../support/log-checker.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';
import { describeVectors, vector } from '../support/vectors.ts';

const admin = productionEnv.AUTH_ADMIN_SECRET;
const reader = tokenWith({ scope: 'tool:gateway/method:events.read', constraints: { team_id: '*' } });
const base = '/admin/v1/mcp/policies';

let folder: string;
let upstream: Upstream;
let first: TestGateway;
let second: TestGateway;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-policies-'));
  upstream = await startUpstream({ calls: { echo, read_file: echo, read_mail: echo, write_file: echo, 'a/b': echo } });
  const env = {
    ...productionEnv,
    TALOS_LOG_KEY_FILE: join(folder, 'log.key'),
    MCP_CONNECTOR_URL: upstream.url,
  };
  const servers = { files: upstream.url, mail: upstream.url };
  first = await startTestGateway({ env, servers, clock: wallClock() });
  second = await startTestGateway({ env, servers, clock: wallClock(), databaseUrl: () => first.database.url });
});

afterEach(async () => {
  const { policies } = (await ask('')).body as unknown as { policies: { id: string }[] };
  for (const { id } of policies) await ask(`/${id}`, undefined, 'DELETE');
});

afterAll(async () => {
  await second.stop();
  await first.stop();
  await upstream.close();
  await rm(folder, { recursive: true });
});

const ask = (path: string, json?: JsonValue, method?: string, token = admin, gateway = first) =>
  gateway.send(base + path, {
    token,
    ...(json === undefined ? {} : { json }),
    ...(method === undefined ? {} : { method }),
  });
const add = (policy: JsonObject) => ask('', policy);

/** A caller of the team who was granted everything. */
const memberOf = (team: string) => tokenWith({ scope: 'tool:*', constraints: { team_id: team } });
const call = (team: string, server: string, tool: string, gateway = first) =>
  callTool(gateway, tool, {}, { server, token: memberOf(team) });
const mayCall = async (team: string, server: string, tool: string) => (await call(team, server, tool)).status === 200;

async function toolsOf(team: string, server: string, gateway = first): Promise<unknown> {
  const answer = await gateway.send(`/v1/mcp/servers/${server}/tools`, { token: memberOf(team) });
  if (answer.status !== 200) return answer.status;
  return (answer.body['tools'] as unknown as JsonObject[]).map(({ name }) => name).sort();
}

async function serversOf(team: string): Promise<unknown> {
  const { body } = await first.send('/v1/mcp/servers', { token: memberOf(team) });
  return (body['servers'] as unknown as JsonObject[]).map(({ id }) => id).sort();
}

async function detailOf(team: string, server: string, tool: string): Promise<unknown> {
  const refused = await call(team, server, tool);
  expect([refused.status, refused.body['code'], refused.body['message']]).toEqual([
    403,
    'TALOS_DENIED',
    'The policy of the team does not allow this.',
  ]);
  const { record, meta } = await recordOf(first, refused, reader);
  expect([record['outcome'], meta['denial_reason']]).toEqual(['denied', 'SCOPE_MISMATCH']);
  return meta['denial_detail'];
}

const everything = ['a/b', 'echo', 'read_file', 'read_mail', 'write_file'];

describe('a policy', () => {
  it('is kept as the public schema has it, with its defaults, and on record', async () => {
    const added = await add({ id: 'p1', team_id: 'red', allowed_servers: ['files'] });
    expect([added.status, added.body as unknown]).toEqual([
      200,
      expect.objectContaining({
        ...{ id: 'p1', team_id: 'red', allowed_servers: ['files'], allowed_tools: {} },
        ...{ deny_by_default: true, require_approval: {}, version: 1 },
      }),
    ]);
    expect((await recordOf(first, added, reader)).record).toMatchObject({
      surface_id: 'admin.mcp.policies.add',
      resource: { resource_type: 'policy', resource_id: 'p1' },
    });
    expect((await ask('/p1')).body['team_id']).toBe('red');
    expect((await ask('?team_id=blue')).body).toEqual({ policies: [], total: 0 });
    expect((await ask('?team_id=red')).body['total']).toBe(1);
    expect((await add({ team_id: 'red' })).body['id']).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('narrows what its team may call, and no other team', async () => {
    await add({ team_id: 'red', allowed_servers: ['files'], allowed_tools: { files: ['read_*', 'a/?'] } });
    expect(await mayCall('red', 'files', 'read_file')).toBe(true);
    expect(await mayCall('red', 'files', 'a/b')).toBe(true);
    expect(await detailOf('red', 'files', 'write_file')).toBe('policy_tool');
    expect(await detailOf('red', 'mail', 'echo')).toBe('policy_server');
    expect(await mayCall('blue', 'files', 'write_file')).toBe(true);
  });

  it('narrows what lists show', async () => {
    await add({ team_id: 'red', allowed_servers: ['files'], allowed_tools: { files: ['read_*'] } });
    expect(await toolsOf('red', 'files')).toEqual(['read_file', 'read_mail']);
    expect(await toolsOf('red', 'mail')).toBe(403);
    expect(await serversOf('red')).toEqual(['files']);
    expect(await toolsOf('blue', 'mail')).toEqual(everything);
    const schema = await first.send('/v1/mcp/servers/files/tools/echo/schema', { token: memberOf('red') });
    expect(schema.status).toBe(403);
  });

  it('gives nothing to whoever was not granted it', async () => {
    await add({ team_id: 'red', allowed_servers: ['files'], allowed_tools: { files: ['*'] } });
    const token = tokenWith({ scope: 'tool:files/method:echo', constraints: { team_id: 'red' } });
    expect((await callTool(first, 'echo', {}, { server: 'files', token })).status).toBe(200);
    const refused = await callTool(first, 'write_file', {}, { server: 'files', token });
    expect((await recordOf(first, refused, reader)).meta['denial_detail']).toBe('scope');
  });

  it('of which a team has several allows what all of them allow', async () => {
    await add({ team_id: 'red', allowed_tools: { files: ['read_*', 'echo'] } });
    await add({ team_id: '*', allowed_tools: { '*': ['*_file', 'echo'] } });
    expect(await toolsOf('red', 'files')).toEqual(['echo', 'read_file']);
    expect(await toolsOf('blue', 'files')).toEqual(['echo', 'read_file', 'write_file']);
    expect(await detailOf('red', 'files', 'read_mail')).toBe('policy_tool');
  });

  it('says what becomes of servers that it does not name', async () => {
    await add({ id: 'p', team_id: 'red', allowed_tools: { files: ['echo'] } });
    expect(await detailOf('red', 'mail', 'echo')).toBe('policy_server');
    await ask('/p', { deny_by_default: false }, 'PATCH');
    expect(await mayCall('red', 'mail', 'echo')).toBe(true);
    expect(await detailOf('red', 'files', 'read_file')).toBe('policy_tool');
    // One that is named without a list of tools has all of them allowed.
    await ask('/p', { deny_by_default: true, allowed_servers: ['files', 'mail'] }, 'PATCH');
    expect(await mayCall('red', 'mail', 'read_mail')).toBe(true);
    await ask('/p', { allowed_servers: [], allowed_tools: {} }, 'PATCH');
    expect(await serversOf('red')).toEqual(['connector', 'files', 'mail']);
    await ask('/p', { allowed_tools: { files: [] } }, 'PATCH');
    expect(await detailOf('red', 'files', 'echo')).toBe('policy_tool');
  });

  it('is known at every gateway within a second, and gone as soon', async () => {
    await add({ id: 'p', team_id: 'green', allowed_servers: ['mail'] });
    await eventually(async () => (await call('green', 'files', 'echo', second)).status === 403);
    expect(await toolsOf('green', 'files', second)).toBe(403);
    await ask('/p', undefined, 'DELETE');
    await eventually(async () => (await call('green', 'files', 'echo', second)).status === 200);
  });

  it('is part of the explanation of a call', async () => {
    await add({ id: 'p', team_id: 'red', allowed_servers: ['files'], allowed_tools: { files: ['read_*'] } });
    await add({ id: 'q', team_id: '*', require_approval: { files: ['echo'] } });
    const json = { server_id: 'files', tool_name: 'echo', capability: memberOf('red') };
    const { body } = await first.send('/admin/v1/policy/explain', { token: admin, json });
    expect(body as unknown).toMatchObject({
      decision: 'deny',
      denial: { denial_reason: 'SCOPE_MISMATCH', denial_detail: 'policy_tool' },
      policies: [
        { id: 'q', allows: true, demands_approval: true },
        { id: 'p', allows: false, demands_approval: false },
      ],
      remedies: [expect.stringContaining('talos policies list')],
    });
  });

  it('holds for chat too, where nobody waits for an approval', async () => {
    const json = { session_id: 's', model: 'm', messages: [{ role: 'user', content: 'hi' }] };
    const chat = async () => {
      const capability = memberOf('red');
      const answer = await first.send('/mcp/tools/chat', { token: capability, json: { ...json, capability } });
      return [answer.status, answer.status === 403 && (await recordOf(first, answer, reader)).meta['denial_detail']];
    };
    await add({ id: 'p', team_id: 'red', allowed_servers: ['files'] });
    expect(await chat()).toEqual([403, 'policy_server']);
    await ask('/p', { allowed_servers: [], require_approval: { connector: ['chat'] } }, 'PATCH');
    expect(await chat()).toEqual([403, 'approval_unavailable']);
  });
});

describe('whoever changes policies', () => {
  it('needs the right to', async () => {
    const json = { team_id: 'red' };
    for (const token of [reader, memberOf('red')]) {
      expect((await ask('', json, 'POST', token)).status).toBe(403);
      expect((await ask('', undefined, 'GET', token)).status).toBe(403);
      expect((await ask('/p', json, 'PATCH', token)).status).toBe(403);
      expect((await ask('/p', undefined, 'DELETE', token)).status).toBe(403);
    }
    expect((await first.send(base)).status).toBe(401);
  });

  it('is told what a policy cannot be', async () => {
    await add({ id: 'p', team_id: 'red' });
    expect((await add({ id: 'p', team_id: 'blue' })).status).toBe(409);
    expect((await ask('/p', { expected_version: 7 }, 'PATCH')).status).toBe(409);
    expect((await ask('/q')).status).toBe(404);
    expect((await ask('/q', {}, 'PATCH')).status).toBe(404);
    expect((await ask('/q', undefined, 'DELETE')).status).toBe(404);
    for (const wrong of [
      { team_id: 'r\u0000d' },
      { id: 'a\nb', team_id: 'red' },
      { team_id: 'red', allowed_servers: ['Not An Id'] },
      { team_id: 'red', allowed_tools: { 'Not An Id': [] } },
      { team_id: 'red', allowed_tools: { files: ['a\\b'] } },
      { team_id: 'red', require_approval: { files: ['x**'] } },
      {
        team_id: 'red',
        allowed_tools: Object.fromEntries(
          Array.from({ length: 90 }, (_, n) => [`s${n}`, Array(2).fill('x'.repeat(500))]),
        ),
      },
    ]) {
      expect([wrong, (await add(wrong)).status]).toEqual([wrong, 400]);
    }
    for (const wrong of [{}, { team_id: '' }, { team_id: 'red', surprise: 1 }, { team_id: 'red', allowed_tools: [] }]) {
      expect([wrong, (await add(wrong as JsonObject)).status]).toEqual([wrong, 422]);
    }
    expect((await ask('')).body['total']).toBe(1);
  });

  it('leaves a log that verifies', async () => {
    expect((await checkLog({ url: first.database.url })).length).toBeGreaterThan(0);
  });
});

describeVectors('the public schema of policies', () => {
  it('takes what is listed, and its examples are taken', async () => {
    const validate = new Ajv({ strict: false }).compile(vector<JsonObject>('schemas/mcp/policy.schema.json'));
    const example = { id: 'p', team_id: 'red', allowed_servers: ['files'], allowed_tools: { files: ['echo'] } };
    expect(validate(example)).toBe(true);
    await add(example);
    await add({ team_id: '*', require_approval: { '*': ['write_*'] } });
    const { policies } = (await ask('')).body as unknown as { policies: JsonObject[] };
    expect(policies.map((policy) => validate(policy))).toEqual([true, true]);
  });
});
