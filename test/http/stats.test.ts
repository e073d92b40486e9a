/** Statistics for administrators: who may read them, what they say, and what refused strangers leave behind. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import type { JsonObject } from '../../src/core/json.ts';
import {
  type Answer,
  callTool,
  productionEnv,
  type SendOptions,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { checkLog } from '../support/log-checker.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

const audit = '/admin/v1/audit/stats';
const telemetry = '/admin/v1/telemetry/stats';
const adminSecret = productionEnv.AUTH_ADMIN_SECRET;

let upstream: Upstream;
beforeAll(async () => {
  upstream = await startUpstream({ calls: { echo } });
});
afterAll(() => upstream.close());

function expectForbidden(answer: Answer): void {
  expect(answer.status).toBe(403);
  expect(answer.body).toMatchObject({ detail: 'Invalid authentication credentials', code: 'ADMIN_AUTH_INVALID' });
  expect(answer.headers.get('x-talos-audit-ref')).toBeNull();
}

describe.each([audit, telemetry])('in production %s', (path) => {
  let gateway: TestGateway;
  beforeAll(async () => {
    gateway = await startTestGateway({ env: productionEnv, clock: wallClock(), servers: { tested: upstream.url } });
  });
  afterAll(() => gateway.stop());
  const ask = (options: SendOptions = {}) => gateway.send(path, options);

  it('demands a Bearer header', async () => {
    for (const [headers, detail] of [
      [{}, 'Missing Authorization header'],
      [{ 'x-talos-capability': tokenWith({ scope: 'tool:gateway' }) }, 'Missing Authorization header'],
      [{ authorization: `Basic ${adminSecret}` }, 'Invalid authorization scheme'],
      [{ authorization: adminSecret }, 'Invalid authorization scheme'],
    ] as const) {
      const answer = await ask({ headers });
      expect([answer.status, answer.body['detail']]).toEqual([401, detail]);
    }
  });

  it.each([
    ['a word', 'admin'],
    ['a part of the secret', adminSecret.slice(0, -1)],
    ['more than the secret', `${adminSecret}x`],
    ['the secret in other letters', adminSecret.toUpperCase()],
    ['an API key', 'tlk_live_0123456789'],
    ['a JWT', 'eyJhbGciOiJub25lIn0.e30.'],
    ['an expired capability', tokenWith({ scope: 'tool:gateway', iat: 1_600_000_000, exp: 1_600_000_100 })],
    ['a capability with a changed end', `${tokenWith({ scope: 'tool:gateway' }).slice(0, -6)}AAAAAA`],
  ])('refuses %s', async (_, token) => {
    expectForbidden(await ask({ token }));
  });

  it.each([
    ['tool:gateway/method:events.read'],
    ['tool:tested'],
    [`tool:gateway/method:${path === audit ? 'admin.telemetry.read' : 'admin.audit.read'}`],
  ])('refuses a capability for %s, on record', async (scope) => {
    const answer = await ask({ token: tokenWith({ scope }) });
    expect(answer.status).toBe(403);
    expect(answer.body).toMatchObject({ code: 'TALOS_DENIED', details: { denial_reason: 'SCOPE_MISMATCH' } });
    expect(answer.headers.get('x-talos-audit-ref')).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('enforces a capability that is presented beside the secret', async () => {
    const capability = tokenWith({ scope: 'tool:tested' });
    expect((await ask({ token: adminSecret, capability })).status).toBe(403);
    expect((await ask({ token: adminSecret, capability: 'nonsense' })).status).toBe(403);
  });

  it('answers the admin secret, and capabilities that cover it', async () => {
    const action = path === audit ? 'admin.audit.read' : 'admin.telemetry.read';
    for (const token of [adminSecret, tokenWith({ scope: `tool:gateway/method:${action}` })]) {
      expect((await ask({ token })).status).toBe(200);
    }
    const headers = { authorization: `bearer   ${adminSecret}` };
    expect((await ask({ headers })).status).toBe(200);
  });

  it.each(['0', '-1', '1.5', 'a', '745', '1e3', ''])('refuses a window of %s hours', async (hours) => {
    const answer = await gateway.send(`${path}?window_hours=${hours}`, { token: adminSecret });
    expect([answer.status, answer.body['code']]).toEqual([422, 'VALIDATION_FAILED']);
  });

  it('does not make the secret good for anything else', async () => {
    expect((await gateway.send('/api/events', { token: adminSecret })).status).toBe(401);
    expect((await callTool(gateway, 'echo', {}, { token: adminSecret })).status).toBe(401);
  });
});

describe('in development', () => {
  it('any text is good, but no header is not, and a credential of ours must hold', async () => {
    const gateway = await startTestGateway({ servers: { tested: upstream.url }, clock: wallClock() });
    try {
      for (const path of [audit, telemetry]) {
        expect((await gateway.send(path, { token: 'anything' })).status).toBe(200);
        expect((await gateway.send(path)).status).toBe(401);
        expectForbidden(await gateway.send(path, { token: 'tlk_live_0123456789' }));
        expectForbidden(await gateway.send(path, { token: 'eyJhbGciOiJub25lIn0.e30.' }));
        expect((await gateway.send(path, { token: tokenWith({ scope: 'tool:tested' }) })).status).toBe(403);
      }
    } finally {
      await gateway.stop();
    }
  });
});

describe('what they say', () => {
  let gateway: TestGateway;
  const capability = (team: string, scope: string) => tokenWith({ scope, constraints: { team_id: team } });
  const stats = async (path: string, token: string = adminSecret) => (await gateway.send(path, { token })).body;

  beforeAll(async () => {
    gateway = await startTestGateway({ env: productionEnv, clock: wallClock(), servers: { tested: upstream.url } });
  });
  afterAll(() => gateway.stop());

  it('of nothing is nothing', async () => {
    expect(await stats(telemetry)).toEqual({
      requests_total: 0,
      tokens_total: 0,
      cost_usd: 0,
      latency_avg_ms: 0,
      auth_success_rate: 1,
      latency_p50_ms: 0,
      latency_p95_ms: 0,
    });
    const body = await stats(`${audit}?window_hours=3`);
    expect(body).toEqual({
      requests_24h: 0,
      auth_success_rate: 1,
      denial_reason_counts: {},
      request_volume_series: expect.any(Array),
      latency_percentiles: { p50: 0, p95: 0, p99: 0 },
    });
    const series = body['request_volume_series'] as unknown as JsonObject[];
    // Three hours touch four, unless they begin with one.
    expect([3, 4]).toContain(series.length);
    expect(series.map(({ time }) => Number(time) % 3600)).toEqual(series.map(() => 0));
  });

  it('of calls is counted, by outcome, reason and team', async () => {
    const red = capability('red', 'tool:tested');
    for (let n = 0; n < 6; n++) expect((await callTool(gateway, 'echo', { n }, { token: red })).status).toBe(200);
    expect((await callTool(gateway, 'absent', {}, { token: red })).status).toBe(404);
    const blue = capability('blue', 'tool:gateway');
    for (let n = 0; n < 3; n++) expect((await callTool(gateway, 'echo', {}, { token: blue })).status).toBe(403);

    const body = await stats(audit);
    expect(body).toMatchObject({
      requests_24h: 10,
      auth_success_rate: 0.7,
      denial_reason_counts: { SCOPE_MISMATCH: 3 },
    });
    const series = body['request_volume_series'] as unknown as { ok: number; deny: number; error: number }[];
    const total = (key: 'ok' | 'deny' | 'error') => series.reduce((sum, hour) => sum + hour[key], 0);
    expect([total('ok'), total('deny'), total('error')]).toEqual([6, 3, 1]);
    expect(await stats(telemetry)).toMatchObject({ requests_total: 10, auth_success_rate: 0.7 });

    const reader = (team: string) => capability(team, 'tool:gateway');
    expect(await stats(audit, reader('blue'))).toMatchObject({ requests_24h: 3, auth_success_rate: 0 });
    expect(await stats(audit, reader('red'))).toMatchObject({ requests_24h: 7, denial_reason_counts: {} });
    expect(await stats(audit, reader('*'))).toMatchObject({ requests_24h: 10 });
    expect(await stats(audit, reader('green'))).toMatchObject({ requests_24h: 0, auth_success_rate: 1 });
  });

  it('of latencies lies within what the calls took', async () => {
    const { items } = (await gateway.send('/api/events?limit=500', { token: capability('*', 'tool:gateway') })).body;
    const latencies = (items as unknown as JsonObject[])
      .filter((item) => item['outcome'] !== 'DENY')
      .map((item) => (item['metrics'] as JsonObject)['latency_ms'])
      .filter((ms) => typeof ms === 'number');
    expect(latencies).toHaveLength(7);
    const longest = Math.max(...latencies);
    const body = await stats(telemetry);
    for (const key of ['latency_avg_ms', 'latency_p50_ms', 'latency_p95_ms']) {
      expect(body[key]).toBeLessThanOrEqual(longest * 1.25);
      expect(body[key]).toBeGreaterThanOrEqual(Math.min(...latencies) * 0.75);
    }
  });
});

describe('what makes no record of its own', () => {
  it('is summed up when the gateway stops: reads, and strangers by reason and client', async () => {
    const env = {
      ...productionEnv,
      AUDIT_IP_HMAC_KEY: 'a key for addresses that only this test knows',
      AUDIT_IP_HMAC_KEY_ID: 'key-1',
      TRUSTED_PROXIES: '127.0.0.1',
    };
    const gateway = await startTestGateway({ env, clock: wallClock(), servers: { tested: upstream.url } });
    try {
      const token = tokenWith({ scope: 'tool:gateway' });
      const from = (address: string) => ({ headers: { 'x-forwarded-for': address } });
      for (let n = 0; n < 3; n++) await gateway.send('/healthz');
      for (let n = 0; n < 2; n++) expect((await gateway.send('/api/events', { token })).status).toBe(200);
      await gateway.send('/api/events?limit=x', { token });
      for (let n = 0; n < 4; n++) await gateway.send('/v1/mcp/servers', from('10.0.0.1'));
      await gateway.send('/v1/mcp/servers', from('10.0.0.2'));
      await gateway.send('/api/events', from('10.0.0.1'));
      await gateway.send(audit, { token: 'guessed', ...from('10.0.0.1') });
      // One that is known is refused on record, and is in no sum.
      expect((await gateway.send('/api/events', { token: tokenWith({ scope: 'tool:tested' }) })).status).toBe(403);
      await gateway.send('/nowhere');
      await gateway.gateway.stop();

      const records = (await checkLog({ url: gateway.database.url }))
        .map(({ record }) => record)
        .filter((record) => String(record['surface_id']) !== 'mcp.pins.pin');
      const sums = (surface: string, key: string) =>
        records
          .filter((record) => String(record['surface_id']) === surface)
          .map(({ meta = {} }) => [meta[key], meta['summarised_count']])
          .sort();
      expect(sums('gateway.summary', 'summarised_surface')).toEqual([
        ['events.list', 3],
        ['health.healthz', 3],
      ]);
      expect(sums('gateway.refusals', 'error')).toEqual([
        ['ADMIN_AUTH_INVALID', 1],
        ['AUTH_MISSING', 1],
        ['AUTH_MISSING', 4],
        ['TALOS_DENIED', 1],
      ]);
      expect(records).toHaveLength(7);
      expect(JSON.stringify(records)).not.toContain('10.0.0.');
    } finally {
      await gateway.stop();
    }
  });

  it('is bounded: ten thousand strangers make few records, and count as ten thousand refusals', {
    timeout: 120_000,
  }, async () => {
    const env = {
      ...productionEnv,
      AUDIT_IP_HMAC_KEY: 'a key for addresses that only this test knows',
      AUDIT_IP_HMAC_KEY_ID: 'key-1',
      TRUSTED_PROXIES: '127.0.0.1',
    };
    const gateway = await startTestGateway({ env, clock: wallClock(), servers: { tested: upstream.url } });
    try {
      let sent = 0;
      const stranger = async () => {
        while (sent < 10_000) {
          const n = sent++;
          const headers = { 'x-forwarded-for': `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}` };
          const { status } = await gateway.send('/v1/mcp/servers', { headers });
          if (status !== 401) throw new Error(`a stranger got ${status}`);
        }
      };
      await Promise.all(Array.from({ length: 32 }, stranger));
      expect(await itemsOfReader(gateway)).toEqual([]);
      await gateway.gateway.stop();

      const records = (await checkLog({ url: gateway.database.url })).map(({ record }) => record);
      const refusals = records.filter((record) => String(record['surface_id']) === 'gateway.refusals');
      expect(refusals.length).toBeLessThanOrEqual(3 * (bounds.refusalKeysMax + 1));
      const total = refusals.reduce((sum, { meta }) => sum + Number(meta?.['summarised_count']), 0);
      expect(total).toBe(10_000);
    } finally {
      await gateway.stop();
    }
  });

  /** Records of the requests themselves: there must be none. */
  async function itemsOfReader(gateway: TestGateway): Promise<JsonObject[]> {
    const { body } = await gateway.send('/api/events', { token: tokenWith({ scope: 'tool:gateway' }) });
    const items = body['items'] as unknown as JsonObject[];
    return items.filter((item) => !/^(?:gateway|mcp\.pins)\./.test(String(item['surface_id'])));
  }
});
