/** What the gateway tells of itself: probes, version, figures that count, the pages that document it. */
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type SurfaceId, surfaceOf, surfaces } from '../../src/core/surfaces.ts';
import { callTool, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

let upstream: Upstream;
let ollama: Server;
let gateway: TestGateway;

beforeAll(async () => {
  upstream = await startUpstream({ calls: { echo } });
  ollama = createServer((_, response) => response.end('{}')).listen(0, '127.0.0.1');
  await once(ollama, 'listening');
  gateway = await startTestGateway({
    servers: { tested: upstream.url },
    clock: wallClock(),
    env: {
      TALOS_REGION: 'eu-1',
      VERSION: '9.8.7',
      GIT_SHA: 'abc123',
      BUILD_TIME: '2026-01-01T00:00:00Z',
      OLLAMA_URL: `http://127.0.0.1:${(ollama.address() as AddressInfo).port}`,
      TGA_URL: 'http://127.0.0.1:9/secret-path',
    },
  });
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

const seconds = expect.toSatisfy((value: unknown) => typeof value === 'number' && value > 0);

describe('probes', () => {
  it.each([
    ['/healthz', { status: 'ok', region: 'eu-1', version: '9.8.7', uptime: seconds }],
    ['/health', { status: 'ok', timestamp: seconds }],
    ['/health/live', { status: 'ok', checks: { api: 'ok' } }],
    ['/health/ready', { status: 'ok', checks: { postgres: 'ok', limits: 'ok' } }],
    ['/readyz', { status: 'ready', dev_mode: true, region: 'eu-1' }],
  ])('%s', async (path, body) => {
    const answer = await gateway.send(path);
    expect(answer.status).toBe(200);
    expect(answer.body).toEqual(body);
    expect(answer.headers.get('x-talos-region')).toBe('eu-1');
  });

  it('answer HEAD too', async () => {
    const { status, text } = await gateway.send('/healthz', { method: 'HEAD' });
    expect({ status, text }).toEqual({ status: 200, text: '' });
  });

  it('take whatever credential comes with them', async () => {
    for (const token of ['anything', 'tlk_unknown', 'a.b.c', tokenWith({ exp: 1 })]) {
      const answer = await gateway.send('/healthz', { token, headers: { 'x-talos-principal-id': 'somebody' } });
      expect(answer.status).toBe(200);
    }
  });

  it('of a service that answers say that it is online, and no longer when it is gone', async () => {
    const online = await gateway.send('/health/ollama');
    expect({ status: online.status, body: online.body }).toEqual({ status: 200, body: { status: 'online' } });
    ollama.closeAllConnections();
    ollama.close();
    await once(ollama, 'close');
    expect((await gateway.send('/health/ollama')).status).toBe(503);
  });

  it('of a service that takes its time hold up nobody else', async () => {
    const mute = createServer(() => undefined).listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const own = await startTestGateway({
      env: { OLLAMA_URL: `http://127.0.0.1:${(mute.address() as AddressInfo).port}` },
    });
    let isOver = false;
    const probe = own.send('/health/ollama').finally(() => {
      isOver = true;
    });
    await once(mute, 'request');
    for (const path of ['/metrics', '/healthz', '/readyz']) expect((await own.send(path)).status).toBe(200);
    expect(isOver).toBe(false);
    const { status, body } = await probe;
    expect({ status, body }).toEqual({ status: 503, body: { status: 'offline', error: 'not reachable' } });
    await own.stop();
    mute.closeAllConnections();
    mute.close();
  });

  it('of a service that is not there say so, and neither where nor why', async () => {
    const answer = await gateway.send('/health/tga');
    expect(answer.status).toBe(503);
    expect(answer.body).toEqual({ status: 'offline', error: 'not reachable' });
  });
});

describe('/version', () => {
  it('names the build', async () => {
    const { body } = await gateway.send('/version');
    expect(body).toEqual({
      version: '9.8.7',
      git_sha: 'abc123',
      build_time: '2026-01-01T00:00:00Z',
      service: 'gateway',
      dev_mode: true,
      contracts_version: '1.0.0',
      api_version: '1.0.0',
    });
  });
});

/** The samples of an exposition by `name{labels}`. */
async function metrics(): Promise<(sample: string) => number> {
  const { text, headers, status } = await gateway.send('/metrics');
  expect(status).toBe(200);
  expect(headers.get('content-type')).toMatch(/^text\/plain; version=/);
  const samples = new Map(
    text
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'))
      .map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ') + 1))]),
  );
  return (sample) => samples.get(sample) ?? 0;
}

describe('metrics', () => {
  it('count every answer by method, surface and status, never by the path', async () => {
    const earlier = await metrics();
    await gateway.send('/healthz');
    await gateway.send('/healthz');
    await gateway.send('/secret-path-of-a-stranger');
    await gateway.send('/api/events/00000000-0000-7000-8000-000000000000');
    await callTool(gateway, 'echo');
    const later = await metrics();
    const delta = (sample: string) => later(sample) - earlier(sample);
    expect(delta('gateway_requests_total{method="GET",endpoint="/healthz",status="200"}')).toBe(2);
    expect(delta('gateway_requests_total{method="GET",endpoint="unmatched",status="404"}')).toBe(1);
    expect(delta('gateway_requests_total{method="GET",endpoint="/api/events/{event_id}",status="404"}')).toBe(1);
    const call = surfaces['mcp.tools.call'].template;
    expect(delta(`gateway_requests_total{method="POST",endpoint="${call}",status="200"}`)).toBe(1);
    expect(delta(`gateway_request_duration_seconds_count{method="POST",endpoint="${call}"}`)).toBe(1);
    expect(delta('gateway_tool_calls_total{server="tested",outcome="answered"}')).toBe(1);
    // That the call was about to be made, and how it ended.
    expect(delta('gateway_audit_records_total')).toBe(2);
    expect((await gateway.send('/metrics')).text).not.toContain('secret-path');
  });

  it('count what was allowed and what was denied', async () => {
    const earlier = await metrics();
    await callTool(gateway, 'echo');
    await callTool(gateway, 'echo', {}, { capability: tokenWith({ scope: 'tool:other' }) });
    await callTool(gateway, 'echo', {}, { capability: 'cap_nonsense' });
    const later = await metrics();
    const delta = (sample: string) => later(sample) - earlier(sample);
    expect(delta('gateway_capability_checks_total{result="allowed"}')).toBe(1);
    expect(delta('gateway_capability_checks_total{result="denied"}')).toBe(2);
    expect(delta('gateway_denials_total{reason="SCOPE_MISMATCH"}')).toBe(1);
    expect(delta('gateway_denials_total{reason="SIGNATURE_INVALID"}')).toBe(1);
    expect(delta('gateway_tool_calls_total{server="tested",outcome="answered"}')).toBe(1);
  });

  it('in short are the same figures', async () => {
    const first = (await gateway.send('/metrics/summary')).body;
    expect(first).toEqual({
      latency_p50_ms: expect.toSatisfy(
        (ms: number) => ms > 0 && ms < 30_000 && Number.isInteger(Math.round(ms * 1e6) / 1e4),
      ),
      latency_p95_ms: expect.toSatisfy((ms: number) => ms >= Number(first['latency_p50_ms'])),
      connected_peers: 0,
      active_sessions: 0,
      total_requests: expect.toSatisfy(Number.isInteger),
    });
    const second = (await gateway.send('/metrics/summary')).body;
    expect(second['total_requests']).toBe(Number(first['total_requests']) + 1);
  });
});

describe('/api/gateway/status', () => {
  const count = expect.toSatisfy((value: unknown) => Number.isInteger(value) && Number(value) >= 0);

  it('tells how this process does', async () => {
    const capability = tokenWith({ scope: 'tool:tested', sub: 'for-the-cache' });
    for (let i = 0; i < 3; i++) await callTool(gateway, 'echo', {}, { capability });
    const { body, status } = await gateway.send('/api/gateway/status', { token: 'a.b.c' });
    expect(status).toBe(200);
    expect(body).toEqual({
      schema_version: '1',
      gateway_instance_id: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-f]{4}-4/),
      status_seq: count,
      state: 'RUNNING',
      version: '9.8.7',
      uptime_seconds: count,
      requests_processed: count,
      tenants: 1,
      cache: { capability_cache_size: count, hits: count, misses: count, evictions: 0 },
      sessions: { active_sessions: 0, replay_rejections_1h: 0 },
    });
    const again = (await gateway.send('/api/gateway/status')).body;
    expect(again['gateway_instance_id']).toBe(body['gateway_instance_id']);
    expect(again['requests_processed']).toBe(Number(body['requests_processed']) + 1);
    const cache = again['cache'] as Record<string, number>;
    expect(cache['hits']).toBeGreaterThanOrEqual(2);
    expect(cache['misses']).toBeGreaterThanOrEqual(1);
    expect(cache['capability_cache_size']).toBeGreaterThanOrEqual(1);
  });
});

describe('the documentation', () => {
  it('is a page whose scripts and styles load', async () => {
    const page = await gateway.send('/docs');
    expect(page.status).toBe(200);
    expect(page.headers.get('content-type')).toMatch(/^text\/html/);
    const paths = [...page.text.matchAll(/(?:href|src)="([^"]+)"/g)].map(
      ([, path = '']) => new URL(path, `${gateway.url}/docs`).pathname,
    );
    expect(paths.length).toBeGreaterThan(4);
    for (const path of paths) {
      const asset = await gateway.send(path);
      expect({ path, status: asset.status, empty: asset.text === '' }).toEqual({ path, status: 200, empty: false });
    }
  });

  it('runs nothing but its own scripts, and talks to nobody else', async () => {
    const policy = (await gateway.send('/docs')).headers.get('content-security-policy') ?? '';
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("script-src 'self'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toMatch(/unsafe-inline|unsafe-eval|https?:|upgrade-insecure-requests/);
    expect((await gateway.send('/docs')).text).not.toMatch(/<script>|\son\w+=/);
  });

  it.each(['../../package.json', '%2e%2e/%2e%2e/package.json', '..%2f..%2fpackage.json', '%00', 'nothing.js'])(
    'serves no other file: %s',
    async (path) => {
      const answer = await gateway.send(`/docs/static/${path}`);
      expect(answer.status).toBeGreaterThanOrEqual(400);
      expect(answer.status).toBeLessThan(500);
      expect(answer.text).not.toContain('talos-gateway');
    },
  );

  it('describes every surface but itself', async () => {
    const { body, status } = await gateway.send('/openapi.json');
    expect(status).toBe(200);
    const paths = body['paths'] as Record<string, object>;
    const described = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`),
    );
    const expected = Object.keys(surfaces)
      .filter((id) => !id.startsWith('docs.') && id !== 'events.stream')
      .map((id) => surfaceOf(id as SurfaceId))
      .filter(({ template }) => !template.startsWith('/internal/'))
      .map(({ method, template }) => `${method} ${template}`);
    // Requests that are passed on to a tool server share their route with those that are not.
    expect(described.sort()).toEqual([...new Set(expected)].sort());
  });
});
