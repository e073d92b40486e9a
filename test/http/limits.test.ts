/** How often an address and a caller may come: by count, by a clock that hardly moves. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { type Answer, callTool, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

// A test takes no thousandth of a second of it, so no request is given back meanwhile.
const slowClock = { now: () => wallClock().now(), monotonic: () => systemClock.monotonic() / 1_000_000 };

const env = {
  TALOS_RATE_LIMIT: 'true',
  TALOS_RATE_LIMIT_IP_RPS: '1',
  TALOS_RATE_LIMIT_IP_BURST: '10',
  TALOS_RATE_LIMIT_KEY_RPS: '2',
  TALOS_RATE_LIMIT_KEY_BURST: '15',
  TALOS_RATE_LIMIT_ROUTES: 'mcp.servers.list 1/minute burst 3',
};

let upstream: Upstream;
let plain: TestGateway;
let proxied: TestGateway;

beforeAll(async () => {
  upstream = await startUpstream();
  const file = `servers:\n  tested:\n    url: ${upstream.url}\n    rate_limit: 1/hour burst 2\n`;
  [plain, proxied] = await Promise.all([
    startTestGateway({ env, clock: slowClock }),
    startTestGateway({ env: { ...env, TALOS_TRUSTED_PROXIES: '127.0.0.1' }, clock: slowClock, file }),
  ]);
});

afterAll(async () => {
  await Promise.all([plain.stop(), proxied.stop()]);
  await upstream.close();
});

let clients = 0;
const newAddress = () => `203.0.113.${++clients}`;
const from = (address: string) => ({ headers: { 'x-forwarded-for': address } });
const statusesOf = (answers: readonly Answer[]) =>
  Object.fromEntries(
    [...new Set(answers.map(({ status }) => status))].map((status) => [
      status,
      answers.filter((one) => one.status === status).length,
    ]),
  );

async function times(count: number, send: (n: number) => Promise<Answer>): Promise<Answer[]> {
  return await Promise.all(Array.from({ length: count }, (_, n) => send(n)));
}

describe('an address', () => {
  it('is admitted as often as its burst says, and then refused in every known dialect', async () => {
    const address = newAddress();
    const answers = await times(25, () => proxied.send('/version', from(address)));
    expect(statusesOf(answers)).toEqual({ 200: 10, 429: 15 });
    const refused = await proxied.send('/version', from(address));
    expect(refused.body).toMatchObject({
      error: 'RATE_LIMITED',
      code: 'RATE_LIMITED',
      message: 'Too many requests',
      retryable: true,
      details: { limit: 'ip' },
    });
    expect(refused.headers.get('retry-after')).toBe('1');
    expect(refused.headers.get('x-ratelimit-limit')).toBe('10');
    expect(refused.headers.get('x-ratelimit-remaining')).toBe('0');
    expect(Number(refused.headers.get('x-ratelimit-reset'))).toBe(wallClock().nowSec + 10);
    expect(refused.headers.get('ratelimit-policy')).toBe('"ip";q=10;w=10');
    expect(refused.headers.get('ratelimit')).toBe('"ip";r=0;t=10');
    expect(refused.headers.get('x-talos-audit-ref')).toBeNull();
  });

  it('is told what remains before that', async () => {
    const { headers } = await proxied.send('/version', from(newAddress()));
    expect(headers.get('x-ratelimit-remaining')).toBe('9');
    expect(headers.get('ratelimit')).toBe('"ip";r=9;t=1');
  });

  it('of IPv6 is a network of 64 bits', async () => {
    const answers = await times(20, (n) => proxied.send('/version', from(`2001:db8:0:7::${n.toString(16)}`)));
    expect(statusesOf(answers)).toEqual({ 200: 10, 429: 10 });
    expect((await proxied.send('/version', from('2001:db8:0:8::1'))).status).toBe(200);
  });

  it('is counted before its credential is looked at, whatever that is', async () => {
    const address = newAddress();
    const send = (n: number) => proxied.send('/v1/mcp/servers', { ...from(address), token: `tlk_wrong-${n}` });
    expect(statusesOf(await times(25, send))).toEqual({ 401: 10, 429: 15 });
  });

  it('is counted where there is no route, and by every method', async () => {
    const address = newAddress();
    const send = (n: number) =>
      proxied.send(`/nothing/${n}`, { ...from(address), method: n % 2 === 0 ? 'GET' : 'DELETE' });
    expect(statusesOf(await times(25, send))).toEqual({ 404: 10, 429: 15 });
  });

  it('is always answered about the health of the gateway', async () => {
    const address = newAddress();
    await times(12, () => proxied.send('/version', from(address)));
    for (const path of ['/health', '/health/live', '/health/ready', '/healthz', '/readyz', '/metrics']) {
      const answer = await proxied.send(path, from(address));
      expect(answer.status, path).toBe(200);
      expect(answer.headers.get('x-ratelimit-limit'), path).toBeNull();
    }
    expect((await proxied.send('/metrics/summary', from(address))).status).toBe(429);
  });

  it('is not what a stranger claims', async () => {
    const answers = await times(25, (n) =>
      plain.send('/version', {
        headers: {
          'x-forwarded-for': `198.51.100.${n}`,
          forwarded: `for=198.51.100.${n}`,
          'x-real-ip': `198.51.100.${n}`,
        },
      }),
    );
    expect(statusesOf(answers)).toEqual({ 200: 10, 429: 15 });
  });

  it('is not what a client tells a proxy that adds the true one', async () => {
    const address = newAddress();
    const answers = await times(25, (n) => proxied.send('/version', from(`198.51.100.${n}, ${address}`)));
    expect(statusesOf(answers)).toEqual({ 200: 10, 429: 15 });
  });

  it('that is none is the proxy’s', async () => {
    const answers = await times(25, (n) => proxied.send('/version', from(`unknown-${n}`)));
    expect(statusesOf(answers)).toEqual({ 200: 10, 429: 15 });
  });
});

describe('a caller', () => {
  const token = (subject: string) => tokenWith({ sub: subject, scope: 'tool:tested tool:gateway/method:events.read' });

  it('is limited from whatever addresses', async () => {
    const mine = token('did:talos:caller-1');
    const send = () => proxied.send('/api/events?limit=1', { ...from(newAddress()), token: mine });
    const answers = await times(25, send);
    expect(statusesOf(answers)).toEqual({ 200: 15, 429: 10 });
    const refused = await send();
    expect(refused.body).toMatchObject({ code: 'RATE_LIMITED', details: { limit: 'key' } });
    expect(refused.headers.get('ratelimit-policy')).toBe('"ip";q=10;w=10, "key";q=15;w=8');
    expect(refused.headers.get('x-ratelimit-limit')).toBe('15');
    const other = { ...from(newAddress()), token: token('did:talos:caller-2') };
    expect((await proxied.send('/api/events?limit=1', other)).status).toBe(200);
  });

  it('has another limit on a route that has one', async () => {
    const send = () => proxied.send('/v1/mcp/servers', { ...from(newAddress()), token: token('did:talos:caller-3') });
    expect(statusesOf(await times(9, send))).toEqual({ 200: 3, 429: 6 });
    expect((await send()).body).toMatchObject({ details: { limit: 'route' } });
  });

  it('may call the tools of a server as often as its entry says, and each refusal is on record', async () => {
    const answers = [];
    for (let n = 0; n < 4; n++) {
      answers.push(await callTool(proxied, 'any', {}, { ...from(newAddress()), token: token('did:talos:caller-4') }));
    }
    expect(answers.map(({ status }) => status)).toEqual([404, 404, 429, 429]);
    expect(answers[2]?.body).toMatchObject({ code: 'RATE_LIMITED', details: { limit: 'server' } });
    expect(answers[2]?.headers.get('retry-after')).toBe('3600');
    expect(answers[2]?.headers.get('x-ratelimit-limit')).toBe('2');
    expect(answers[2]?.headers.get('x-ratelimit-remaining')).toBe('0');
    expect(answers[2]?.headers.get('ratelimit-policy')).toMatch(/^"ip";[^ ]*, "key";[^ ]*, "server";q=2;w=\d+$/);
    expect(answers[2]?.headers.get('ratelimit')).toMatch(/^"ip";[^ ]*, "key";[^ ]*, "server";r=0;t=\d+$/);
    const ref = answers[2]?.headers.get('x-talos-audit-ref');
    const { body } = await proxied.send(`/api/events/${ref}`, from(newAddress()));
    expect(body['item']).toMatchObject({ outcome: 'ERROR', meta: { error: 'RATE_LIMITED', tool_name: 'any' } });
  });
});

it('a capability that is used too often says which of its limits refused', async () => {
  const token = tokenWith({
    sub: 'did:talos:often',
    scope: 'tool:gateway/method:events.read',
    constraints: { rate_limit: '1/hour' },
  });
  const answers = [];
  for (let n = 0; n < 2; n++) answers.push(await proxied.send('/api/events?limit=1', { ...from(newAddress()), token }));
  expect(answers.map(({ status }) => status)).toEqual([200, 429]);
  expect(answers[1]?.body).toMatchObject({ details: { limit: 'capability' } });
  expect(answers[1]?.headers.get('x-ratelimit-limit')).toBe('1');
  expect(answers[1]?.headers.get('ratelimit')).toMatch(/^"ip";.*, "key";.*, "capability";r=0;t=3600$/);
});

it('tells how many it admitted and refused, and of nobody in particular', async () => {
  const { text } = await proxied.send('/metrics');
  expect(text).toMatch(/^gateway_rate_limit_admitted_total\{limit="ip"\} [1-9]/m);
  for (const kind of ['ip', 'key', 'route', 'server']) {
    expect(text).toMatch(new RegExp(`^talos_rate_limit_rejections_total\\{limit="${kind}"\\} [1-9]`, 'm'));
  }
  expect(text).not.toContain('203.0.113');
  expect(text).not.toContain('did:talos:caller');
});
