/** What a gateway answers while its log cannot be written, by policy: only events that clients report may be let through. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { describe, expect, it, type TestContext } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { startAuditService } from '../support/audit-service.ts';
import {
  type Answer,
  callTool,
  eventually,
  itemsOf,
  productionEnv,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { type GatewayProcess, startGatewayProcess } from '../support/gateway-process.ts';
import { tokenWith } from '../support/issuer.ts';
import { checkLog } from '../support/log-checker.ts';
import { createTestDatabase } from '../support/postgres.ts';
import { type StoreProxy, startStoreProxy } from '../support/store-proxy.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

interface Stage {
  readonly gateway: TestGateway;
  readonly upstream: Upstream;
  readonly store: StoreProxy;
}

async function stage({ onTestFinished }: TestContext, env: Readonly<Record<string, string>>): Promise<Stage> {
  const upstream = await startUpstream({ calls: { echo } });
  const store = await startStoreProxy();
  const servers = { tested: upstream.url };
  const gateway = await startTestGateway({ servers, databaseUrl: store.urlOf, env });
  onTestFinished(async () => {
    await store.restore();
    await setReadOnly(gateway, false);
    await gateway.stop();
    await store.close();
    await upstream.close();
  });
  return { gateway, upstream, store };
}

/** As a fail-over leaves a database that is a standby now. */
async function setReadOnly(gateway: TestGateway, readOnly: boolean): Promise<void> {
  const client = new pg.Client({ connectionString: gateway.database.url });
  await client.connect();
  const name = new URL(gateway.database.url).pathname.slice(1);
  await client.query('SET default_transaction_read_only = off');
  await client.query(`ALTER DATABASE ${name} SET default_transaction_read_only = ${readOnly ? 'on' : 'off'}`);
  await client.query(
    'SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()',
  );
  await client.end();
}

const event = (n: number) => ({ event_type: 'deploy', actor: 'ci', action: 'start', metadata: { n } });
const submit = (gateway: Pick<TestGateway, 'send'>, n: number) => gateway.send('/api/events', { json: event(n) });
const ready = (gateway: Pick<TestGateway, 'send'>) =>
  eventually(async () => (await gateway.send('/readyz')).status === 200, 20_000);

/** The numbers of the reported events, in the order of the log. */
async function reported(url: string): Promise<unknown[]> {
  const records = await checkLog({ url });
  return records
    .filter(({ record }) => record['meta']?.['event_type'] === 'deploy')
    .map((each) => each.record['meta']?.['n']);
}

function expectRefused(answer: Answer) {
  expect(answer.status).toBe(503);
  expect(answer.body).toMatchObject({ code: 'AUDIT_UNAVAILABLE', retryable: true });
}

function expectAccepted(answer: Answer, status: 'spooled' | 'unrecorded') {
  expect(answer.status).toBe(202);
  expect(answer.body).toEqual({ status, request_id: answer.headers.get('x-request-id') });
  expect(answer.headers.get('x-talos-audit-ref')).toBeNull();
}

const faults: readonly (readonly [
  string,
  (stage: Stage) => Promise<unknown> | unknown,
  (stage: Stage) => Promise<unknown>,
])[] = [
  ['gone', ({ store }) => store.cut(), ({ store }) => store.restore()],
  ['hung', ({ store }) => store.hold(), ({ store }) => store.restore()],
  ['read-only', ({ gateway }) => setReadOnly(gateway, true), ({ gateway }) => setReadOnly(gateway, false)],
];

const policies = [
  ['fail_operation', undefined],
  ['spool', 'spooled'],
  ['continue', 'unrecorded'],
] as const;

const matrix = faults.flatMap(([fault, breakStore, mendStore]) =>
  policies.map(([policy, status]) => ({ fault, breakStore, mendStore, policy, status })),
);

describe.concurrent('while the log cannot be written', () => {
  it.for(matrix)('a store that is $fault, policy $policy', { timeout: 60_000 }, async (row, context) => {
    const { breakStore, mendStore, policy, status } = row;
    const staged = await stage(context, { TALOS_AUDIT_ON_FAILURE: policy });
    const { gateway, upstream } = staged;
    expect((await submit(gateway, 0)).status).toBe(200);
    const called = upstream.calls.length;
    await breakStore(staged);

    const [call, denial, single, batch, log] = await Promise.all([
      callTool(gateway, 'echo'),
      callTool(gateway, 'echo', {}, { capability: 'cap_nonsense' }),
      submit(gateway, 1),
      gateway.send('/api/events/batch', { json: [event(2), event(3)] }),
      gateway.send('/api/events/log', { json: { event_type: 'a', action: 'b' } }),
    ]);
    for (const answer of [call, denial]) expectRefused(answer);
    for (const answer of [single, batch, log]) {
      if (status === undefined) expectRefused(answer);
      else expectAccepted(answer, status);
    }
    expect(upstream.calls.length).toBe(called);
    expect((await gateway.send('/readyz')).status).toBe(503);

    await mendStore(staged);
    await ready(gateway);
    await expectOutcome(gateway, policy);
    expect((await callTool(gateway, 'echo')).status).toBe(200);
    expect(upstream.calls.length).toBe(called + 1);
  });
});

/** What of the events 1 to 3 is in the log in the end. */
async function expectOutcome(gateway: TestGateway, policy: (typeof policies)[number][0]): Promise<void> {
  const { url } = gateway.database;
  if (policy === 'spool') {
    await eventually(async () => (await submit(gateway, 4)).status === 200, 20_000);
    const numbers = (await reported(url)).filter((n) => n !== 4);
    expect([...numbers].sort()).toEqual([0, 1, 2, 3]);
    return;
  }
  if (policy === 'fail_operation') {
    expect(await reported(url)).toEqual([0]);
    return;
  }
  const gap = await eventually(async () => (await itemsOf(gateway, 'event_type=audit_gap'))[0], 20_000);
  expect(gap).toMatchObject({
    method: 'audit.gap',
    outcome: 'OK',
    principal: { principal_id: 'gateway' },
    http: { method: 'POST', path: '/internal/audit.gap', status_code: 200 },
  });
  const meta = gap['meta'] as JsonObject;
  expect(meta).toMatchObject({ gap_count: 4, gap_from: expect.any(String), gap_to: expect.any(String) });
  expect(String(meta['gap_from']) <= String(meta['gap_to'])).toBe(true);
  expect(await reported(url)).toEqual([0]);
  expect((await gateway.send('/metrics')).text).toMatch(/^audit_unrecorded_total 4$/m);
}

describe.concurrent('the policy continue', () => {
  it('never keeps a client waiting', { timeout: 30_000 }, async (context) => {
    const { gateway, store } = await stage(context, { TALOS_AUDIT_ON_FAILURE: 'continue' });
    store.hold();
    const startedAt = performance.now();
    const answers = await Promise.all(Array.from({ length: 20 }, (_, n) => submit(gateway, n)));
    expect(performance.now() - startedAt).toBeLessThan(4_000);
    for (const answer of answers) expectAccepted(answer, 'unrecorded');
  });

  it('refuses events that are at fault themselves, and those who may not report any', {
    timeout: 30_000,
  }, async (context) => {
    const env = { ...productionEnv, TALOS_AUDIT_ON_FAILURE: 'continue' };
    const upstream = await startUpstream({ calls: { echo } });
    const gateway = await startTestGateway({ servers: { tested: upstream.url }, env, clock: wallClock() });
    context.onTestFinished(async () => {
      await gateway.stop();
      await upstream.close();
    });
    const token = tokenWith({ scope: 'tool:gateway/method:events.write' });
    const details = { metadata: { x: ['y'.repeat(1_100_000)] } };
    expect((await gateway.send('/api/events', { json: { ...event(1), ...details }, token })).status).toBe(413);
    expect((await gateway.send('/api/events', { json: event(1) })).status).toBe(403);
  });
});

describe.concurrent('a gateway that is killed during the outage', () => {
  it.for(policies.slice(1))('with the policy %s', { timeout: 60_000 }, async ([policy], { onTestFinished }) => {
    const database = await createTestDatabase();
    const cwd = await mkdtemp(join(tmpdir(), 'talos-gateway-'));
    const store = await startStoreProxy();
    const processes: GatewayProcess[] = [];
    onTestFinished(async () => {
      for (const { child, ended } of processes) {
        child.kill('SIGKILL');
        await ended();
      }
      await store.close();
      await database.drop();
      await rm(cwd, { recursive: true });
    });
    const env = {
      DEV_MODE: 'true',
      TALOS_GATEWAY_PORT: '0',
      TALOS_AUDIT_ON_FAILURE: policy,
      TALOS_AUDIT_SPOOL_DIR: 'elsewhere/spool',
      DATABASE_URL: store.urlOf(database.url),
    };
    const start = async () => {
      const started = await startGatewayProcess({ env, cwd });
      processes.push(started);
      return started;
    };
    const first = await start();
    expect((await submit(first, 0)).status).toBe(200);
    await store.cut();
    await Promise.all([1, 2].map((n) => submit(first, n)));
    expect((await submit(first, 3)).status).toBe(202);
    const kept = () => readdir(join(cwd, 'elsewhere/spool'));
    await eventually(async () => (await kept()).some((name) => /^(gap\.json|\d+\.spool)$/.test(name)), 20_000);
    first.child.kill('SIGKILL');
    await first.ended();
    await store.restore();

    const second = await start();
    if (policy === 'spool') {
      await eventually(async () => (await submit(second, 4)).status === 200, 20_000);
      const numbers = (await reported(database.url)).filter((n) => n !== 4);
      expect([...numbers].sort()).toEqual([0, 1, 2, 3]);
      expect(numbers.at(-1)).toBe(3);
    } else {
      const query = '/api/events?event_type=audit_gap';
      const item = await eventually(
        async () => ((await second.send(query)).body['items'] as unknown as JsonObject[])[0],
        20_000,
      );
      expect(item['meta']).toMatchObject({ gap_count_is_minimum: true, gap_count: expect.any(Number) });
      await eventually(async () => !(await kept()).includes('gap.json'));
    }
  });

  it('nobody else may use its folder meanwhile', { timeout: 60_000 }, async ({ onTestFinished }) => {
    const folder = await mkdtemp(join(tmpdir(), 'talos-spool-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const env = { TALOS_AUDIT_ON_FAILURE: 'spool', TALOS_AUDIT_SPOOL_DIR: folder };
    const gateway = await startTestGateway({ env });
    onTestFinished(() => gateway.stop());
    await expect(startTestGateway({ env })).rejects.toThrow(/Another gateway .* uses the data folder/);
  });
});

describe.concurrent('a store at its limit', () => {
  const full = { TALOS_STORE_SIZE_STOP: '1MB' };

  it('takes no work that needs a record, and everything else goes on', async (context) => {
    const { gateway, upstream } = await stage(context, full);
    for (const answer of await Promise.all([
      callTool(gateway, 'echo'),
      callTool(gateway, 'echo', {}, { capability: 'cap_nonsense' }),
      submit(gateway, 1),
      gateway.send('/api/events', { headers: { 'x-talos-capability': 'cap_nonsense' } }),
    ])) {
      expect(answer.status).toBe(503);
      expect(answer.body).toMatchObject({ code: 'STORE_FULL', retryable: true });
      expect(answer.text).not.toMatch(/bytes/);
    }
    expect(upstream.calls).toEqual([]);
    expect((await gateway.send('/readyz')).status).toBe(503);
    expect((await gateway.send('/health/ready')).status).toBe(503);
    for (const path of ['/healthz', '/health/live', '/api/events', '/version']) {
      expect((await gateway.send(path)).status, path).toBe(200);
    }
    const { text } = await gateway.send('/metrics');
    expect(text).toMatch(/^gateway_store_watermark 2$/m);
    expect(text).toMatch(/^gateway_log_retention_unlimited 1$/m);
    expect(gateway.logText()).toContain('THE STORE IS FULL');
    expect(await checkLog(gateway.database)).toEqual([]);
  });

  it('leaves reported events to the policy', async (context) => {
    const { gateway } = await stage(context, { ...full, TALOS_AUDIT_ON_FAILURE: 'spool' });
    expectAccepted(await submit(gateway, 1), 'spooled');
    expect((await callTool(gateway, 'echo')).body).toMatchObject({ code: 'STORE_FULL' });
  });

  it('is warned of first', async (context) => {
    const { gateway } = await stage(context, { TALOS_STORE_SIZE_WARN: '1MB' });
    expect((await submit(gateway, 1)).status).toBe(200);
    expect((await gateway.send('/readyz')).status).toBe(200);
    expect((await gateway.send('/metrics')).text).toMatch(/^gateway_store_watermark 1$/m);
    expect(gateway.logText()).toContain('the store runs low on room');
  });
});

describe.concurrent('with an external audit service', () => {
  it.for(['TALOS_AUDIT_URL', 'AUDIT_SINK_URL'])(
    'every record goes there too (%s), and nobody waits',
    async (name, context) => {
      const service = await startAuditService();
      context.onTestFinished(() => service.close());
      let isHung = true;
      service.answer = () => isHung;
      const { gateway } = await stage(context, { [name]: service.url });
      expect((await submit(gateway, 1)).status).toBe(200);
      expect((await callTool(gateway, 'echo')).status).toBe(200);
      await eventually(() => service.requests() > 0);
      expect(service.taken).toEqual([]);
      isHung = false;
      const records = await checkLog(gateway.database);
      await eventually(() => service.taken.length >= records.length, 25_000);
      expect(service.taken.slice(0, records.length).map((record) => record['event_id'])).toEqual(
        records.map(({ eventId }) => eventId),
      );
      expect((await gateway.send('/metrics')).text).toMatch(/^audit_forward_success_total [1-9]/m);
    },
  );
});
