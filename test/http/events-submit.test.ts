/** Events that clients report: what becomes of each part of them, and what nobody can make the log say. */
import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { type Answer, itemsOf, recordOf, startTestGateway, type TestGateway } from '../support/gateway.ts';

let gateway: TestGateway;

beforeAll(async () => {
  gateway = await startTestGateway();
});

afterAll(() => gateway.stop());

const sha256 = (data: string) => createHash('sha256').update(data).digest('hex');
const jcs = (value: unknown) => canonicalize(value) ?? '';
const plain = { event_type: 'deploy', actor: 'ci', action: 'start' };

async function submitted(event: JsonObject) {
  const answer = await gateway.send('/api/events', { json: event });
  expect(answer.status).toBe(200);
  return { answer, ...(await recordOf(gateway, answer)) };
}

describe('an event', () => {
  it('is answered with its place in the log', async () => {
    const { answer, record } = await submitted({ ...plain, resource: 'service-1', metadata: { run: 7 } });
    const { body, headers } = answer;
    expect(body).toEqual({
      event_id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-7/),
      timestamp: Math.floor(Date.parse(String(record['ts'])) / 1000),
      ...plain,
      resource: 'service-1',
      integrity_hash: record['event_hash'],
      seq: expect.toSatisfy(Number.isInteger),
      cursor: Buffer.from(`${body['timestamp']}:${body['event_id']}`).toString('base64url'),
    });
    expect(headers.get('x-talos-audit-ref')).toBe(body['event_id']);
  });

  it('becomes a record whose hash anybody can recompute', async () => {
    const { record, meta } = await submitted({
      ...plain,
      resource: 'service-1',
      metadata: { run: 7, session_id: 's-9', ok: true, none: null },
    });
    const { event_hash: claimed, ...hashed } = record;
    expect(claimed).toBe(sha256(jcs(hashed)));
    expect(hashed).toEqual({
      schema_id: 'talos.audit_event',
      schema_version: 'v1',
      event_id: expect.any(String),
      ts: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
      request_id: expect.any(String),
      surface_id: 'events.submit',
      outcome: 'success',
      principal: { auth_mode: 'bearer', principal_id: 'ci', team_id: 'default' },
      http: { method: 'POST', path: '/api/events', status_code: 200 },
      resource: { resource_type: 'event', resource_id: 'service-1' },
      meta,
    });
    expect(meta).toEqual({
      event_type: 'deploy',
      action: 'start',
      submitted_by: 'dev-user',
      run: 7,
      session_id: 's-9',
      ok: true,
      none: null,
    });
  });

  it('is there at once for whoever looks', async () => {
    const { answer } = await submitted({ ...plain, event_type: 'visible-at-once', metadata: { event_note: 'x' } });
    const [item] = await itemsOf(gateway, 'event_type=visible-at-once&limit=1');
    expect(item).toMatchObject({
      event_id: answer.body['event_id'],
      metadata: { event_note: 'x', event_type: 'visible-at-once', action: 'start' },
    });
  });

  it.each([
    ['no resource', {}, null, 'deploy'],
    ['null as resource', { resource: null }, null, 'deploy'],
    ['a resource', { resource: 'r' }, 'r', 'r'],
  ])('with %s', async (_, change, answered, recorded) => {
    const { answer, record } = await submitted({ ...plain, ...change });
    expect(answer.body['resource']).toBe(answered);
    expect(record['resource']).toEqual({ resource_type: 'event', resource_id: recorded });
  });

  it.each([undefined, null, {}])('with %j as metadata has none', async (metadata) => {
    const { meta } = await submitted(metadata === undefined ? plain : { ...plain, metadata });
    expect(Object.keys(meta).sort()).toEqual(['action', 'event_type', 'submitted_by']);
  });

  it('may use the longest texts there are', async () => {
    const long = 'ü'.repeat(200);
    const { record, meta } = await submitted({
      event_type: long,
      actor: long,
      action: 'a'.repeat(1024),
      resource: long,
    });
    expect(record).toMatchObject({ principal: { principal_id: long }, resource: { resource_id: long } });
    expect(meta['action']).toHaveLength(1024);
  });

  it.each([
    '天気 🌦️ \u2028',
    'tab\tand\nline',
    '\u0000',
    '"quoted" \\',
    '\\N',
    '\\.',
    "'; DROP TABLE audit_event; --",
    '\u007f\u0080',
    '\uffff',
  ])('keeps every character: %j', async (text) => {
    const { meta, record } = await submitted({ ...plain, actor: text, metadata: { text, [text]: 1 } });
    expect(meta['text']).toBe(text);
    expect(meta[text]).toBe(1);
    const { event_hash: claimed, ...hashed } = record;
    expect(claimed).toBe(sha256(jcs(hashed)));
    const found = await itemsOf(gateway, `agent_id=${encodeURIComponent(text)}`);
    expect(found.map((item) => item['event_id'])).toContain(record['event_id']);
  });
});

describe('numbers', () => {
  it.each([
    ['1.0', 1],
    ['1e22', 1e22],
    ['-0', 0],
    ['0.1', 0.1],
    ['5e-324', 5e-324],
    ['1.7976931348623157e308', Number.MAX_VALUE],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
    ['1E+2', 100],
  ])('%s is taken, and hashes the same for everybody', async (text, value) => {
    const raw = JSON.stringify(plain).replace('}', `,"metadata":{"n":${text}}}`);
    const answer = await gateway.send('/api/events', { raw });
    expect(answer.status).toBe(200);
    const { record, meta } = await recordOf(gateway, answer);
    expect(meta['n']).toBe(value);
    const { event_hash: claimed, ...hashed } = record;
    expect(claimed).toBe(sha256(jcs(hashed)));
    expect(claimed).toBe(answer.body['integrity_hash']);
  });

  it('beyond what a double holds exactly are refused, not changed', async () => {
    const answer = await gateway.send('/api/events', {
      raw: JSON.stringify(plain).replace('}', ',"metadata":{"n":9007199254740993}}'),
    });
    expect(answer.status).toBe(400);
  });
});

describe('metadata that a record cannot hold', () => {
  const texts = (character: string) =>
    Object.fromEntries(Array.from({ length: 26 }, (_, n) => [`key-${n}`, character.repeat(1_000)]));
  const many = Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`key-${n}`, n]));
  it.each<[string, JsonObject]>([
    ['nested', { plain: 1, nested: { list: [1, { deep: true }] } }],
    ['long', { plain: 1, text: 'x'.repeat(1025) }],
    ['too many', { plain: 1, ...many }],
    ['a list', { plain: 1, list: [] }],
    ['reserved', { plain: 1, server_id: 'weather', phase: 'intent' }],
    ['short texts of long characters', { plain: 1, ...texts('\u6f22') }],
    ['short texts that are escaped', { plain: 1, ...texts('\u0001') }],
    ['a long name', { plain: 1, ['k'.repeat(70_000)]: 1 }],
  ])('is kept beside it and bound to it: %s', async (_, metadata) => {
    const { record, meta, item } = await submitted({ ...plain, metadata });
    expect(meta['details_hash']).toBe(sha256(jcs(metadata)));
    expect(meta['plain']).toBe(1);
    expect(Object.keys(meta).length).toBeLessThanOrEqual(32);
    for (const value of Object.values(meta)) expect(typeof value).not.toBe('object');
    expect(item['metadata']).toMatchObject(metadata);
    const { event_hash: claimed, ...hashed } = record;
    expect(claimed).toBe(sha256(jcs(hashed)));
  });

  it('is cut nowhere at the border', async () => {
    const { meta } = await submitted({ ...plain, metadata: { text: 'x'.repeat(1024) } });
    expect(meta['text']).toHaveLength(1024);
    expect(meta).not.toHaveProperty('details_hash');
  });

  it('with a key named __proto__ pollutes nothing', async () => {
    const raw = '{"event_type":"a","actor":"b","action":"c","metadata":{"__proto__":{"polluted":1},"constructor":2}}';
    const answer = await gateway.send('/api/events', { raw });
    expect(answer.status).toBe(200);
    const { meta } = await recordOf(gateway, answer);
    expect(meta['constructor']).toBe(2);
    expect(meta['details_hash']).toBe(sha256('{"__proto__":{"polluted":1},"constructor":2}'));
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
});

describe('a record of the gateway', () => {
  const forged = {
    event_type: 'mcp_tool_call',
    server_id: 'forged-server',
    tool_name: 'forged-tool',
    denial_reason: 'REVOKED',
    denial_detail: 'x',
    latency_ms: 5,
    request_hash: 'f'.repeat(64),
    response_hash: 'f'.repeat(64),
    capability_hash: 'f'.repeat(64),
    schema_hash: 'x',
    definition_hash: 'x',
    details_hash: 'f'.repeat(64),
    error: 'x',
    code: 1,
    phase: 'intent',
    intent_id: 'x',
    reason: 'x',
    submitted_by: 'gateway',
    action: 'other',
    meta_redaction_applied: true,
    meta_redacted_keys: 'x',
  };

  it.each(Object.keys(forged))('cannot be forged by the key %s', async (key) => {
    const value = forged[key as keyof typeof forged];
    const { meta, item } = await submitted({ ...plain, metadata: { [key]: value, mine: 1 } });
    expect(meta[key]).not.toBe(value);
    expect(meta['details_hash']).toBe(sha256(jcs({ [key]: value, mine: 1 })));
    expect(item).toMatchObject({ tool: '', outcome: 'OK', event_type: 'deploy', metrics: {}, method: 'events.submit' });
    expect(item).not.toHaveProperty('denial_reason');
    expect(item['hashes']).toEqual({ event_hash: item['event_hash'] });
  });

  it.each(['gateway', 'anonymous'])('cannot be forged by the actor %s', async (actor) => {
    const before = await itemsOf(gateway);
    const event = { event_type: 'a', actor, action: 'b' };
    const alone = await gateway.send('/api/events', { json: event });
    const among = await gateway.send('/api/events/batch', { json: [{ ...event, actor: 'agent-1' }, event] });
    for (const { status, body, text } of [alone, among]) {
      expect({ status, code: body['code'] }).toEqual({ status: 400, code: 'INVALID_REQUEST' });
      expect(text).toContain(`actor must not be ${actor}`);
    }
    expect(await itemsOf(gateway)).toEqual(before);
  });

  it('cannot be forged by the fields of an event', async () => {
    const { record, meta } = await submitted({
      event_type: 'mcp_tool_call',
      actor: 'Gateway',
      action: 'mcp.tools.call',
      resource: 'weather/get_forecast',
    });
    expect(record).toMatchObject({ surface_id: 'events.submit', resource: { resource_type: 'event' } });
    expect(meta['submitted_by']).toBe('dev-user');
  });

  it('is not found in place of one that a client made', async () => {
    await submitted({ ...plain, metadata: { server_id: 'forged-server', tool_name: 'forged-tool' } });
    expect(await itemsOf(gateway, 'tool=forged-tool')).toEqual([]);
    expect(await itemsOf(gateway, 'server_id=forged-server')).toEqual([]);
  });

  it('keeps its fields from unknown keys of a body', async () => {
    const { record } = await submitted({
      ...plain,
      outcome: 'denied',
      surface_id: 'x',
      principal: { principal_id: 'root' },
      event_id: 'x',
      ts: 'x',
      seq: 0,
    } as JsonObject);
    expect(record).toMatchObject({
      outcome: 'success',
      surface_id: 'events.submit',
      principal: { principal_id: 'ci' },
    });
  });
});

describe('a batch', () => {
  const events = (count: number) => Array.from({ length: count }, (_, n) => ({ ...plain, metadata: { n } }));
  const count = async () => Number((await gateway.send('/api/events/stats?from=0&to=9999999999')).body['count']);
  const ndjson = (lines: string) =>
    gateway.send('/api/events/batch', { raw: lines, headers: { 'content-type': 'application/x-ndjson' } });

  function expectRow(answer: Answer, size: number) {
    expect(answer.status).toBe(200);
    expect(answer.body['count']).toBe(size);
    const rows = answer.body['events'] as JsonObject[];
    expect(rows).toHaveLength(size);
    for (const row of rows) expect(Object.keys(row).sort()).toEqual(['cursor', 'event_id', 'integrity_hash', 'seq']);
    const first = Number(rows[0]?.['seq']);
    expect(rows.map((row) => row['seq'])).toEqual(rows.map((_, n) => first + n));
  }

  it.each([1, 2, 1000])('of %i is stored whole, in its order', async (size) => {
    const before = await count();
    const answer = await gateway.send('/api/events/batch', { json: events(size) });
    expectRow(answer, size);
    expect(answer.headers.get('x-talos-audit-ref')).toBe((answer.body['events'] as JsonObject[])[0]?.['event_id']);
    expect(await count()).toBe(before + size);
    const [newest] = await itemsOf(gateway, 'limit=1');
    expect(newest).toMatchObject({ metadata: { n: size - 1 } });
  });

  it.each([
    ['lines', '\n', ''],
    ['lines with an end', '\n', '\n'],
    ['lines of Windows', '\r\n', '\r\n'],
    ['lines and blank ones', '\n \n\n', '\n\n'],
  ])('may be %s', async (_, separator, end) => {
    expectRow(
      await ndjson(
        events(3)
          .map((event) => JSON.stringify(event))
          .join(separator) + end,
      ),
      3,
    );
  });

  it.each([
    ['no JSON', `${JSON.stringify(plain)}\n{"event_type":\n${JSON.stringify(plain)}`, 400, /^Line 2: /],
    ['two values', `${JSON.stringify(plain)}\n\n{} {}`, 400, /^Line 3: /],
    ['a key twice', '{"event_type":"a","event_type":"b"}', 400, /^Line 1: /],
    ['no event', `${JSON.stringify(plain)}\n5`, 422, /body\.1/],
    ['an event without an actor', `${JSON.stringify(plain)}\n{"event_type":"a","action":"b"}`, 422, /body\.1\.actor/],
  ])('with a line that is %s is refused whole, and the line named', async (_, lines, status, message) => {
    const before = await count();
    const answer = await ndjson(lines);
    expect(answer.status).toBe(status);
    expect(answer.body['message']).toMatch(message);
    expect(await count()).toBe(before);
  });

  it.each([0, 1001])('of %i is refused, as a list and as lines', async (size) => {
    const before = await count();
    const list = events(size);
    for (const answer of [
      await gateway.send('/api/events/batch', { json: list }),
      await ndjson(list.map((event) => JSON.stringify(event)).join('\n')),
    ]) {
      expect(answer.status).toBe(422);
      expect(answer.body['code']).toBe('VALIDATION_FAILED');
    }
    expect(await count()).toBe(before);
  });

  it('with one event that is too large for a record is refused whole', async () => {
    const before = await count();
    const large = { ...plain, metadata: { text: 'x'.repeat(1024 * 1024 + 1) } };
    const answer = await gateway.send('/api/events/batch', { json: [plain, large] });
    expect(answer.status).toBe(413);
    expect(answer.body).toMatchObject({ code: 'RECORD_TOO_LARGE', error: answer.body['message'] });
    expect(await count()).toBe(before);
  });

  it.each<[string, string, string]>([
    ['a list of millions', 'application/json', `[${'0,'.repeat(4_000_000)}0]`],
    ['a list of millions of objects', 'application/json', `[${'{},'.repeat(2_000_000)}{}]`],
    ['millions of lines', 'application/x-ndjson', '{}\n'.repeat(2_000_000)],
    ['millions of empty lines', 'application/x-ndjson', '\n'.repeat(8_000_000)],
  ])('is refused soon, whatever it holds: %s', async (_, type, raw) => {
    const started = performance.now();
    const answer = await gateway.send('/api/events/batch', { raw, headers: { 'content-type': type } });
    expect([400, 413, 422]).toContain(answer.status);
    expect(performance.now() - started).toBeLessThan(15_000);
  });

  it('is not cut in two by others that arrive at the same time', async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => gateway.send('/api/events/batch', { json: events(300) })),
    );
    for (const answer of answers) expectRow(answer, 300);
  });
});

describe('a body of very many values', () => {
  const metadata = (count: number) => ({ list: Array.from({ length: count }, () => 0) });
  const lines = (count: number) =>
    Array.from({ length: 10 }, () => JSON.stringify({ ...plain, metadata: metadata(count) }));
  const ndjson = { 'content-type': 'application/x-ndjson' };

  it.each([
    ['an event', '/api/events', () => JSON.stringify({ ...plain, metadata: metadata(100_000) }), {}, 100_000],
    ['a batch', '/api/events/batch', () => `[${lines(25_000).join()}]`, {}, 250_000],
    ['a batch of lines', '/api/events/batch', () => lines(25_000).join('\n'), ndjson, 250_000],
  ])('is refused, and says how many it may have: %s', async (_, path, body, headers, max) => {
    const answer = await gateway.send(path, { raw: body(), headers });
    expect(answer.status).toBe(413);
    expect(answer.body).toMatchObject({ code: 'PAYLOAD_TOO_LARGE' });
    expect(answer.text).toContain(`more than ${max} values`);
  });

  it('is taken below that', async () => {
    const answer = await gateway.send('/api/events/batch', { raw: lines(24_990).join('\n'), headers: ndjson });
    expect(answer.status).toBe(200);
  });
});

describe('the older form', () => {
  it('is mapped onto an event', async () => {
    const json = { event_type: 'run', action: 'begin', resource: 'job', run_id: 'r-1', metadata: { step: 1 } };
    const answer = await gateway.send('/api/events/log', { json });
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ event_type: 'run', action: 'begin', actor: 'dev-user', resource: 'job' });
    const { record, meta } = await recordOf(gateway, answer);
    expect(record).toMatchObject({
      surface_id: 'events.submit.log',
      http: { path: '/api/events/log' },
      resource: { resource_id: 'job' },
    });
    expect(meta).toEqual({ event_type: 'run', action: 'begin', submitted_by: 'dev-user', run_id: 'r-1', step: 1 });
  });

  it('needs a type and an action', async () => {
    const answer = await gateway.send('/api/events/log', { json: { event_type: 'run' } });
    expect(answer.status).toBe(422);
  });
});
