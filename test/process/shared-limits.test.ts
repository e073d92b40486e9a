/** Two gateways as processes of their own: one Redis holds their limits, one database their counters. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { productionEnv } from '../support/gateway.ts';
import { createFleet, type GatewayFleet } from '../support/gateway-fleet.ts';
import type { GatewayProcess } from '../support/gateway-process.ts';
import { tokenWith } from '../support/issuer.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

let redis: TestRedis;
let upstream: Upstream;
let fleet: GatewayFleet;

beforeAll(async () => {
  [redis, upstream] = await Promise.all([startRedis(), startUpstream({ calls: { act: echo } })]);
  fleet = await createFleet({
    ...productionEnv,
    TALOS_RATE_LIMIT: 'true',
    TALOS_TRUSTED_PROXIES: '127.0.0.1',
    REDIS_URL: redis.url,
    MCP_SERVER_TESTED: upstream.url,
    LOG_LEVEL: 'info',
  });
});

afterAll(async () => {
  await fleet?.stop();
  await redis.stop();
  await upstream.close();
});

const nowSec = () => Math.floor(Date.now() / 1000);

function token(sub: string, constraints: Record<string, string | number> = {}): string {
  return tokenWith({ sub, scope: 'tool:tested', constraints, iat: nowSec() - 10, exp: nowSec() + 3_600 });
}

function call(gateway: GatewayProcess, held: string, address: string) {
  return gateway.send('/v1/mcp/servers/tested/tools/act:call', {
    token: held,
    json: { input: {} },
    headers: { 'x-forwarded-for': address },
  });
}

describe('two gateways', () => {
  let pair: GatewayProcess[];

  beforeAll(async () => {
    pair = [
      await fleet.start({ TALOS_RATE_LIMIT_ROUTES: 'mcp.servers.list 1/day burst 40' }),
      await fleet.start({ TALOS_RATE_LIMIT_ROUTES: 'mcp.servers.list 1/day burst 40' }),
    ];
  });

  it('admit together what one would, by count', async () => {
    const held = token('did:talos:shared');
    const answers = await Promise.all(
      Array.from({ length: 120 }, (_, n) =>
        pair[n % 2]?.send('/v1/mcp/servers', { token: held, headers: { 'x-forwarded-for': `203.0.113.${n}` } }),
      ),
    );
    const admitted = answers.filter((answer) => answer?.status === 200);
    const refused = answers.filter((answer) => answer?.status === 429);
    expect([admitted.length, refused.length]).toEqual([40, 80]);
  });

  it('hold the rate of a capability together', async () => {
    const held = token('did:talos:rated', { rate_limit: '6/day' });
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => call(pair[n % 2] as GatewayProcess, held, `198.51.100.${n}`)),
    );
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(6);
    expect(answers.filter(({ status }) => status === 429)).toHaveLength(14);
  });

  it('refuse while the store is away, but for their health, and go on when it is back', async () => {
    const [first] = pair as [GatewayProcess];
    const held = token('did:talos:outage');
    await redis.kill();
    const refused = await call(first, held, '192.0.2.1');
    expect(refused.status).toBe(503);
    expect(refused.headers.get('retry-after')).toBe('30');
    expect(refused.body).toMatchObject({
      error: 'RATE_LIMITER_UNAVAILABLE',
      detail: 'rate_limiter_unavailable',
      code: 'RATE_LIMITER_UNAVAILABLE',
    });
    // Whoever is turned away for another reason learns that no sooner.
    expect((await first.send('/v1/mcp/servers', { headers: { 'x-forwarded-for': '192.0.2.2' } })).status).toBe(503);
    expect((await first.send('/healthz')).status).toBe(200);
    // Whoever spreads requests over gateways sends them elsewhere.
    const unready = await first.send('/readyz');
    expect([unready.status, unready.body['reason']]).toEqual([503, 'the limits cannot be checked']);
    const checks = { postgres: 'ok', limits: 'error' };
    expect((await first.send('/health/ready')).body).toMatchObject({ status: 'failed', checks });
    expect((await first.send('/metrics')).text).toMatch(/^gateway_shared_store_up 0$/m);
    await redis.restart();
    await expect.poll(async () => (await call(first, held, '192.0.2.1')).status, { timeout: 20_000 }).toBe(200);
    expect((await first.send('/metrics')).text).toMatch(/^gateway_shared_store_up 1$/m);
    expect((await first.send('/readyz')).status).toBe(200);
    expect((await first.send('/health/ready')).body).toEqual({
      status: 'ok',
      checks: { postgres: 'ok', limits: 'ok' },
    });
  });

  it('let no call more through than max_calls says, although one of them is killed meanwhile', async () => {
    const [first, second] = pair as [GatewayProcess, GatewayProcess];
    const held = token('did:talos:counted', { max_calls: 60 });
    const before = upstream.calls.length;
    let answered = 0;
    const send = async (gateway: GatewayProcess, n: number) => {
      // From the one that was killed comes no answer.
      const answer = await call(gateway, held, `10.0.${n % 250}.1`).catch(() => undefined);
      if (answer?.status === 200) answered++;
      return answer?.status;
    };
    const early = Array.from({ length: 40 }, (_, n) => send(n % 2 === 0 ? first : second, n));
    await expect.poll(() => upstream.calls.length - before, { timeout: 20_000 }).toBeGreaterThan(3);
    first.child.kill('SIGKILL');
    await Promise.all(early);
    const late = await Promise.all(Array.from({ length: 60 }, (_, n) => send(second, n)));
    const dispatched = upstream.calls.length - before;
    expect(dispatched).toBeLessThanOrEqual(60);
    expect(answered).toBeLessThanOrEqual(dispatched);
    // What the dead one had counted and not sent is all that can be missing.
    expect(dispatched).toBeGreaterThanOrEqual(40);
    expect(late).toContain(403);
    expect(await send(second, 1)).toBe(403);
  });

  it('in development count by themselves while the store is away', async () => {
    const gateway = await fleet.start({
      DEV_MODE: 'true',
      TALOS_RATE_LIMIT: 'true',
      TALOS_RATE_LIMIT_ROUTES: 'mcp.servers.list 1/day burst 5',
    });
    const list = () =>
      gateway.send('/v1/mcp/servers', { token: 'anybody', headers: { 'x-forwarded-for': '192.0.2.9' } });
    expect((await list()).status).toBe(200);
    await redis.kill();
    const statuses = (await Promise.all(Array.from({ length: 9 }, list))).map(({ status }) => status);
    expect(statuses.filter((status) => status === 200)).toHaveLength(5);
    expect(statuses.filter((status) => status === 429)).toHaveLength(4);
  });
});
