/** Calls that a human has to approve: asked for once, decided by somebody else, made once, at whichever gateway, on record. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sha256Hex } from '../../src/core/hash.ts';
import type { JsonObject } from '../../src/core/json.ts';
import {
  type Answer,
  dumpOf,
  eventually,
  productionEnv,
  recordOf,
  type SendOptions,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { checkLog } from '../support/log-checker.ts';
import { ask, request } from '../support/native-client.ts';
import { type RugPull, startRugPull } from '../support/rug-pull.ts';

const admin = productionEnv.AUTH_ADMIN_SECRET;
const reader = tokenWith({ scope: 'tool:gateway/method:events.read', constraints: { team_id: '*' } });
/** A name of its own for each word. */
const did = (word: string) => `did:talos:${sha256Hex(word)}`;
const caller = tokenWith({ scope: 'tool:*', sub: did('caller'), constraints: { team_id: 'red' } });
const other = tokenWith({ scope: 'tool:*', sub: did('other'), constraints: { team_id: 'red' } });
/** The caller, trusted with approvals as well. */
const selfish = tokenWith({
  scope: 'tool:gateway/method:admin.approvals.write',
  sub: did('caller'),
  constraints: { team_id: 'red' },
});
const canary = 'canary-argument-osprey-5521';

let folder: string;
let upstream: RugPull;
let first: TestGateway;
let second: TestGateway;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-approvals-'));
  await writeFile(join(folder, 'keys'), `one:${'11'.repeat(32)}\n`);
  upstream = await startRugPull(['pay', 'look', 'changing', 'moving']);
  const env = {
    ...productionEnv,
    TALOS_SECRETS_KEY_FILE: join(folder, 'keys'),
    TALOS_LOG_KEY_FILE: join(folder, 'log.key'),
    TALOS_API_KEY_PEPPER: 'a pepper that only this test knows, long enough',
    TALOS_APPROVAL_WAIT_SECONDS: '0',
  };
  const servers = { bank: upstream.url };
  first = await startTestGateway({ env, servers, clock: wallClock() });
  second = await startTestGateway({ env, servers, clock: wallClock(), databaseUrl: () => first.database.url });
  const policy = { id: 'p', team_id: 'red', require_approval: { bank: ['pay', 'changing', 'moving'] } };
  await first.send('/admin/v1/mcp/policies', { token: admin, json: policy });
  await eventually(async () => (await call({ probe: 1 }, { gateway: second })).status === 409);
});

afterAll(async () => {
  await second.stop();
  await first.stop();
  await upstream.close();
  await rm(folder, { recursive: true });
});

interface CallOptions {
  readonly gateway?: TestGateway;
  readonly token?: string;
  readonly tool?: string;
  readonly key?: string;
  readonly approval?: unknown;
  readonly wait?: number;
  readonly headers?: Record<string, string>;
  readonly signal?: AbortSignal;
}

function call(input: JsonObject, options: CallOptions = {}): Promise<Answer> {
  const { gateway = first, token = caller, tool = 'pay', key, approval, wait, headers, signal } = options;
  const json = {
    input,
    ...(key === undefined ? {} : { idempotency_key: key }),
    ...(approval === undefined ? {} : { approval_id: String(approval) }),
  };
  const prefer = wait === undefined ? {} : { prefer: `respond-async, wait=${wait}` };
  const sent: SendOptions = {
    token,
    json,
    headers: { ...prefer, ...headers },
    ...(signal === undefined ? {} : { signal }),
  };
  return gateway.send(`/v1/mcp/servers/bank/tools/${tool}:call`, sent);
}

const base = '/admin/v1/mcp/approvals';
const decide = (
  verb: 'approve' | 'deny',
  id: unknown,
  options: { as?: string; reason?: string; at?: TestGateway } = {},
) =>
  (options.at ?? first).send(`${base}/${String(id)}/${verb}`, {
    token: options.as ?? admin,
    json: options.reason === undefined ? {} : { reason: options.reason },
  });
const look = (id: unknown, token = admin, gateway = first) => gateway.send(`${base}/${String(id)}`, { token });
const list = async (query = '', token = admin) =>
  (await first.send(`${base}?${query}`, { token })).body['approvals'] as unknown as JsonObject[];

/** Asks, and gives the id of what is to be approved. */
async function asked(input: JsonObject, options: CallOptions = {}): Promise<string> {
  const answer = await call(input, options);
  expect([answer.status, answer.body['code'], answer.body['retryable']]).toEqual([409, 'APPROVAL_PENDING', true]);
  const { approval_id: id } = answer.body['details'] as unknown as { approval_id: string };
  expect(answer.headers.get('retry-after')).toBe('1');
  return id;
}

const reached = (n: unknown) => upstream.calls.filter(({ args }) => args['n'] === n).length;
const isReplay = ({ headers }: Answer) => headers.get('idempotent-replayed') === 'true';

async function expectDenied(answer: Answer, detail: string): Promise<void> {
  expect([answer.status, answer.body['code']]).toEqual([403, 'TALOS_DENIED']);
  const { record, meta } = await recordOf(first, answer, reader);
  expect([record['outcome'], meta['denial_reason'], meta['denial_detail']]).toEqual([
    'denied',
    'SCOPE_MISMATCH',
    detail,
  ]);
}

describe('a call by MCP that a human has to approve', () => {
  it('waits for as long as its client prefers', async () => {
    const message = request('tools/call', { name: 'pay', arguments: { n: 'native' } }, 'pay');
    const to = { path: '/mcp/bank', token: caller, message };
    const impatient = await ask(first.url, { ...to, headers: { prefer: 'wait=0' } });
    const pending = (await impatient.answer('pay'))['error'] as JsonObject;
    expect(pending).toMatchObject({ data: { code: 'APPROVAL_PENDING' } });
    const waiting = ask(first.url, { ...to, headers: { prefer: 'wait=60' } });
    await eventually(async () => (await list('state=pending')).some(({ tool_name: tool }) => tool === 'pay'));
    const { approval_id: id } = pending['data'] as JsonObject;
    expect((await decide('approve', id)).status).toBe(200);
    expect(await (await waiting).answer('pay')).toHaveProperty('result');
    expect(reached('native')).toBe(1);
  });
});

describe('a call that a human has to approve', () => {
  it('is not made, is asked for once however often it is repeated, and is on record', async () => {
    const id = await asked({ n: 1, secret: canary });
    expect(await asked({ n: 1, secret: canary })).toBe(id);
    expect(await asked({ n: 1, secret: canary }, { gateway: second })).toBe(id);
    expect(reached(1)).toBe(0);
    expect((await list('state=pending')).filter(({ approval_id }) => approval_id === id)).toHaveLength(1);
    const records = (await checkLog({ url: first.database.url })).map(({ record }) => record);
    const requests = records.filter(
      ({ surface_id: surface, meta }) => String(surface) === 'mcp.approvals.ask' && meta?.['approval_id'] === id,
    );
    expect(requests).toHaveLength(1);
    expect(requests[0]?.['principal']).toMatchObject({ principal_id: did('caller'), team_id: 'red' });
  });

  it('says on record by which API key it was asked for', async () => {
    const json = { name: 'bob', principal_id: 'bob', team_id: 'red', permissions: [] };
    const { body } = await first.send('/admin/v1/api-keys', { token: admin, json });
    await first.send('/admin/v1/rbac/bindings', {
      token: admin,
      json: { principal_id: 'bob', bindings: [{ role_id: 'TeamMember', scope: 'team:red' }] },
    });
    const id = await asked({ n: 45 }, { token: String(body['api_key']) });
    const records = (await checkLog({ url: first.database.url })).map(({ record }) => record);
    const request = records.find(
      ({ surface_id: surface, meta }) => String(surface) === 'mcp.approvals.ask' && meta?.['approval_id'] === id,
    );
    expect(request?.['meta']).toMatchObject({ by_api_key: (body['key'] as JsonObject)['id'] });
  });

  it('is made once when somebody else approved it, and who asks again gets its result', async () => {
    const id = await asked({ n: 2 });
    const approved = await decide('approve', id, { reason: 'the invoice is there' });
    expect([approved.status, approved.body['state'], approved.body['decided_by']]).toEqual([
      200,
      'approved',
      'admin-user',
    ]);
    const made = await call({ n: 2 }, { approval: id });
    expect([made.status, reached(2)]).toEqual([200, 1]);
    for (const gateway of [first, second]) {
      const again = await call({ n: 2 }, { approval: id, gateway });
      expect([again.status, isReplay(again), again.body['output']]).toEqual([200, true, made.body['output']]);
    }
    expect(reached(2)).toBe(1);
    expect((await look(id)).body).toMatchObject({ state: 'used', reason: 'the invoice is there' });
    const { meta } = await recordOf(first, made, reader);
    expect([meta['approval_id'], meta['phase']]).toEqual([id, 'outcome']);
    // The same call once more is another call.
    expect(await asked({ n: 2 })).not.toBe(id);
  });

  it('is resumed by asking the same again, without any handle', async () => {
    const id = await asked({ n: 3 });
    await decide('approve', id);
    expect((await call({ n: 3 })).status).toBe(200);
    expect(reached(3)).toBe(1);
  });

  it('is resumed by the header too', async () => {
    const id = await asked({ n: 31 });
    await decide('approve', id);
    expect((await call({ n: 31 }, { headers: { 'x-talos-approval': id } })).status).toBe(200);
  });

  it('that waits is made as soon as it is approved, at another gateway too', async () => {
    const waiting = call({ n: 4 }, { wait: 60 });
    const [found] = await eventually(async () => {
      const open = (await list('state=pending')).filter(({ requested_at }) => requested_at !== undefined);
      const mine = [];
      for (const { approval_id } of open) {
        const { body } = await look(approval_id);
        if ((body['input'] as JsonObject)['n'] === 4) mine.push(approval_id);
      }
      return mine.length > 0 && mine;
    });
    await decide('approve', found, { at: second });
    const made = await waiting;
    expect([made.status, reached(4)]).toEqual([200, 1]);
  });

  it.each([
    ['is revoked', 'REVOKED', (token: string) => revoke(token)],
    ['may do less by a policy', 'SCOPE_MISMATCH', () => forbid()],
  ])('that waits is not made when its caller %s meanwhile', async (_, reason, takeAway) => {
    const token = tokenWith({ scope: 'tool:*', sub: did(`waiting ${reason}`), constraints: { team_id: 'red' } });
    const id = await asked({ n: reason }, { token });
    const waiting = call({ n: reason }, { token, approval: id, wait: 60 });
    // It waits when another call behind it was answered.
    await asked({ n: reason, behind: true }, { token });
    await takeAway(token);
    expect((await decide('approve', id)).status).toBe(200);
    const answer = await waiting;
    expect(answer.status).toBe(403);
    expect(answer.body['details']).toEqual({ denial_reason: reason });
    expect(reached(reason)).toBe(0);
    await first.send('/admin/v1/mcp/policies/forbids', { token: admin, method: 'DELETE' });
  });

  it('that waits is not made of a tool that changed meanwhile', async () => {
    const id = await asked({ n: 45 }, { tool: 'moving' });
    const waiting = call({ n: 45 }, { tool: 'moving', approval: id, wait: 60 });
    await asked({ n: 45, behind: true }, { tool: 'moving' });
    await upstream.change(first, 'moving', { description: 'Another one.' }, { token: caller, server: 'bank' });
    expect((await decide('approve', id)).status).toBe(200);
    expect((await waiting).body['details']).toMatchObject({ denial_reason: 'UNKNOWN_TOOL' });
    expect(reached(45)).toBe(0);
  });

  it('holds no connection while it waits, and many wait at once', async () => {
    const waiting = Array.from({ length: 30 }, (_, n) => call({ n: 'many', m: n }, { wait: 30 }));
    const open = await eventually(async () => {
      const pending = await list('state=pending');
      const inputs = await Promise.all(
        pending.map(async ({ approval_id }) => ({ approval_id, input: (await look(approval_id)).body['input'] })),
      );
      const mine = inputs.filter(({ input }) => (input as unknown as JsonObject)['n'] === 'many');
      return mine.length === 30 && mine;
    }, 20_000);
    for (const { approval_id } of open) expect((await decide('approve', approval_id)).status).toBe(200);
    const statuses = (await Promise.all(waiting)).map(({ status }) => status);
    expect(statuses).toEqual(Array(30).fill(200));
    expect(reached('many')).toBe(30);
  });

  it('whose caller leaves can still be approved and resumed', async () => {
    const leaving = new AbortController();
    const left = call({ n: 5 }, { wait: 60, signal: leaving.signal }).catch(() => 'left');
    const id = await eventually(async () => {
      for (const { approval_id } of await list('state=pending')) {
        if (((await look(approval_id)).body['input'] as JsonObject)['n'] === 5) return String(approval_id);
      }
      return undefined;
    });
    leaving.abort();
    expect(await left).toBe('left');
    await decide('approve', id);
    expect(reached(5)).toBe(0);
    expect((await call({ n: 5 }, { approval: id, gateway: second })).status).toBe(200);
    expect(reached(5)).toBe(1);
  });

  it('of many at once is made once', async () => {
    const id = await asked({ n: 6 });
    await decide('approve', id);
    await eventually(async () => (await look(id, admin, second)).body['state'] === 'approved');
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => call({ n: 6 }, { approval: id, gateway: n % 2 ? first : second })),
    );
    expect(reached(6)).toBe(1);
    for (const { status, body } of answers)
      expect([200, 'IDEMPOTENCY_IN_FLIGHT']).toContain(status === 200 ? 200 : body['code']);
  });

  it('is not made when it is denied, and is not asked for again', async () => {
    const id = await asked({ n: 7 });
    const denied = await decide('deny', id, { reason: 'Not before Monday.' });
    expect([denied.status, denied.body['state']]).toEqual([200, 'denied']);
    const answer = await call({ n: 7 }, { approval: id });
    await expectDenied(answer, 'approval_denied');
    expect(answer.body['message']).toContain('Not before Monday.');
    await expectDenied(await call({ n: 7 }), 'approval_denied');
    expect((await decide('approve', id)).status).toBe(409);
    expect(reached(7)).toBe(0);
  });

  it('expires, whether or not it was approved', async () => {
    const [pending, approved] = [await asked({ n: 8 }), await asked({ n: 9 })];
    await decide('approve', approved);
    await expire(pending, approved);
    expect((await decide('approve', pending)).status).toBe(409);
    await expectDenied(await call({ n: 8 }, { approval: pending }), 'approval_expired');
    await expectDenied(await call({ n: 9 }, { approval: approved }), 'approval_expired');
    expect(await asked({ n: 9 })).not.toBe(approved);
    expect(reached(9)).toBe(0);
    expect((await look(pending)).body['state']).toBe('expired');
  });

  it('that was made in time is answered after that too', async () => {
    const id = await asked({ n: 10 });
    await decide('approve', id);
    const made = await call({ n: 10 }, { approval: id });
    await expire(id);
    const again = await call({ n: 10 }, { approval: id });
    expect([again.status, isReplay(again), again.body['output']]).toEqual([200, true, made.body['output']]);
  });

  it('is forgotten with its result, so that its key is good for another one', async () => {
    const id = await asked({ n: 12 }, { key: 'old' });
    await decide('approve', id);
    await call({ n: 12 }, { key: 'old' });
    await expire(id);
    expect(isReplay(await call({ n: 12 }, { key: 'old' }))).toBe(true);
    await execute('DELETE FROM call_result; DELETE FROM log_idempotency');
    await expectDenied(await call({ n: 12 }, { approval: id }), 'approval_expired');
    expect(await asked({ n: 12 }, { key: 'old' })).not.toBe(id);
    expect(reached(12)).toBe(1);
  });

  it('may be made again when nothing came of it', async () => {
    const id = await asked({ n: 11 });
    await decide('approve', id);
    await upstream.close();
    expect((await call({ n: 11 }, { approval: id })).status).toBe(502);
    await upstream.reopen();
    await eventually(async () => (await call({ n: 11 }, { approval: id })).status === 200, 20_000);
    expect(reached(11)).toBe(1);
  });
});

describe('an approval', () => {
  it('is of one caller, one tool and the arguments that were looked at', async () => {
    const id = await asked({ n: 20 });
    await decide('approve', id);
    const foreign = await call({ n: 20 }, { approval: id, token: other });
    expect([foreign.status, foreign.body['code']]).toEqual([404, 'NOT_FOUND']);
    const changed = await call({ n: 21 }, { approval: id });
    expect([changed.status, changed.body['code']]).toEqual([409, 'CONFLICT']);
    expect((await call({ n: 20 }, { approval: id, tool: 'changing' })).status).toBe(404);
    expect((await call({ n: 20 }, { approval: 'nothing' })).status).toBe(404);
    expect((await call({ n: 20 }, { approval: '018bcfe5-6800-7000-8000-000000000000' })).status).toBe(404);
    expect((await call({ n: 20 }, { approval: id, key: 'a key' })).status).toBe(409);
    expect(reached(20) + reached(21)).toBe(0);
  });

  it('is of the definition that the call was judged by', async () => {
    const id = await asked({ n: 22 }, { tool: 'changing' });
    await decide('approve', id);
    await upstream.change(first, 'changing', { description: 'Another one.' }, { token: caller, server: 'bank' });
    expect((await call({ n: 22 }, { tool: 'changing', approval: id })).status).toBe(403);
    const held = (await first.send('/admin/v1/mcp/pins/bank/changing', { token: admin })).body['held_hash'];
    const json = { definition_hash: String(held) };
    await first.send('/admin/v1/mcp/pins/bank/changing/approve', { token: admin, json });
    const stale = await call({ n: 22 }, { tool: 'changing', approval: id });
    expect([stale.status, stale.body['code']]).toEqual([409, 'CONFLICT']);
    expect(reached(22)).toBe(0);
  });

  it('goes with an idempotency key: one key, one asking, one call', async () => {
    const id = await asked({ n: 23 }, { key: 'k' });
    expect(await asked({ n: 23 }, { key: 'k', gateway: second })).toBe(id);
    const conflict = await call({ n: 24 }, { key: 'k' });
    expect([conflict.status, conflict.body['code']]).toEqual([409, 'IDEMPOTENCY_CONFLICT']);
    await decide('approve', id);
    const made = await call({ n: 23 }, { key: 'k' });
    const again = await call({ n: 23 }, { key: 'k' });
    expect([made.status, again.status, isReplay(again), reached(23)]).toEqual([200, 200, true, 1]);
    expect(await asked({ n: 23 }, { key: 'another' })).not.toBe(id);
  });

  it('is not asked for by calls that need none', async () => {
    expect((await call({ n: 25 }, { tool: 'look' })).status).toBe(200);
    const blue = tokenWith({ scope: 'tool:*', constraints: { team_id: 'blue' } });
    expect((await call({ n: 26 }, { token: blue })).status).toBe(200);
    const json = { server_id: 'bank', tool_name: 'pay', capability: caller };
    const { body } = await first.send('/admin/v1/policy/explain', { token: admin, json });
    expect(body as unknown).toMatchObject({ decision: 'allow', policies: [{ id: 'p', demands_approval: true }] });
  });

  it('is not asked for by what is refused or wrong anyhow', async () => {
    const before = (await list()).length;
    const narrow = tokenWith({ scope: 'tool:bank/method:look', constraints: { team_id: 'red' } });
    expect((await call({ n: 27 }, { token: narrow })).status).toBe(403);
    expect((await call({ n: 27 }, { tool: 'nobody' })).status).toBe(404);
    expect((await list()).length).toBe(before);
  });

  it('shows its arguments to approvers, and to nobody else', async () => {
    const id = await asked({ n: 28, secret: canary });
    expect((await look(id)).body['input']).toEqual({ n: 28, secret: canary });
    expect(JSON.stringify(await list())).not.toContain(canary);
    expect(await dumpOf(first)).not.toContain(canary);
    expect(first.logText()).not.toContain(canary);
  });

  it('is bounded in how many one caller may have open', async () => {
    const crowd = tokenWith({ scope: 'tool:*', sub: did('crowd'), constraints: { team_id: 'red' } });
    for (let n = 0; n < 100; n++) await asked({ crowd: n }, { token: crowd });
    const full = await call({ crowd: 100 }, { token: crowd });
    expect([full.status, full.body['code'], full.body['retryable']]).toEqual([429, 'APPROVALS_FULL', true]);
    await asked({ crowd: 100 });
  });
});

describe('whoever decides', () => {
  it('is never the caller', async () => {
    const id = await asked({ n: 40 });
    for (const verb of ['approve', 'deny'] as const) {
      const own = await decide(verb, id, { as: selfish });
      expect([own.status, own.body['code']]).toEqual([403, 'TALOS_DENIED']);
      expect((await recordOf(first, own, reader)).record['outcome']).toBe('denied');
    }
    expect((await look(id)).body['state']).toBe('pending');
  });

  it('has the right to, in the team of the call', async () => {
    const id = await asked({ n: 41 });
    const grant = (team: string, action = 'write') =>
      tokenWith({
        scope: `tool:gateway/method:admin.approvals.${action}`,
        sub: did('approver'),
        constraints: { team_id: team },
      });
    expect((await decide('approve', id, { as: caller })).status).toBe(403);
    expect((await decide('approve', id, { as: grant('red', 'read') })).status).toBe(403);
    expect((await decide('approve', id, { as: grant('blue') })).status).toBe(404);
    expect((await look(id, grant('blue', 'read'))).status).toBe(404);
    expect(await list('', grant('blue', 'read'))).toEqual([]);
    expect(await list('team_id=red', grant('blue', 'read'))).toEqual([]);
    expect((await list('team_id=red&limit=2', grant('red', 'read'))).length).toBe(2);
    expect((await decide('approve', id, { as: grant('red') })).status).toBe(200);
  });

  it('may be an administrator of the team by role', async () => {
    const json = { name: 'ann', principal_id: 'ann', team_id: 'blue', permissions: [] };
    const key = String((await first.send('/admin/v1/api-keys', { token: admin, json })).body['api_key']);
    const id = await asked({ n: 42 });
    expect((await decide('approve', id, { as: key })).status).toBe(403);
    const bindings = [{ role_id: 'TeamAdmin', scope: 'team:red' }];
    await first.send('/admin/v1/rbac/bindings', { token: admin, json: { principal_id: 'ann', bindings } });
    expect((await list('', key)).every(({ team_id }) => team_id === 'red')).toBe(true);
    expect((await decide('approve', id, { as: key })).body).toMatchObject({ state: 'approved', decided_by: 'ann' });
  });

  it('names what there is, in words that fit', async () => {
    const id = await asked({ n: 43 });
    expect((await decide('approve', 'nothing')).status).toBe(404);
    expect((await decide('approve', id, { reason: 'x'.repeat(501) })).status).toBe(422);
    expect((await decide('approve', id, { reason: '' })).status).toBe(422);
    expect((await first.send(`${base}?state=anything`, { token: admin })).status).toBe(422);
    expect((await first.send(base)).status).toBe(401);
    expect((await decide('deny', id)).status).toBe(200);
    expect((await decide('deny', id)).status).toBe(409);
  });

  it('is on record with what was decided', async () => {
    const id = await asked({ n: 44 });
    const { record, meta } = await recordOf(first, await decide('deny', id, { reason: 'No.' }), reader);
    expect(record['surface_id']).toBe('admin.mcp.approvals.deny');
    expect(meta).toMatchObject({ approval_id: id, tool_name: 'pay', approval_principal: did('caller') });
    expect((await checkLog({ url: first.database.url })).length).toBeGreaterThan(0);
  });
});

async function revoke(token: string): Promise<void> {
  const { status } = await first.send('/admin/v1/capabilities/revoke', { token: admin, json: { token } });
  expect(status).toBe(200);
}

async function forbid(): Promise<void> {
  const json = { id: 'forbids', team_id: 'red', allowed_servers: ['another'] };
  expect((await first.send('/admin/v1/mcp/policies', { token: admin, json })).status).toBe(200);
}

/** As if their time were over. */
async function expire(...ids: string[]): Promise<void> {
  const list = ids.map((id) => `'${id}'`).join(', ');
  await execute(`UPDATE tool_approval SET expires_at = now() - interval '1 second' WHERE approval_id IN (${list})`);
}

async function execute(statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: first.database.url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
