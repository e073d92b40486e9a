/** Starts: the ready line, and failures that say in a sentence what is wrong and end with the right code. */
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startTestGateway } from '../support/gateway.ts';
import { runGateway, spawnGateway, startGatewayProcess } from '../support/gateway-process.ts';
import { createEmptyDatabase, type TestDatabase } from '../support/postgres.ts';

let database: TestDatabase;
let folder: string;

beforeAll(async () => {
  database = await createEmptyDatabase();
  folder = await mkdtemp(join(tmpdir(), 'talos-start-'));
});

afterAll(async () => {
  await database.drop();
  await rm(folder, { recursive: true });
});

const development = () => ({ DEV_MODE: 'true', TALOS_GATEWAY_PORT: '0', DATABASE_URL: database.url });
const run = (env: Record<string, string>) => runGateway({ env, cwd: folder });

describe('a start', () => {
  it('says when the gateway is ready, in one line', async () => {
    const gateway = await startGatewayProcess({ env: development(), cwd: folder });
    expect((await gateway.send('/readyz')).status).toBe(200);
    const ready = gateway
      .logText()
      .split('\n')
      .filter((line) => line.includes('"msg":"ready: '));
    expect(ready).toHaveLength(1);
    expect(JSON.parse(ready[0] ?? '')).toMatchObject({ url: gateway.url, mode: 'development', servers: 0 });
    gateway.child.kill('SIGTERM');
    expect((await gateway.ended()).code).toBe(0);
  });

  it('that waits for its database is given up by SIGTERM, with exit code 0', async () => {
    // A server that accepts and says nothing holds a start for as long as it may take.
    const mute = createServer().listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const { port } = mute.address() as AddressInfo;
    const connected = once(mute, 'connection');
    const env = { ...development(), DATABASE_URL: `postgresql://talos@127.0.0.1:${port}/talos` };
    const starting = spawnGateway({ env, cwd: folder });
    const [socket] = (await connected) as [Socket];
    starting.child.kill('SIGTERM');
    const { code, ms } = await starting.ended();
    expect(code).toBe(0);
    expect(ms).toBeLessThan(30_000);
    expect(starting.text()).not.toContain('could not start');
    socket.destroy();
    mute.close();
  });
});

describe('a start that fails', () => {
  it('because the port is taken says so, and ends with 1', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await once(taken, 'listening');
    const { port } = taken.address() as AddressInfo;
    const { code, lines, err } = await run({ ...development(), TALOS_GATEWAY_PORT: String(port) });
    taken.close();
    expect(code).toBe(1);
    const fatal = lines.filter(({ level }) => Number(level) >= 50);
    expect(fatal).toHaveLength(1);
    expect(fatal[0]?.['msg']).toBe(
      `the gateway could not start: port ${port} of 127.0.0.1 is taken: stop what listens there, or set TALOS_GATEWAY_PORT`,
    );
    expect(err).toBe('');
  });

  it.each([
    ['192.0.2.1', '192.0.2.1 is not an address of this machine: set TALOS_BIND_HOST'],
    ['nowhere.invalid', 'nowhere.invalid is not a name that this machine can resolve: set TALOS_BIND_HOST'],
  ])('because it cannot listen on %s says so', async (host, sentence) => {
    await expect(startTestGateway({ env: { TALOS_BIND_HOST: host } })).rejects.toThrow(sentence);
  });

  it('because the database is not there says so without its password, and ends with 1', async () => {
    const { code, out, err } = await run({
      ...development(),
      DATABASE_URL: 'postgresql://talos:secret-password@127.0.0.1:9/talos',
    });
    expect(code).toBe(1);
    expect(out).toMatch(
      /the gateway could not start: the database of DATABASE_URL at 127\.0\.0\.1:9 cannot be used: .*ECONNREFUSED/,
    );
    expect(out + err).not.toContain('secret-password');
  });

  it.each<[string, Record<string, string>, RegExp]>([
    [
      'production without a server',
      { DEV_MODE: 'false', AUTH_ADMIN_SECRET: 'a secret that nobody else knows' },
      /^No tool server is configured: .*MCP_SERVER_<ID>/m,
    ],
    [
      'production with a secret that everybody knows',
      { DEV_MODE: 'false', MCP_SERVER_A: 'http://127.0.0.1:9/', AUTH_ADMIN_SECRET: 'change-me-in-prod' },
      /placeholder that everybody knows/,
    ],
    ['a port that is none', { DEV_MODE: 'true', TALOS_GATEWAY_PORT: 'eighty' }, /TALOS_GATEWAY_PORT/],
  ])('because of its settings says which, and ends with 2: %s', async (_, env, sentence) => {
    const { code, out, err } = await run(env);
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toMatch(sentence);
    expect(err).not.toMatch(/^\s+at /m);
    expect(err).not.toContain('that nobody else knows');
  });

  it('because of several settings says all of them at once', async () => {
    const { code, err } = await run({ DEV_MODE: 'false', TALOS_GATEWAY_PORT: '99999', LOG_LEVEL: 'loud' });
    expect(code).toBe(2);
    for (const word of ['TALOS_GATEWAY_PORT', 'LOG_LEVEL', 'AUTH_ADMIN_SECRET', 'MCP_SERVER_<ID>'])
      expect(err).toContain(word);
  });

  it('because of its file says where', async () => {
    const own = await mkdtemp(join(tmpdir(), 'talos-start-'));
    await writeFile(join(own, 'talos.config.yaml'), 'servers:\n  a: { url: 5 }\n');
    const { code, err } = await runGateway({ env: { DEV_MODE: 'true' }, cwd: own });
    await rm(own, { recursive: true });
    expect(code).toBe(2);
    expect(err).toContain('servers.a');
  });
});
