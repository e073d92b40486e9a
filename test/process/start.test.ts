/** Starts: the ready line, and failures that say in a sentence what is wrong and end with the right code. */
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { runGateway, startGatewayProcess } from '../support/gateway-process.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';

let database: TestDatabase;
let folder: string;

beforeAll(async () => {
  database = await createTestDatabase();
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

  it('is given up by SIGTERM at any moment, with exit code 0', async () => {
    // A server that accepts and says nothing holds a start for as long as it may take.
    const mute = createServer().listen(0, '127.0.0.1');
    await once(mute, 'listening');
    const { port } = mute.address() as AddressInfo;
    const connected = once(mute, 'connection');
    const env = { ...development(), DATABASE_URL: `postgresql://talos@127.0.0.1:${port}/talos` };
    const running = startGatewayProcess({ env, cwd: folder }).catch((error: unknown) => error);
    const [socket] = await connected;
    socket.destroy();
    mute.close();
    expect(await running).toBeInstanceOf(Error);
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

  it('because the address is not of this machine says so, and ends with 1', async () => {
    const { code, out } = await run({ ...development(), TALOS_BIND_HOST: '192.0.2.1' });
    expect(code).toBe(1);
    expect(out).toContain(
      'the gateway could not start: 192.0.2.1 is not an address of this machine: set TALOS_BIND_HOST',
    );
  });

  it('because the database is not there says so without its password, and ends with 1', async () => {
    const { code, out, err } = await run({
      ...development(),
      DATABASE_URL: 'postgresql://talos:secret-password@127.0.0.1:9/talos',
    });
    expect(code).toBe(1);
    expect(out).toMatch(/the gateway could not start: .*(?:database|connect|ECONNREFUSED)/i);
    expect(out + err).not.toContain('secret-password');
  });

  it.each<[string, Record<string, string>, RegExp]>([
    [
      'production without a server',
      { DEV_MODE: 'false', AUTH_ADMIN_SECRET: 'a secret that nobody else knows' },
      /^No tool server is configured: .*MCP_SERVER_<ID>/m,
    ],
    [
      'production without a secret',
      { DEV_MODE: 'false', MCP_SERVER_A: 'http://127.0.0.1:9/' },
      /^AUTH_ADMIN_SECRET is missing/m,
    ],
    [
      'production with the known secret',
      { DEV_MODE: 'false', MCP_SERVER_A: 'http://127.0.0.1:9/', AUTH_ADMIN_SECRET: 'change-me-in-prod' },
      /placeholder that everybody knows/,
    ],
    ['no mode at all', {}, /No tool server is configured/],
    ['a port that is none', { DEV_MODE: 'true', TALOS_GATEWAY_PORT: 'eighty' }, /TALOS_GATEWAY_PORT/],
    ['a flag that is none', { DEV_MODE: 'maybe' }, /DEV_MODE/],
    ['two modes', { DEV_MODE: 'true', MODE: 'production' }, /MODE/],
    [
      'an open port in production',
      {
        DEV_MODE: 'false',
        MCP_SERVER_A: 'http://127.0.0.1:9/',
        AUTH_ADMIN_SECRET: 'a secret that nobody else knows',
        TALOS_BIND_HOST: '0.0.0.0',
      },
      /TALOS_TLS_CERT_FILE/,
    ],
    [
      'certificate files that are not there',
      { DEV_MODE: 'true', TALOS_TLS_CERT_FILE: '/nowhere/cert.pem', TALOS_TLS_KEY_FILE: '/nowhere/key.pem' },
      /TALOS_TLS_CERT_FILE/,
    ],
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
