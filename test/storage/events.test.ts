import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { CommittedEvent, EventDraft } from '../../src/core/audit-event.ts';
import { cursorOf, decodeCursor } from '../../src/core/cursor.ts';
import { uuidv7, uuidv7Ms } from '../../src/core/uuidv7.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createEventReader, type EventFilter, type EventPage, type EventReader } from '../../src/storage/events.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { hostileTexts, numbered, prepared } from '../support/drafts.ts';
import { checkLog } from '../support/log-checker.ts';
import { cleanUp, freshLog, later, query, writerOn } from '../support/log-fixture.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';
import { startStoreProxy } from '../support/store-proxy.ts';

afterEach(cleanUp);

function readerOn(address: { url: string }): EventReader {
  const pool = openReadPool(address);
  later(() => pool.end());
  return createEventReader(pool);
}

/** An empty log and a way to put events of a chosen moment into it, oldest first. */
async function timedLog() {
  const address = await freshLog();
  const writer = writerOn(address);
  return {
    address,
    reader: readerOn(address),
    add: (...drafts: Partial<EventDraft>[]) => writer.append(randomUUID(), drafts.map(prepared)),
    /** From now on the log's time is no earlier than this. */
    moveTo: (ms: number) => query(address.url, `UPDATE log_head SET last_ms = ${ms}, last_counter = 4095`),
  };
}

function numbersIn(events: readonly { readonly canon: string }[]): unknown[] {
  return events.map(({ canon }) => (JSON.parse(canon) as { meta: { n: unknown } }).meta.n);
}

describe('a thousand events', () => {
  const count = 1_000;
  let database: TestDatabase;
  let pool: pg.Pool;
  let reader: EventReader;
  let committed: CommittedEvent[];

  beforeAll(async () => {
    database = await createTestDatabase();
    const writer = createLogWriter({ url: database.url });
    committed = [];
    // Ten batches, so that the events are spread over several milliseconds.
    for (let from = 0; from < count; from += 100) {
      committed.push(...(await writer.append(randomUUID(), numbered(100, from))));
    }
    await writer.close();
    pool = openReadPool({ url: database.url });
    reader = createEventReader(pool);
  });

  afterAll(async () => {
    await pool.end();
    await database.drop();
  });

  it('come newest first, with the exact bytes, leaves and places', async () => {
    const { events, hasMore } = await reader.list({ filter: {}, limit: 10 });
    expect(events.map(({ seq }) => seq)).toEqual([999, 998, 997, 996, 995, 994, 993, 992, 991, 990]);
    expect(hasMore).toBe(true);
    const records = await checkLog({ url: database.url });
    for (const { seq, eventId, canon } of events) {
      expect({ eventId, canon }).toEqual({ eventId: records[seq]?.eventId, canon: records[seq]?.canon });
    }
  });

  it.each(['before', 'after'] as const)('are each seen exactly once in pages of 7, by %s', async (direction) => {
    const seen: number[] = [];
    let cursor = direction === 'after' ? decodeCursor(cursorOf(uuidv7({ ms: 0, counter: 0 }))) : undefined;
    for (let pages = 1; ; pages++) {
      const page: EventPage = { filter: {}, limit: 7, ...(cursor === undefined ? {} : { [direction]: cursor }) };
      const { events, hasMore } = await reader.list(page);
      seen.push(...events.map(({ seq }) => seq));
      expect(hasMore).toBe(seen.length < count);
      if (!hasMore) {
        expect(pages).toBe(143);
        break;
      }
      cursor = decodeCursor(cursorOf(events.at(-1)?.eventId ?? ''));
    }
    const forwards = Array.from({ length: count }, (_, seq) => seq);
    expect(seen).toEqual(direction === 'after' ? forwards : forwards.toReversed());
  });

  it.each([
    [999, true],
    [1_000, false],
    [1_001, false],
  ])('with a limit of %d have more: %s', async (limit, expected) => {
    const { events, hasMore } = await reader.list({ filter: {}, limit });
    expect(events).toHaveLength(Math.min(limit, count));
    expect(hasMore).toBe(expected);
  });

  it('have nothing before the first and nothing after the last', async () => {
    const first = decodeCursor(committed[0]?.cursor ?? '');
    const last = decodeCursor(committed.at(-1)?.cursor ?? '');
    expect(await reader.list({ filter: {}, limit: 5, before: first })).toEqual({ events: [], hasMore: false });
    expect(await reader.list({ filter: {}, limit: 5, after: last })).toEqual({ events: [], hasMore: false });
  });

  it('between two cursors are those between', async () => {
    const before = decodeCursor(committed[510]?.cursor ?? '');
    const after = decodeCursor(committed[500]?.cursor ?? '');
    const { events, hasMore } = await reader.list({ filter: {}, limit: 100, before, after });
    expect(events.map(({ seq }) => seq)).toEqual([501, 502, 503, 504, 505, 506, 507, 508, 509]);
    expect(hasMore).toBe(false);
  });

  it('are counted', async () => {
    expect(await reader.count({})).toBe(count);
    const fromMs = committed[500]?.timeMs ?? 0;
    const expected = committed.filter(({ timeMs }) => timeMs >= fromMs).length;
    expect(await reader.count({ fromMs })).toBe(expected);
    expect(await reader.count({ toMs: fromMs })).toBe(count - expected);
  });

  it('are found by id, and others are not', async () => {
    const { eventId, seq } = committed[321] as CommittedEvent;
    expect(await reader.get(eventId, {})).toMatchObject({ eventId, seq, details: null });
    expect(await reader.get(uuidv7({ ms: uuidv7Ms(eventId), counter: 0 }), {})).toBeUndefined();
    expect(await reader.get('ffffffff-ffff-7fff-bfff-ffffffffffff', {})).toBeUndefined();
  });
});

describe('an empty log', () => {
  it('is empty in every direction', async () => {
    const reader = readerOn(await freshLog());
    const cursor = decodeCursor(cursorOf(uuidv7({ ms: 1_000, counter: 1 })));
    const empty = { events: [], hasMore: false };
    expect(await reader.list({ filter: {}, limit: 5 })).toEqual(empty);
    expect(await reader.list({ filter: {}, limit: 5, before: cursor })).toEqual(empty);
    expect(await reader.list({ filter: {}, limit: 5, after: cursor })).toEqual(empty);
    expect(await reader.list({ filter: { fromMs: 1, toMs: 5 }, limit: 5 })).toEqual(empty);
    expect(await reader.count({})).toBe(0);
  });
});

describe('filters', () => {
  const full: Partial<EventDraft> = {
    outcome: 'denied',
    principal: { authMode: 'bearer', id: 'agent-x', teamId: 'team-x' },
    meta: { session_id: 's-x', correlation_id: 'c-x', event_type: 'e-x', server_id: 'v-x', tool_name: 't-x', n: 1 },
  };
  const filters: readonly (readonly [EventFilter])[] = [
    [{ outcome: 'denied' }],
    [{ agentId: 'agent-x' }],
    [{ teams: ['team-x'] }],
    [{ sessionId: 's-x' }],
    [{ correlationId: 'c-x' }],
    [{ eventType: 'e-x' }],
    [{ serverId: 'v-x' }],
    [{ tool: 't-x' }],
    [{ outcome: 'denied', agentId: 'agent-x', teams: ['team-x'], sessionId: 's-x', serverId: 'v-x', tool: 't-x' }],
  ];

  it.each(filters)('%j finds what has it, and nothing that has another value or none', async (filter) => {
    const { reader, add } = await timedLog();
    const other = { session_id: 'o', correlation_id: 'o', event_type: 'o', server_id: 'o', tool_name: 'o' };
    await add(full, { meta: other }, { principal: { authMode: 'anonymous' } }, {});
    const { events, hasMore } = await reader.list({ filter, limit: 10 });
    expect(numbersIn(events)).toEqual([1]);
    expect(hasMore).toBe(false);
    expect(await reader.count(filter)).toBe(1);
  });

  it.each(filters)('%j is not a prefix, a pattern or a case-blind comparison', async (filter) => {
    const { reader, add } = await timedLog();
    await add(full);
    const [key, given] = Object.entries(filter)[0] as [string, string | string[]];
    const value = String(given);
    for (const wrong of [value.slice(0, -1), `${value}y`, value.toUpperCase(), '%', '*', '', ' ']) {
      expect(await reader.count({ ...filter, [key]: Array.isArray(given) ? [wrong] : wrong })).toBe(0);
    }
  });

  it('must all hold', async () => {
    const { reader, add } = await timedLog();
    await add(full);
    expect(await reader.count({ agentId: 'agent-x', sessionId: 'another' })).toBe(0);
  });

  it('find the request id where an event names no correlation', async () => {
    const { reader, add } = await timedLog();
    await add({ requestId: 'req-77' }, { requestId: 'req-78', meta: { correlation_id: 'req-77' } });
    expect(await reader.count({ correlationId: 'req-77' })).toBe(2);
    expect(await reader.count({ correlationId: 'req-78' })).toBe(0);
  });

  it('find hostile keys, each its own event only', async () => {
    const { reader, add } = await timedLog();
    await add(...hostileTexts.map((text, n) => ({ meta: { session_id: text, tool_name: text, server_id: 's', n } })));
    for (const [n, text] of hostileTexts.entries()) {
      expect(numbersIn((await reader.list({ filter: { sessionId: text }, limit: 10 })).events)).toEqual([n]);
      expect(await reader.count({ tool: text, serverId: 's' })).toBe(1);
    }
  });

  it('tell long keys apart that begin alike', async () => {
    const { reader, add } = await timedLog();
    const begin = 'k'.repeat(1_000);
    await add({ meta: { session_id: `${begin}a`, n: 1 } }, { meta: { session_id: `${begin}b`, n: 2 } });
    expect(numbersIn((await reader.list({ filter: { sessionId: `${begin}b` }, limit: 9 })).events)).toEqual([2]);
    expect(await reader.count({ sessionId: begin })).toBe(0);
  });

  it('have exact pages too', async () => {
    const { reader, add } = await timedLog();
    await add(...Array.from({ length: 30 }, (_, n) => ({ meta: { n, session_id: n % 3 === 0 ? 'third' : 'rest' } })));
    const first = await reader.list({ filter: { sessionId: 'third' }, limit: 9 });
    expect(numbersIn(first.events)).toEqual([27, 24, 21, 18, 15, 12, 9, 6, 3]);
    expect(first.hasMore).toBe(true);
    const before = decodeCursor(cursorOf(first.events.at(-1)?.eventId ?? ''));
    const second = await reader.list({ filter: { sessionId: 'third' }, limit: 9, before });
    expect(numbersIn(second.events)).toEqual([0]);
    expect(second.hasMore).toBe(false);
  });
});

describe('time', () => {
  // Events in the seconds 2,000,000,000 to 2,000,000,004, two in each: at its start and 500 ms later.
  const start = 2_000_000_000_000;

  async function tenEvents() {
    const log = await timedLog();
    for (let n = 0; n < 10; n++) {
      await log.moveTo(start + n * 500 - 1);
      await log.add({ meta: { n } });
    }
    return log;
  }

  it('is a filter from a millisecond on, inclusive, to another, exclusive', async () => {
    const { reader } = await tenEvents();
    const between = async (fromMs?: number, toMs?: number) => {
      const filter = { ...(fromMs === undefined ? {} : { fromMs }), ...(toMs === undefined ? {} : { toMs }) };
      return numbersIn((await reader.list({ filter, limit: 20 })).events).toReversed();
    };
    expect(await between(start + 500)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(await between(start + 501)).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
    expect(await between(undefined, start + 500)).toEqual([0]);
    expect(await between(undefined, start + 501)).toEqual([0, 1]);
    expect(await between(start + 1_000, start + 2_000)).toEqual([2, 3]);
    expect(await between(start + 2_000, start + 1_000)).toEqual([]);
    expect(await between(start + 5_000)).toEqual([]);
    expect(await between(undefined, start)).toEqual([]);
    expect(await between(-5, Number.MAX_SAFE_INTEGER)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('in a cursor splits the log by second when it is not the second of the id', async () => {
    const { reader } = await tenEvents();
    const eventId = uuidv7({ ms: start + 2_100, counter: 0 });
    const second = (seconds: number) => ({ seconds: start / 1_000 + seconds, eventId });
    const ids = async (page: Partial<EventPage>) =>
      numbersIn((await reader.list({ filter: {}, limit: 20, ...page })).events);
    expect(await ids({ after: second(2) })).toEqual([5, 6, 7, 8, 9]);
    expect(await ids({ before: second(2) })).toEqual([4, 3, 2, 1, 0]);
    // An earlier second with this id: all of that second's ids are smaller than it.
    expect(await ids({ after: second(1) })).toEqual([4, 5, 6, 7, 8, 9]);
    expect(await ids({ before: second(1) })).toEqual([3, 2, 1, 0]);
    // A later second with this id: all of that second's ids are larger than it.
    expect(await ids({ after: second(3) })).toEqual([6, 7, 8, 9]);
    expect(await ids({ before: second(3) })).toEqual([5, 4, 3, 2, 1, 0]);
    expect(await ids({ after: second(1e9) })).toEqual([]);
    expect(await ids({ before: { seconds: 0, eventId } })).toEqual([]);
  });
});

describe('teams', () => {
  it('see their own events only, by list, by id and by count', async () => {
    const { reader, add } = await timedLog();
    const of = (teamId: string, n: number) => ({
      principal: { authMode: 'bearer', id: 'a', teamId } as const,
      meta: { n },
    });
    const [mine, theirs, nobodys] = await add(of('red', 1), of('blue', 2), {
      principal: { authMode: 'anonymous' },
      meta: { n: 3 },
    });
    expect(numbersIn((await reader.list({ filter: { teams: ['red'] }, limit: 9 })).events)).toEqual([1]);
    expect(await reader.count({ teams: ['red'] })).toBe(1);
    expect(await reader.count({ teams: ['red', 'blue', 'green'] })).toBe(2);
    expect(await reader.count({ teams: [] })).toBe(0);
    expect(await reader.get(mine?.eventId ?? '', { teams: ['red'] })).toBeDefined();
    expect(await reader.get(theirs?.eventId ?? '', { teams: ['red'] })).toBeUndefined();
    expect(await reader.get(nobodys?.eventId ?? '', { teams: ['red'] })).toBeUndefined();
    expect(await reader.get(theirs?.eventId ?? '', {})).toBeDefined();
  });
});

describe('a store that fails', () => {
  it('is an error and never an empty answer', async () => {
    const address = await freshLog();
    await writerOn(address).append(randomUUID(), numbered(1));
    const proxy = await startStoreProxy();
    later(() => proxy.close());
    const reader = readerOn({ url: proxy.urlOf(address.url) });
    expect(await reader.count({})).toBe(1);
    await proxy.cut();
    const unavailable = expect.objectContaining({ code: 'STORE_UNAVAILABLE', status: 503 });
    await expect(reader.list({ filter: {}, limit: 5 })).rejects.toEqual(unavailable);
    await expect(reader.get(uuidv7({ ms: 1, counter: 1 }), {})).rejects.toEqual(unavailable);
    await expect(reader.count({})).rejects.toEqual(unavailable);
    await proxy.restore();
    expect(await reader.count({})).toBe(1);
  });

  it('is an error when the tables are gone', async () => {
    const address = await freshLog();
    const reader = readerOn(address);
    await query(address.url, 'DROP TABLE audit_event, log_rollup');
    await expect(reader.count({})).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });
});
