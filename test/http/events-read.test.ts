/** Reading the log over HTTP: the item that every client understands, pages without gaps, filters. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { type Answer, callTool, itemsOf, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

const total = 25;
let upstream: Upstream;
let gateway: TestGateway;
let ids: readonly string[];

beforeAll(async () => {
  upstream = await startUpstream({ calls: { echo } });
  // Its tools would be the first record of the log.
  await upstream.close();
  gateway = await startTestGateway({ servers: { tested: upstream.url }, clock: wallClock() });
  const submitted: string[] = [];
  for (let n = 0; n < total; n++) {
    const json = {
      event_type: n % 2 === 0 ? 'even' : 'odd',
      actor: `agent-${n % 3}`,
      action: 'count',
      metadata: { n, session_id: `s-${n % 5}` },
    };
    submitted.push(String((await gateway.send('/api/events', { json })).body['event_id']));
  }
  ids = submitted;
  await upstream.reopen();
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

const idsOf = ({ body }: Answer) => (body['items'] as JsonObject[]).map((item) => item['event_id']);
const list = (query: string) => gateway.send(`/api/events?${query}`);

describe('an item', () => {
  const keys = {
    schema_version: '1',
    event_id: expect.stringMatching(/^[0-9a-f-]{36}$/),
    id: expect.any(String),
    timestamp: expect.toSatisfy(Number.isInteger),
    ts: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/),
    cursor: expect.any(String),
    event_type: expect.any(String),
    outcome: expect.stringMatching(/^(?:OK|DENY|ERROR)$/),
    session_id: expect.any(String),
    correlation_id: expect.stringMatching(/./),
    agent_id: expect.any(String),
    peer_id: expect.any(String),
    tool: expect.any(String),
    method: expect.any(String),
    resource: expect.any(String),
    metadata: expect.any(Object),
    meta: expect.any(Object),
    payload: expect.any(Object),
    metrics: expect.any(Object),
    hashes: { event_hash: expect.stringMatching(/^[0-9a-f]{64}$/) },
    integrity: {
      proof_state: 'VERIFIED',
      signature_state: 'NOT_PRESENT',
      anchor_state: 'NOT_ENABLED',
      verifier_version: expect.any(String),
    },
    integrity_hash: expect.stringMatching(/^[0-9a-f]{64}$/),
    event_hash: expect.stringMatching(/^[0-9a-f]{64}$/),
    principal: {
      id: expect.any(String),
      type: expect.any(String),
      auth_mode: expect.any(String),
      principal_id: expect.any(String),
      team_id: 'default',
    },
    request_id: expect.stringMatching(/./),
    surface_id: expect.any(String),
    http: { method: 'POST', path: expect.any(String), status_code: expect.any(Number) },
    schema_id: 'talos.audit_event',
  };

  function expectConsistent(item: JsonObject) {
    expect(item['id']).toBe(item['event_id']);
    const decoded = Buffer.from(String(item['cursor']), 'base64url').toString();
    expect(decoded).toBe(`${item['timestamp']}:${item['event_id']}`);
    expect(Math.floor(Date.parse(String(item['ts'])) / 1000)).toBe(item['timestamp']);
    expect(item['meta']).toEqual(item['metadata']);
    expect(item['payload']).toEqual(item['metadata']);
    expect((item['hashes'] as JsonObject)['event_hash']).toBe(item['event_hash']);
    expect(item['integrity_hash']).toBe(item['event_hash']);
    for (const [key, value] of Object.entries(item)) expect(value, key).not.toBeNull();
  }

  it('of an event has every key that clients read, and none too many', async () => {
    const [item = {}] = await itemsOf(gateway, `limit=1&before=${await cursorAfterSubmissions()}`);
    expect(item).toEqual(keys);
    expectConsistent(item);
    expect(item).toMatchObject({
      event_type: 'even',
      agent_id: 'agent-0',
      session_id: 's-4',
      tool: '',
      method: 'events.submit',
      resource: 'even',
      metrics: {},
      metadata: { n: 24, session_id: 's-4', event_type: 'even' },
    });
  });

  it('of a call tells the tool, the latency and the hashes', async () => {
    const answer = await callTool(
      gateway,
      'echo',
      {},
      { sessionId: 'call-session', requestId: 'call-request', capability: tokenWith({ scope: 'tool:tested' }) },
    );
    const item = await itemAt(answer);
    expect(item).toEqual({
      ...keys,
      hashes: expect.objectContaining({
        event_hash: expect.any(String),
        request_hash: expect.stringMatching(/^[0-9a-f]{64}$/),
        response_hash: expect.stringMatching(/^[0-9a-f]{64}$/),
        capability_hash: expect.stringMatching(/^[0-9a-f]{64}$/),
      }),
      metrics: { latency_ms: answer.body['timing_ms'] },
    });
    expectConsistent(item);
    expect(item).toMatchObject({
      outcome: 'OK',
      tool: 'echo',
      method: 'mcp.tools.call',
      resource: 'tested/echo',
      session_id: 'call-session',
      correlation_id: 'call-request',
      agent_id: 'did:talos:agent',
      event_type: 'mcp_tool_call',
    });
  });

  it('of a denial has its reason, and only of a denial', async () => {
    const denied = await callTool(gateway, 'echo', {}, { capability: tokenWith({ scope: 'tool:other' }) });
    const item = await itemAt(denied);
    expect(item).toMatchObject({ outcome: 'DENY', denial_reason: 'SCOPE_MISMATCH' });
    expectConsistent(item);
    const missing = await callTool(gateway, 'missing');
    const failure = await itemAt(missing);
    expect(failure['outcome']).toBe('ERROR');
    for (const other of (await itemsOf(gateway)).filter(({ outcome }) => outcome !== 'DENY'))
      expect(other).not.toHaveProperty('denial_reason');
    for (const other of await itemsOf(gateway, 'outcome=DENY')) expect(other['denial_reason']).toMatch(/./);
  });

  async function itemAt(answer: Answer): Promise<JsonObject> {
    const ref = answer.headers.get('x-talos-audit-ref');
    return (await gateway.send(`/api/events/${ref}`)).body['item'] as JsonObject;
  }
});

/** A cursor right after the last of the submitted events, whatever came later. */
async function cursorAfterSubmissions(): Promise<string> {
  const { body } = await gateway.send(`/api/events/${ids.at(-1)}`);
  const { timestamp, event_id: id } = body['item'] as { timestamp: number; event_id: string };
  const next = id.slice(0, -1) + (id.endsWith('f') ? 'f' : (Number.parseInt(id.slice(-1), 16) + 1).toString(16));
  return Buffer.from(`${timestamp}:${next}`).toString('base64url');
}

describe('one event', () => {
  it('is served with its strict record and its place', async () => {
    const { status, body } = await gateway.send(`/api/events/${ids[3]}`);
    expect(status).toBe(200);
    expect(Object.keys(body).sort()).toEqual(['item', 'record', 'seq']);
    expect(body['seq']).toBe(3);
    expect(body['record']).toMatchObject({ event_id: ids[3], schema_id: 'talos.audit_event' });
  });

  it.each([
    '00000000-0000-7000-8000-000000000000',
    'nonsense',
    '018c7a3e-0000-4000-8000-000000000000',
    '%00',
    "';--",
    'x'.repeat(1000),
  ])('that is not there is not found: %s', async (id) => {
    const { status, body } = await gateway.send(`/api/events/${id}`);
    expect(status).toBe(404);
    // What has NUL in it is no name of anything.
    const detail = id === '%00' ? 'Not Found' : 'There is no such event.';
    expect(body).toMatchObject({ code: 'NOT_FOUND', detail });
  });

  it('is named in lower case only', async () => {
    const { status } = await gateway.send(`/api/events/${String(ids[0]).toUpperCase()}`);
    expect(status).toBe(404);
  });
});

describe('pages', () => {
  it.each([1, 2, 7, 24, 25, 26])('of %i, newest first, show every event once', async (limit) => {
    const seen: unknown[] = [];
    let cursor: string | null = await cursorAfterSubmissions();
    while (cursor !== null) {
      const { body } = await list(`limit=${limit}&before=${cursor}`);
      const page = body['items'] as JsonObject[];
      seen.push(...page.map((item) => item['event_id']));
      const more = body['next_cursor'] !== null;
      expect(body['has_more']).toBe(more);
      expect(page.length).toBe(more ? limit : total - (seen.length - page.length));
      if (more) expect(body['next_cursor']).toBe(page.at(-1)?.['cursor']);
      cursor = body['next_cursor'] as string | null;
    }
    expect(seen).toEqual([...ids].reverse());
  });

  it('are exact about whether there is more', async () => {
    const before = await cursorAfterSubmissions();
    for (const [limit, more] of [
      [total - 1, true],
      [total, false],
      [total + 1, false],
    ] as const) {
      const { body } = await list(`limit=${limit}&before=${before}`);
      expect({ limit, more: body['has_more'], next: body['next_cursor'] === null }).toEqual({
        limit,
        more,
        next: !more,
      });
    }
  });

  it('read forward, oldest first, with after_cursor', async () => {
    const cursors = (await itemsOf(gateway, `limit=500&before=${await cursorAfterSubmissions()}`))
      .map((item) => String(item['cursor']))
      .reverse();
    const answer = await list(`after_cursor=${cursors[4]}&limit=3`);
    expect(idsOf(answer)).toEqual(ids.slice(5, 8));
    expect(answer.body['has_more']).toBe(true);
    const next = await list(`after_cursor=${answer.body['next_cursor']}&limit=3`);
    expect(idsOf(next)).toEqual(ids.slice(8, 11));
  });

  it('take `before` and `cursor` alike, and `before` above the others', async () => {
    const items = await itemsOf(gateway, `limit=500&before=${await cursorAfterSubmissions()}`);
    const [first, second] = [String(items[3]?.['cursor']), String(items[9]?.['cursor'])];
    expect(idsOf(await list(`cursor=${first}&limit=5`))).toEqual(idsOf(await list(`before=${first}&limit=5`)));
    expect(idsOf(await list(`cursor=${second}&before=${first}&limit=5`))).toEqual(
      idsOf(await list(`before=${first}&limit=5`)),
    );
    expect(idsOf(await list(`after_cursor=${second}&before=${first}&limit=5`))).toEqual(
      idsOf(await list(`before=${first}&limit=5`)),
    );
  });

  it.each([
    ['limit=0', 1],
    ['limit=-1', 1],
    ['limit=-99999999999999999999', 1],
    ['limit=1', 1],
    ['limit=100000', 500],
    ['limit=99999999999999999999', 500],
    ['', 100],
  ])('clamp %s to %i', async (query, size) => {
    await fill(600);
    const answer = await list(query);
    expect(answer.status).toBe(200);
    expect(idsOf(answer)).toHaveLength(size);
    expect(answer.body['has_more']).toBe(true);
  });

  it('stop before the beginning of the log', async () => {
    const cursor = Buffer.from(`0:${ids[0]}`).toString('base64url');
    expect((await list(`before=${cursor}`)).body).toEqual({ items: [], next_cursor: null, has_more: false });
  });

  it.each(['9999999999999999', '9999999999', '4102444800'])(
    'take a cursor of a far second %s as after everything',
    async (seconds) => {
      const cursor = Buffer.from(`${seconds}:${ids[0]}`).toString('base64url');
      const newest = idsOf(await list('limit=3'));
      expect(idsOf(await list(`before=${cursor}&limit=3`))).toEqual(newest);
      expect(idsOf(await list(`after_cursor=${cursor}`))).toEqual([]);
    },
  );

  it('do not move when events are added while somebody pages', async () => {
    const first = await list('limit=10');
    await fill(700);
    const second = await list(`limit=10&before=${first.body['next_cursor']}`);
    const both = [...idsOf(first), ...idsOf(second)];
    expect(new Set(both).size).toBe(20);
    expect(both).toEqual(both.toSorted().reverse());
  });

  /** Makes the log hold at least `size` events. */
  async function fill(size: number) {
    const { body } = await gateway.send('/api/events/stats?from=0&to=9999999999');
    const missing = size - Number(body['count']);
    if (missing <= 0) return;
    const json = Array.from({ length: missing }, () => ({ event_type: 'filler', actor: 'filler', action: 'fill' }));
    expect((await gateway.send('/api/events/batch', { json })).status).toBe(200);
  }
});

describe('filters', () => {
  it.each([
    ['event_type=odd', (n: number) => n % 2 === 1],
    ['agent_id=agent-2', (n: number) => n % 3 === 2],
    ['session_id=s-4', (n: number) => n % 5 === 4],
    ['event_type=even&agent_id=agent-0', (n: number) => n % 6 === 0],
    ['event_type=even&session_id=s-1&outcome=OK', (n: number) => n % 10 === 6],
    ['event_type=even&outcome=success', (n: number) => n % 2 === 0],
    ['event_type=odd&outcome=DENY', () => false],
    ['event_type=EVEN', () => false],
    ['session_id=s-', () => false],
    ['session_id=%25', () => false],
    ['agent_id=agent-0%00', () => false],
    ['event_type=odd&tool=echo', () => false],
  ])('%s', async (query, matches) => {
    const answer = await list(`${query}&limit=500`);
    expect(answer.status).toBe(200);
    const expected = ids.filter((_, n) => matches(n)).reverse();
    expect(idsOf(answer).filter((id) => ids.includes(String(id)))).toEqual(expected);
  });

  it('by correlation id find a request, whichever way it was named', async () => {
    const [byHeader, byBody] = await Promise.all([
      gateway.send('/api/events', {
        json: { event_type: 'a', actor: 'b', action: 'c' },
        headers: { 'x-request-id': 'by-header' },
      }),
      gateway.send('/api/events', {
        json: { event_type: 'a', actor: 'b', action: 'c', metadata: { correlation_id: 'by-metadata' } },
      }),
    ]);
    expect(idsOf(await list('correlation_id=by-header'))).toEqual([byHeader.body['event_id']]);
    expect(idsOf(await list('correlation_id=by-metadata'))).toEqual([byBody.body['event_id']]);
  });

  it('page like everything else', async () => {
    const first = await list(`event_type=odd&limit=5&before=${await cursorAfterSubmissions()}`);
    const second = await list(`event_type=odd&limit=500&before=${first.body['next_cursor']}`);
    expect([...idsOf(first), ...idsOf(second)]).toEqual(ids.filter((_, n) => n % 2 === 1).reverse());
    expect(second.body['next_cursor']).toBeNull();
  });
});

describe('periods', () => {
  it('count every event between two seconds, both included', async () => {
    const { body } = await gateway.send(`/api/events/${ids[0]}`);
    const first = Number((body['item'] as JsonObject)['timestamp']);
    const all = Number((await gateway.send('/api/events/stats?from=0&to=9999999999')).body['count']);
    const count = async (from: number, to: number) =>
      (await gateway.send(`/api/events/stats?from=${from}&to=${to}`)).body;
    expect(all).toBeGreaterThanOrEqual(total);
    expect(await count(first, 9999999999)).toEqual({ count: all });
    expect(await count(0, first - 1)).toEqual({ count: 0 });
    expect(await count(9999999998, 9999999999)).toEqual({ count: 0 });
    expect(await count(first, first - 1)).toEqual({ count: 0 });
    expect(Number((await count(first, first))['count'])).toBeGreaterThanOrEqual(1);
  });

  it('bound a list', async () => {
    const { body } = await gateway.send(`/api/events/${ids[0]}`);
    const first = Number((body['item'] as JsonObject)['timestamp']);
    expect(idsOf(await list(`to=${first - 1}`))).toEqual([]);
    expect(idsOf(await list(`agent_id=agent-0&from=${first}&to=${first}&limit=500`))).toContain(ids[0]);
    expect(idsOf(await list('from=9999999999'))).toEqual([]);
  });

  it.each(['from=-5&to=-1', 'from=0&to=0.5', 'from=99999999999999999999&to=99999999999999999999'])(
    'beyond the calendar hold nothing: %s',
    async (query) => {
      const { status, body } = await gateway.send(`/api/events/stats?${query}`);
      expect(status).toBe(200);
      expect(body).toEqual({ count: 0 });
    },
  );
});
