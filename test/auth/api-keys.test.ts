/** API keys from outside: made, used, replaced and revoked at one gateway, and known at another on the same database. */
import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { childEnv } from '../support/child-env.ts';
import { callTool, dumpOf, productionEnv, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { hs256 } from '../support/identity.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

const pepper = 'a pepper that only this test file knows of';
const env = { ...productionEnv, TALOS_API_KEY_PEPPER: pepper };
const admin = productionEnv.AUTH_ADMIN_SECRET;
const program = fileURLToPath(new URL('../../cli/talos.ts', import.meta.url));

let folder: string;
let upstream: Upstream;
let gateway: TestGateway;
let other: TestGateway;

beforeAll(async () => {
  upstream = await startUpstream({ calls: { echo } });
  folder = await mkdtemp(join(tmpdir(), 'talos-keys-'));
  const shared = { ...env, TALOS_LOG_KEY_FILE: join(folder, 'log.key') };
  const servers = { weather: upstream.url };
  gateway = await startTestGateway({ env: shared, servers });
  other = await startTestGateway({ env: { ...shared, DATABASE_URL: gateway.database.url }, servers });
});

afterAll(async () => {
  await other.stop();
  await gateway.stop();
  await upstream.close();
  await rm(folder, { recursive: true });
});

interface Made {
  readonly key: string;
  readonly id: string;
  readonly told: JsonObject;
}

async function make(json: JsonObject, token = admin): Promise<Made> {
  const { status, body, text } = await gateway.send('/admin/v1/api-keys', { json, token });
  expect(status, text).toBe(200);
  const told = body['key'] as JsonObject;
  return { key: String(body['api_key']), id: String(told['id']), told };
}

const reader = { name: 'reader', permissions: ['events.read'] };
const read = (token: string, at = gateway) => at.send('/api/events?limit=1', { token });
const revoke = (id: string) => gateway.send(`/admin/v1/api-keys/${id}`, { method: 'DELETE', token: admin });
const rotate = (id: string, json: JsonObject = {}) =>
  gateway.send(`/admin/v1/api-keys/${id}/rotate`, { json, token: admin });
const nowSec = () => Math.floor(systemClock.now() / 1000);

describe('a key', () => {
  it('names its principal and grants what it carries, at every gateway of the database', async () => {
    const { key, id, told } = await make({ ...reader, team_id: 'blue' });
    expect(key).toMatch(/^tlk_[\w-]{43}$/);
    expect(told).toMatchObject({ principal_id: `key:${id}`, team_id: 'blue', permissions: ['events:read'] });
    expect(told).toMatchObject({ status: 'active', hint: key.slice(0, 8), created_by: 'admin-user' });
    expect((await read(key)).status).toBe(200);
    expect((await read(key, other)).status).toBe(200);
  });

  it.each([
    ['calling a tool', (token: string) => callTool(gateway, 'echo', {}, { server: 'weather', token })],
    [
      'writing events',
      (token: string) => gateway.send('/api/events', { json: { event_type: 'a', actor: 'b', action: 'c' }, token }),
    ],
    ['listing keys', (token: string) => gateway.send('/admin/v1/api-keys', { token })],
    ['making keys', (token: string) => gateway.send('/admin/v1/api-keys', { json: { name: 'x' }, token })],
  ])('does not grant what it does not carry: %s', async (_, send) => {
    const { key } = await make(reader);
    const answer = await send(key);
    expect(answer.status).toBe(403);
    expect(answer.body['code']).toBe('TALOS_DENIED');
    expect(answer.headers.get('www-authenticate')).toContain('error="insufficient_scope"');
  });

  it('is on record with who made it, and nowhere itself', async () => {
    const { key } = await make({ ...reader, name: 'canary' });
    await read(key);
    const dump = await dumpOf(gateway);
    expect(dump).toContain('canary');
    expect(dump).not.toContain(key);
    expect(dump).not.toContain(key.slice(9));
    expect(gateway.logText()).not.toContain(key.slice(9));
    expect(dump).not.toContain(pepper);
  });

  it('is listed without itself, newest first', async () => {
    const { id, key } = await make({ ...reader, name: 'newest' });
    const { body, text } = await gateway.send('/admin/v1/api-keys?limit=2', { token: admin });
    expect((body['api_keys'] as unknown as JsonObject[])[0]).toMatchObject({ id, name: 'newest' });
    expect(Number(body['total'])).toBeGreaterThan(2);
    expect(text).not.toContain(key.slice(9));
  });
});

describe('a wrong key is 401', () => {
  it.each([
    ['never made', () => `tlk_${'A'.repeat(43)}`],
    ['too short', (key: string) => key.slice(0, -1)],
    ['too long', (key: string) => `${key}A`],
    ['in other letters', (key: string) => key.toUpperCase().replace('TLK_', 'tlk_')],
    ['changed in one letter', (key: string) => key.slice(0, 10) + (key[10] === 'A' ? 'B' : 'A') + key.slice(11)],
    ['in another spelling of its last letter', (key: string) => key.slice(0, -1) + respelled(key.slice(-1))],
    ['the hint alone', (key: string) => key.slice(0, 8)],
    ['percent-encoded', (key: string) => key.replace('_', '%5F')],
  ])('%s', async (_, wrong) => {
    const { key } = await make(reader);
    const answer = await read(wrong(key));
    expect(answer.status).toBe(401);
    expect(answer.body['code']).toBe('AUTH_INVALID');
    expect(answer.headers.get('www-authenticate')).toContain('error="invalid_token"');
  });

  it('that has expired', async () => {
    const { key } = await make({ ...reader, expires_in_seconds: 1 });
    await expect.poll(async () => (await read(key)).status, { timeout: 20_000 }).toBe(401);
    expect((await read(key)).body['message']).toBe('The API key has expired.');
  });

  it('that was revoked, at once here and within a second elsewhere', async () => {
    const { key, id } = await make(reader);
    expect((await read(key, other)).status).toBe(200);
    const revoked = await revoke(id);
    expect(revoked.status).toBe(200);
    expect(revoked.headers.get('x-talos-audit-ref')).toMatch(/./);
    expect((await read(key)).status).toBe(401);
    await expect.poll(async () => (await read(key, other)).status, { timeout: 10_000 }).toBe(401);
    expect((await read(key, other)).body['message']).toBe('The API key was revoked.');
    const again = await revoke(id);
    expect((again.body['key'] as JsonObject)['revoked_at']).toBe((revoked.body['key'] as JsonObject)['revoked_at']);
  });

  it('on routes of the administration it is a 403', async () => {
    const answer = await gateway.send('/admin/v1/api-keys', { token: `tlk_${'A'.repeat(43)}` });
    expect([answer.status, answer.body['code']]).toEqual([403, 'ADMIN_AUTH_INVALID']);
  });
});

/** The next letter of the alphabet, which means the same to a lenient decoder: the last letter has unused bits. */
function respelled(letter: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
  return alphabet[alphabet.indexOf(letter) ^ 1] ?? '';
}

describe('rotation', () => {
  it('gives a key with the same rights and ends the old one', async () => {
    const { key, id } = await make({ ...reader, principal_id: 'robot', team_id: 'blue' });
    const { status, body } = await rotate(id);
    expect(status).toBe(200);
    expect(body['key']).toMatchObject({
      principal_id: 'robot',
      team_id: 'blue',
      permissions: ['events:read'],
      replaces: id,
    });
    expect((await read(String(body['api_key']))).status).toBe(200);
    expect((await read(key)).status).toBe(401);
  });

  it('lets the old one count for as long as it is told', async () => {
    const { key, id } = await make(reader);
    const { body } = await rotate(id, { grace_seconds: 3_600 });
    expect((await read(key)).status).toBe(200);
    expect((await read(String(body['api_key']))).status).toBe(200);
    const { body: listed } = await gateway.send('/admin/v1/api-keys', { token: admin });
    const old = (listed['api_keys'] as unknown as JsonObject[]).find((item) => item['id'] === id);
    expect(Date.parse(String(old?.['expires_at']))).toBeGreaterThan(systemClock.now() + 3_000_000);
  });

  it.each([
    ['of a key that was revoked', async () => (await revoke((await make(reader)).id)).body['key'] as JsonObject, 409],
    ['of a key that nobody made', async () => ({ id: '01890000-0000-7000-8000-000000000000' }), 404],
    ['of what is no id', async () => ({ id: "x'; DROP TABLE api_key; --" }), 404],
  ])('is refused: %s', async (_, key, status) => {
    expect((await rotate(encodeURIComponent(String((await key())['id'])))).status).toBe(status);
  });
});

describe('making a key', () => {
  it.each([
    ['without a name', {}],
    ['with an unknown member', { name: 'x', admin: true }],
    ['for ever and a day', { name: 'x', expires_in_seconds: 1e12 }],
    ['that has expired', { name: 'x', expires_in_seconds: 0 }],
    ['with a permission that is no text', { name: 'x', permissions: [1] }],
  ])('is refused by the schema: %s', async (_, json) => {
    expect((await gateway.send('/admin/v1/api-keys', { json, token: admin })).status).toBe(422);
  });

  it.each([
    ['in the name of nobody', { name: 'x', principal_id: 'anonymous' }],
    ['in the name of the gateway', { name: 'x', principal_id: 'gateway' }],
    ['with what is no permission', { name: 'x', permissions: ['everything'] }],
    ['with a line in its name', { name: 'x\ny' }],
  ])('is refused, on record: %s', async (_, json) => {
    const answer = await gateway.send('/admin/v1/api-keys', { json, token: admin });
    expect(answer.status).toBe(400);
    expect(answer.headers.get('x-talos-audit-ref')).toMatch(/./);
  });

  const keeper = () => hs256({ sub: 'keeper', exp: nowSec() + 600, permissions: ['keys:write', 'events:read'] }, admin);

  it('is for those who may, and no more than they may', async () => {
    const { told } = await make(reader, keeper());
    expect(told).toMatchObject({ created_by: 'keeper', permissions: ['events:read'] });
  });

  it.each([
    ['more permissions', { name: 'x', permissions: ['events:write'] }],
    ['all permissions', { name: 'x', permissions: ['*:*'] }],
    ['the name of the administrator', { name: 'x', principal_id: 'admin-user' }],
    ['the name of a capability subject', { name: 'x', principal_id: 'did:talos:agent' }],
    ['another team', { name: 'x', team_id: 'blue' }],
  ])('gives nobody more than they have: %s', async (_, json) => {
    const answer = await gateway.send('/admin/v1/api-keys', { json, token: keeper() });
    expect([answer.status, answer.body['code']]).toEqual([403, 'TALOS_DENIED']);
  });

  it('does not turn the key of another principal into one of your own', async () => {
    const { id } = await make({ ...reader, principal_id: 'somebody' });
    const answer = await gateway.send(`/admin/v1/api-keys/${id}/rotate`, { json: {}, token: keeper() });
    expect(answer.status).toBe(403);
  });

  it('needs a pepper', async () => {
    const own = await startTestGateway({ env: productionEnv, servers: { weather: upstream.url } });
    try {
      const answer = await own.send('/admin/v1/api-keys', { json: reader, token: admin });
      expect([answer.status, answer.body['code']]).toEqual([501, 'API_KEYS_DISABLED']);
      const { key } = await make(reader);
      expect((await read(key, own)).status).toBe(401);
    } finally {
      await own.stop();
    }
  });
});

describe('talos api-keys', () => {
  const talos = (args: readonly string[], secret: string | undefined = admin) =>
    new Promise<{ code: number; out: string; err: string }>((resolve) => {
      const env = { ...childEnv, ...(secret === undefined ? {} : { AUTH_ADMIN_SECRET: secret }) };
      const all = [program, 'api-keys', ...args, '--url', gateway.url];
      execFile(process.execPath, all, { env }, (error, out, err) =>
        resolve({ code: error === null ? 0 : Number(error.code), out, err }),
      );
    });

  it('makes, lists, replaces and revokes', async () => {
    const made = await talos(['create', '--name', 'by hand', '--permission', 'events:read', '--ttl', '1h']);
    expect(made.code, made.err).toBe(0);
    const key = made.out.trim();
    expect((await read(key)).status).toBe(200);
    const id = /Made (\S+)/.exec(made.err)?.[1] ?? '';
    expect((await talos(['list'])).out).toContain(id);
    const rotated = await talos(['rotate', id]);
    expect((await read(rotated.out.trim())).status).toBe(200);
    expect((await talos(['revoke', id])).out).toMatch(/ {2}revoked since \d{4}-\S+ {2}/);
    expect((await talos(['list'])).out).toMatch(/ {2}active {2}| {2}active until /);
    expect((await talos(['list'])).out).not.toContain('revoked until');
    expect((await read(key)).status).toBe(401);
  });

  it.each([
    ['with a wrong secret', ['list'], 'not the admin secret', /ADMIN_AUTH_INVALID/],
    ['with what is no duration', ['create', '--name', 'x', '--ttl', 'soon'], admin, /not a duration/],
    ['of a key that is not there', ['revoke', '01890000-0000-7000-8000-000000000000'], admin, /NOT_FOUND/],
  ])('says what is wrong: %s', async (_, args, secret, sentence) => {
    const { code, err } = await talos(args, secret);
    expect(code).toBe(2);
    expect(err).toMatch(sentence);
  });
});
