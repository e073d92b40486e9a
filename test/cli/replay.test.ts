/** `talos replay`, from outside: recorded calls judged again under other capabilities, roles and keys. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { childEnv } from '../support/child-env.ts';
import { callTool, productionEnv, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { strangeIssuer, tokenWith, trustedIssuer } from '../support/issuer.ts';
import { query } from '../support/log-fixture.ts';
import { sendResult } from '../support/mcp-scripted.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

const program = resolve(import.meta.dirname, '../support/capability-cli-process.ts');
const admin = productionEnv.AUTH_ADMIN_SECRET;
// Records have the time of the store, which tokens have to outlast.
const exp = 4_100_000_000;
const used = tokenWith({ sub: 'agent-1', scope: 'tool:tested', exp });
const limited = tokenWith({ sub: 'agent-2', scope: 'tool:other', exp });
const reader = tokenWith({
  scope: ['events.read', 'admin.config.read', 'admin.keys.read', 'admin.capabilities.read', 'admin.mcp.read']
    .map((action) => `tool:gateway/method:${action}`)
    .join(' '),
  constraints: { team_id: '*' },
});
let folder: string;
let upstream: Upstream;
let gateway: TestGateway;
/** API keys by their principal. */
const keys = new Map<string, { readonly key: string; readonly id: string }>();

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-replay-'));
  upstream = await startUpstream({
    calls: { echo, chat: (received, response) => sendResult(received, response, { messages: [] }) },
  });
  gateway = await startTestGateway({
    env: {
      ...productionEnv,
      TALOS_API_KEY_PEPPER: 'a pepper that only this test knows, long enough',
      MCP_CONNECTOR_URL: upstream.url,
    },
    clock: wallClock(),
    servers: { tested: upstream.url },
  });
  await makeKey('role-holder', 'red', []);
  await makeKey('carrier', 'blue', ['mcp:invoke']);
  await makeKey('nobody', 'blue', []);
  await ask('rbac/bindings', { principal_id: 'role-holder', bindings: [teamMember] });
  for (const token of [used, used, limited]) await callTool(gateway, 'echo', {}, { token });
  for (const principal of ['role-holder', 'carrier', 'nobody']) await work(principal);
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
  await rm(folder, { recursive: true });
});

const teamMember = { role_id: 'TeamMember', scope: 'team:red' };

async function ask(path: string, json?: JsonValue, method?: string): Promise<JsonObject> {
  const options = {
    token: admin,
    ...(json === undefined ? {} : { json }),
    ...(method === undefined ? {} : { method }),
  };
  const { status, body, text } = await gateway.send(`/admin/v1/${path}`, options);
  expect([path, status], text).toEqual([path, 200]);
  return body;
}

async function makeKey(principal_id: string, team_id: string, permissions: string[]): Promise<void> {
  const { api_key: key, key: made } = await ask('api-keys', { name: principal_id, principal_id, team_id, permissions });
  keys.set(principal_id, { key: String(key), id: String((made as JsonObject)['id']) });
}

/** A tool call, a method of MCP, a conversation, and one of the gateway's own actions. */
async function work(principal: string): Promise<void> {
  const token = keys.get(principal)?.key ?? '';
  await callTool(gateway, 'echo', {}, { token });
  const read = { jsonrpc: '2.0', id: 1, method: 'resources/read', params: { uri: 'x:y' } };
  await gateway.send('/mcp/tested', { token, json: read });
  const messages = [{ role: 'user', content: 'hi' }];
  await gateway.send('/mcp/tools/chat', { token, json: { session_id: 's', model: 'm', messages } });
  await gateway.send('/admin/v1/rbac/roles', { token, json: { name: `of-${principal}`, permissions: [] } });
}

/** A replay goes as far as the newest checkpoint, and there is one a second: until it covers all that was done. */
async function covered(): Promise<void> {
  const [head] = await query(gateway.database.url, 'SELECT next_seq FROM log_head');
  const size = async () => Number((await gateway.send('/log/checkpoint')).text.split('\n')[1]);
  await expect.poll(size, { timeout: 20_000 }).toBeGreaterThanOrEqual(Number(head?.['next_seq']));
}

async function talos(args: readonly string[]) {
  await covered();
  const child = spawn(process.execPath, [program, 'replay', '--url', gateway.url, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...childEnv, TALOS_TOKEN: reader },
  });
  const exited = new Promise<number | null>((done) => child.on('close', done));
  const [out, err, code] = await Promise.all([readAll(child.stdout), readAll(child.stderr), exited]);
  return { out, err, code };
}

let files = 0;

async function fileOf(text: string): Promise<string> {
  const file = join(folder, `file-${files++}`);
  await writeFile(file, text);
  return file;
}

interface Row {
  readonly change: string;
  readonly principal: string;
  readonly server: string;
  readonly tool: string;
  readonly why: string;
  readonly calls: number;
  readonly examples: readonly string[];
}

async function report(args: readonly string[]) {
  const { out, err, code } = await talos([...args, '--json']);
  const found = (out === '' ? { changes: [] } : JSON.parse(out)) as JsonObject;
  const rows = found['changes'] as unknown as Row[];
  /** What is said of one principal, without what is the same in all of these. */
  const of = (principal: string) =>
    rows
      .filter((row) => row.principal === principal)
      .map(({ change, server, tool, why }) => [change, `${server}/${tool}`, why])
      .sort();
  return { err, code, found, rows, of };
}

const trusted = ['--trusted-issuer', trustedIssuer.did];
const byTokens = async (tokens: readonly string[], issuer = trusted) =>
  await report(['--capabilities', await fileOf(`${tokens.join('\n')}\n`), ...issuer]);
const byPolicy = async (policy: JsonValue, ...more: string[]) =>
  await report(['--policy', await fileOf(JSON.stringify(policy)), ...more]);

const noRole = 'NO_CAPABILITY';

describe('under other capabilities', () => {
  it('finds no change under the tokens that were used', async () => {
    const { code, of } = await byTokens([used, limited]);
    expect([of('agent-1'), of('agent-2')]).toEqual([[], []]);
    expect(code).toBe(0);
  });

  it('says what a narrower token would deny, and what a wider one would allow, with examples', async () => {
    const narrower = tokenWith({ sub: 'agent-1', scope: 'tool:tested/method:other', exp });
    const wider = tokenWith({ sub: 'agent-2', scope: 'tool:tested', exp });
    const { code, found, rows } = await byTokens([narrower, wider]);
    const example = expect.stringMatching(/^[0-9a-f-]{36}$/);
    expect(rows.filter(({ change }) => change !== 'not_judged')).toEqual([
      {
        ...{ change: 'newly_denied', principal: 'agent-1', server: 'tested', tool: 'echo' },
        ...{ why: 'SCOPE_MISMATCH scope', calls: 2, examples: [example, example] },
      },
      {
        ...{ change: 'newly_allowed', principal: 'agent-2', server: 'tested', tool: 'echo' },
        ...{ why: '', calls: 1, examples: [example] },
      },
    ]);
    expect(found).toMatchObject({ newly_denied: 2, newly_allowed: 1 });
    expect(code).toBe(1);
  });

  it('judges times as they were', async () => {
    const { of } = await byTokens([tokenWith({ sub: 'agent-1', scope: 'tool:tested', nbf: 4_000_000_000, exp })]);
    expect(of('agent-1')).toEqual([['newly_denied', 'tested/echo', 'SCOPE_MISMATCH not_yet_valid']]);
    expect(of('agent-2')).toEqual([['not_judged', 'tested/echo', 'no token is given for it']]);
  });

  it('does not pretend to know arguments', async () => {
    const constraints = { paths: ['/a/**'] };
    const { code, of } = await byTokens([tokenWith({ sub: 'agent-1', scope: 'tool:tested', exp, constraints })]);
    expect(of('agent-1')).toEqual([['not_judged', 'tested/echo', 'its arguments decide']]);
    expect(code).toBe(0);
  });

  it('says that tokens of an issuer who is no longer trusted count for nothing', async () => {
    const { err, of } = await byTokens([used], ['--trusted-issuer', strangeIssuer.did]);
    expect(err).toContain('counts for nothing: issuer_untrusted');
    expect(of('agent-1')).toEqual([['not_judged', 'tested/echo', 'no token is given for it']]);
  });

  it('judges methods of MCP, conversations and actions of the gateway by them too', async () => {
    const tool = tokenWith({ sub: 'carrier', scope: 'tool:tested/method:echo', exp });
    const { of } = await byTokens([tool]);
    expect(of('carrier')).toEqual([
      ['newly_denied', 'connector/chat', 'SCOPE_MISMATCH scope'],
      ['newly_denied', 'tested/rpc.resources.read', 'SCOPE_MISMATCH scope'],
    ]);
    const resource = tokenWith({ sub: 'carrier', scope: 'tool:tested/method:rpc.resources.read/resource:x', exp });
    expect((await byTokens([resource])).of('carrier')).toContainEqual([
      ...['not_judged', 'tested/rpc.resources.read', 'its arguments decide'],
    ]);
    const once = { scope: 'tool:tested tool:gateway', sub: 'nobody', exp, constraints: { max_calls: 9 } };
    expect((await byTokens([tokenWith(once)])).of('nobody')).toEqual([['newly_allowed', 'tested/echo', '']]);
  });
});

describe('under other roles and keys', () => {
  it('finds no change under what there is', async () => {
    const exported = await ask('config:export');
    const { api_keys } = await ask('api-keys');
    const { code, rows, found } = await byPolicy({ ...exported, api_keys: api_keys ?? null });
    expect(rows.filter(({ change }) => change !== 'not_judged')).toEqual([]);
    expect(code).toBe(0);
    expect(Number(found['unchanged'])).toBeGreaterThanOrEqual(15);
    const { calls, unchanged, newly_denied, newly_allowed, not_judged } = found as Record<string, number>;
    expect(calls).toBe((unchanged ?? 0) + (newly_denied ?? 0) + (newly_allowed ?? 0) + (not_judged ?? 0));
    expect((await report(['--present'])).code).toBe(0);
  });

  it('says what nobody may any more whose role is taken away, and leaves the others alone', async () => {
    const { code, of } = await byPolicy({ rbac: { roles: [], bindings: [] } });
    expect(of('role-holder')).toEqual([
      ['newly_denied', 'connector/chat', noRole],
      ['newly_denied', 'tested/echo', noRole],
      ['newly_denied', 'tested/rpc.resources.read', noRole],
    ]);
    // What the key carried, and a capability, are no matter of roles.
    for (const other of ['carrier', 'nobody', 'agent-1', 'agent-2']) expect(of(other)).toEqual([]);
    expect(code).toBe(1);
  });

  it('judges where a role holds, and for which team', async () => {
    const path = { scope_type: 'path', attributes: { server: 'tested', tool: 'echo' } };
    const bind = (binding: JsonObject) => ({ bindings: [{ principal_id: 'role-holder', bindings: [binding] }] });
    expect((await byPolicy(bind({ role_id: 'TeamMember', scope: path }))).of('role-holder')).toEqual([
      ['newly_denied', 'connector/chat', 'SCOPE_MISMATCH rbac_permission_denied'],
      ['newly_denied', 'tested/rpc.resources.read', 'SCOPE_MISMATCH rbac_permission_denied'],
    ]);
    const blue = { role_id: 'TeamMember', scope: 'global', team_id: 'blue' };
    expect((await byPolicy(bind(blue))).of('role-holder')).toHaveLength(3);
    expect((await byPolicy(bind({ ...blue, team_id: 'red' }))).of('role-holder')).toEqual([]);
  });

  it('says what a new role would allow, the administration included', async () => {
    const bindings = ['nobody', 'role-holder'].map((principal_id) => ({
      principal_id,
      bindings: [{ role_id: 'maker', scope: 'global' }],
    }));
    const roles = [{ name: 'maker', permissions: ['rbac:write', 'mcp:invoke'] }];
    const { code, of } = await byPolicy({ roles, bindings });
    expect(of('nobody')).toEqual([
      ['newly_allowed', 'connector/chat', ''],
      ['newly_allowed', 'gateway/admin.rbac.write', ''],
      ['newly_allowed', 'tested/echo', ''],
      ['newly_allowed', 'tested/rpc.resources.read', ''],
    ]);
    expect(of('role-holder')).toEqual([['newly_allowed', 'gateway/admin.rbac.write', '']]);
    expect(code).toBe(1);
  });

  it('judges by what a key would carry, and by the one that took its place', async () => {
    const id = keys.get('carrier')?.id ?? '';
    const others = [...keys.values()].filter((key) => key.id !== id).map((key) => ({ id: key.id, permissions: [] }));
    const bindings = [{ principal_id: 'role-holder', bindings: [teamMember] }];
    const of = async (...changed: JsonObject[]) =>
      (await byPolicy({ bindings, api_keys: [...others, ...changed] })).of('carrier');
    expect(await of({ id, permissions: ['mcp:invoke'] })).toEqual([]);
    expect((await of({ id, permissions: ['events:read'] })).map(([change]) => change)).toEqual(
      Array(3).fill('newly_denied'),
    );
    const revoked = await of({ id, permissions: ['mcp:invoke'], status: 'revoked' });
    expect(revoked.map(([, , why]) => why)).toEqual(Array(3).fill('AUTH_INVALID api_key_revoked'));
    const rotated = { id, permissions: ['mcp:invoke'], status: 'revoked' };
    expect(await of(rotated, { id: 'next', permissions: ['mcp:invoke'], replaces: id })).toEqual([]);
  });

  it('judges by policies of teams, which only take', async () => {
    const red = (more: JsonObject) => byPolicy({ policies: [{ team_id: 'red', ...more }] });
    const other = await red({ allowed_servers: ['other'] });
    expect(other.of('role-holder')).toEqual([
      ['newly_denied', 'connector/chat', 'SCOPE_MISMATCH policy_server'],
      ['newly_denied', 'tested/echo', 'SCOPE_MISMATCH policy_server'],
      ['newly_denied', 'tested/rpc.resources.read', 'SCOPE_MISMATCH policy_server'],
    ]);
    for (const principal of ['carrier', 'nobody', 'agent-1']) expect(other.of(principal)).toEqual([]);
    const tools = await red({ allowed_tools: { tested: ['ec*'] }, deny_by_default: false });
    expect(tools.of('role-holder')).toEqual([
      ['newly_denied', 'tested/rpc.resources.read', 'SCOPE_MISMATCH policy_tool'],
    ]);
    expect((await byPolicy({ policies: [{ team_id: '*', allowed_servers: ['other'] }] })).of('agent-1')).toEqual([
      ['newly_denied', 'tested/echo', 'SCOPE_MISMATCH policy_server'],
    ]);
    expect((await byPolicy({ policies: [] })).of('role-holder')).toEqual([]);
  });

  it('finds what a policy refused, and would not any more', async () => {
    await makeKey('ruled', 'green', ['mcp:invoke']);
    const policy = await gateway.send('/admin/v1/mcp/policies', {
      ...{ token: admin, json: { team_id: 'green', allowed_servers: ['other'] } },
    });
    expect(policy.status, policy.text).toBe(200);
    const answer = await callTool(gateway, 'echo', {}, { token: keys.get('ruled')?.key ?? '' });
    expect(answer.status).toBe(403);
    expect((await report(['--present'])).of('ruled')).toEqual([]);
    expect((await byPolicy({ policies: [] })).of('ruled')).toEqual([['newly_allowed', 'tested/echo', '']]);
  });

  it('does not say what roles decide that are not given', async () => {
    const api_keys = [...keys.values()].map(({ id }) => ({ id, permissions: [] }));
    const { of } = await byPolicy({ api_keys });
    const unknown = of('role-holder').map(([change, , why]) => [change, why]);
    expect(unknown).toContainEqual(['not_judged', 'no roles are given, and one may have allowed it']);
    expect(of('agent-1')).toEqual([]);
  });

  it('tells apart what cannot be judged', async () => {
    const { found } = await byPolicy({ bindings: [] });
    const because = found['not_judged_because'] as Record<string, number>;
    expect(because['it was done with the admin secret, which no policy limits']).toBeGreaterThanOrEqual(4);
    expect(Object.values(because).reduce((a, b) => a + b, 0)).toBe(found['not_judged']);
  });

  it('finds a key and a capability that were revoked since', async () => {
    const token = tokenWith({ sub: 'agent-3', scope: 'tool:tested', exp });
    await makeKey('short-lived', 'blue', ['mcp:invoke']);
    await callTool(gateway, 'echo', {}, { token });
    await callTool(gateway, 'echo', {}, { token: keys.get('short-lived')?.key ?? '' });
    await ask('capabilities/revoke', { token });
    await ask(`api-keys/${keys.get('short-lived')?.id}`, undefined, 'DELETE');
    const file = await fileOf(token);
    const { of, code } = await report(['--present', '--capabilities', file, ...trusted]);
    expect(of('agent-3')).toEqual([['newly_denied', 'tested/echo', 'REVOKED']]);
    expect(of('short-lived')).toEqual([['newly_denied', 'tested/echo', 'AUTH_INVALID api_key_revoked']]);
    expect(code).toBe(1);
  });

  it('answers in sentences', async () => {
    const { out, code } = await talos(['--policy', await fileOf('{"bindings":[]}')]);
    expect(out).toMatch(/^would be denied: {2}1 calls of tested\/echo by "role-holder" \(NO_CAPABILITY\), such as /m);
    expect(out).toMatch(/^not judged: \d+, because it was done with the admin secret/m);
    expect(out).toMatch(/^\d+ calls, \d+ as they were, \d+ not judged\.$/m);
    expect(code).toBe(1);
  });
});

describe('it refuses in one sentence', () => {
  it.each<[string, string, () => Promise<string[]>]>([
    ['nothing to judge by', 'Give what to judge by', async () => []],
    ['tokens of nobody', '--capabilities needs --trusted-issuer', async () => ['--capabilities', '/nowhere']],
    [
      'an issuer that is none',
      '--trusted-issuer: The DID is neither',
      async () => ['--capabilities', await fileOf(''), '--trusted-issuer', 'nobody'],
    ],
    ['a file that is not there', '/nowhere cannot be read', async () => ['--policy', '/nowhere']],
    ['a file that is no JSON', 'cannot be read', async () => ['--policy', await fileOf('roles: []')]],
    ['a policy of nothing', 'says nothing that calls could be judged by', async () => ['--policy', await fileOf('{}')]],
    ['a policy of another shape', 'is no policy: /bindings', async () => ['--policy', await fileOf('{"bindings":1}')]],
    [
      'a binding to no role',
      'There is no such role',
      async () => [
        '--policy',
        await fileOf('{"bindings":[{"principal_id":"x","bindings":[{"role_id":"none","scope":"global"}]}]}'),
      ],
    ],
    [
      'a tool registry that is not there',
      'The tool registry /nowhere.json cannot be used',
      async () => ['--policy', await fileOf('{"bindings":[]}'), '--tool-registry', '/nowhere.json'],
    ],
    ['a time that is none', '--from is not a time', async () => ['--present', '--from', 'yesterday']],
    [
      'a credential that may not see what there is',
      '--present needs a credential',
      async () => ['--present', '--token', tokenWith({ scope: 'tool:gateway/method:events.read' })],
    ],
  ])('%s', async (_, sentence, args) => {
    const { code, err } = await talos(await args());
    expect([code, err]).toEqual([2, expect.stringContaining(sentence)]);
    expect(err.trim().split('\n')).toHaveLength(1);
  });
});
