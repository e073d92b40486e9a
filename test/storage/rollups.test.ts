/** Counters that commit with the records, and counts of periods made from them: always what counting the rows gives. */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { EventDraft } from '../../src/core/audit-event.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createEventReader } from '../../src/storage/events.ts';
import type { LogWriter } from '../../src/storage/log.ts';
import { migrate } from '../../src/storage/migrate.ts';
import { createStatisticsReader, periodParts } from '../../src/storage/rollups.ts';
import { hostileTexts, numbered, prepared } from '../support/drafts.ts';
import { checkLog } from '../support/log-checker.ts';
import { cleanUp, freshLog, later, query, writerOn } from '../support/log-fixture.ts';

afterEach(cleanUp);

const minuteMs = 60_000;
const hourMs = 60 * minuteMs;
const dayMs = 24 * hourMs;

function poolOn(address: { url: string }) {
  const pool = openReadPool(address);
  later(() => pool.end());
  return pool;
}

/** Sets the log's clock: time there never runs backwards, so what comes next happens no earlier than this. */
async function moveTo(address: { url: string }, ms: number, counter = 0): Promise<void> {
  await query(address.url, `UPDATE log_head SET last_ms = ${ms}, last_counter = ${counter} WHERE last_ms < ${ms}`);
}

const byTeam = (teamId: string, outcome: EventDraft['outcome'] = 'success') =>
  prepared({ outcome, principal: { authMode: 'bearer', id: 'a', teamId } });

/** Events in the future, from a moment that is a whole day on. */
async function spreadLog(steps: readonly { readonly afterMs: number; readonly team: string }[]) {
  const address = await freshLog();
  const writer = writerOn(address);
  const startMs = Math.ceil(Date.now() / dayMs + 1) * dayMs;
  let atMs = startMs;
  for (const [n, { afterMs, team }] of steps.entries()) {
    atMs += afterMs;
    await moveTo(address, atMs);
    const outcome = (['success', 'failure', 'denied'] as const)[n % 3];
    const intent = prepared({ meta: { phase: 'intent' }, companions: { opensIntent: true } });
    await writer.append(randomUUID(), [byTeam(team, outcome), ...(n % 4 === 0 ? [intent, byTeam(team)] : [])]);
  }
  return { address, startMs, endMs: atMs };
}

const steps = Array.from({ length: 60 }, (_, n) => ({
  afterMs: [0, 1, 999, 20_000, 61_000, 9 * minuteMs, 3 * hourMs, 40 * hourMs][(n * 5) % 8] as number,
  team: ['red', 'blue', 'default'][n % 3] as string,
}));

describe('counts of periods', () => {
  it('are what counting the rows gives, for any period', { timeout: 60_000 }, async () => {
    const { address, startMs, endMs } = await spreadLog(steps);
    const reader = createEventReader(poolOn(address));
    const rows = (await query(
      address.url,
      'SELECT extract(epoch FROM ts) * 1000 AS ms, team_id FROM audit_event WHERE NOT is_intent',
    )) as { ms: string; team_id: string }[];
    expect(rows.length).toBe(75);
    expect(endMs - startMs).toBeGreaterThan(10 * dayMs);
    await checkLog(address);

    const times = rows.map(({ ms }) => Number(ms));
    const moment = fc.oneof(
      fc.tuple(fc.constantFrom(...times), fc.constantFrom(-1000, -1, 0, 1, 1000)).map(([ms, off]) => ms + off),
      fc.integer({ min: startMs - dayMs, max: endMs + dayMs }),
      fc.constantFrom(0, -hourMs, startMs, startMs + dayMs, startMs + hourMs, Number.MAX_SAFE_INTEGER),
    );
    const team = fc.constantFrom(undefined, 'red', 'blue', 'nobody');
    await fc.assert(
      fc.asyncProperty(moment, moment, team, async (fromMs, toMs, teamId) => {
        const expected = rows.filter(
          (row) => Number(row.ms) >= fromMs && Number(row.ms) < toMs && (teamId ?? row.team_id) === row.team_id,
        );
        const counted = await reader.count({ fromMs, toMs, ...(teamId === undefined ? {} : { teams: [teamId] }) });
        expect(counted).toBe(expected.length);
      }),
      { numRuns: 400 },
    );
    expect(await reader.count({})).toBe(75);
    expect(await reader.count({ toMs: startMs })).toBe(0);
  });

  it('do not look at the events inside: only at those of a minute that is cut through', async () => {
    const { address, startMs, endMs } = await spreadLog(steps);
    const reader = createEventReader(poolOn(address));
    const all = { fromMs: startMs - 1, toMs: endMs + 2 * minuteMs };
    const count = await reader.count(all);
    await query(address.url, 'TRUNCATE audit_event');
    expect(await reader.count(all)).toBe(count);
    expect(count).toBe(75);
  });

  it('by anything else than team and time look at the records', async () => {
    const { address, startMs } = await spreadLog(steps);
    const reader = createEventReader(poolOn(address));
    expect(await reader.count({ fromMs: startMs, outcome: 'denied' })).toBe(20);
    expect(await reader.count({ fromMs: startMs, outcome: 'denied', agentId: 'b' })).toBe(0);
  });
});

describe('the parts of a period', () => {
  it('cover it exactly, in order, with whole spans and few of them', () => {
    const ms = fc.integer({ min: 0, max: 4_000_000_000_000 });
    fc.assert(
      fc.property(ms, ms, (fromMs, toMs) => {
        const parts = periodParts(fromMs, toMs);
        let atMs = fromMs;
        for (const part of parts) {
          expect(part.fromMs).toBe(atMs);
          atMs = part.toMs;
          const spanMs = (part.spanSec ?? 0.001) * 1000;
          expect(part.toMs).toBeGreaterThan(part.fromMs);
          expect([part.fromMs % spanMs, part.toMs % spanMs]).toEqual([0, 0]);
          if (part.spanSec === undefined) expect(part.toMs - part.fromMs).toBeLessThan(2 * minuteMs);
        }
        expect(parts.length).toBeLessThanOrEqual(7);
        expect(atMs).toBe(Math.max(fromMs, toMs));
      }),
    );
  });
});

describe('counters', () => {
  const counters = async (address: { url: string }, spanSec = 86_400) =>
    Object.fromEntries(
      (await query(address.url, `SELECT counter, value FROM log_rollup WHERE span_sec = ${spanSec}`)).map((row) => [
        row['counter'],
        Number(row['value']),
      ]),
    );

  it('leave intents out, and sums of many for what they stand for', async () => {
    const address = await freshLog();
    const surfaceId = 'gateway.refusals';
    await writerOn(address).append(randomUUID(), [
      prepared(),
      prepared({ meta: { phase: 'intent' }, companions: { opensIntent: true } }),
      prepared({ surfaceId: 'mcp.tools.call', outcome: 'denied', meta: { denial_reason: 'EXPIRED', latency_ms: 2 } }),
      prepared({ surfaceId: 'mcp.tools.call', outcome: 'failure', meta: { latency_ms: 2 } }),
      prepared({
        surfaceId,
        outcome: 'denied',
        meta: { denial_reason: 'EXPIRED', summarised_count: 40 },
        requests: 40,
      }),
      prepared({ surfaceId: 'gateway.summary', meta: { summarised_count: 7 }, requests: 0 }),
    ]);
    expect(await counters(address, 3_600)).toEqual({
      'record.success': 1,
      'record.denied': 1,
      'record.failure': 1,
      'record.summary': 2,
      'summarised.denied': 40,
      'denied.EXPIRED': 41,
      'latency.2': 1,
    });
    await checkLog(address);
  });

  it('of a batch that ends in another minute, hour and day than it began', async () => {
    const address = await freshLog();
    const midnightMs = Math.ceil(Date.now() / dayMs + 1) * dayMs;
    await moveTo(address, midnightMs - 1, 4_090);
    const committed = await writerOn(address).append(randomUUID(), numbered(20));
    expect(new Set(committed.map(({ timeMs }) => timeMs >= midnightMs))).toEqual(new Set([false, true]));
    await checkLog(address);
    expect(await query(address.url, 'SELECT sum(value) AS sum FROM log_rollup GROUP BY span_sec')).toEqual(
      Array(3).fill({ sum: '20' }),
    );
  });

  it('of teams with names that try to break out', async () => {
    const address = await freshLog();
    await writerOn(address).append(
      randomUUID(),
      [...hostileTexts, 'x'.repeat(300)].map((team) => byTeam(team)),
    );
    await checkLog(address);
    const reader = createEventReader(poolOn(address));
    for (const teamId of hostileTexts) expect(await reader.count({ teams: [teamId] })).toBe(1);
  });

  it('count a batch that is tried again once', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    const batchId = randomUUID();
    await writer.append(batchId, numbered(5));
    await writer.append(batchId, numbered(5));
    expect(await counters(address)).toEqual({ 'record.success': 5 });
    await checkLog(address);
  });

  it('of several writers at once add up', async () => {
    const address = await freshLog();
    const writers = [writerOn(address), writerOn(address), writerOn(address)];
    const append = async (writer: LogWriter) => {
      for (let n = 0; n < 20; n++) await writer.append(randomUUID(), [byTeam('red'), byTeam('blue', 'failure')]);
    };
    await Promise.all(writers.map(append));
    expect(await counters(address)).toEqual({ 'record.success': 60, 'record.failure': 60 });
    await checkLog(address);
  });

  it('are made by the migration for what was recorded before', async () => {
    const { address } = await spreadLog(steps.slice(0, 20));
    const rows = () => query(address.url, 'SELECT * FROM log_rollup ORDER BY span_sec, start_sec, team_id, counter');
    const before = await rows();
    await query(address.url, 'DROP TABLE log_rollup', 'DELETE FROM schema_migration WHERE version = 2');
    await migrate(address);
    expect(await rows()).toEqual(before);
  });
});

describe('the last hours', () => {
  it('are read by hour, of all teams or one, up to the running minute', async () => {
    const address = await freshLog();
    await writerOn(address).append(randomUUID(), [byTeam('red'), byTeam('red'), byTeam('blue', 'denied')]);
    const statistics = createStatisticsReader(poolOn(address));
    const { fromSec, toSec, counts } = await statistics.lastHours(24, {});
    expect([fromSec % 60, toSec % 60, toSec - fromSec]).toEqual([0, 0, 86_400]);
    expect(Object.fromEntries(counts.map(({ counter, value }) => [counter, value]))).toEqual({
      'record.success': 2,
      'record.denied': 1,
    });
    const ofBlue = await statistics.lastHours(1, { teams: ['blue'] });
    expect(ofBlue.counts).toEqual([{ hourSec: expect.any(Number), counter: 'record.denied', value: 1 }]);
    expect((await statistics.lastHours(1, { teams: ['green'] })).counts).toEqual([]);
  });

  it('end where they begin: what is a minute older is out', async () => {
    const address = await freshLog();
    await writerOn(address).append(randomUUID(), numbered(3));
    const statistics = createStatisticsReader(poolOn(address));
    const countAt = async (minutesAgo: number) => {
      await query(
        address.url,
        'DELETE FROM log_rollup',
        `INSERT INTO log_rollup SELECT span, ms - ms % span, '', 'record.success', 1
           FROM (VALUES (60), (3600)) AS spans (span),
                (SELECT floor(extract(epoch FROM now()))::bigint - ${minutesAgo * 60} AS ms) AS at`,
      );
      return (await statistics.lastHours(3, {})).counts.reduce((sum, { value }) => sum + value, 0);
    };
    expect(await countAt(0)).toBe(1);
    // The minute may change between the two statements.
    expect(await countAt(178)).toBe(1);
    expect(await countAt(180)).toBe(0);
    expect(await countAt(500)).toBe(0);
  });

  it('of a store that fails are an error', async () => {
    const address = await freshLog();
    const statistics = createStatisticsReader(poolOn(address));
    await query(address.url, 'DROP TABLE log_rollup');
    await expect(statistics.lastHours(24, {})).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });
});
