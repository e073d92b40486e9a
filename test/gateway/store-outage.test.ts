/** No record, no answer: what the gateway does while its store is gone, hung, or dies at the worst moment, and afterwards. */
import pg from 'pg';
import { describe, expect, it, type TestContext } from 'vitest';
import {
  type Answer,
  callTool,
  eventually,
  itemsOf,
  outcomesOf,
  productionEnv,
  startTestGateway,
  type TestGateway,
  type TestGatewayOptions,
  wallClock,
} from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { type StoreProxy, startStoreProxy } from '../support/store-proxy.ts';
import { echo, type Gate, gate, startUpstream, type Upstream } from '../support/upstream.ts';

interface Stage {
  readonly gateway: TestGateway;
  readonly upstream: Upstream;
  readonly store: StoreProxy;
  readonly slow: Gate;
}

/** A gateway whose way to its store can be cut, after a first call that went well. Taken down when the test is over. */
async function stage(
  { onTestFinished }: TestContext,
  more: TestGatewayOptions = {},
  token = 'anybody',
): Promise<Stage> {
  const slow = gate();
  const upstream = await startUpstream({ calls: { echo, slow: slow.respond } });
  const store = await startStoreProxy();
  const gateway = await startTestGateway({ servers: { tested: upstream.url }, databaseUrl: store.urlOf, ...more });
  onTestFinished(async () => {
    slow.open();
    await store.restore();
    await gateway.stop();
    await store.close();
    await upstream.close();
  });
  expect((await callTool(gateway, 'echo', {}, { token })).status).toBe(200);
  return { gateway, upstream, store, slow };
}

const event = (n: number) => ({ event_type: 'deploy', actor: 'ci', action: 'start', metadata: { n } });
const submit = (gateway: TestGateway, n: number) => gateway.send('/api/events', { json: event(n) });

function expectUnavailable(answer: Answer) {
  expect(answer.status).toBe(503);
  expect(answer.body).toMatchObject({
    code: 'AUDIT_UNAVAILABLE',
    retryable: true,
    request_id: answer.headers.get('x-request-id'),
  });
  expect(answer.headers.get('retry-after')).toBe('1');
  expect(answer.body).not.toHaveProperty('audit_ref');
  expect(answer.text).not.toMatch(/ECONN|127\.0\.0\.1|postgres|socket/i);
}

/** Every ten milliseconds until the gateway accepts again, by itself. */
async function recovered(gateway: TestGateway): Promise<void> {
  await eventually(async () => (await gateway.send('/readyz')).status === 200);
}

describe.concurrent.each<[string, (store: StoreProxy) => void | Promise<void>]>([
  ['gone', (store) => store.cut()],
  ['hung', (store) => store.hold()],
])('while the store is %s', (_, breakStore) => {
  it('nothing is called, nothing is acknowledged, and the gateway says that it is not ready', async (context) => {
    const { gateway, upstream, store } = await stage(context);
    const called = upstream.calls.length;
    await breakStore(store);
    const [call, single, batch, log] = await Promise.all([
      callTool(gateway, 'echo'),
      submit(gateway, 1),
      gateway.send('/api/events/batch', { json: [event(2), event(3)] }),
      gateway.send('/api/events/log', { json: { event_type: 'a', action: 'b' } }),
    ]);
    for (const answer of [call, single, batch, log]) expectUnavailable(answer);
    expect(call.body['detail']).toBe(call.body['message']);
    expect(single.body['error']).toBe(single.body['message']);
    expect(upstream.calls.length).toBe(called);

    const [ready, readyz] = await Promise.all([gateway.send('/health/ready'), gateway.send('/readyz')]);
    expect(ready.status).toBe(503);
    expect(ready.body).toEqual({
      status: 'failed',
      checks: { postgres: 'error', limits: 'ok' },
      detail: { status: 'failed', checks: { postgres: 'error', limits: 'ok' } },
    });
    expect(readyz.status).toBe(503);
    expect(readyz.body).toEqual({ status: 'not ready', reason: 'the audit log cannot be written', region: 'local' });
    for (const path of ['/healthz', '/health', '/health/live', '/version', '/metrics', '/metrics/summary']) {
      expect((await gateway.send(path)).status).toBe(200);
    }
    expect((await gateway.send('/api/gateway/status')).body['state']).toBe('DEGRADED');

    await store.restore();
    await recovered(gateway);
    expect((await callTool(gateway, 'echo')).status).toBe(200);
    expect((await submit(gateway, 4)).status).toBe(200);
    expect((await gateway.send('/api/gateway/status')).body['state']).toBe('RUNNING');
    expect(gateway.logText()).toContain('the audit log accepts records again');
  });
});

describe.concurrent('while the store is gone', () => {
  it('reads are unavailable, not empty', async (context) => {
    const { gateway, store } = await stage(context);
    const [item] = await itemsOf(gateway);
    await store.cut();
    for (const path of ['/api/events', `/api/events/${item?.['event_id']}`, '/api/events/stats?from=0&to=9999999999']) {
      const answer = await gateway.send(path);
      expect(answer.status).toBe(503);
      expect(answer.body).toMatchObject({ code: 'STORE_UNAVAILABLE', retryable: true, detail: answer.body['message'] });
      expect(answer.body).not.toHaveProperty('items');
    }
    await store.restore();
    await eventually(async () => (await gateway.send('/api/events')).status === 200);
  });

  it('a denial is not told either, because it could not be recorded', async (context) => {
    const { gateway, store } = await stage(context);
    await store.cut();
    const answer = await callTool(gateway, 'echo', {}, { capability: 'cap_nonsense' });
    expectUnavailable(answer);
  });

  it('lists of tools, which need no record, still answer, and those that need one are not empty', async (context) => {
    const { gateway, store } = await stage(context);
    await store.cut();
    const answer = await gateway.send('/v1/mcp/servers/tested/tools', { token: 'anybody' });
    expect(answer.status).toBe(200);
    const { body } = await gateway.send('/mcp', { json: { jsonrpc: '2.0', id: 1, method: 'resources/list' } });
    expect(body['error']).toMatchObject({ data: { code: 'AUDIT_UNAVAILABLE', retryable: true } });
  });
});

describe.concurrent('a store that dies while the tool works', () => {
  it('leaves the caller with the truth: it may have run, and nobody recorded how it ended', async (context) => {
    const { gateway, store, slow } = await stage(context);
    const call = callTool(gateway, 'slow', {}, { requestId: 'unrecorded' });
    await eventually(() => slow.waiting() === 1);
    await store.cut();
    slow.open();
    const answer = await call;
    expect(answer.status).toBe(500);
    expect(answer.body).toMatchObject({
      code: 'OUTCOME_UNRECORDED',
      retryable: false,
      request_id: 'unrecorded',
      detail: answer.body['message'],
    });
    expect(answer.body).not.toHaveProperty('output');
    expect(answer.text).not.toContain('after the wait');
    await store.restore();
    await recovered(gateway);
    expect(await outcomesOf(gateway, 'correlation_id=unrecorded')).toEqual([]);
    expect(await itemsOf(gateway, 'correlation_id=unrecorded')).toMatchObject([{ meta: { phase: 'intent' } }]);
    expect(gateway.logText()).toContain('unrecorded');
  });

  it('but comes back in time costs only time', async (context) => {
    const { gateway, store, slow } = await stage(context);
    const call = callTool(gateway, 'slow', {}, { requestId: 'in-time' });
    await eventually(() => slow.waiting() === 1);
    await store.cut();
    slow.open();
    await eventually(() => gateway.logLines().length > 0);
    await store.restore();
    const answer = await call;
    expect(answer.status).toBe(200);
    expect(answer.body).toMatchObject({ output: { content: [{ text: 'after the wait' }] } });
    expect(await outcomesOf(gateway, 'correlation_id=in-time')).toHaveLength(1);
  });
});

describe.concurrent('what was acknowledged', () => {
  it('is there once, in order and without a hole, however often the store went away', async (context) => {
    const { gateway, store } = await stage(context);
    const acknowledged = new Set<string>();
    let refused = 0;
    let n = 0;
    let isOver = false;
    const client = async () => {
      while (!isOver) {
        const answer = await submit(gateway, n++);
        if (answer.status === 200) acknowledged.add(String(answer.body['event_id']));
        else if (answer.status === 503) refused++;
        else throw new Error(`an unexpected answer: ${answer.text}`);
      }
    };
    const clients = Promise.all(Array.from({ length: 8 }, client));
    for (let outage = 0; outage < 5; outage++) {
      const enough = acknowledged.size + 40;
      await eventually(() => acknowledged.size >= enough);
      await store.cut();
      await store.restore();
    }
    const enough = acknowledged.size + 40;
    await eventually(() => acknowledged.size >= enough);
    isOver = true;
    await clients;
    expect(acknowledged.size).toBeGreaterThanOrEqual(240);
    expect(refused).toBeLessThan(acknowledged.size);

    const database = new pg.Client({ connectionString: gateway.database.url });
    await database.connect();
    const { rows } = await database.query<{ seq: string; event_id: string; surface_id: string }>(
      'SELECT seq, event_id, surface_id FROM audit_event ORDER BY seq',
    );
    await database.end();
    expect(rows.map(({ seq }) => Number(seq))).toEqual(rows.map((_, index) => index));
    const ids = rows.map(({ event_id }) => event_id);
    expect(ids).toEqual(ids.toSorted());
    expect(new Set(ids).size).toBe(ids.length);
    expect([...acknowledged].filter((id) => !ids.includes(id))).toEqual([]);
    // Whatever else was submitted and is there, its client was told that it is in doubt.
    const stored = rows.filter(({ surface_id }) => surface_id === 'events.submit').length;
    expect(stored - acknowledged.size).toBeLessThanOrEqual(refused);
  });
});

describe.concurrent('in production', () => {
  it('a store that is gone refuses calls in the same way', async (context) => {
    const token = tokenWith({ scope: 'tool:tested' });
    const { gateway, upstream, store } = await stage(context, { env: productionEnv, clock: wallClock() }, token);
    const called = upstream.calls.length;
    await store.cut();
    const denied = tokenWith({ scope: 'tool:other' });
    for (const answer of await Promise.all(
      [token, denied].map((each) => callTool(gateway, 'echo', {}, { token: each })),
    )) {
      expectUnavailable(answer);
    }
    expect(upstream.calls.length).toBe(called);
  });
});
