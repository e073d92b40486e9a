/** A stream and records that retention has dropped: it says what is missing, and goes on behind it. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRecorder } from '../../src/audit/recorder.ts';
import { pruneBefore } from '../../src/audit/retention.ts';
import { systemClock } from '../../src/core/clock.ts';
import { cursorOf, decodeCursor } from '../../src/core/cursor.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { createPartitionStore } from '../../src/storage/partitions.ts';
import { createTileReader } from '../../src/storage/tiles.ts';
import { numbered } from '../support/drafts.ts';
import { eventually, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { query } from '../support/log-fixture.ts';
import { listeningTelemetry } from '../support/log-signer.ts';
import { openSse, report, type StreamClient, watch } from '../support/stream.ts';

const wait = { timeout: 20_000 };
const partition = 65_536;
const behind = 100;
const farFuture = 8_640_000_000_000;
// Nobody is too slow by it.
const slowClock = { now: () => systemClock.now(), monotonic: () => systemClock.monotonic() / 100 };

let gateway: TestGateway;
/** One that stopped reading, and one that said `pause`, before the log grew. */
let lagging: StreamClient;
let paused: StreamClient;
/** By sequence number, of all records up to the prune. */
let ids: string[];
/** Where both stood; a cursor amidst what is gone; the last one of it. */
let old: string;
let amidst: string;
let lastGone: string;

beforeAll(async () => {
  gateway = await startTestGateway({ clock: slowClock });
  lagging = await watch(gateway);
  paused = await watch(gateway);
  const [cursor = ''] = await report(gateway, [{ action: 'before' }]);
  old = cursor;
  await eventually(() => positionOf(lagging) === old && positionOf(paused) === old);
  lagging.socket.pause();
  paused.send({ type: 'pause' });
  await paused.next('paused');
  await fill();
  const rows = await query(gateway.database.url, 'SELECT event_id FROM audit_event ORDER BY seq');
  ids = rows.map(({ event_id }) => String(event_id));
  amidst = cursorOf(ids[30_000] ?? '');
  lastGone = cursorOf(ids[partition - 1] ?? '');
  await prune();
}, 120_000);

afterAll(async () => {
  lagging?.socket.terminate();
  await gateway?.stop();
});

/** Through the log's own writer, beyond the end of the first partition. */
async function fill(): Promise<void> {
  const writer = createLogWriter({ url: gateway.database.url });
  for (let from = 0; from < partition + behind; from += 1_024) {
    await writer.append(randomUUID(), numbered(Math.min(1_024, partition + behind - from), from));
  }
  await writer.close();
}

async function prune(): Promise<void> {
  const { url } = gateway.database;
  const pool = openReadPool({ url });
  const { telemetry } = listeningTelemetry();
  const recorder = createRecorder({ writer: createLogWriter({ url }), clock: systemClock, telemetry });
  const { nodes } = createTileReader(pool);
  const partitions = createPartitionStore(pool, { url });
  const requestId = () => 'prune';
  const pruned = await pruneBefore(farFuture, 'test', { partitions, nodes, record: recorder.record, requestId });
  expect(pruned).toMatchObject({ fromSeq: 0, toSeq: partition });
  await recorder.close();
  await pool.end();
}

function positionOf(client: StreamClient): unknown {
  return client.of('event').at(-1)?.['cursor'];
}

const idOf = (message: JsonObject) => (message['event'] as JsonObject)['event_id'];

/** What came before the gap, the gap, and what came behind it. */
function parts(client: StreamClient) {
  const told = client.messages.filter(({ type }) => type === 'event' || type === 'gap');
  const at = told.findIndex(({ type }) => type === 'gap');
  return { before: told.slice(0, at), gap: told[at], after: told.slice(at + 1).map(idOf) };
}

async function untilEnd(client: StreamClient): Promise<void> {
  await expect.poll(() => client.items().some(({ event_id }) => event_id === ids.at(-1)), wait).toBe(true);
  expect(client.of('gap')).toHaveLength(1);
}

const kept = () => ids.slice(partition);

describe('a gap is told, and nothing else is missing,', () => {
  it('to a reader that lagged behind', async () => {
    lagging.socket.resume();
    await untilEnd(lagging);
    const { before, gap, after } = parts(lagging);
    const from = ids.indexOf(decodeCursor(String(lagging.of('init_ack')[0]?.['last_cursor'])).eventId) + 1;
    expect(before.map(idOf)).toEqual(ids.slice(from, from + before.length));
    expect(gap).toEqual({ type: 'gap', from: before.at(-1)?.['cursor'], to: lastGone, reason: 'retention' });
    expect(after.slice(0, kept().length)).toEqual(kept());
  });

  it('to a reader that paused meanwhile', async () => {
    paused.send({ type: 'resume' });
    expect((await paused.next('resumed'))['last_cursor']).toBe(old);
    await untilEnd(paused);
    const { before, gap, after } = parts(paused);
    expect(before.at(-1)?.['cursor']).toBe(old);
    expect(gap).toEqual({ type: 'gap', from: old, to: lastGone, reason: 'retention' });
    expect(after.slice(0, kept().length)).toEqual(kept());
    await paused.close();
  });

  it.each([
    ['the place where the others stood', () => old],
    ['a place amidst what is gone', () => amidst],
  ])('to a reader that resumes at %s', async (_name, cursor) => {
    const client = await watch(gateway, { after_cursor: cursor() });
    expect(client.of('init_ack')[0]?.['last_cursor']).toBe(cursor());
    await untilEnd(client);
    const { before, gap, after } = parts(client);
    expect(before).toEqual([]);
    expect(gap).toEqual({ type: 'gap', from: cursor(), to: lastGone, reason: 'retention' });
    expect(after.slice(0, kept().length)).toEqual(kept());
    await client.close();
  });

  it('to a reader whose filter leaves everything out', async () => {
    const client = await watch(gateway, { after_cursor: old, filters: { tool: 'none' } });
    expect(await client.next('gap')).toEqual({ type: 'gap', from: old, to: lastGone, reason: 'retention' });
    await client.close();
    expect(client.of('event')).toEqual([]);
  });

  it.each([
    ['subscribe', { type: 'subscribe', filters: null }, 'subscribed'],
    ['resume', { type: 'resume' }, 'resumed'],
  ])('to a reader that goes there by %s', async (_name, message, answer) => {
    const client = await watch(gateway);
    client.send({ ...message, after_cursor: old });
    expect((await client.next(answer))['last_cursor']).toBe(old);
    await untilEnd(client);
    const told = client.messages.map(({ type }) => type);
    expect(told.slice(told.indexOf(answer), told.indexOf(answer) + 3)).toEqual([answer, 'gap', 'event']);
    const { gap, after } = parts(client);
    expect(gap).toEqual({ type: 'gap', from: old, to: lastGone, reason: 'retention' });
    expect(after.slice(0, kept().length)).toEqual(kept());
    await client.close();
  });

  it('to a reader of server-sent events, whose position it moves', async () => {
    const client = await openSse(gateway, '/events', { 'last-event-id': old });
    await expect.poll(() => client.items().some(({ event_id }) => event_id === ids.at(-1)), wait).toBe(true);
    expect(client.frames.slice(0, 3).map(({ event }) => event)).toEqual(['meta', 'gap', 'audit_event']);
    const [gap] = client.of('gap');
    expect(gap?.id).toBe(lastGone);
    expect(JSON.parse(gap?.data ?? '')).toEqual({ from: old, to: lastGone, reason: 'retention' });
    expect(
      client
        .items()
        .slice(0, kept().length)
        .map(({ event_id }) => event_id),
    ).toEqual(kept());
    client.close();
  });
});

describe('no gap is told', () => {
  it('to a reader that has all of what is gone', async () => {
    const client = await watch(gateway, { after_cursor: lastGone });
    await expect.poll(() => client.items().some(({ event_id }) => event_id === ids.at(-1)), wait).toBe(true);
    expect(client.of('gap')).toEqual([]);
    expect(client.of('event').slice(0, kept().length).map(idOf)).toEqual(kept());
    await client.close();
  });

  it('to a reader that begins now', async () => {
    const client = await watch(gateway);
    const [cursor] = await report(gateway, [{ action: 'new' }]);
    await expect.poll(() => positionOf(client), wait).toBe(cursor);
    expect(client.of('gap')).toEqual([]);
    await client.close();
  });
});
