/** Credentials over the wire in development mode: forgiving of none, strict with whatever is recognisably ours. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type Answer,
  callTool,
  recordOf,
  type SendOptions,
  startTestGateway,
  type TestGateway,
  wallClock,
} from '../support/gateway.ts';
import { testNowSec, tokenOfText, tokenWith } from '../support/issuer.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';
import { wrongTokens } from '../support/wrong-tokens.ts';

let upstream: Upstream;
let gateway: TestGateway;

beforeAll(async () => {
  upstream = await startUpstream({ calls: { echo, get_forecast: echo } });
  gateway = await startTestGateway({ servers: { weather: upstream.url }, clock: wallClock() });
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

const call = (options: SendOptions) => callTool(gateway, 'get_forecast', {}, { server: 'weather', ...options });
const good = () => tokenWith({ scope: 'tool:weather' });

const mcpRoutes = ['/v1/mcp/servers', '/v1/mcp/servers/weather/tools', '/v1/mcp/servers/weather/tools/echo/schema'];

function expectUnauthenticated(answer: Answer, code: string, sentence: string) {
  expect(answer.status).toBe(401);
  expect(answer.body).toMatchObject({
    detail: sentence,
    message: sentence,
    code,
    retryable: false,
    request_id: answer.headers.get('x-request-id'),
  });
  const challenge = code === 'AUTH_INVALID' ? 'Bearer realm="talos", error="invalid_token"' : 'Bearer realm="talos"';
  expect(answer.headers.get('www-authenticate')).toBe(challenge);
  expect(answer.body).not.toHaveProperty('audit_ref');
}

describe('without a Bearer header', () => {
  it.each(mcpRoutes)('%s is 401', async (path) => {
    expectUnauthenticated(await gateway.send(path), 'AUTH_MISSING', 'Missing Authorization header');
  });

  it('a call is 401, before its body is read', async () => {
    const answer = await gateway.send('/v1/mcp/servers/weather/tools/echo:call', { raw: 'no json' });
    expectUnauthenticated(answer, 'AUTH_MISSING', 'Missing Authorization header');
  });

  it('a capability alone is not enough for a call', async () => {
    const answer = await gateway.send('/v1/mcp/servers', { capability: good() });
    expectUnauthenticated(answer, 'AUTH_MISSING', 'Missing Authorization header');
  });

  it('events may be read and written', async () => {
    expect((await gateway.send('/api/events')).status).toBe(200);
    expect((await gateway.send('/api/events', { json: { event_type: 'a', actor: 'b', action: 'c' } })).status).toBe(
      200,
    );
  });
});

describe('another scheme', () => {
  it.each(['Basic dXNlcjpwYXNz', 'bearer', 'Bearertoken', 'Token abc', 'Digest x', ''])(
    'is 401: %j',
    async (authorization) => {
      for (const path of [...mcpRoutes, '/api/events']) {
        expectUnauthenticated(
          await gateway.send(path, { headers: { authorization } }),
          'AUTH_SCHEME',
          'Invalid authorization scheme',
        );
      }
    },
  );

  it('may be spelled in any case', async () => {
    for (const authorization of ['bearer x', 'BEARER x', 'Bearer   x  ']) {
      expect((await gateway.send('/v1/mcp/servers', { headers: { authorization } })).status).toBe(200);
    }
  });

  it('is not hidden behind a second word', async () => {
    const answer = await gateway.send('/v1/mcp/servers', { headers: { authorization: 'Bearer two words' } });
    expectUnauthenticated(answer, 'AUTH_INVALID', 'The Bearer header carries no token.');
  });
});

describe('a Bearer value that is none of ours', () => {
  it.each(['anything', 'cap_test', 'talos_read_allow', 'sk-123', 'a.b', 'a.b.c.d', 'eyJ+', 'e', 'ey'])(
    'is the development user: %s',
    async (token) => {
      const answer = await call({ token });
      expect(answer.status).toBe(200);
      expect((await recordOf(gateway, answer)).record['principal']).toEqual({
        auth_mode: 'bearer',
        principal_id: 'dev-user',
        team_id: 'default',
      });
      if (/^cap_|^talos_/.test(token)) expect(gateway.logText()).toContain('an unsigned text was taken');
    },
  );
});

describe('a Bearer value that is ours', () => {
  it.each([
    ['an API key that nobody issued', 'tlk_0123456789'],
    ['a JWT', 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln'],
    ['three parts', 'a.b.c'],
    ['an unsigned JWT', 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.'],
    ['an empty object', tokenOfText('{}')],
    ['a capability cut short', good().slice(0, -4)],
  ])('but not valid is 401 everywhere: %s', async (_, token) => {
    for (const path of [...mcpRoutes.slice(0, 2), '/api/events'])
      expect((await gateway.send(path, { token })).status).toBe(401);
    expect((await call({ token })).status).toBe(401);
  });

  const capabilityShaped = wrongTokens.filter(({ token }) => /^e(?:y[A-DI-L]|w[k-r0-3]|3[0-3])[\w-]*$/.test(token));

  it('is recognised among the wrong tokens', () => {
    expect(capabilityShaped.length).toBeGreaterThan(40);
  });

  it.each(capabilityShaped)(
    'but a wrong capability is 401, and says in which way: $name',
    async ({ token, reason }) => {
      const before = upstream.calls.length;
      const answer = await call({ token });
      expect(answer.status).toBe(401);
      expect(answer.body).toMatchObject({
        code: 'AUTH_INVALID',
        details: { denial_reason: reason },
        detail: answer.body['message'],
      });
      expect(upstream.calls.length).toBe(before);
    },
  );

  it('and valid says who the caller is and what they may', async () => {
    const answer = await call({
      token: tokenWith({ scope: 'tool:weather', sub: 'did:talos:someone', constraints: { team_id: 'blue' } }),
    });
    expect(answer.status).toBe(200);
    const { record, meta } = await recordOf(gateway, answer);
    expect(record['principal']).toEqual({ auth_mode: 'bearer', principal_id: 'did:talos:someone', team_id: 'blue' });
    expect(meta['capability_hash']).toMatch(/^[0-9a-f]{64}$/);
    expect((await call({ token: tokenWith({ scope: 'tool:other' }) })).status).toBe(403);
  });
});

describe('a capability beside the identity', () => {
  const sendable = wrongTokens.filter(({ token }) => /^[\x21-\x7e]*$/.test(token));

  it('can be sent for most of the wrong tokens', () => {
    expect(sendable.length).toBeGreaterThan(60);
  });

  it.each(sendable)(
    'that is wrong denies the call, with its reason, on record: $name',
    async ({ token, reason, detail }) => {
      const before = upstream.calls.length;
      const answer = await call({ token: 'anybody', capability: token });
      expect(answer.status).toBe(403);
      expect(answer.body).toMatchObject({
        code: expect.stringMatching(/^TALOS_(?:DENIED|INVALID_CAPABILITY)$/),
        details: { denial_reason: reason },
        detail: answer.body['message'],
        retryable: false,
      });
      expect(upstream.calls.length).toBe(before);
      const { record, meta, item } = await recordOf(gateway, answer);
      expect(record).toMatchObject({
        outcome: 'denied',
        http: { status_code: 403 },
        principal: { principal_id: 'dev-user' },
      });
      expect(meta).toMatchObject({ denial_reason: reason, ...(detail === undefined ? {} : { denial_detail: detail }) });
      expect(item).toMatchObject({ outcome: 'DENY', denial_reason: reason });
      if (token.length > 8) expect(JSON.stringify(record)).not.toContain(token);
    },
  );

  it('that is wrong denies lists and events as well', async () => {
    const capability = tokenWith({ exp: testNowSec - 61 });
    for (const path of [
      '/v1/mcp/servers',
      '/v1/mcp/servers/weather/tools',
      '/v1/mcp/servers/weather/tools/echo/schema',
      '/api/events',
      '/api/events/stats?from=0&to=1',
    ]) {
      const answer = await gateway.send(path, { token: 'anybody', capability });
      expect(answer.status).toBe(403);
      expect(answer.body).toMatchObject({ details: { denial_reason: 'EXPIRED' } });
      expect(answer.headers.get('x-talos-audit-ref')).toMatch(/./);
    }
    const submission = await gateway.send('/api/events', {
      json: { event_type: 'a', actor: 'b', action: 'c' },
      capability,
    });
    expect(submission.status).toBe(403);
    expect(submission.body['error']).toBe('The capability has expired.');
  });

  it('that is valid is a better name than the development user', async () => {
    const answer = await call({ token: 'anybody', capability: tokenWith({ scope: 'tool:weather', sub: 'agent-7' }) });
    expect((await recordOf(gateway, answer)).record['principal']).toMatchObject({ principal_id: 'agent-7' });
  });

  it('sent twice is not valid', async () => {
    const answer = await gateway.send('/api/events', { headers: { 'x-talos-capability': `${good()}, ${good()}` } });
    expect(answer.status).toBe(403);
  });
});

describe('the clock', () => {
  it('ends a capability between two calls, also one that is remembered', async () => {
    const clock = wallClock();
    const own = await startTestGateway({ servers: { weather: upstream.url }, clock });
    try {
      const token = tokenWith({ scope: 'tool:weather', exp: testNowSec + 100 });
      const send = () => callTool(own, 'get_forecast', {}, { server: 'weather', capability: token });
      expect((await send()).status).toBe(200);
      expect((await send()).status).toBe(200);
      clock.nowSec = testNowSec + 100 + 59;
      expect((await send()).status).toBe(200);
      clock.nowSec = testNowSec + 100 + 60;
      const late = await send();
      expect(late.status).toBe(403);
      expect(late.body).toMatchObject({ details: { denial_reason: 'EXPIRED' }, code: 'TALOS_INVALID_CAPABILITY' });
      const bearer = await callTool(own, 'get_forecast', {}, { server: 'weather', token });
      expect(bearer.status).toBe(401);
    } finally {
      await own.stop();
    }
  });
});

describe('with TALOS_REQUIRE_CAPABILITY', () => {
  it('nobody is let through without one', async () => {
    const own = await startTestGateway({
      servers: { weather: upstream.url },
      clock: wallClock(),
      env: { TALOS_REQUIRE_CAPABILITY: 'true' },
    });
    try {
      const denied = await callTool(own, 'get_forecast', {}, { server: 'weather' });
      expect(denied.status).toBe(403);
      expect(denied.body).toMatchObject({ details: { denial_reason: 'NO_CAPABILITY' }, code: 'TALOS_DENIED' });
      expect((await own.send('/api/events')).status).toBe(403);
      expect((await own.send('/v1/mcp/servers', { token: 'anybody' })).body).toEqual({ servers: [] });
      const capability = tokenWith({ scope: 'tool:weather tool:gateway/method:events.read' });
      expect((await callTool(own, 'get_forecast', {}, { server: 'weather', capability })).status).toBe(200);
      const { record } = await recordOf(own, denied, capability);
      expect(record).toMatchObject({ outcome: 'denied', principal: { principal_id: 'dev-user' } });
    } finally {
      await own.stop();
    }
  });
});
