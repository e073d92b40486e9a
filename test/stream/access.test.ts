/** Who may watch and publish, for how long, how often, and what they see: at one gateway or at another on the same database. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { productionEnv, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { liveToken } from '../support/live-token.ts';
import { openSse, report, type StreamClient, watch } from '../support/stream.ts';

const wait = { timeout: 20_000 };
let folder: string;
let here: TestGateway;
let elsewhere: TestGateway;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-stream-'));
  const env = { ...productionEnv, TALOS_LOG_KEY_FILE: join(folder, 'log.key') };
  const servers = { tested: 'http://127.0.0.1:9/' };
  here = await startTestGateway({ env, servers });
  elsewhere = await startTestGateway({ env: { ...env, DATABASE_URL: here.database.url }, servers });
});

afterAll(async () => {
  await elsewhere?.stop();
  await here?.stop();
  await rm(folder, { recursive: true });
});

const actions = ({ items }: Pick<StreamClient, 'items'>) =>
  items()
    .map((item) => (item['metadata'] as JsonObject)['action'])
    .filter((action) => action !== undefined);

const event = { event_type: 'deploy', actor: 'ci', action: 'published' };
let tokens = 0;
/** Each is another one, so that one is revoked and no other. */
const watcher = (changes: object = {}) =>
  liveToken({ scope: 'tool:gateway', exp: Math.floor(Date.now() / 1000) + 3_000 + ++tokens, ...changes });

async function revoke(gateway: TestGateway, token: string): Promise<void> {
  const { status, text } = await gateway.send('/admin/v1/capabilities/revoke', {
    token: productionEnv.AUTH_ADMIN_SECRET,
    json: { token },
  });
  expect(status, text).toBe(200);
}

describe('a capability that is revoked at another gateway', () => {
  it('ends the sessions that watch and publish by it, within a second or so, and no others', async () => {
    const [revoked, other] = [watcher(), watcher()];
    const publishing = await watch(here, { capability: revoked });
    const reading = await watch(here, { capability: revoked, filters: { tool: 'none' } });
    const sse = await openSse(here, '/events', { 'x-talos-capability': revoked });
    const left = await watch(here, { capability: other });
    publishing.send({ type: 'publish', id: 'before', event });
    await publishing.next('published');

    await revoke(elsewhere, revoked);
    const revokedAtMs = performance.now();
    expect(await publishing.closed).toBe(4001);
    expect(await reading.closed).toBe(4001);
    await sse.ended;
    // Ten times what is promised: a busy machine is no fault of the gateway's.
    expect(performance.now() - revokedAtMs).toBeLessThan(10_000);
    expect(publishing.of('error')).toMatchObject([{ code: 'AUTH_FAILED' }]);
    expect(JSON.parse(sse.of('error')[0]?.data ?? '')).toMatchObject({ code: 'AUTH_FAILED' });

    left.send({ type: 'publish', id: 'after', event: { ...event, action: 'after' } });
    await expect.poll(() => actions(left), wait).toEqual(['published', 'after']);
    expect(actions(publishing)).not.toContain('after');
    expect(sse.items().map(({ metadata }) => (metadata as JsonObject)['action'])).not.toContain('after');
    await left.close();
  });

  it('ends a session that is paused, too', async () => {
    const capability = watcher();
    const client = await watch(here, { capability });
    client.send({ type: 'pause' });
    await client.next('paused');
    await revoke(elsewhere, capability);
    expect(await client.closed).toBe(4001);
  });

  it('opens no session any more', async () => {
    const capability = watcher();
    await revoke(elsewhere, capability);
    const status = async () => (await here.send('/events', { capability })).status;
    // Until the other gateway has heard of it, which it does within a second, it opens one, and ends it again.
    await expect.poll(status, wait).toBe(403);
  });
});

describe('the records of another team', () => {
  const of = (team_id: string) => watcher({ constraints: { team_id } });
  const reported = (team: string, action: string) =>
    report(here, [{ action, actor: `${team}-agent`, metadata: { session_id: `${team}-session` } }], of(team));

  it('are not seen, neither live nor from the table, whatever is asked for', async () => {
    const [start = ''] = await reported('blue', 'start');
    await reported('red', 'old red');
    await reported('blue', 'old blue');
    const [blue, red] = [of('blue'), of('red')];
    const headers = { 'x-talos-capability': blue };
    const open = [
      await watch(here, { capability: blue, after_cursor: start }),
      await watch(elsewhere, { capability: blue, after_cursor: start }),
      await openSse(here, `/events?after_cursor=${start}`, headers),
      await openSse(elsewhere, '/api/events/sse', { ...headers, 'last-event-id': start }),
    ];
    const nosy = [
      await watch(here, { capability: blue, after_cursor: start, filters: { agent_id: 'red-agent' } }),
      await openSse(here, `/events?after_cursor=${start}&session_id=red-session`, headers),
    ];
    const own = await watch(here, { capability: red, after_cursor: start, filters: { agent_id: 'red-agent' } });
    await reported('red', 'new red');
    await reported('blue', 'new blue');
    for (const client of open) await expect.poll(() => actions(client), wait).toEqual(['old blue', 'new blue']);
    await expect.poll(() => actions(own), wait).toEqual(['old red', 'new red']);
    for (const client of nosy) expect(client.items()).toEqual([]);
    for (const client of [...open, ...nosy, own]) await client.close();
  });

  it('are not seen after a change of place and filter either', async () => {
    const [start = ''] = await reported('blue', 'start');
    await reported('red', 'red');
    await reported('blue', 'blue');
    const client = await watch(here, { capability: of('blue') });
    client.send({ type: 'subscribe', filters: { agent_id: 'red-agent' }, after_cursor: start });
    await client.next('subscribed');
    client.send({ type: 'resume', after_cursor: start });
    await client.next('resumed');
    client.send({ type: 'subscribe', filters: null, after_cursor: start });
    await client.next('subscribed');
    await expect.poll(() => actions(client), wait).toEqual(['blue']);
    await client.close();
  });

  it('have sessions that are not listed', async () => {
    const [blue, red] = [await watch(here, { capability: of('blue') }), await watch(here, { capability: of('red') })];
    const { body } = await here.send('/sessions', { capability: of('blue') });
    const listed = (body['sessions'] as unknown as JsonObject[]).map(({ session_id }) => session_id);
    expect(listed).toContain(blue.of('init_ack')[0]?.['session_id']);
    expect(listed).not.toContain(red.of('init_ack')[0]?.['session_id']);
    await Promise.all([blue.close(), red.close()]);
  });
});

describe('publishing', () => {
  // It moves too little for anything to be given back.
  const slowClock = { now: () => systemClock.now(), monotonic: () => systemClock.monotonic() / 1_000_000 };
  const wide = {
    TALOS_RATE_LIMIT: 'true',
    TALOS_RATE_LIMIT_IP_BURST: '100',
    TALOS_RATE_LIMIT_KEY_BURST: '100',
  };
  const cases = [
    // Two upgrades are requests as well.
    ['a caller', { ...wide, TALOS_RATE_LIMIT_KEY_BURST: '15' }, 15 - 2, 'key'],
    ['an address', { ...wide, TALOS_RATE_LIMIT_IP_BURST: '15' }, 15 - 2, 'ip'],
    ['the route', { ...wide, TALOS_RATE_LIMIT_ROUTES: 'events.submit 1/hour burst 8' }, 8, 'route'],
  ] as const;

  it.each(cases)(
    'counts against the limit of %s as a POST does, over all connections',
    async (_name, env, room, limit) => {
      const gateway = await startTestGateway({ env, clock: slowClock });
      try {
        const clients = [await watch(gateway), await watch(gateway)] as const;
        const post = () => gateway.send('/api/events', { json: event });
        for (let n = 0; n < 3; n++) expect((await post()).status).toBe(200);
        for (const client of clients) for (let n = 0; n < 10; n++) client.send({ type: 'publish', id: `p${n}`, event });
        const answers = (type: string) => clients.flatMap((client) => client.of(type));
        await expect.poll(() => answers('published').length + answers('error').length, wait).toBe(20);
        expect(answers('published')).toHaveLength(room - 3);
        for (const error of answers('error')) {
          expect(error).toMatchObject({
            code: 'RATE_LIMITED',
            details: { id: expect.any(String), retry_after_ms: expect.any(Number) },
          });
        }
        expect((await post()).body).toMatchObject({ code: 'RATE_LIMITED', details: { limit } });
        // What watches goes on.
        for (const client of clients) {
          client.send({ type: 'pause' });
          await client.next('paused');
          await client.close();
        }
      } finally {
        await gateway.stop();
      }
    },
  );
});
