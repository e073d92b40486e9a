/**
 * Clients of the stateless era in front of tool servers that know only sessions: what these ask is the answer to the
 * call, the next request brings the replies, and nothing makes a second call of it.
 */

import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { fsck } from '../../src/audit/fsck/fsck.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { openLogSnapshot } from '../../src/storage/log-snapshot.ts';
import { createTileReader } from '../../src/storage/tiles.ts';
import { type AskingServer, startAskingServer } from '../support/asking-server.ts';
import {
  eventually,
  itemsOf,
  productionEnv,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { checkLog } from '../support/log-checker.ts';
import { ask, both, everything, stateless } from '../support/native-client.ts';

let asking: AskingServer;
let gateway: TestGateway;
const clock = wallClock();
const program = fileURLToPath(new URL('../support/asking-stdio-program.ts', import.meta.url));

beforeAll(async () => {
  asking = await startAskingServer();
  gateway = await startTestGateway({
    file: `servers:
  asking: { url: ${asking.url} }
  shared: { url: ${asking.url}, sessions: shared }
  stdio: { command: ${JSON.stringify(process.execPath)}, args: [${JSON.stringify(program)}] }
`,
  });
});

afterAll(async () => {
  await gateway.stop();
  await asking.stop();
});

const elicited = { action: 'accept' as const, content: { name: 'Ada' } };
const sampled = { role: 'assistant' as const, model: 'm', content: { type: 'text' as const, text: 'Paris' } };
const roots = { roots: [{ uri: 'file:///work', name: 'work' }] };

async function client(path: string, said: { readonly elicited: object } = { elicited }) {
  const newer = new Client(
    { name: 'newer', version: '1' },
    { capabilities: { sampling: {}, elicitation: {}, roots: {} }, versionNegotiation: { mode: 'auto' } },
  );
  newer.setRequestHandler('elicitation/create', () => said.elicited as typeof elicited);
  newer.setRequestHandler('sampling/createMessage', () => sampled);
  newer.setRequestHandler('roots/list', () => roots);
  await newer.connect(new StreamableHTTPClientTransport(new URL(gateway.url + path)));
  onTestFinished(() => newer.close());
  return newer;
}

describe.each([['asking'], ['stdio']])('the official client before %s', (server) => {
  it.each([
    ['ask_user', 'Ada'],
    ['ask_apart', 'Ada'],
    ['ask_model', 'Paris'],
    ['ask_roots', 'file:///work'],
    ['ask_twice', '}} {'],
    ['plain', 'said without asking'],
  ])('calls %s and answers what it asks', async (name, said) => {
    const answer = await (await client(`/mcp/${server}`)).callTool({ name, arguments: {} });
    expect(answer.isError).not.toBe(true);
    expect(JSON.stringify(answer.content).replaceAll('\\', '')).toContain(said);
  });

  it('is asked several things at once', async () => {
    const answer = await (await client(`/mcp/${server}`)).callTool({ name: 'ask_together', arguments: {} });
    for (const said of ['Ada', 'Paris', 'file:///work']) expect(JSON.stringify(answer.content)).toContain(said);
  });

  it('may decline', async () => {
    const declining = await client(`/mcp/${server}`, { elicited: { action: 'decline' } });
    const answer = await declining.callTool({ name: 'ask_user', arguments: {} });
    expect(JSON.stringify(answer.content)).toContain('decline');
  });
});

interface CallOptions {
  readonly input?: JsonObject;
  readonly args?: JsonObject;
  readonly capabilities?: JsonObject;
  readonly meta?: JsonObject;
  readonly path?: string;
  readonly at?: TestGateway;
  readonly token?: string;
  readonly headers?: Record<string, string>;
}

function roundOf(name: string, { input = {}, args = {}, capabilities = everything, meta }: CallOptions) {
  const envelope = { 'io.modelcontextprotocol/clientCapabilities': capabilities, ...meta };
  return stateless('tools/call', { name, arguments: args, ...input }, envelope);
}

/** One round by hand. */
async function round(name: string, options: CallOptions = {}) {
  const { path = '/mcp/asking', at = gateway, token } = options;
  const { message, headers } = roundOf(name, options);
  return await ask(at.url, {
    ...{ path, message, headers: { ...headers, ...options.headers } },
    ...(token === undefined ? {} : { token }),
  });
}

async function answered(name: string, options: CallOptions = {}): Promise<JsonObject> {
  const answer = await round(name, options);
  await answer.over;
  return answer.events.at(-1)?.message ?? answer.body();
}

interface Asked {
  readonly requestState: string;
  readonly inputRequests: Record<string, JsonObject>;
  readonly resultType: string;
}

async function asked(name: string, options: CallOptions = {}): Promise<Asked> {
  const answer = await answered(name, options);
  expect(answer['result']).toMatchObject({ resultType: 'input_required', requestState: expect.any(String) });
  return answer['result'] as unknown as Asked;
}

/** What a client brings that answers everything with the same words. */
function replyTo({ requestState, inputRequests }: Asked, reply: JsonObject = elicited): JsonObject {
  const inputResponses = Object.fromEntries(Object.keys(inputRequests).map((key) => [key, reply]));
  return { requestState, inputResponses };
}

const errorOf = (message: JsonObject) => message['error'] as JsonObject;
const textOf = (message: JsonObject) => JSON.stringify((message['result'] as JsonObject | undefined)?.['content']);
const notWaiting = { code: -32_602, data: { code: 'CALL_NOT_WAITING', retryable: false } };

async function newest(count: number, query = 'limit=20'): Promise<{ item: JsonObject; meta: JsonObject }[]> {
  return (await itemsOf(gateway, query)).slice(0, count).map((item) => ({ item, meta: item['meta'] as JsonObject }));
}

describe('a call that is open at its server', () => {
  beforeEach(() => {
    asking.calls.length = 0;
    asking.cancelled.length = 0;
    asking.offers.length = 0;
  });

  it('is one call with one intent, on record from question to answer under one name', async () => {
    const before = asking.sessions();
    const first = await asked('ask_user');
    expect(first.requestState).toMatch(/^talos-open-call\.[A-Za-z0-9_-]{43}$/);
    expect(Object.values(first.inputRequests)).toEqual([
      { method: 'elicitation/create', params: { message: 'Who?', requestedSchema: expect.anything() } },
    ]);
    expect(textOf(await answered('ask_user', { input: replyTo(first) }))).toContain('Ada');
    expect(asking.calls).toEqual(['ask_user']);
    const records = await newest(4);
    expect(records.map(({ item, meta }) => [item['method'], meta['phase'], meta['asked_for']])).toEqual([
      ['mcp.tools.call', 'outcome', undefined],
      ['mcp.server.request', undefined, undefined],
      ['mcp.tools.call', 'note', 'elicitation/create'],
      ['mcp.tools.call', 'intent', undefined],
    ]);
    expect(new Set(records.map(({ meta }) => meta['session_id'])).size).toBe(1);
    expect(records[0]?.meta['intent_id']).toBe(records[3]?.item['event_id'] ?? records[3]?.item['id']);
    expect(JSON.stringify(records)).not.toContain(first.requestState.slice(-43));
    await expect.poll(() => asking.sessions(), { timeout: 20_000 }).toBeLessThanOrEqual(before);
  });

  it('puts what is asked at the same moment into one answer, and asks again for what is not answered', async () => {
    const first = await asked('ask_together');
    const methods = Object.values(first.inputRequests).map(({ method }) => method);
    expect(methods.sort()).toEqual(['elicitation/create', 'roots/list', 'sampling/createMessage']);
    const key = Object.keys(first.inputRequests).find((each) => first.inputRequests[each]?.['method'] === 'roots/list');
    const input = { requestState: first.requestState, inputResponses: { [key ?? '']: roots, foreign: elicited } };
    const second = await asked('ask_together', { input });
    expect(second.requestState).not.toBe(first.requestState);
    expect(Object.keys(second.inputRequests)).toHaveLength(2);
    expect(asking.calls).toEqual(['ask_together']);
  });

  it('tells of progress with the token of the round that it comes in', async () => {
    const before = await round('progress', { meta: { progressToken: 'one' } });
    await before.over;
    const first = before.events.map(({ message }) => message);
    expect(first.map(({ method, params }) => [method, (params as JsonObject)?.['progressToken']])).toEqual([
      ['notifications/progress', 'one'],
      [undefined, undefined],
    ]);
    const state = first[1]?.['result'] as unknown as Asked;
    const after = await round('progress', { meta: { progressToken: 'two' }, input: replyTo(state) });
    await after.over;
    expect(after.events[0]?.message).toMatchObject({ params: { progressToken: 'two', progress: 2 } });
  });

  it('is the same at the address of all servers', async () => {
    const first = await asked('asking__ask_user', { path: '/mcp' });
    const last = await answered('asking__ask_user', { path: '/mcp', input: replyTo(first) });
    expect(textOf(last)).toContain('Ada');
    expect(asking.calls).toEqual(['ask_user']);
  });

  it('tells the server what the client offers, and no more', async () => {
    await asked('ask_user', { capabilities: { elicitation: {}, tasks: {} } });
    expect(asking.offers.at(-1)).toEqual(['elicitation']);
  });

  it('gives the answer of a server that did not wait', async () => {
    const first = await asked('ask_briefly');
    await expect.poll(async () => (await newest(1))[0]?.item['method'], { timeout: 20_000 }).toBe('mcp.server.request');
    expect(textOf(await answered('ask_briefly', { input: replyTo(first) }))).toContain('answered without');
    expect(asking.calls).toEqual(['ask_briefly']);
  });

  it('has its key for itself until it has ended, and is what the key answers from then on', async () => {
    const headers = { 'idempotency-key': 'only-once' };
    const first = await asked('ask_user', { headers });
    expect(errorOf(await answered('ask_user', { headers }))).toMatchObject({ data: { code: 'IDEMPOTENCY_IN_FLIGHT' } });
    expect(errorOf(await answered('ask_user', { input: replyTo(first) }))).toMatchObject(notWaiting);
    expect(textOf(await answered('ask_user', { headers, input: replyTo(first) }))).toContain('Ada');
    expect(textOf(await answered('ask_user', { headers }))).toContain('Ada');
    expect(asking.calls).toEqual(['ask_user']);
  });

  it.each([
    [
      'a state that nobody gave',
      (first: Asked) => ({ ...replyTo(first), requestState: `talos-open-call.${'A'.repeat(43)}` }),
      {},
    ],
    ['a state of another server', (first: Asked) => ({ ...replyTo(first), requestState: 'theirs' }), {}],
    ['replies without a state', (first: Asked) => ({ inputResponses: replyTo(first)['inputResponses'] ?? {} }), {}],
    ['other arguments', (first: Asked) => replyTo(first), { args: { other: 1 } }],
    ['another server', (first: Asked) => replyTo(first), { path: '/mcp/shared' }],
    [
      'an idempotency key that it did not begin with',
      (first: Asked) => replyTo(first),
      { headers: { 'idempotency-key': 'new' } },
    ],
  ])('is not to be had with %s', async (_, input, options: CallOptions) => {
    const first = await asked('ask_user');
    expect(errorOf(await answered('ask_user', { ...options, input: input(first) }))).toMatchObject(notWaiting);
    expect(asking.calls).toEqual(['ask_user']);
    // It is still there for its own caller.
    expect(textOf(await answered('ask_user', { input: replyTo(first) }))).toContain('Ada');
    expect(asking.calls).toEqual(['ask_user']);
  });

  it('is not to be had by another tool, and not with replies that are none', async () => {
    const first = await asked('ask_user');
    expect(errorOf(await answered('ask_model', { input: replyTo(first) }))).toMatchObject(notWaiting);
    const broken = { requestState: first.requestState, inputResponses: { 1: 'yes' } };
    expect(errorOf(await answered('ask_user', { input: broken }))).toMatchObject({ code: -32_600 });
    expect(textOf(await answered('ask_user', { input: replyTo(first) }))).toContain('Ada');
    expect(asking.calls).toEqual(['ask_user']);
  });

  it('takes a state once, also when it comes twice at the same moment', async () => {
    const first = await asked('ask_user');
    const both = await Promise.all([1, 2].map(() => answered('ask_user', { input: replyTo(first) })));
    expect(both.filter((answer) => answer['result'] !== undefined)).toHaveLength(1);
    expect(both.filter((answer) => errorOf(answer)?.['code'] === -32_602)).toHaveLength(1);
    expect(errorOf(await answered('ask_user', { input: replyTo(first) }))).toMatchObject(notWaiting);
    expect(asking.calls).toEqual(['ask_user']);
  });

  it('is cancelled when its client leaves in the middle of a round, and is on record as cancelled', async () => {
    const first = await asked('ask_and_work');
    const leaving = new AbortController();
    const { message, headers } = roundOf('ask_and_work', { input: replyTo(first) });
    const gone = fetch(`${gateway.url}/mcp/asking`, {
      method: 'POST',
      signal: leaving.signal,
      headers: { accept: both, 'content-type': 'application/json', ...headers },
      body: JSON.stringify(message),
    }).catch(() => 'gone');
    await eventually(async () => (await newest(1))[0]?.item['method'] === 'mcp.server.request', 20_000);
    leaving.abort();
    expect(await gone).toBe('gone');
    await expect.poll(() => asking.cancelled, { timeout: 20_000 }).toEqual(['ask_and_work']);
    await eventually(async () => (await newest(1))[0]?.meta['phase'] === 'outcome', 20_000);
    expect((await newest(1))[0]?.meta).toMatchObject({ error: 'CALL_CANCELLED' });
  });

  it('is not begun where the client offers nothing, or clients share a session', async () => {
    expect(textOf(await answered('ask_caught', { capabilities: {} }))).toContain('refused');
    expect(textOf(await answered('ask_caught', { path: '/mcp/shared' }))).toContain('refused');
    expect(asking.calls).toEqual(['ask_caught', 'ask_caught']);
    expect(asking.offers.flat()).toEqual([]);
  });
});

describe('a call that nobody goes on with', () => {
  let skewMs = 0;
  let strict: TestGateway;
  let folder: string;
  const reader = tokenWith({ scope: 'tool:gateway/method:events.read' });
  /** The `meta` of the newest record that has all of these. */
  const recorded = (wanted: JsonObject) =>
    eventually(async () => {
      const { body } = await strict.send('/api/events?limit=20', { token: reader });
      // While the clock has just leapt, nobody is let in for a moment.
      const metas = ((body['items'] ?? []) as unknown as JsonObject[]).map(({ meta }) => meta as JsonObject);
      return metas.find((meta) => Object.entries(wanted).every(([name, value]) => meta[name] === value));
    }, 20_000);
  const nameOf = async (tool: string) => {
    const { session_id: name = '' } = await recorded({ tool_name: tool, phase: 'note' });
    return name;
  };
  const endsWith = async (error: string) => {
    const outcome = await recorded({ tool_name: 'ask_user', phase: 'outcome', error });
    expect(outcome).toMatchObject({ intent_id: expect.any(String), session_id: expect.any(String) });
    await expect.poll(() => asking.cancelled, { timeout: 20_000 }).toEqual(['ask_user']);
    await expect.poll(() => asking.sessions(), { timeout: 20_000 }).toBeLessThanOrEqual(before);
  };
  let before = 0;

  beforeAll(async () => {
    const skewed = { ...clock, now: () => clock.now(), monotonic: () => performance.now() + skewMs };
    folder = await mkdtemp(join(tmpdir(), 'talos-parked-'));
    const reads = {
      tool_server: 'asking',
      tool_name: 'ask_model',
      tool_class: 'read',
      requires_idempotency_key: false,
    };
    const registry = { registry_version: '1.0.0', generated_at: '2026-01-01T00:00:00Z', tools: [reads] };
    await writeFile(join(folder, 'registry.json'), JSON.stringify(registry));
    await writeFile(join(folder, 'keys'), `one:${'11'.repeat(32)}\n`);
    strict = await startTestGateway({
      servers: { asking: asking.url },
      env: {
        ...productionEnv,
        TALOS_SECRETS_KEY_FILE: join(folder, 'keys'),
        TALOS_LOG_KEY_FILE: join(folder, 'log.key'),
        TALOS_API_KEY_PEPPER: 'a pepper that only this test knows, long enough',
        TALOS_APPROVAL_WAIT_SECONDS: '0',
      },
      file: `tool_registry: ${join(folder, 'registry.json')}\n`,
      clock: skewed,
    });
    // The shared connection has a session of its own.
    await answered('plain', { at: strict, token: tokenWith({ scope: 'tool:asking' }), capabilities: {} });
  });
  afterAll(async () => {
    await strict.stop();
    await rm(folder, { recursive: true });
  });
  beforeEach(() => {
    before = asking.sessions();
    asking.calls.length = 0;
    asking.cancelled.length = 0;
  });

  it('ends with the capability, also when that is revoked', async () => {
    const token = tokenWith({ scope: 'tool:asking', sub: 'did:talos:revoked' });
    const first = await asked('ask_user', { at: strict, token });
    await strict.send('/admin/v1/capabilities/revoke', {
      token: productionEnv.AUTH_ADMIN_SECRET,
      json: { token, reason: 'a test' },
    });
    await endsWith('CALL_CANCELLED');
    const other = tokenWith({ scope: 'tool:asking', sub: 'did:talos:revoked', exp: clock.nowSec + 3_000 });
    const late = await answered('ask_user', { at: strict, token: other, input: replyTo(first) });
    expect(errorOf(late)).toMatchObject(notWaiting);
    expect(asking.calls).toEqual(['ask_user']);
  });

  it.each([
    ['another caller', { sub: 'did:talos:three' }],
    ['the same caller with another capability', { sub: 'did:talos:two', exp: clock.nowSec + 3_000 }],
  ])('is not to be had by %s', async (_, changes) => {
    const token = tokenWith({ scope: 'tool:asking', sub: 'did:talos:two' });
    const other = tokenWith({ scope: 'tool:asking', ...changes });
    const first = await asked('ask_user', { at: strict, token });
    const foreign = await answered('ask_user', { at: strict, token: other, input: replyTo(first) });
    expect(errorOf(foreign)).toMatchObject(notWaiting);
    expect(textOf(await answered('ask_user', { at: strict, token, input: replyTo(first) }))).toContain('Ada');
    expect(asking.calls).toEqual(['ask_user']);
  });

  it('is nothing that another gateway knows', async () => {
    const token = tokenWith({ scope: 'tool:asking', sub: 'did:talos:else' });
    const first = await asked('ask_user');
    const elsewhere = await answered('ask_user', { at: strict, token, input: replyTo(first) });
    expect(errorOf(elsewhere)).toMatchObject(notWaiting);
    expect(textOf(await answered('ask_user', { input: replyTo(first) }))).toContain('Ada');
    expect(asking.calls).toEqual(['ask_user']);
  });

  it('is asked nothing that the capability does not grant', async () => {
    const token = tokenWith({ scope: 'tool:asking/method:ask_caught' });
    expect(textOf(await answered('ask_caught', { at: strict, token }))).toContain('refused');
  });

  it('has one record of what only reads, and one of its end', async () => {
    const token = tokenWith({ scope: 'tool:asking', sub: 'did:talos:reader' });
    const first = await asked('ask_model', { at: strict, token });
    const name = await nameOf('ask_model');
    const input = replyTo(first, sampled);
    expect(textOf(await answered('ask_model', { at: strict, token, input }))).toContain('Paris');
    const { body } = await strict.send('/api/events?limit=3', { token: reader });
    const metas = (body['items'] as unknown as JsonObject[]).map(({ meta }) => meta as JsonObject);
    expect(metas.map(({ session_id, phase, asked_for }) => [session_id, phase, asked_for])).toEqual([
      [name, undefined, undefined],
      [name, undefined, undefined],
      [name, 'note', 'sampling/createMessage'],
    ]);
    expect(metas[0]).toMatchObject({ tool_name: 'ask_model', response_hash: expect.any(String) });
  });

  it('is approved once for all its rounds', async () => {
    const admin = productionEnv.AUTH_ADMIN_SECRET;
    const policy = { id: 'p', team_id: 'red', require_approval: { asking: ['ask_twice'] } };
    await strict.send('/admin/v1/mcp/policies', { token: admin, json: policy });
    const token = tokenWith({ scope: 'tool:asking', sub: 'did:talos:approved', constraints: { team_id: 'red' } });
    const pending = errorOf(await answered('ask_twice', { at: strict, token }));
    const approvalId = (pending['data'] as JsonObject)['approval_id'];
    await strict.send(`/admin/v1/mcp/approvals/${String(approvalId)}/approve`, { token: admin, json: {} });
    const first = await asked('ask_twice', { at: strict, token });
    const second = await asked('ask_twice', { at: strict, token, input: replyTo(first) });
    const last = await answered('ask_twice', { at: strict, token, input: replyTo(second) });
    expect(textOf(last)).toContain('Ada');
    expect(asking.calls).toEqual(['ask_twice']);
  });

  it('waits five minutes and no more', async () => {
    const token = tokenWith({ scope: 'tool:asking', sub: 'did:talos:late' });
    const first = await asked('ask_user', { at: strict, token });
    skewMs = 300_000;
    await endsWith('CLIENT_UNANSWERED');
    const late = await answered('ask_user', { at: strict, token, input: replyTo(first) });
    expect(errorOf(late)).toMatchObject(notWaiting);
    expect(asking.calls).toEqual(['ask_user']);
  });

  it('has the outcome of a server that did not wait, though nobody heard it', async () => {
    const token = tokenWith({ scope: 'tool:asking', sub: 'did:talos:gone' });
    await asked('ask_briefly', { at: strict, token });
    const name = await nameOf('ask_briefly');
    await recorded({ session_id: name, rpc_method: 'elicitation/create' });
    skewMs += 300_000;
    const outcome = await recorded({ session_id: name, phase: 'outcome' });
    expect(outcome).toMatchObject({ response_hash: expect.any(String) });
    expect(outcome['error']).toBeUndefined();
    expect(asking.cancelled).toEqual([]);
  });

  it('fails as what may have run when the server goes away', async () => {
    const other = await startAskingServer();
    const own = await startTestGateway({ servers: { asking: other.url } });
    onTestFinished(() => own.stop());
    const first = await asked('ask_user', { at: own });
    await other.stop();
    const error = errorOf(await answered('ask_user', { at: own, input: replyTo(first) }));
    expect(error).toMatchObject({
      code: -32_000,
      data: { code: expect.stringMatching(/^UPSTREAM_/), retryable: false },
    });
    expect(other.calls).toEqual(['ask_user']);
  });

  it('ends with the gateway, on record', async () => {
    const own = await startTestGateway({ servers: { asking: asking.url } });
    onTestFinished(() => own.stop());
    await asked('ask_user', { at: own });
    await own.gateway.stop();
    const last = (await checkLog(own.database)).find(({ record }) => record['meta']?.['error'] === 'CALL_CANCELLED');
    expect(last?.record['meta']).toMatchObject({ phase: 'outcome', tool_name: 'ask_user' });
    const pool = openReadPool(own.database);
    const snapshot = await openLogSnapshot(own.database);
    onTestFinished(() => pool.end());
    onTestFinished(() => snapshot.close());
    expect(await fsck({ snapshot, nodes: createTileReader(pool).nodes })).toMatchObject({ ok: true });
    await expect.poll(() => asking.cancelled, { timeout: 20_000 }).toEqual(['ask_user']);
  });

  it('has a bound for each caller, which nothing is called beyond', async () => {
    const greedy = { at: strict, token: tokenWith({ scope: 'tool:asking', sub: 'did:talos:greedy' }) };
    const open: Asked[] = [];
    for (let count = 0; count < 32; count++) open.push(await asked('ask_user', greedy));
    const refused = errorOf(await answered('ask_user', greedy));
    expect(refused).toMatchObject({ data: { code: 'SESSIONS_FULL', retry_after: expect.any(Number) } });
    expect(asking.calls).toHaveLength(32);
    const [one] = open;
    if (one === undefined) throw new Error('none was opened');
    expect(textOf(await answered('ask_user', { ...greedy, input: replyTo(one) }))).toContain('Ada');
    await asked('ask_user', greedy);
  });
});
