/** Secrets on a whole gateway: used by tool servers by name, renewed while they are used, and never shown again. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import { childEnv } from '../support/child-env.ts';
import { callTool, dumpOf, productionEnv, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { checkLog } from '../support/log-checker.ts';
import { scriptedStdioProgram } from '../support/mcp-processes.ts';
import { said, sendResult } from '../support/mcp-scripted.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

const admin = productionEnv.AUTH_ADMIN_SECRET;
const first = 'canary-first-zebra-58812';
const second = 'canary-second-ostrich-90417';
const inEnvironment = 'canary-environment-walrus-33310';
const to = (name: string) => `\${secret:${name}}`;

let folder: string;
let keyFile: string;
let upstream: Upstream;
let gateway: TestGateway;
/** The credential of the last call. */
let presented: string | undefined;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-secrets-'));
  keyFile = join(folder, 'keys');
  await writeFile(keyFile, `old:${'11'.repeat(32)}\n`);
  upstream = await startUpstream({
    calls: {
      use(received, response) {
        presented = received.headers['x-credential']?.toString();
        sendResult(received, response, said('used'));
      },
    },
  });
  gateway = await startTestGateway({
    env: {
      ...productionEnv,
      TALOS_RATE_LIMIT: 'false',
      TALOS_SECRETS_KEY_FILE: keyFile,
      SOME_TOKEN: inEnvironment,
      ANY_WORD: inEnvironment,
    },
    clock: wallClock(),
    file: `
servers:
  tested:
    url: ${upstream.url}
    transport: jsonrpc
    headers:
      x-credential: "Bearer ${to('upstream')}"
  local:
    command: ${process.execPath}
    args: [${scriptedStdioProgram}]
    env:
      CREDENTIAL: { secret: upstream }
  lost:
    url: ${upstream.url}
    transport: jsonrpc
    headers:
      x-credential: "${to('never-set')}"
`,
  });
});
afterAll(async () => {
  await gateway.stop();
  await upstream.close();
  await rm(folder, { recursive: true });
});

const ask = (path: string, json?: JsonValue, method?: string) =>
  gateway.send(path, {
    token: admin,
    ...(json === undefined ? {} : { json }),
    ...(method === undefined ? {} : { method }),
  });
const put = (name: string, value: string) => ask('/admin/v1/secrets', { name, value });
const call = (server: string, tool = 'use') =>
  callTool(gateway, tool, {}, { server, token: tokenWith({ scope: `tool:${server}` }) });

describe('before a secret is set', () => {
  it.each(['tested', 'lost'])('a server that needs it cannot be used: %s', async (server) => {
    const answer = await call(server);
    expect([answer.status, answer.body['code']]).toEqual([502, 'UPSTREAM_UNAVAILABLE']);
    expect(upstream.calls).toEqual([]);
  });
});

describe('a secret', () => {
  it('is used by name, over HTTP and in the environment of a process, and from then on when it is changed', async () => {
    const { status, body } = await put('upstream', first);
    expect([status, body]).toEqual([200, expect.objectContaining({ status: 'created', name: 'upstream' })]);
    await expect.poll(async () => (await call('tested')).status, { timeout: 20_000 }).toBe(200);
    expect(presented).toBe(`Bearer ${first}`);
    await put('upstream', second);
    expect((await call('tested')).status).toBe(200);
    expect(presented).toBe(`Bearer ${second}`);

    await expect.poll(async () => (await call('local', 'environment')).text, { timeout: 20_000 }).toContain(second);
  });

  it('that HTTP cannot carry is not sent', async () => {
    await put('upstream', 'two\r\nlines: x');
    const answer = await call('tested');
    expect([answer.status, answer.text.includes('lines')]).toEqual([502, false]);
    await put('upstream', second);
    expect((await call('tested')).status).toBe(200);
  });

  it.each([
    [{ name: 'a b', value: 'x' }, 400],
    [{ name: '../x', value: 'x' }, 400],
    [{ name: '', value: 'x' }, 422],
    [{ name: 'x', value: '' }, 422],
    [{ name: 'x', value: 7 }, 422],
    [{ name: 'x', value: 'x'.repeat(65_537) }, 422],
    [{ name: 'SOME_TOKEN', value: 'x' }, 403],
  ])('is not set so: %j', async (json, status) => {
    expect((await ask('/admin/v1/secrets', json)).status).toBe(status);
  });

  it('is listed as what it is called, with sorted names of the environment', async () => {
    const { body } = await ask('/admin/v1/secrets');
    const secrets = body['secrets'] as unknown as JsonObject[];
    expect(body).toEqual({ secrets, items: secrets, total: secrets.length });
    const names = (provider: string) =>
      secrets.filter((secret) => secret['provider'] === provider).map(({ name }) => name);
    expect(names('kms')).toEqual(['upstream']);
    expect(names('env')).toEqual([...names('env')].sort());
    expect(names('env')).toContain('SOME_TOKEN');
    expect(names('env')).not.toContain('ANY_WORD');
    expect(secrets[0]).toMatchObject({ name: 'upstream', kek_id: 'old' });
  });

  it('is gone when it is deleted, and stops what needs it', async () => {
    await put('short', first);
    expect((await ask('/admin/v1/secrets/short', undefined, 'DELETE')).body).toMatchObject({ success: true });
    expect((await ask('/admin/v1/secrets/short', undefined, 'DELETE')).status).toBe(404);
    expect((await ask('/admin/v1/secrets/SOME_TOKEN', undefined, 'DELETE')).body['code']).toBe('SECRET_READ_ONLY');
  });
});

describe('rotation', () => {
  const state = async (id: JsonValue | undefined) => (await ask(`/admin/v1/secrets/rotation-status/${id}`)).body;

  it('puts every secret under the newest key of the file, while they are used', async () => {
    for (let n = 0; n < 5; n++) await put(`other-${n}`, first);
    await writeFile(keyFile, `new:${'22'.repeat(32)}\n${await readFile(keyFile, 'utf8')}`);
    expect((await ask('/admin/v1/secrets/kek-status')).body).toMatchObject({
      active_kek_id: 'new',
      stale_counts: { old: 6 },
    });
    const started = (await ask('/admin/v1/secrets/rotate-all', {})).body;
    expect(started).toMatchObject({ status: 'RUNNING' });
    await expect.poll(async () => (await state(started['op_id']))['status'], { timeout: 20_000 }).toBe('COMPLETED');
    expect(await state(started['op_id'])).toMatchObject({
      target_kek_id: 'new',
      stats: { scanned: 6, rotated: 6, failed: 0 },
    });
    // The old key is not needed any more.
    await writeFile(keyFile, `new:${'22'.repeat(32)}\n`);
    expect((await ask('/admin/v1/secrets/kek-status')).body).toMatchObject({ stale_counts: {}, secret_count: 6 });
    await expect.poll(async () => (await call('tested')).status, { timeout: 20_000 }).toBe(200);
    expect(presented).toBe(`Bearer ${second}`);
  });

  it('fails for what cannot be opened, and says so', async () => {
    await writeFile(keyFile, `third:${'33'.repeat(32)}\n`);
    const started = (await ask('/admin/v1/secrets/rotate-all', {})).body;
    await expect.poll(async () => (await state(started['op_id']))['status'], { timeout: 20_000 }).toBe('FAILED');
    expect(await state(started['op_id'])).toMatchObject({ stats: { rotated: 0, failed: 6 } });
    await writeFile(keyFile, `new:${'22'.repeat(32)}\n`);
  });

  it('without a key, nothing is set and nothing is shown of why', async () => {
    await rm(keyFile);
    const answer = await put('late', first);
    expect([answer.status, answer.body['code'], answer.text.includes(folder)]).toEqual([
      503,
      'SECRETS_UNREADABLE',
      false,
    ]);
    await writeFile(keyFile, `new:${'22'.repeat(32)}\n`);
  });

  it('an unknown one is not found', async () => {
    expect((await ask('/admin/v1/secrets/rotation-status/00000000-0000-4000-8000-000000000000')).status).toBe(404);
    expect((await ask('/admin/v1/secrets/rotation-status/nope')).status).toBe(404);
  });
});

describe('talos secrets', () => {
  async function talos(args: readonly string[], input = '', token = admin) {
    const child = spawn(process.execPath, ['cli/talos.ts', 'secrets', ...args, '--url', gateway.url], {
      env: { ...childEnv, AUTH_ADMIN_SECRET: token },
    });
    child.stdin.end(input);
    const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
    return { code, out, err };
  }

  it('sets from standard input, lists, rotates to a new key and deletes, and shows no value', async () => {
    const set = await talos(['set', 'by-hand'], `${first}\n`);
    expect([set.code, set.out, set.err]).toEqual([0, '', 'The secret by-hand is set.\n']);
    const list = await talos(['list']);
    expect(list.out).toMatch(/^by-hand\tkms\tnew\t/m);
    const rotated = await talos(['rotate', '--new-key', keyFile]);
    expect([rotated.code, rotated.err]).toEqual([0, expect.stringMatching(/^7 of 7 secrets rotated/)]);
    expect((await talos(['list'])).out).not.toContain('\tnew\t');
    expect((await talos(['delete', 'by-hand'])).code).toBe(0);
    expect(set.out + set.err + list.out + list.err + rotated.err).not.toContain(first);
  });

  it.each<[string, readonly string[], string, string]>([
    ['a value that is empty', ['set', 'empty'], '\n', admin],
    ['a name that cannot be one', ['set', 'a b'], 'x', admin],
    ['a secret that is not there', ['delete', 'nothing'], '', admin],
    ["a token that is not an administrator's", ['list'], '', 'guessed'],
    ['a file of keys that is not there', ['rotate', '--new-key', '/nowhere/keys'], '', admin],
  ])('refuses %s with one sentence', async (_, args, input, token) => {
    const { code, out, err } = await talos(args, input, token);
    expect([code === 0, out, err.trim().split('\n').length]).toEqual([false, '', 1]);
  });
});

describe('afterwards', () => {
  it('a row that was put in the place of another does not open', async () => {
    const client = new pg.Client({ connectionString: gateway.database.url });
    await client.connect();
    const columns = 'secret_id, kek_id, wrapped_key, envelope';
    await client.query(
      `UPDATE secret SET (${columns}) = (SELECT ${columns} FROM secret WHERE name = 'other-0') WHERE name = 'upstream'`,
    );
    await client.end();
    await expect.poll(async () => (await call('tested')).status, { timeout: 20_000 }).toBe(502);
  });

  it('no value is in any answer, log, metric, export or table', async () => {
    const texts = [
      gateway.logText(),
      (await gateway.send('/metrics')).text,
      (await ask('/admin/v1/config:export')).text,
      (await ask('/admin/v1/secrets')).text,
      await dumpOf(gateway),
      JSON.stringify(await checkLog({ url: gateway.database.url })),
    ];
    for (const shown of texts)
      for (const value of [first, second, inEnvironment]) expect(shown.includes(value)).toBe(false);
  });

  it('every change is on record, under the name of the secret', async () => {
    const records = (await checkLog({ url: gateway.database.url })).map(
      ({ record }) => record as unknown as JsonObject,
    );
    const of = (surface: string, outcome: string) =>
      records.filter((record) => record['surface_id'] === surface && record['outcome'] === outcome);
    expect(
      of('admin.secrets.set', 'success').map((record) => (record['resource'] as JsonObject)['resource_id']),
    ).toContain('upstream');
    expect(of('admin.secrets.set', 'failure').length).toBeGreaterThan(0);
    expect(of('admin.secrets.delete', 'success')).toHaveLength(2);
    expect(of('secrets.rotated', 'success')).toHaveLength(2);
    expect(of('secrets.rotated', 'failure')).toHaveLength(1);
  });
});
