/** Tool calls under idempotency keys: the tool is called once, and the key tells for a day what that came to. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import {
  type Answer,
  callTool,
  dumpOf,
  eventually,
  itemsOf,
  recordOf,
  startTestGateway,
  type TestGateway,
  type ToolCallOptions,
  wallClock,
} from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { checkLog } from '../support/log-checker.ts';
import { type Respond, said, sendError, sendResult } from '../support/mcp-scripted.ts';
import { echo, gate, startUpstream, type Upstream } from '../support/upstream.ts';

const breaks: Respond = (_, response) => void response.destroy();
const secretWords = 'what only the caller may read';
const slow = gate();
const left = gate();

let folder: string;
let upstream: Upstream;
let away: Upstream;
let gateway: TestGateway;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-call-keys-'));
  const tool = (tool_name: string, tool_class: string, requires_idempotency_key = false) => ({
    ...{ tool_server: 'tested', tool_name, tool_class, requires_idempotency_key },
  });
  const tools = [tool('reads', 'read'), tool('breaks reading', 'read'), tool('demands', 'write', true)];
  await writeFile(join(folder, 'registry.json'), JSON.stringify({ tools }));
  upstream = await startUpstream({
    tools: [{ name: 'strict', inputSchema: { type: 'object', required: ['n'] } }],
    calls: {
      act: echo,
      other: echo,
      reads: echo,
      demands: echo,
      breaks,
      'breaks reading': breaks,
      slow: slow.respond,
      left: left.respond,
      strict: echo,
      confides: (received, response) => sendResult(received, response, said(secretWords)),
      huge: (received, response) => sendResult(received, response, said('x'.repeat(1024 * 1024))),
      fails: (received, response) => sendResult(received, response, { isError: true, content: [] }),
      refuses: (received, response) => sendError(received, response, -32_099, 'not today'),
    },
  });
  away = await startUpstream({ calls: { act: echo } });
  gateway = await startTestGateway({
    servers: { tested: upstream.url, other: upstream.url, away: away.url },
    file: `tool_registry: ${join(folder, 'registry.json')}\n`,
    clock: wallClock(),
  });
});

afterAll(async () => {
  for (const { open } of [slow, left]) open();
  await checkLog({ url: gateway.database.url });
  await gateway.stop();
  await upstream.close();
  await away.close();
  await rm(folder, { recursive: true });
});

let keys = 0;
const freshKey = () => `key ${keys++}`;

function call(key: string, tool = 'act', input: JsonObject = { n: 1 }, options: ToolCallOptions = {}): Promise<Answer> {
  return callTool(gateway, tool, input, { ...options, headers: { 'idempotency-key': key, ...options.headers } });
}

const reached = (tool: string) => upstream.calls.filter(({ name }) => name === tool).length;
const isReplay = ({ headers }: Answer) => headers.get('idempotent-replayed') === 'true';

async function sql(text: string): Promise<JsonObject[]> {
  const client = new pg.Client({ connectionString: gateway.database.url });
  await client.connect();
  try {
    return (await client.query<JsonObject>(text)).rows;
  } finally {
    await client.end();
  }
}

/** What there is to say of a call that was made and of its repetition. */
async function twice(tool: string, options: ToolCallOptions = {}) {
  const key = freshKey();
  const before = reached(tool);
  const first = await call(key, tool, undefined, options);
  const again = await call(key, tool, undefined, options);
  return { first, again, calls: reached(tool) - before };
}

const answerOf = ({ status, body: { request_id: _, timing_ms: __, retryable: ___, ...body } }: Answer) => ({
  status,
  body,
});

describe('a call that is repeated under its key', () => {
  it.each([
    ['act', 200, undefined],
    ['reads', 200, undefined],
    ['fails', 200, undefined],
    ['refuses', 200, undefined],
    ['breaks', 502, 'UPSTREAM_UNAVAILABLE'],
    ['breaks reading', 502, 'UPSTREAM_UNAVAILABLE'],
  ])('is answered as the first time and not made again: %s', async (tool, status, code) => {
    const { first, again, calls } = await twice(tool);
    expect({ status: first.status, code: first.body['code'] }).toEqual({ status, code });
    expect(answerOf(again)).toEqual(answerOf(first));
    expect([isReplay(first), isReplay(again)]).toEqual([false, true]);
    expect(again.headers.get('x-talos-audit-ref')).toBe(first.headers.get('x-talos-audit-ref'));
    expect(calls).toBe(1);
  });

  it('is never said to be worth repeating when the tool may have run', async () => {
    const { first, again } = await twice('breaks');
    expect([first.body['retryable'], again.body['retryable']]).toEqual([false, false]);
  });

  it('has a record of its own, which names that of the outcome', async () => {
    const key = freshKey();
    const first = await call(key);
    await callTool(gateway, 'act', { n: 1 }, { requestId: `repeated ${key}`, headers: { 'idempotency-key': key } });
    const [item, ...others] = await itemsOf(gateway, `correlation_id=${encodeURIComponent(`repeated ${key}`)}`);
    expect(others).toEqual([]);
    const [made, repeated] = [(await recordOf(gateway, first)).meta, item?.['meta'] as JsonObject];
    expect(repeated).toMatchObject({
      replay_of: first.body['audit_ref'],
      idempotency_key_hash: made['idempotency_key_hash'],
      request_hash: made['request_hash'],
      response_hash: made['response_hash'],
    });
    expect(repeated).not.toHaveProperty('intent_id');
    expect(JSON.stringify(made)).not.toContain(key);
  });

  it('may give its key in the body', async () => {
    const key = freshKey();
    const inBody = { json: { input: { n: 1 }, idempotency_key: key } };
    expect(isReplay(await callTool(gateway, 'act', {}, inBody))).toBe(false);
    expect(isReplay(await call(key))).toBe(true);
    expect(isReplay(await call(key, 'act', {}, inBody))).toBe(true);
  });

  it('answers one of many at once, and asks the others to come back', async () => {
    const key = freshKey();
    const before = reached('act');
    const answers = await Promise.all(Array.from({ length: 20 }, () => call(key)));
    expect(reached('act') - before).toBe(1);
    expect(new Set(answers.map(({ status, body }) => body['code'] ?? status))).toBeOneOf([
      new Set([200]),
      new Set([200, 'IDEMPOTENCY_IN_FLIGHT']),
    ]);
    const refs = answers.filter(({ status }) => status === 200).map(({ body }) => body['audit_ref']);
    expect(new Set(refs).size).toBe(1);
  });

  it('costs a capability under max_calls nothing', async () => {
    const token = tokenWith({ sub: 'did:talos:counted', scope: 'tool:tested', constraints: { max_calls: 2 } });
    const key = freshKey();
    const answers = [];
    for (const each of [key, key, key, freshKey()]) answers.push(await call(each, 'act', undefined, { token }));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
    expect((await call(freshKey(), 'act', undefined, { token })).status).toBe(403);
    expect(isReplay(await call(key, 'act', undefined, { token }))).toBe(true);
  });

  it('is there for who left before the tool answered', async () => {
    const key = freshKey();
    const controller = new AbortController();
    const asked = call(key, 'left', undefined, { signal: controller.signal }).catch(() => 'left');
    await eventually(() => left.waiting() === 1);
    controller.abort();
    expect(await asked).toBe('left');
    left.open();
    const again = await eventually(async () => {
      const answer = await call(key, 'left');
      return answer.status === 200 && answer;
    });
    expect(isReplay(again)).toBe(true);
    expect(again.body['output']).toEqual(said('after the wait'));
    expect([reached('left'), left.left()]).toEqual([1, 0]);
  });
});

describe('a key', () => {
  it('is refused for other arguments, which is on record', async () => {
    const key = freshKey();
    await call(key);
    const before = reached('act');
    const refused = await call(key, 'act', { n: 2 });
    expect(refused.status).toBe(409);
    expect(refused.body).toMatchObject({ code: 'IDEMPOTENCY_CONFLICT', retryable: false });
    expect(isReplay(refused)).toBe(false);
    expect((await recordOf(gateway, refused)).meta).toMatchObject({ error: 'IDEMPOTENCY_CONFLICT' });
    expect(reached('act')).toBe(before);
  });

  it('is refused while the call is at work, and may be tried again', async () => {
    const key = freshKey();
    const first = call(key, 'slow');
    await eventually(() => slow.waiting() === 1);
    const refused = await call(key, 'slow');
    expect(refused.status).toBe(409);
    expect(refused.body).toMatchObject({ code: 'IDEMPOTENCY_IN_FLIGHT', retryable: true });
    expect(refused.headers.get('retry-after')).toBe('1');
    expect((await call(key, 'slow', { n: 2 })).body['code']).toBe('IDEMPOTENCY_CONFLICT');
    slow.open();
    expect((await first).status).toBe(200);
    expect(isReplay(await call(key, 'slow'))).toBe(true);
    expect(reached('slow')).toBe(1);
  });

  it.each<[string, string, ToolCallOptions]>([
    ['tool', 'other', {}],
    ['server', 'act', { server: 'other' }],
    ['caller', 'act', { token: tokenWith({ sub: 'did:talos:another', scope: 'tool:tested' }) }],
  ])('means something else with another %s', async (_, tool, options) => {
    const key = freshKey();
    await call(key);
    const answer = await call(key, tool, { n: 2 }, options);
    expect({ status: answer.status, replayed: isReplay(answer) }).toEqual({ status: 200, replayed: false });
  });

  it('means something else in another team', async () => {
    const ofTeam = (team_id: string) => ({
      token: tokenWith({ sub: 'did:talos:both', scope: 'tool:tested', constraints: { team_id } }),
    });
    const key = freshKey();
    expect((await call(key, 'act', { n: 1 }, ofTeam('red'))).status).toBe(200);
    expect((await call(key, 'act', { n: 2 }, ofTeam('blue'))).status).toBe(200);
  });

  it('answers nothing to who may not call the tool any more', async () => {
    const token = (scope: string) => tokenWith({ sub: 'did:talos:demoted', scope });
    const key = freshKey();
    expect((await call(key, 'act', undefined, { token: token('tool:tested') })).status).toBe(200);
    const refused = await call(key, 'act', undefined, { token: token('tool:tested/method:other') });
    expect({ status: refused.status, replayed: isReplay(refused) }).toEqual({ status: 403, replayed: false });
    expect(refused.text).not.toContain('output');
  });

  it('is not taken by what does not reach the tool', async () => {
    const key = freshKey();
    const token = tokenWith({ sub: 'did:talos:both ways', scope: 'tool:tested/method:other' });
    expect((await call(key, 'act', undefined, { token })).status).toBe(403);
    expect((await call(key, 'strict', {})).body['error']).toMatchObject({ code: 400 });
    expect((await call(key, 'nothing')).status).toBe(404);
    expect(isReplay(await call(key, 'strict'))).toBe(false);
  });

  it('is free again when the server could not be reached, for the same call', async () => {
    const key = freshKey();
    const toAway = { server: 'away' };
    expect((await call(freshKey(), 'act', undefined, toAway)).status).toBe(200);
    const before = away.calls.length;
    await away.close();
    const failed = await call(key, 'act', undefined, toAway);
    expect({ status: failed.status, retryable: failed.body['retryable'] }).toEqual({ status: 502, retryable: true });
    const again = await call(key, 'act', undefined, toAway);
    expect({ status: again.status, replayed: isReplay(again) }).toEqual({ status: 502, replayed: false });
    expect((await call(key, 'act', { n: 2 }, toAway)).body['code']).toBe('IDEMPOTENCY_CONFLICT');
    await away.reopen();
    const made = await eventually(async () => {
      const answer = await call(key, 'act', undefined, toAway);
      return answer.status === 200 && answer;
    });
    expect(isReplay(made)).toBe(false);
    expect(isReplay(await call(key, 'act', undefined, toAway))).toBe(true);
    expect(away.calls.length - before).toBe(1);
  });

  it('is free again after a day', async () => {
    const key = freshKey();
    const first = await call(key);
    await sql("UPDATE log_idempotency SET reserved_at = now() - interval '86401 seconds'");
    const later = await call(key, 'act', { n: 2 });
    expect({ status: later.status, replayed: isReplay(later) }).toEqual({ status: 200, replayed: false });
    expect(later.body['audit_ref']).not.toBe(first.body['audit_ref']);
  });

  it.each(['', 'ä', 'a\tb', 'x'.repeat(256)])('that is no key is refused: %j', async (key) => {
    const before = reached('act');
    const inBody = await callTool(gateway, 'act', {}, { json: { input: {}, idempotency_key: key } });
    expect(inBody.status).toBe(422);
    expect(reached('act')).toBe(before);
  });

  it('must be the same in header and body', async () => {
    const key = freshKey();
    const before = reached('act');
    const refused = await call(key, 'act', {}, { json: { input: {}, idempotency_key: `${key}!` } });
    expect(refused.status).toBe(400);
    expect(refused.body['code']).toBe('INVALID_REQUEST');
    expect(reached('act')).toBe(before);
  });
});

describe('a result', () => {
  it('that is larger than what is kept is not answered again, and the tool is not called again', async () => {
    const { first, again, calls } = await twice('huge');
    expect(first.status).toBe(200);
    expect(again.status).toBe(409);
    expect(again.body).toMatchObject({
      code: 'RESULT_NOT_KEPT',
      retryable: false,
      audit_ref: first.body['audit_ref'],
    });
    expect(calls).toBe(1);
  });

  it('is kept where only this gateway can read it', async () => {
    const { again } = await twice('confides');
    expect(again.text).toContain(secretWords);
    const dump = await dumpOf(gateway);
    expect(dump).not.toContain(secretWords);
    expect(dump).not.toContain(Buffer.from(secretWords).toString('hex'));
  });

  it('is not taken for that of another call', async () => {
    const [one, two] = [freshKey(), freshKey()];
    await call(one, 'act', { n: 'one' });
    await call(two, 'act', { n: 'two' });
    await sql(
      `UPDATE call_result SET envelope = (SELECT envelope FROM call_result ORDER BY intent_id DESC LIMIT 1)
        WHERE intent_id = (SELECT intent_id FROM call_result ORDER BY intent_id DESC OFFSET 1 LIMIT 1)`,
    );
    expect((await call(one, 'act', { n: 'one' })).body['code']).toBe('RESULT_NOT_KEPT');
    expect((await call(two, 'act', { n: 'two' })).status).toBe(200);
  });
});

describe('a tool that is listed as one that requires a key', () => {
  it('is not called without one, which is on record', async () => {
    const refused = await callTool(gateway, 'demands');
    expect(refused.status).toBe(400);
    expect(refused.body).toMatchObject({ code: 'IDEMPOTENCY_KEY_REQUIRED', retryable: false });
    expect((await recordOf(gateway, refused)).meta).toMatchObject({ error: 'IDEMPOTENCY_KEY_REQUIRED' });
    expect(reached('demands')).toBe(0);
  });

  it('is called with one', async () => {
    expect((await call(freshKey(), 'demands')).status).toBe(200);
  });

  it('tells nothing of that to who may not call it', async () => {
    const token = tokenWith({ scope: 'tool:tested/method:other' });
    expect((await callTool(gateway, 'demands', {}, { token })).status).toBe(403);
  });
});

describe('natively', () => {
  function native(meta: JsonObject | undefined, headers: Record<string, string> = {}, path = '/mcp/tested') {
    const params = {
      name: path === '/mcp' ? 'tested__act' : 'act',
      arguments: { n: 1 },
      ...(meta === undefined ? {} : { _meta: meta }),
    };
    const json = { jsonrpc: '2.0', id: 1, method: 'tools/call', params };
    return gateway.send(path, { token: 'anybody', json, headers });
  }
  const metaKey = 'org.talosprotocol/idempotencyKey';

  it('a key is a header or in _meta, and the same as over REST', async () => {
    const key = freshKey();
    const before = reached('act');
    const first = await native({ [metaKey]: key });
    const answers = [
      await native(undefined, { 'idempotency-key': key }),
      await native({ [metaKey]: key }, { 'idempotency-key': key }),
      await native({ [metaKey]: key }, {}, '/mcp'),
    ];
    expect(isReplay(first)).toBe(false);
    for (const answer of answers) {
      expect(isReplay(answer)).toBe(true);
      expect(answer.text).toBe(first.text);
    }
    expect(isReplay(await call(key))).toBe(true);
    expect(reached('act') - before).toBe(1);
  });

  it('a key for other arguments is an error that says so', async () => {
    const key = freshKey();
    await call(key, 'act', { n: 2 });
    const { body } = await native({ [metaKey]: key });
    expect(body['error']).toMatchObject({ data: { code: 'IDEMPOTENCY_CONFLICT', retryable: false } });
  });

  it.each([[7], [''], ['ä'], [['a']], [null]])('a key that is none is refused: %j', async (key) => {
    const before = reached('act');
    const { body } = await native({ [metaKey]: key as string });
    expect(body['error']).toMatchObject({ data: { code: 'INVALID_REQUEST' } });
    expect(reached('act')).toBe(before);
  });

  it('two keys that differ are refused', async () => {
    const before = reached('act');
    const { body } = await native({ [metaKey]: freshKey() }, { 'idempotency-key': freshKey() });
    expect(body['error']).toMatchObject({ data: { code: 'INVALID_REQUEST' } });
    expect(reached('act')).toBe(before);
  });
});
