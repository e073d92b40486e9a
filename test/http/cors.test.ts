/** Which pages of other origins may call the gateway. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { productionEnv, startTestGateway, type TestGateway } from '../support/gateway.ts';

let development: TestGateway;
let production: TestGateway;

beforeAll(async () => {
  [development, production] = await Promise.all([
    startTestGateway(),
    startTestGateway({
      servers: { tested: 'http://127.0.0.1:9/' },
      env: { ...productionEnv, TALOS_CORS_ORIGINS: 'https://dashboard.example,https://other.example:8443' },
    }),
  ]);
});

afterAll(async () => {
  await Promise.all([development.stop(), production.stop()]);
});

function corsHeaders(headers: Headers) {
  const pick = (name: string) => headers.get(`access-control-allow-${name}`);
  return { origin: pick('origin'), credentials: pick('credentials') };
}

const allowed = (origin: string) => ({ origin, credentials: 'true' });
const strangers = [
  'https://evil.example',
  'http://localhost.evil.example',
  'http://evil-localhost',
  'https://localhost@evil.example',
  'http://127.0.0.1.evil.example',
  'null',
  'file://',
  'http://localhost:',
  'http://localhost:123456',
  'http://127.0.0.2:3000',
  'chrome-extension://abc',
];

describe('in development', () => {
  it.each([
    'http://localhost',
    'http://localhost:3000',
    'https://localhost:8443',
    'http://127.0.0.1:5173',
    'http://[::1]:3000',
  ])('%s may', async (origin) => {
    for (const path of ['/healthz', '/api/events', '/nope', '/v1/mcp/servers']) {
      const { headers } = await development.send(path, { headers: { origin } });
      expect(corsHeaders(headers)).toEqual(allowed(origin));
      expect(headers.get('vary')).toContain('Origin');
    }
  });

  it.each(strangers)('%s may not', async (origin) => {
    const { headers } = await development.send('/healthz', { headers: { origin } });
    expect(corsHeaders(headers)).toEqual({ origin: null, credentials: null });
  });
});

describe('in production', () => {
  it.each(['https://dashboard.example', 'https://other.example:8443'])('%s is listed', async (origin) => {
    const { headers } = await production.send('/healthz', { headers: { origin } });
    expect(corsHeaders(headers)).toEqual(allowed(origin));
  });

  it.each([
    ...strangers,
    'http://localhost:3000',
    'http://dashboard.example',
    'https://dashboard.example:444',
    'https://DASHBOARD.example',
    'https://sub.dashboard.example',
    'https://dashboard.example.evil.example',
    '*',
  ])('%s is not', async (origin) => {
    const { headers } = await production.send('/healthz', { headers: { origin } });
    expect(corsHeaders(headers)).toEqual({ origin: null, credentials: null });
  });
});

describe('a preflight', () => {
  const ask = (gateway: TestGateway, origin: string, method: string, path = '/api/events') =>
    gateway.send(path, {
      method: 'OPTIONS',
      headers: {
        origin,
        'access-control-request-method': method,
        'access-control-request-headers': 'authorization,content-type,x-talos-capability',
      },
    });

  it.each(['GET', 'POST', 'PUT', 'PATCH', 'DELETE'])('for %s with credentials is granted', async (method) => {
    const { status, headers, text } = await ask(development, 'http://localhost:3000', method);
    expect({ status, text }).toEqual({ status: 204, text: '' });
    expect(corsHeaders(headers)).toEqual(allowed('http://localhost:3000'));
    expect(headers.get('access-control-allow-methods')?.split(', ')).toContain(method);
    const names = headers.get('access-control-allow-headers')?.toLowerCase().split(/, ?/);
    expect(names).toEqual(['authorization', 'content-type', 'x-talos-capability']);
  });

  it('of any path is granted without a credential', async () => {
    const { status } = await ask(production, 'https://dashboard.example', 'POST', '/v1/mcp/servers/a/tools/b:call');
    expect(status).toBe(204);
  });

  it('of a stranger grants nothing', async () => {
    const { headers } = await ask(production, 'https://evil.example', 'POST');
    expect([...headers.keys()].filter((name) => name.startsWith('access-control-'))).toEqual([]);
  });

  it('without a method grants no more than one with it', async () => {
    const answer = await development.send('/api/events', {
      method: 'OPTIONS',
      headers: { origin: 'http://localhost:3000' },
    });
    expect(answer.status).toBe(204);
    expect(corsHeaders(answer.headers)).toEqual(allowed('http://localhost:3000'));
  });
});
