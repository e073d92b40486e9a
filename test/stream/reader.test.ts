/** The parts of a reader, one by one: the ring, a subscription and its states, pages of the table, and whose turn it is. */
import { randomUUID } from 'node:crypto';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import { cursorOf } from '../../src/core/cursor.ts';
import { openReadPool } from '../../src/storage/db.ts';
import type { StoredEvent } from '../../src/storage/events.ts';
import { createLogTail, type LogTail } from '../../src/storage/tail.ts';
import { viewOf } from '../../src/stream/filter.ts';
import { StreamRecord } from '../../src/stream/frame.ts';
import { Ring } from '../../src/stream/ring.ts';
import { createStreams } from '../../src/stream/streams.ts';
import { type Gap, type Position, type Sink, Subscription } from '../../src/stream/subscription.ts';
import { TableReader } from '../../src/stream/table-reader.ts';
import { prepared } from '../support/drafts.ts';
import { cleanUp, freshLog, later, writerOn } from '../support/log-fixture.ts';
import { listeningTelemetry } from '../support/log-signer.ts';

const wait = { timeout: 20_000 };
const agents = ['agent-0', 'agent-1', 'agent-2'];

afterEach(cleanUp);

/** A log with `count` records, of three agents in turn. */
async function logOf(count: number) {
  const address = await freshLog();
  const pool = openReadPool(address);
  later(() => pool.end());
  const writer = writerOn(address);
  const append = async (size: number) => {
    const events = Array.from({ length: size }, (_, n) =>
      prepared({ principal: { authMode: 'bearer', id: agents[n % 3] ?? '', teamId: 'team' }, meta: { n } }),
    );
    if (size > 0) await writer.append(randomUUID(), events);
  };
  await append(count);
  return { tail: createLogTail(pool, address), append };
}

let stored: StoredEvent;
beforeAll(async () => {
  const { tail } = await logOf(1);
  [stored] = (await tail.records({ filter: {}, firstSeq: 0, limit: 1 })) as [StoredEvent];
  await cleanUp();
});

/** The same record at another place, under an id that tells the place. */
const recordAt = (seq: number) => new StreamRecord({ ...stored, seq, eventId: idAt(seq) });
const idAt = (seq: number) => `${stored.eventId.slice(0, 24)}${String(seq).padStart(12, '0')}`;

describe('the ring', () => {
  const wide = { bytesMax: 1_000_000, scanMax: 1_000 };
  const all = viewOf({});
  const none = viewOf({ tool: 'none' });

  function ringOf(count: number, limits = { recordsMax: 100, bytesMax: 1_000_000 }, start = 0): Ring {
    const ring = new Ring(start, limits);
    for (let seq = start; seq < start + count; seq++) ring.push(recordAt(seq));
    return ring;
  }

  it.each([4, 6, 0])('takes the next record only, and not %i after 4', (seq) => {
    const ring = ringOf(5);
    expect(() => ring.push(recordAt(seq))).toThrow('does not follow');
    expect(ring.end).toBe(5);
  });

  it('keeps the newest, each at its place, however many there were', () => {
    const ring = ringOf(5_000, undefined, 70);
    expect([ring.start, ring.end]).toEqual([4_970, 5_070]);
    expect(ring.at(4_969)).toBeUndefined();
    expect(ring.at(5_070)).toBeUndefined();
    for (let seq = 4_970; seq < 5_070; seq++) expect(ring.at(seq)?.seq).toBe(seq);
  });

  it('is bounded in bytes', () => {
    const { size } = recordAt(0);
    const ring = ringOf(50, { recordsMax: 100, bytesMax: size * 10 + 1 });
    expect([ring.start, ring.end, ring.bytes]).toEqual([40, 50, size * 10]);
    // A record that is larger than all of it leaves nothing, and the next one has its place.
    const tiny = ringOf(3, { recordsMax: 100, bytesMax: size - 1 });
    expect([tiny.start, tiny.end, tiny.bytes]).toEqual([3, 3, 0]);
  });

  it('gives as many records as fit one write, and one at least', () => {
    const ring = ringOf(10);
    const frame = recordAt(0).frame('sse').length;
    const three = ring.chunk(2, all, 'sse', { ...wide, bytesMax: frame * 3 + 1 });
    expect(three).toMatchObject({ events: 3, next: 5, lastId: idAt(4) });
    expect(three.bytes.toString()).toBe([2, 3, 4].map((seq) => recordAt(seq).frame('sse').toString()).join(''));
    expect(ring.chunk(3, all, 'sse', { ...wide, bytesMax: 1 })).toMatchObject({ events: 1, next: 4, lastId: idAt(3) });
  });

  it('moves over what does not match, no further than it may look at once', () => {
    const ring = ringOf(10);
    const chunk = ring.chunk(0, none, 'sse', { ...wide, scanMax: 4 });
    expect(chunk).toMatchObject({ events: 0, next: 4, lastId: idAt(3) });
    expect(chunk.bytes).toHaveLength(0);
    expect(ring.chunk(9, none, 'sse', wide)).toMatchObject({ events: 0, next: 10, lastId: idAt(9) });
  });

  it('makes a chunk once for all who stand at the same place, until there is more', () => {
    const ring = ringOf(10);
    const chunk = ring.chunk(0, all, 'sse', wide);
    expect(ring.chunk(0, viewOf({}), 'sse', wide)).toBe(chunk);
    for (const other of [
      ring.chunk(1, all, 'sse', wide),
      ring.chunk(0, none, 'sse', wide),
      ring.chunk(0, all, 'websocket', wide),
    ]) {
      expect(other.bytes.equals(chunk.bytes)).toBe(false);
    }
    ring.push(recordAt(10));
    expect(ring.chunk(0, all, 'sse', wide)).toMatchObject({ events: 11, next: 11 });
  });
});

/** Keeps what it is told to write, and says that it has left when the test does. */
class HeldSink implements Sink {
  readonly format = 'sse';
  readonly written: string[] = [];
  readonly gaps: Gap[] = [];
  readonly leaves: (() => void)[] = [];
  readonly write = (bytes: Buffer, left: () => void): void => {
    this.written.push(bytes.toString());
    this.leaves.push(left);
  };
  readonly gap = (gap: Gap): void => {
    this.gaps.push(gap);
  };
  unsentBytes = 0;
  readonly unsent = (): number => this.unsentBytes;
  leave(): void {
    for (const left of this.leaves.splice(0)) left();
  }
}

describe('a subscription', () => {
  const chunk = { bytes: Buffer.from('frame'), events: 1, next: 8, lastId: '01890000-0000-7000-8000-000000000007' };

  function subscribed() {
    const sink = new HeldSink();
    const seen = { ready: 0, closed: 0 };
    const time = { ms: 0 };
    const subscription = new Subscription({
      sink,
      filter: {},
      position: { next: 5, cursor: 'start' },
      nowMs: () => time.ms,
      onReady: () => seen.ready++,
      onClose: () => seen.closed++,
    });
    return { sink, seen, time, subscription };
  }

  it('waits for its turn once, however often it is called', () => {
    const { subscription, seen } = subscribed();
    for (let n = 0; n < 5; n++) subscription.ready();
    expect([subscription.state, seen.ready]).toEqual(['ready', 1]);
  });

  it('asks for nothing more while what it got is on its way, and is stuck for as long', () => {
    const { subscription, seen, sink, time } = subscribed();
    subscription.ready();
    subscription.take(chunk);
    for (let n = 0; n < 5; n++) subscription.ready();
    time.ms = 31_000;
    expect([subscription.state, seen.ready, subscription.stuckMs()]).toEqual(['writing', 1, 31_000]);
    sink.leave();
    expect([subscription.state, seen.ready, subscription.stuckMs()]).toEqual(['ready', 2, 0]);
    expect(subscription.position).toEqual({ next: 8, cursor: cursorOf(chunk.lastId) });
    expect(subscription.sent).toEqual({ events: 1, bytes: 5 });
  });

  it('is not stuck while the connection takes a large chunk in parts, or the client says that it moves', () => {
    const { subscription, sink, time } = subscribed();
    subscription.ready();
    sink.unsentBytes = 3_000;
    subscription.take(chunk);
    for (const unsent of [2_000, 1_000]) {
      time.ms += 25_000;
      sink.unsentBytes = unsent;
      expect(subscription.stuckMs()).toBe(0);
    }
    time.ms += 25_000;
    expect(subscription.stuckMs()).toBe(25_000);
    subscription.hasMoved();
    time.ms += 31_000;
    expect(subscription.stuckMs()).toBe(31_000);
  });

  it('writes nothing when nothing matched, and goes on', () => {
    const { subscription, seen, sink } = subscribed();
    subscription.ready();
    subscription.take({ ...chunk, bytes: Buffer.alloc(0), events: 0 });
    expect([sink.written, subscription.state, seen.ready]).toEqual([[], 'ready', 2]);
    expect(subscription.position.next).toBe(8);
  });

  it('is let go on only when neither the client nor the gateway stops it', () => {
    const { subscription, seen } = subscribed();
    subscription.pause();
    subscription.hold(true);
    subscription.ready();
    subscription.resume();
    subscription.pause();
    subscription.hold(false);
    expect([subscription.state, seen.ready, subscription.position.next]).toEqual(['idle', 0, 5]);
    subscription.resume();
    expect([subscription.state, seen.ready]).toEqual(['ready', 1]);
  });

  it('says what is gone before it goes on behind it', () => {
    const { subscription, sink } = subscribed();
    subscription.ready();
    subscription.wait();
    subscription.skip({ untilSeq: 100, lastId: chunk.lastId });
    const to = cursorOf(chunk.lastId);
    expect(sink.gaps).toEqual([{ from: 'start', to }]);
    expect(subscription.position).toEqual({ next: 100, cursor: to });
    expect(subscription.state).toBe('ready');
  });

  it('disowns the read that was under way when it was moved', () => {
    const { subscription, seen } = subscribed();
    subscription.ready();
    subscription.wait();
    const { epoch } = subscription;
    subscription.move({ position: { next: 1, cursor: 'other' } });
    expect(subscription.epoch).not.toBe(epoch);
    expect([subscription.state, seen.ready, subscription.position.next]).toEqual(['ready', 2, 1]);
  });

  it('goes on at the new place when it was moved while it wrote', () => {
    const { subscription, sink } = subscribed();
    subscription.ready();
    subscription.take(chunk);
    subscription.move({ position: { next: 1, cursor: 'other' } });
    expect(subscription.state).toBe('writing');
    sink.leave();
    expect([subscription.state, subscription.position.next]).toEqual(['ready', 1]);
  });

  it('stays closed, whatever comes after', () => {
    const { subscription, seen, sink } = subscribed();
    subscription.ready();
    subscription.take(chunk);
    subscription.close();
    subscription.close();
    sink.leave();
    subscription.resume();
    subscription.hold(false);
    subscription.rest();
    subscription.move({ position: { next: 1, cursor: 'other' } });
    expect([subscription.state, seen.ready, seen.closed]).toEqual(['closed', 1, 1]);
  });
});

/** The tail of a real log that counts how many pages are read, and how many at once. */
function counted(tail: LogTail): { tail: LogTail; reads: { total: number; most: number } } {
  const reads = { total: 0, most: 0 };
  let now = 0;
  return {
    reads,
    tail: {
      ...tail,
      async records(part) {
        reads.total++;
        reads.most = Math.max(reads.most, ++now);
        return await tail.records(part).finally(() => now--);
      },
    },
  };
}

describe('pages of the table', () => {
  const at = (next: number, agentId?: string) => ({
    position: { next },
    view: viewOf(agentId === undefined ? {} : { agentId }),
    format: 'sse' as const,
  });

  it('are read once for all who want the same, and few at once', async () => {
    const log = await logOf(300);
    const { tail, reads } = counted(log.tail);
    const table = new TableReader(tail);
    const same = await Promise.all(Array.from({ length: 50 }, () => table.read(at(10), 300)));
    expect(reads.total).toBe(1);
    expect(same[0]).toMatchObject({ kind: 'chunk', next: 10 + bounds.streamPageRecordsMax });
    expect(new Set(same).size).toBe(1);

    const pages = await Promise.all(Array.from({ length: 50 }, (_, n) => table.read(at(n, agents[n % 3]), 300)));
    expect(reads).toEqual({ total: 51, most: bounds.streamPageReadsMax });
    expect(pages.every((page) => page.kind === 'chunk' && page.events === bounds.streamPageRecordsMax)).toBe(true);
  });

  it('end where they were told to, also when nothing matches', async () => {
    const { tail } = await logOf(30);
    const table = new TableReader(tail);
    expect(await table.read(at(25), 28)).toMatchObject({ kind: 'chunk', events: 3, next: 28 });
    const [last] = await tail.records({ filter: {}, firstSeq: 27, limit: 1 });
    expect(await table.read(at(0, 'nobody'), 28)).toMatchObject({
      kind: 'chunk',
      events: 0,
      next: 28,
      lastId: last?.eventId,
    });
  });

  it('that fail are nobody else to wait for', async () => {
    const { tail } = await logOf(30);
    let failures = 10;
    const table = new TableReader({
      ...tail,
      records: (part) => (failures-- > 0 ? Promise.reject(new Error('away')) : tail.records(part)),
    });
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, (_, n) => table.read(at(n), 30)));
    expect(outcomes.every(({ status }) => status === 'rejected')).toBe(true);
    // Neither the places of those that failed nor what they asked for are taken.
    const pages = await Promise.all(Array.from({ length: 10 }, (_, n) => table.read(at(n), 30)));
    expect(pages.map((page) => page.kind === 'chunk' && page.events)).toEqual(pages.map((_, n) => 30 - n));
  });
});

describe('turns', () => {
  /** Takes what it gets at once, and keeps the ids. */
  class Taker implements Sink {
    readonly format = 'sse';
    readonly ids: string[] = [];
    readonly gaps: Gap[] = [];
    readonly #onTurn: () => void;
    constructor(onTurn: () => void = () => undefined) {
      this.#onTurn = onTurn;
    }
    readonly write = (bytes: Buffer, left: () => void): void => {
      this.ids.push(...[...bytes.toString().matchAll(/"event_id":"([^"]+)"/g)].map(([, id]) => id as string));
      this.#onTurn();
      setImmediate(left);
    };
    readonly unsent = (): number => 0;
    readonly gap = (gap: Gap): void => {
      this.gaps.push(gap);
    };
  }

  const start: Position = { next: 0, cursor: '' };

  /** Streams over a log, by a clock on which a turn of few readers is a slice. */
  function streamsOver(tail: LogTail) {
    let nowMs = 0;
    const clock = { now: () => Date.now(), monotonic: () => ++nowMs };
    const streams = createStreams({ tail, clock, telemetry: listeningTelemetry().telemetry });
    later(() => streams.close());
    const subscribe = (sink: Sink, filter = {}, position = start) => {
      const subscription = streams.subscribe({ sink, filter, position });
      later(() => subscription.close());
      return subscription;
    };
    return { streams, subscribe };
  }

  it('come round: nobody is served again before everybody else was', async () => {
    const { tail, append } = await logOf(0);
    const { streams, subscribe } = streamsOver(tail);
    const first = new Taker();
    subscribe(first);
    // All of it is in memory.
    for (let n = 0; n < 4; n++) await append(500);
    streams.hint();
    await expect.poll(() => first.ids.length, wait).toBe(2_000);

    const readers = 20;
    const turns = Array.from({ length: readers }, () => 0);
    let widest = 0;
    const takers = turns.map(
      (_, reader) =>
        new Taker(() => {
          turns[reader] = (turns[reader] ?? 0) + 1;
          widest = Math.max(widest, Math.max(...turns) - Math.min(...turns));
        }),
    );
    for (const taker of takers) subscribe(taker);
    for (const taker of takers) await expect.poll(() => taker.ids, wait).toEqual(first.ids);
    expect(Math.min(...turns)).toBeGreaterThan(5);
    expect(widest).toBe(1);
  });

  it('are not kept by readers that take nothing, nor by those that read old pages', async () => {
    const { tail, append } = await logOf(1_000);
    const { streams, subscribe } = streamsOver(tail);
    const live = new Taker();
    const end = await tail.head();
    subscribe(live, {}, { next: end, cursor: '' });
    const stuck = Array.from({ length: 20 }, () => new HeldSink());
    for (const sink of stuck) subscribe(sink, {}, { next: end, cursor: '' });
    const old = agents.map(() => new Taker());
    for (const [n, taker] of old.entries()) subscribe(taker, { agentId: agents[n] });
    for (let n = 0; n < 3; n++) {
      await append(10);
      streams.hint();
      await expect.poll(() => live.ids.length, wait).toBe(10 * (n + 1));
    }
    // One write each, and no more until that has left.
    expect(stuck.map(({ written }) => written.length)).toEqual(stuck.map(() => 1));
    for (const sink of stuck) sink.leave();
    for (const sink of stuck) await expect.poll(() => sink.written.length, wait).toBeGreaterThan(1);

    const whole = await Promise.all(
      agents.map((agentId) => tail.records({ filter: { agentId }, firstSeq: 0, limit: 2_000 })),
    );
    for (const [n, taker] of old.entries()) {
      await expect.poll(() => taker.ids, wait).toEqual(whole[n]?.map(({ eventId }) => eventId));
    }
  });

  it('end with the reader, and the log is followed only while there is one', async () => {
    const log = await logOf(10);
    const { tail, reads } = counted(log.tail);
    const { streams } = streamsOver(tail);
    expect(reads.total).toBe(0);
    const taker = new Taker();
    const subscription = streams.subscribe({ sink: taker, filter: {}, position: start });
    await expect.poll(() => taker.ids.length, wait).toBe(10);
    subscription.close();
    await streams.close();
    const before = reads.total;
    await log.append(10);
    streams.hint();
    const again = new Taker();
    const next = streams.subscribe({ sink: again, filter: {}, position: start });
    await expect.poll(() => again.ids.length, wait).toBe(20);
    expect(reads.total).toBeGreaterThan(before);
    expect(taker.ids).toHaveLength(10);
    next.close();
  });

  it('are had again after a page that could not be read', async () => {
    const { tail } = await logOf(200);
    let failures = 3;
    const faulty: LogTail = {
      ...tail,
      // Only of old pages; the end of the log is followed by itself.
      records: (part) =>
        part.endSeq !== undefined && failures-- > 0 ? Promise.reject(new Error('away')) : tail.records(part),
    };
    const { subscribe } = streamsOver(faulty);
    const taker = new Taker();
    subscribe(taker);
    await expect.poll(() => taker.ids.length, wait).toBe(200);
    expect(new Set(taker.ids).size).toBe(200);
    expect(failures).toBeLessThanOrEqual(0);
  });
});
