/** The end of a gateway process: what is in flight is finished and on record, what arrives is told, and then it is gone. */
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { eventually, type SendOptions } from '../support/gateway.ts';
import { type GatewayProcess, startGatewayProcess } from '../support/gateway-process.ts';
import { openRaw, readToEnd } from '../support/http-raw.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { echo, type Gate, gate, startUpstream, type Upstream } from '../support/upstream.ts';

let slow: Gate;
let upstream: Upstream;
let database: TestDatabase;
let folder: string;
let gateway: GatewayProcess;

const start = async (env: Readonly<Record<string, string>> = {}, era: 'session' | 'bare' = 'session') => {
  upstream = await startUpstream({ era, calls: { echo, slow: slow.respond } });
  gateway = await startGatewayProcess({
    cwd: folder,
    env: {
      DEV_MODE: 'true',
      TALOS_GATEWAY_PORT: '0',
      DATABASE_URL: database.url,
      MCP_SERVER_TESTED: upstream.url,
      ...env,
    },
  });
};

beforeEach(async () => {
  slow = gate();
  database = await createTestDatabase();
  folder = await mkdtemp(join(tmpdir(), 'talos-process-'));
});

afterEach(async () => {
  slow.open();
  gateway.child.kill('SIGKILL');
  await gateway.ended();
  await upstream.close();
  await database.drop();
  await rm(folder, { recursive: true });
});

const call = (tool: string, options: SendOptions = {}) =>
  gateway.send(`/v1/mcp/servers/tested/tools/${tool}:call`, { token: 'anybody', json: { input: {} }, ...options });

/** The outcome records of calls. */
async function outcomes(): Promise<JsonObject[]> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  const { rows } = await client.query<{ canon: string }>(
    "SELECT canon FROM audit_event WHERE surface_id = 'mcp.tools.call' ORDER BY seq",
  );
  await client.end();
  const records = rows.map(({ canon }) => JSON.parse(canon) as JsonObject);
  return records.filter((record) => (record['meta'] as JsonObject)['phase'] === 'outcome');
}

const shuttingDown = () => eventually(() => gateway.logText().includes('shutting down'));

describe('SIGTERM', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('%s ends an idle gateway at once, with exit code 0', async (signal) => {
    await start();
    expect((await call('echo')).status).toBe(200);
    await gateway.send('/health/ollama');
    gateway.child.kill(signal);
    await eventually(() => gateway.logText().includes('"msg":"stopped"'));
    // Nothing may hold the process once it says so: neither timers, nor sockets, nor watchers.
    const { code, ms } = await gateway.ended();
    expect(code).toBe(0);
    expect(ms).toBeLessThan(20_000);
  });

  it('ends it as fast when its services were probed and its clients keep their connections', async () => {
    await start({}, 'bare');
    const tga = await startUpstream();
    gateway.child.kill('SIGTERM');
    await gateway.ended();
    gateway = await startGatewayProcess({
      cwd: folder,
      env: {
        DEV_MODE: 'true',
        TALOS_GATEWAY_PORT: '0',
        DATABASE_URL: database.url,
        OLLAMA_URL: tga.url,
        TGA_URL: tga.url,
      },
    });
    const idle = await openRaw(gateway.url);
    idle.write('GET /health/tga HTTP/1.1\r\nHost: t\r\n\r\n');
    await eventually(() => idle.bytesRead > 0);
    await Promise.all([gateway.send('/health/ollama'), gateway.send('/health/tga'), gateway.send('/metrics')]);
    gateway.child.kill('SIGTERM');
    const { code, ms } = await gateway.ended();
    expect(code).toBe(0);
    expect(ms).toBeLessThan(20_000);
    await tga.close();
  });

  it('lets a call finish, and refuses what comes meanwhile in words that everybody understands', async () => {
    await start();
    const answer = call('slow');
    await eventually(() => slow.waiting() === 1);
    gateway.child.kill('SIGTERM');
    await shuttingDown();

    for (const path of [
      '/healthz',
      '/readyz',
      '/health/ready',
      '/api/events',
      '/v1/mcp/servers',
      '/metrics',
      '/nope',
    ]) {
      const refused = await gateway.send(path);
      expect({ path, status: refused.status }).toEqual({ path, status: 503 });
      expect(refused.body).toEqual({
        error: 'SERVER_SHUTTING_DOWN',
        detail: 'Server is shutting down',
        code: 'SERVER_SHUTTING_DOWN',
        message: 'Server is shutting down',
        retryable: true,
        request_id: refused.headers.get('x-request-id'),
      });
      expect(refused.headers.get('connection')).toBe('close');
      expect(refused.headers.get('retry-after')).toBe('1');
      expect(refused.headers.get('x-content-type-options')).toBe('nosniff');
    }
    expect((await call('echo')).status).toBe(503);
    const submitted = await gateway.send('/api/events', { json: { event_type: 'a', actor: 'b', action: 'c' } });
    expect(submitted.status).toBe(503);
    const live = await gateway.send('/health/live');
    expect(live.status).toBe(200);
    expect(live.body).toEqual({ status: 'ok', checks: { api: 'ok' } });

    slow.open();
    const { status, body } = await answer;
    expect(status).toBe(200);
    expect(body).toMatchObject({ output: { content: [{ text: 'after the wait' }] } });
    const { code, ms } = await gateway.ended();
    expect(code).toBe(0);
    expect(ms).toBeLessThan(20_000);
    const records = await outcomes();
    expect(records).toMatchObject([{ event_id: body['audit_ref'], outcome: 'success' }]);
    expect(upstream.calls).toHaveLength(1);
  });

  it('on a connection that is kept alive still answers, and closes it', async () => {
    await start();
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const get = (path: string) =>
      new Promise<{ status: number | undefined; connection: string | undefined }>((resolve, reject) => {
        request(`${gateway.url}${path}`, { agent }, (response) => {
          response
            .resume()
            .once('end', () => resolve({ status: response.statusCode, connection: response.headers.connection }));
        })
          .once('error', reject)
          .end();
      });
    const held = call('slow');
    await eventually(() => slow.waiting() === 1);
    expect(await get('/healthz')).toEqual({ status: 200, connection: 'keep-alive' });
    gateway.child.kill('SIGTERM');
    await shuttingDown();
    expect(await get('/healthz')).toEqual({ status: 503, connection: 'close' });
    expect(await get('/health/live')).toEqual({ status: 200, connection: 'close' });
    slow.open();
    expect((await held).status).toBe(200);
    agent.destroy();
  });

  it('gives a call that does not end no longer than it may take, and records how it ended', async () => {
    await start({ SHUTDOWN_DRAIN_TIMEOUT_SECONDS: '1' });
    const answer = call('slow').catch((error: unknown) => error);
    await eventually(() => slow.waiting() === 1);
    gateway.child.kill('SIGTERM');
    const { code, ms } = await gateway.ended();
    expect(code).toBe(0);
    expect(ms).toBeGreaterThan(900);
    expect(ms).toBeLessThan(20_000);
    expect(await answer).toBeInstanceOf(Error);
    await eventually(() => slow.left() === 1);
    expect(await outcomes()).toMatchObject([{ outcome: 'failure', meta: { error: 'CALL_CANCELLED' } }]);
    expect(gateway.logText()).toContain('still running when the time to drain was over');
  });

  it('a second time changes nothing', async () => {
    await start();
    const answer = call('slow');
    await eventually(() => slow.waiting() === 1);
    gateway.child.kill('SIGTERM');
    await shuttingDown();
    gateway.child.kill('SIGTERM');
    gateway.child.kill('SIGINT');
    expect((await gateway.send('/health/live')).status).toBe(200);
    slow.open();
    expect((await answer).status).toBe(200);
    expect((await gateway.ended()).code).toBe(0);
    expect(await outcomes()).toHaveLength(1);
  });

  it('waits for the record of a call whose caller has left, and not for the caller', async () => {
    await start();
    const leaving = new AbortController();
    const answer = call('slow', { signal: leaving.signal }).catch(() => undefined);
    await eventually(() => slow.waiting() === 1);
    leaving.abort();
    await answer;
    await eventually(() => slow.left() === 1);
    gateway.child.kill('SIGTERM');
    const { code, ms } = await gateway.ended();
    expect(code).toBe(0);
    expect(ms).toBeLessThan(20_000);
    expect(await outcomes()).toMatchObject([{ outcome: 'failure', meta: { error: 'CALL_CANCELLED' } }]);
  });

  it('does not wait for clients that began a request and never finished it', async () => {
    await start({ SHUTDOWN_DRAIN_TIMEOUT_SECONDS: '1' });
    const half = await openRaw(gateway.url);
    half.write(
      'POST /api/events HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{',
    );
    const headerOnly = await openRaw(gateway.url);
    headerOnly.write('GET /healthz HTTP/1.1\r\nHost: t\r\n');
    const silent = await openRaw(gateway.url);
    await eventually(async () => (await gateway.send('/healthz')).status === 200);
    const ends = Promise.all([half, headerOnly, silent].map(readToEnd));
    gateway.child.kill('SIGTERM');
    const { code, ms } = await gateway.ended();
    expect(code).toBe(0);
    expect(ms).toBeLessThan(20_000);
    await ends;
  });

  it('loses no event that was acknowledged', async () => {
    await start();
    const acknowledged: string[] = [];
    const clients = Array.from({ length: 16 }, async () => {
      for (;;) {
        const answer = await gateway
          .send('/api/events', { json: { event_type: 'a', actor: 'b', action: 'c' } })
          .catch(() => undefined);
        if (answer?.status !== 200) return answer?.status;
        acknowledged.push(String(answer.body['event_id']));
      }
    });
    await eventually(() => acknowledged.length > 200);
    gateway.child.kill('SIGTERM');
    const ends = await Promise.all(clients);
    expect((await gateway.ended()).code).toBe(0);
    for (const end of ends) expect([503, undefined]).toContain(end);
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    const { rows } = await client.query<{ event_id: string; seq: string }>(
      'SELECT event_id, seq FROM audit_event ORDER BY seq',
    );
    await client.end();
    const stored = new Set(rows.map(({ event_id }) => event_id));
    expect(acknowledged.filter((id) => !stored.has(id))).toEqual([]);
    expect(rows.map(({ seq }) => Number(seq))).toEqual(rows.map((_, index) => index));
  });
});
