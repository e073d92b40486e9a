/** A stream lasts no longer than the key, token or role that opened it, at whichever gateway of the database that ends. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { productionEnv, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { hs256 } from '../support/identity.ts';
import { liveToken } from '../support/live-token.ts';
import { openSse, report, type StreamClient, watch } from '../support/stream.ts';

const wait = { timeout: 20_000 };
const admin = productionEnv.AUTH_ADMIN_SECRET;
let leaptMs = 0;
const clock = { now: () => Date.now() + leaptMs, monotonic: () => performance.now() };
let folder: string;
let here: TestGateway;
let elsewhere: TestGateway;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-stream-'));
  const env = {
    ...productionEnv,
    TALOS_LOG_KEY_FILE: join(folder, 'log.key'),
    TALOS_API_KEY_PEPPER: 'a pepper that only this test file knows of',
  };
  const servers = { tested: 'http://127.0.0.1:9/' };
  here = await startTestGateway({ env, clock, servers });
  elsewhere = await startTestGateway({ env: { ...env, DATABASE_URL: here.database.url }, clock, servers });
});

afterAll(async () => {
  await elsewhere?.stop();
  await here?.stop();
  await rm(folder, { recursive: true });
});

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
/** A WebSocket of whoever the token names. */
const watchAs = (token: string) => watch(here, { ts: new Date(clock.now()).toISOString() }, { headers: bearer(token) });

async function change(path: string, method: string, json?: JsonObject): Promise<JsonObject> {
  const { status, body, text } = await elsewhere.send(path, { method, token: admin, ...(json ? { json } : {}) });
  expect(status, text).toBe(200);
  return body;
}

let names = 0;
const fresh = () => `p${++names}`;

async function makeKey(permissions = ['events.read'], principal = fresh(), ttl?: JsonObject) {
  const json = { name: fresh(), permissions, principal_id: principal, ...ttl };
  const body = await change('/admin/v1/api-keys', 'POST', json);
  return { key: String(body['api_key']), id: String((body['key'] as JsonObject)['id']) };
}

const revoke = (id: string) => change(`/admin/v1/api-keys/${id}`, 'DELETE');
const bind = (principal_id: string, role_id: string) =>
  change('/admin/v1/rbac/bindings', 'POST', { principal_id, bindings: [{ role_id, scope: 'global' }] });
const unbind = (principal: string) => change(`/admin/v1/rbac/bindings/${principal}`, 'DELETE');

/** A token of the administration; the gateway forgives clocks that differ by a minute. */
function tokenOf(sub: string, permissions: string[] = [], ttlSec = 3_600): string {
  const nowSec = Math.floor(clock.now() / 1000);
  return hs256({ sub, iat: nowSec, exp: nowSec + ttlSec, permissions }, admin);
}

async function expectSentAway(client: StreamClient): Promise<void> {
  expect(await client.closed).toBe(4001);
  expect(client.of('error')).toMatchObject([{ code: 'AUTH_FAILED' }]);
}

/** Within ten times what is promised, and far before a credential would be judged anyway. */
async function soon<T>(work: () => Promise<T>): Promise<T> {
  const startedAtMs = performance.now();
  const result = await work();
  expect(performance.now() - startedAtMs).toBeLessThan(10_000);
  return result;
}

async function expectAlive(client: StreamClient): Promise<void> {
  const before = client.items().length;
  await report(here, [{ action: fresh() }], tokenOf('reporter', ['events.write']));
  await expect.poll(() => client.items().length, wait).toBeGreaterThan(before);
}

describe('an API key that is revoked at another gateway', () => {
  it('ends what watches by it soon, and nothing else', async () => {
    const [revoked, kept] = [await makeKey(), await makeKey()];
    const client = await watchAs(revoked.key);
    const sse = await openSse(here, '/events', bearer(revoked.key));
    const other = await watchAs(kept.key);
    await soon(async () => {
      await revoke(revoked.id);
      await expectSentAway(client);
      await sse.ended;
    });
    expect(JSON.parse(sse.of('error')[0]?.data ?? '')).toMatchObject({ code: 'AUTH_FAILED' });
    await expectAlive(other);
    await other.close();
  });

  it('ends the second of two, after the first was revoked and nothing happened since', async () => {
    const [first, second] = [await makeKey(), await makeKey()];
    const clients = [await watchAs(first.key), await watchAs(second.key)] as const;
    await soon(async () => {
      await revoke(first.id);
      await expectSentAway(clients[0]);
      await revoke(second.id);
      await expectSentAway(clients[1]);
    });
  });

  it('lets nobody go on who had paused', async () => {
    const { key, id } = await makeKey();
    const client = await watchAs(key);
    client.send({ type: 'pause' });
    await client.next('paused');
    await revoke(id);
    client.send({ type: 'resume' });
    await expectSentAway(client);
    expect(client.of('resumed').length).toBeLessThanOrEqual(1);
  });

  it('ends a session that was being opened meanwhile', async () => {
    const { key, id } = await makeKey();
    const ticket = await here.send('/api/events/ticket', { method: 'POST', token: key });
    const opening = watch(here, {}, { query: `?ticket=${String(ticket.body['ticket'])}` }).catch(() => undefined);
    await revoke(id);
    const client = await opening;
    if (client !== undefined) await soon(() => expectSentAway(client));
    expect((await here.send('/api/events', { token: key })).status).toBe(401);
  });
});

describe('a role that is taken away at another gateway', () => {
  it('ends what watches by it soon, and nothing else', async () => {
    const [principal, other] = [fresh(), fresh()];
    await bind(principal, 'Auditor');
    await bind(other, 'Auditor');
    const status = async (name: string) => (await here.send('/api/events', { token: tokenOf(name) })).status;
    await expect.poll(() => status(principal), wait).toBe(200);
    await expect.poll(() => status(other), wait).toBe(200);
    const client = await watchAs(tokenOf(principal));
    const kept = await watchAs(tokenOf(other));
    const sse = await openSse(here, '/events', bearer(tokenOf(principal)));
    await soon(async () => {
      await unbind(principal);
      await expectSentAway(client);
      await sse.ended;
    });
    await expectAlive(kept);
    await kept.close();
  });

  it('leaves whoever carries the permission, too', async () => {
    const principal = fresh();
    await bind(principal, 'Auditor');
    const client = await watchAs(tokenOf(principal, ['events.read']));
    const { key } = await makeKey(['events.read'], principal);
    const byKey = await watchAs(key);
    await unbind(principal);
    await expect
      .poll(async () => (await here.send('/api/events', { token: tokenOf(principal) })).status, wait)
      .toBe(403);
    await expectAlive(client);
    await expectAlive(byKey);
    await Promise.all([client.close(), byKey.close()]);
  });
});

describe('the filter of denial_reason', () => {
  it('tells apart why something was denied, live and from the table', async () => {
    const watching = bearer(tokenOf(fresh(), ['events:read:all']));
    const filters = { denial_reason: 'EXPIRED', session_id: '', correlation_id: null };
    const init = (after_cursor?: string) => ({ ts: new Date(clock.now()).toISOString(), filters, after_cursor });
    const live = await watch(here, init(), { headers: watching });
    const start = String(live.of('init_ack')[0]?.['last_cursor']);
    const nowSec = Math.floor(clock.now() / 1000);
    const expired = liveToken({ scope: 'tool:gateway', iat: nowSec - 900, exp: nowSec - 800 });
    const ask = async (capability?: string) => {
      const options = { token: tokenOf(fresh()), ...(capability === undefined ? {} : { capability }) };
      expect((await here.send('/api/events', options)).status).toBe(403);
    };
    await ask();
    await ask(expired);
    await ask();
    const old = await watch(here, init(start), { headers: watching });
    const sse = await openSse(here, `/events?denial_reason=EXPIRED&unknown=x&after_cursor=${start}`, watching);
    for (const client of [live, old, sse]) {
      const reasons = () => client.items().map((item) => item['denial_reason']);
      await expect.poll(reasons, wait).toEqual(['EXPIRED']);
      await client.close();
    }
  });
});

describe('the time of a credential', () => {
  const untilSec = 300;
  const kinds = [
    ['a token', async () => tokenOf(fresh(), ['events.read'], untilSec)],
    ['an API key', async () => (await makeKey(['events.read'], fresh(), { expires_in_seconds: untilSec })).key],
  ] as const;

  it.each(kinds)('ends the stream of %s when it is over', async (_, credential) => {
    const token = await credential();
    const client = await watchAs(token);
    const sse = await openSse(here, '/events', bearer(token));
    const lasting = await watchAs(tokenOf(fresh(), ['events.read'], 100_000));
    leaptMs += (untilSec - 60) * 1000;
    await expectAlive(client);
    leaptMs += (60 + 61) * 1000;
    await soon(async () => {
      await expectSentAway(client);
      await sse.ended;
    });
    await expectAlive(lasting);
    await lasting.close();
  });

  it('lets nobody resume who paused before', async () => {
    const client = await watchAs(tokenOf(fresh(), ['events.read'], untilSec));
    client.send({ type: 'pause' });
    await client.next('paused');
    leaptMs += (untilSec + 61) * 1000;
    client.send({ type: 'resume' });
    await expectSentAway(client);
    expect(client.of('resumed')).toEqual([]);
  });
});
