/**
 * Three gateways on one database, two hundred readers that come and go at random, one that never reads, and a gateway
 * that is killed: every reader gets exactly what the log holds for it, in order.
 */
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { WebSocket } from 'ws';
import { type EventFilters, type LogStream, openStream } from '../../packages/stream-client/index.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { type Dice, dice } from '../crash/dice.ts';
import { type GatewayProcess, startGatewayProcess } from '../support/gateway-process.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { connect, initMessage } from '../support/stream.ts';

const seed = 20_260_722;
const readers = 200;
const batches = 60;
const batchEvents = 40;
/** Pace of the writer: about a thousand events a second where the machine is fast enough. */
const batchEveryMs = 40;
/** A reader leaves after one to so many items, and comes back. */
const itemsOfStreamMax = 400;
const backoff = { firstMs: 50, maxMs: 500 };

const filters: readonly EventFilters[] = [
  {},
  { outcome: 'OK', agent_id: 'agent-1' },
  { event_type: 'type-1' },
  { agent_id: 'agent-2' },
  { session_id: 'session-3' },
  { session_id: 'session-4' },
  { session_id: 'session-5', event_type: 'type-1' },
  { event_type: 'type-3', agent_id: 'agent-4' },
];

let database: TestDatabase;
let folder = '';
let gateways: GatewayProcess[] = [];
const silent: WebSocket[] = [];

beforeAll(async () => {
  [database, folder] = await Promise.all([createTestDatabase(), mkdtemp(join(tmpdir(), 'talos-streams-'))]);
  // The first one makes the schema and the key of the log.
  const first = await start('first');
  gateways = [first, ...(await Promise.all([start('second'), start('third')]))];
}, 120_000);

afterAll(async () => {
  for (const socket of silent) socket.terminate();
  for (const { child } of gateways) child.kill('SIGKILL');
  await Promise.all(gateways.map(({ ended }) => ended()));
  await database?.drop();
  await rm(folder, { recursive: true, force: true });
});

async function start(name: string): Promise<GatewayProcess> {
  const dataDir = join(folder, name);
  await mkdir(dataDir);
  const env = {
    DEV_MODE: 'true',
    TALOS_GATEWAY_PORT: '0',
    TALOS_BIND_HOST: '127.0.0.1',
    TALOS_DATA_DIR: dataDir,
    TALOS_LOG_KEY_FILE: join(folder, 'log.key'),
    DATABASE_URL: database.url,
  };
  return await startGatewayProcess({ cwd: dataDir, env });
}

const eventOf = (n: number, more: JsonObject = {}): JsonObject => ({
  event_type: `type-${n % 4}`,
  actor: `agent-${n % 5}`,
  action: 'test',
  metadata: { n, session_id: `session-${n % 10}`, ...more },
});

/** Writes a batch through any gateway that takes it, and resolves with the cursors. One that died may have taken it too. */
async function write(events: readonly JsonObject[], chance: Dice): Promise<string[]> {
  for (;;) {
    const gateway = chance.oneOf(gateways);
    const answer = await gateway.send('/api/events/batch', { json: events as never }).catch(() => undefined);
    if (answer?.status === 200)
      return (answer.body['events'] as unknown as { cursor: string }[]).map(({ cursor }) => cursor);
    await delay(20);
  }
}

/** A connection that is opened, and from which nothing is read after that. */
async function neverRead(gateway: GatewayProcess, after: string): Promise<void> {
  const client = await connect(gateway);
  silent.push(client.socket);
  client.send(initMessage({ after_cursor: after }));
  await client.next('init_ack');
  client.socket.pause();
}

/** Reads through one stream after another, from wherever chance says, and keeps what it did not have. */
class Reader {
  readonly filters: EventFilters;
  readonly seen: string[] = [];
  readonly done: Promise<void>;
  readonly #known = new Set<string>();
  readonly #cursors: string[];
  readonly #chance: Dice;
  streams = 0;
  #stream: LogStream | undefined;
  #isStopped = false;

  constructor(start: string, filter: EventFilters, chance: Dice) {
    this.filters = filter;
    this.#cursors = [start];
    this.#chance = chance;
    this.done = this.#run();
  }

  stop(): void {
    this.#isStopped = true;
    this.#stream?.close();
  }

  async #run(): Promise<void> {
    while (!this.#isStopped) {
      this.streams++;
      const urls = gateways.map(({ url }) => url) as [string, ...string[]];
      this.#stream = openStream({ urls, filters: this.filters, after: this.#place(), backoff });
      let left = this.#chance.between(1, itemsOfStreamMax);
      for await (const item of this.#stream) {
        if (item.type === 'gap') throw new Error('nothing is gone from this log');
        this.#take(String(item.event['event_id']), item.cursor);
        if (--left === 0) break;
      }
    }
  }

  /** Mostly where it stands; now and then further back, as a client that lost its last words. */
  #place(): string {
    const back = this.#chance.below(4) === 0 ? this.#chance.below(Math.min(30, this.#cursors.length)) : 0;
    return this.#cursors.at(-1 - back) as string;
  }

  #take(id: string, cursor: string): void {
    if (this.#known.has(id)) return;
    this.#known.add(id);
    this.#cursors.push(cursor);
    this.seen.push(id);
  }
}

/** The items of the log after one cursor up to another. */
async function logBetween(gateway: GatewayProcess, start: string, end: string): Promise<JsonObject[]> {
  const items: JsonObject[] = [];
  for (let cursor = start; ; ) {
    const { body } = await gateway.send(`/api/events?limit=500&after_cursor=${cursor}`);
    for (const item of body['items'] as unknown as JsonObject[]) {
      items.push(item);
      cursor = String(item['cursor']);
      if (cursor === end) return items;
    }
    if (body['has_more'] !== true) throw new Error('the log ends before its end');
  }
}

function idsFor(filter: EventFilters, items: readonly JsonObject[]): unknown[] {
  const conditions = Object.entries(filter);
  return items
    .filter((item) => conditions.every(([key, value]) => item[key] === value))
    .map((item) => item['event_id']);
}

async function residentMb(gateway: GatewayProcess): Promise<number> {
  const status = await readFile(`/proc/${gateway.child.pid}/status`, 'latin1');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) / 1024;
}

describe('the stream', () => {
  it(`gives ${readers} readers exactly the log, while a gateway is killed and one reader never reads`, async () => {
    const chance = dice(seed);
    const [begin = ''] = await write([eventOf(0)], chance);
    await neverRead(gateways[0] as GatewayProcess, begin);
    const all = Array.from(
      { length: readers },
      (_, n) => new Reader(begin, filters[n % filters.length] as EventFilters, dice(seed + n)),
    );
    const done = Promise.all(all.map((reader) => reader.done));
    // Looked at again at the end; until then a reader that failed shows by what it has not seen.
    done.catch(() => undefined);
    try {
      for (let batch = 0; batch < batches; batch++) {
        const events = Array.from({ length: batchEvents }, (_, n) => eventOf(batch * batchEvents + n));
        await Promise.all([write(events, chance), delay(batchEveryMs)]);
        if (batch === batches / 2) gateways[2]?.child.kill('SIGKILL');
      }
      // Every filter matches one of them, so that every reader knows when it has reached the end.
      const end = (
        await write(
          Array.from({ length: 20 }, (_, n) => eventOf(n)),
          chance,
        )
      ).at(-1) as string;
      const items = await logBetween(gateways[0] as GatewayProcess, begin, end);
      expect(items.length).toBeGreaterThan(batches * batchEvents);
      const expected = new Map(filters.map((filter) => [filter, idsFor(filter, items)]));
      for (const reader of all) {
        const ids = expected.get(reader.filters) as unknown[];
        await expect.poll(() => reader.seen.includes(String(ids.at(-1))), { timeout: 60_000 }).toBe(true);
        expect(reader.seen.slice(0, ids.length)).toEqual(ids);
      }
      expect(all.reduce((sum, { streams }) => sum + streams, 0)).toBeGreaterThan(readers);
    } finally {
      for (const reader of all) reader.stop();
    }
    await done;
  }, 180_000);

  it('costs no memory for a reader that never reads', async () => {
    const gateway = gateways[1] as GatewayProcess;
    const chance = dice(seed);
    // An item holds its details three times: together far more than the ring or what may be lost.
    const large = { large: { text: 'x'.repeat(16_000) } };
    const [begin = ''] = await write([eventOf(0)], chance);
    const healthy = openStream({ urls: [gateway.url], after: begin });
    let read = 0;
    const reading = (async () => {
      for await (const _ of healthy) read++;
    })();
    const load = async (): Promise<void> => {
      const before = read;
      for (let batch = 0; batch < 100; batch++) {
        await write(
          Array.from({ length: 20 }, (_, n) => eventOf(n, large)),
          chance,
        );
      }
      await expect.poll(() => read - before, { timeout: 60_000 }).toBeGreaterThanOrEqual(2_000);
    };
    await load();
    const before = await residentMb(gateway);
    await neverRead(gateway, begin);
    await load();
    expect((await residentMb(gateway)) - before).toBeLessThan(64);
    healthy.close();
    await reading;
  }, 180_000);
});
