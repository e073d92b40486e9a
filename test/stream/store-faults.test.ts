/** Streams and a database that fails: it restarts, it crashes, it drops the connection that listens, it is away. */
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { decodeCursor } from '../../src/core/cursor.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { numbered } from '../support/drafts.ts';
import { cleanUp, dropTemplate, later, startStore, usedFolder } from '../support/embedded.ts';
import { eventually, startTestGateway, type TestGateway, type TestGatewayOptions } from '../support/gateway.ts';
import { query } from '../support/log-fixture.ts';
import { socketUrl } from '../support/postgres.ts';
import { startStoreProxy } from '../support/store-proxy.ts';
import { connect, initMessage, openSse, report, type StreamClient, watch } from '../support/stream.ts';

const wait = { timeout: 30_000 };

afterEach(cleanUp);
afterAll(dropTemplate);

async function start(options: TestGatewayOptions): Promise<TestGateway> {
  const gateway = await startTestGateway(options);
  later(() => gateway.stop());
  return gateway;
}

/** A WebSocket and a stream of server-sent events that begin at the same place. */
async function watchers(gateway: TestGateway) {
  const socket = await watch(gateway);
  const start = String(socket.of('init_ack')[0]?.['last_cursor']);
  const sse = await openSse(gateway, `/events?after_cursor=${start}`);
  later(() => {
    socket.socket.terminate();
    sse.close();
  });
  return { start, clients: { socket, sse } };
}

const idsOf = ({ items }: Pick<StreamClient, 'items'>) => items().map(({ event_id }) => event_id);

/** Reports until it is recorded, and again until all have seen that; then each has seen exactly the log. */
async function expectExactly(
  gateway: TestGateway,
  url: string,
  { start, clients }: Awaited<ReturnType<typeof watchers>>,
): Promise<void> {
  const reported = () =>
    report(gateway, [{ action: 'last' }]).then(
      ([cursor]) => cursor,
      () => undefined,
    );
  let last: string | undefined;
  await expect
    .poll(async () => {
      last = await reported();
      return last;
    }, wait)
    .toBeDefined();
  const bounds = [start, last ?? ''].map((cursor) => `'${decodeCursor(cursor).eventId}'::uuid`);
  const rows = await query(
    url,
    `SELECT event_id FROM audit_event WHERE event_id > ${bounds[0]} AND event_id <= ${bounds[1]} ORDER BY seq`,
  );
  const expected = rows.map(({ event_id }) => event_id);
  for (const client of Object.values(clients)) {
    await expect.poll(() => idsOf(client).includes(expected.at(-1) as string), wait).toBe(true);
    expect(idsOf(client).slice(0, expected.length)).toEqual(expected);
  }
}

/** Reports all the while that `fault` lasts; what is not recorded, because the store is away, is no matter. */
async function whileReporting(gateway: TestGateway, fault: () => Promise<unknown>): Promise<void> {
  let isOver = false;
  const reporting = (async () => {
    for (let n = 0; !isOver; n++) await report(gateway, [{ action: `n${n}` }]).catch(() => undefined);
  })();
  await fault().finally(() => {
    isOver = true;
  });
  await reporting;
}

describe('a database that restarts while streams are open', () => {
  it('makes them wait, and lose and repeat nothing', { timeout: 120_000 }, async () => {
    const folder = await usedFolder();
    const store = await startStore(folder);
    const url = socketUrl(store.connection);
    const gateway = await start({ env: { DATABASE_URL: url } });
    const all = await watchers(gateway);
    const postmaster = async () =>
      Number((await readFile(join(folder, 'postgres', 'postmaster.pid'), 'utf8')).split('\n')[0]);
    const startedAt = async () => {
      const [row] = await query(url, 'SELECT pg_postmaster_start_time()::text AS at').catch(() => []);
      return row?.['at'];
    };
    const faults = {
      // Of every connection, and in order.
      restart: async () => {
        const before = await startedAt();
        process.kill(await postmaster(), 'SIGINT');
        await expect.poll(startedAt, wait).not.toBeOneOf([before, undefined]);
      },
      // All backends are ended at once, and the log of the database is replayed.
      crash: async () => {
        const listener = async () => {
          const text = "SELECT pid FROM pg_stat_activity WHERE application_name = 'talos-tail'";
          return (await query(url, text))[0]?.['pid'];
        };
        process.kill(Number(await eventually(listener, wait.timeout)), 'SIGKILL');
        await expect.poll(startedAt, wait).toBeDefined();
      },
    };
    for (const fault of Object.values(faults)) {
      await whileReporting(gateway, fault);
      await expectExactly(gateway, url, all);
    }
    expect(all.clients.socket.of('error')).toEqual([]);
  });
});

describe('a database that drops the connection that listens', () => {
  it('costs nothing: what others record is found all the same, and somebody listens again', async () => {
    const gateway = await start({});
    const { url } = gateway.database;
    const all = await watchers(gateway);
    // Nobody but the database tells the gateway of its records.
    const writer = createLogWriter({ url });
    later(() => writer.close());
    const ours = "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'talos-tail'";
    const listeners = async () => (await query(url, `SELECT pid ${ours}`)).map(({ pid }) => pid);
    for (let round = 0; round < 3; round++) {
      await expect.poll(async () => (await listeners()).length, wait).toBeGreaterThan(0);
      await writer.append(randomUUID(), numbered(20, round * 40));
      await query(url, `SELECT pg_terminate_backend(pid) ${ours}`);
      await writer.append(randomUUID(), numbered(20, round * 40 + 20));
    }
    await expectExactly(gateway, url, all);
    expect(idsOf(all.clients.socket).length).toBeGreaterThanOrEqual(120);
    await expect.poll(async () => (await listeners()).length, wait).toBeGreaterThan(0);
    expect(gateway.logText()).not.toContain('live streams wait');
  });
});

describe('4004 INTERNAL_ERROR', () => {
  it('for what cannot be done while the database is away; it can be done again later', async () => {
    const store = await startStoreProxy();
    const gateway = await start({ databaseUrl: store.urlOf });
    later(() => store.restore());
    const [cursor] = await report(gateway, [{ action: 'before' }]);
    const init = initMessage({ after_cursor: cursor });
    const event = { event_type: 't', actor: 'a', action: 'published' };
    const [opening, moving, resuming, publishing] = [
      await connect(gateway),
      await watch(gateway),
      await watch(gateway),
      await watch(gateway),
    ];
    await store.cut();

    opening.send(init);
    moving.send({ type: 'subscribe', filters: null, after_cursor: cursor });
    resuming.send({ type: 'resume', after_cursor: cursor });
    publishing.send({ type: 'publish', id: 'p', event });
    for (const client of [opening, moving, resuming]) {
      expect(await client.closed).toBe(4004);
      const errors = client.of('error');
      expect(errors).toMatchObject([{ code: 'INTERNAL_ERROR' }]);
      // What went wrong inside is for the log of the gateway.
      expect(JSON.stringify(errors)).not.toMatch(/ECONN|127\.0\.0\.1|SELECT/);
    }
    expect(await publishing.next('error')).toMatchObject({ code: 'INTERNAL_ERROR', details: { id: 'p' } });

    await store.restore();
    const recorded = () =>
      report(gateway, [{ action: 'after' }]).then(
        () => true,
        () => false,
      );
    await expect.poll(recorded, wait).toBe(true);
    const again = await connect(gateway);
    again.send(init);
    await again.next('init_ack');
    await again.close();
    publishing.send({ type: 'publish', id: 'q', event });
    expect(await publishing.next('published')).toMatchObject({ id: 'q', status: 'recorded' });
    await publishing.close();
  });
});
