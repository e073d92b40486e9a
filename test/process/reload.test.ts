/** A gateway process whose file changes while it runs: SIGHUP makes it read its tool servers again, or keep those it has. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { type GatewayProcess, startGatewayProcess } from '../support/gateway-process.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { echo, type Gate, gate, startUpstream, type Upstream } from '../support/upstream.ts';

let slow: Gate;
let upstream: Upstream;
let database: TestDatabase;
let folder: string;
let gateway: GatewayProcess;

const server = (id: string, more = '') => `  ${id}:\n    url: ${upstream.url}\n    transport: jsonrpc\n${more}`;
const write = (text: string) => writeFile(join(folder, 'talos.config.yaml'), text);

beforeAll(async () => {
  slow = gate();
  database = await createTestDatabase();
  folder = await mkdtemp(join(tmpdir(), 'talos-reload-'));
  upstream = await startUpstream({ calls: { echo, slow: slow.respond } });
  await write(`servers:\n${server('one')}`);
  gateway = await startGatewayProcess({
    cwd: folder,
    env: { DEV_MODE: 'true', TALOS_GATEWAY_PORT: '0', DATABASE_URL: database.url, MCP_SERVER_FIXED: upstream.url },
  });
});

afterAll(async () => {
  slow.open();
  gateway.child.kill('SIGKILL');
  await gateway.ended();
  await upstream.close();
  await database.drop();
  await rm(folder, { recursive: true });
});

async function servers(): Promise<string[]> {
  const { body } = await gateway.send('/v1/mcp/servers', { token: 'anybody' });
  return (body['servers'] as unknown as JsonObject[]).map(({ id }) => String(id));
}

const call = (id: string, tool: string) =>
  gateway.send(`/v1/mcp/servers/${id}/tools/${tool}:call`, { token: 'anybody', json: { input: {} } });

/** How often the gateway has said that it kept what it had. */
const refusals = () => gateway.logText().split('the configuration is not sound').length - 1;

describe('SIGHUP', () => {
  it('brings servers of the file in and out without a restart; calls in flight are finished, and a record says so', async () => {
    expect(await servers()).toEqual(['fixed', 'one']);
    const running = call('one', 'slow');
    await expect.poll(slow.waiting, { timeout: 20_000 }).toBe(1);
    await write(`servers:\n${server('two')}`);
    gateway.child.kill('SIGHUP');
    await expect.poll(servers, { timeout: 20_000 }).toEqual(['fixed', 'two']);
    expect([(await call('two', 'echo')).status, (await call('one', 'echo')).status]).toEqual([200, 404]);
    slow.open();
    expect((await running).status).toBe(200);
    await expect
      .poll(async () => (await gateway.send('/api/events?event_type=configuration')).text, { timeout: 20_000 })
      .toContain('mcp.servers.reload');
  });

  it.each([
    ['is no YAML', 'servers: ['],
    ['has a server with a mistake', 'servers:\n  bad:\n    url: ftp://canary.example/\n'],
    ['has a setting that there is none of', 'no_such_setting: 1\n'],
    ['is not a map', '- 1\n'],
  ])('keeps all that was, and says why, when the file %s', async (_, text) => {
    const before = [await servers(), refusals()];
    await write(text);
    gateway.child.kill('SIGHUP');
    await expect.poll(refusals, { timeout: 20_000 }).toBe(Number(before[1]) + 1);
    expect(await servers()).toEqual(before[0]);
    expect((await call('two', 'echo')).status).toBe(200);
  });

  it('says that other settings take a restart, and leaves them', async () => {
    await write(`region: elsewhere\nservers:\n${server('two')}`);
    gateway.child.kill('SIGHUP');
    await expect.poll(gateway.logText, { timeout: 20_000 }).toContain('only a restart applies them');
    expect((await gateway.send('/health')).headers.get('x-talos-region')).toBe('local');
    expect(gateway.child.exitCode).toBeNull();
  });
});
