/** A group under an idempotency key is recorded once, whoever sends it, to however many writers, whatever fails. */
import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import type { CommittedEvent, PreparedEvent } from '../../src/core/audit-event.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createIntentStore } from '../../src/storage/intents.ts';
import { pruneReservations } from '../../src/storage/reservations.ts';
import { type Cut, startCommitCutter } from '../support/commit-cutter.ts';
import { numbered, prepared } from '../support/drafts.ts';
import { checkLog } from '../support/log-checker.ts';
import { checkAcknowledged, cleanUp, freshLog, later, numbersOf, query, writerOn } from '../support/log-fixture.ts';

afterEach(cleanUp);

/** `count` events under a key. */
function keyed(key: string, count: number, from = 0, body = 'body'): PreparedEvent[] {
  const reserves = { keyHash: sha256Hex(key), bodyHash: sha256Hex(body), records: count };
  return Array.from({ length: count }, (_, n) =>
    prepared({ meta: { n: from + n }, ...(n === 0 ? { companions: { reserves } } : {}) }),
  );
}

/** One event under a key that may take the place of what is at `replaces`. */
function replacing(key: string, replaces: number, n: number): PreparedEvent[] {
  const reserves = { keyHash: sha256Hex(key), bodyHash: sha256Hex('body'), records: 1, replaces };
  return [prepared({ meta: { n }, companions: { reserves } })];
}

function withFate(events: readonly CommittedEvent[], reservation: 'replayed' | 'conflict') {
  return events.map((event) => ({ ...event, reservation }));
}

describe('a key', () => {
  it('gives the records of the first time, and writes nothing', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    const first = await writer.append(randomUUID(), keyed('a', 3));
    await writer.append(randomUUID(), numbered(2, 100));
    expect(await writer.append(randomUUID(), keyed('a', 3))).toEqual(withFate(first, 'replayed'));
    expect(await writerOn(address).append(randomUUID(), keyed('a', 3))).toEqual(withFate(first, 'replayed'));
    expect(numbersOf(await checkAcknowledged(address, first))).toEqual([0, 1, 2, 100, 101]);
  });

  it.each<[string, PreparedEvent[]]>([
    ['another body', keyed('a', 3, 50, 'other')],
    ['fewer records', keyed('a', 2, 50)],
    ['more records', keyed('a', 4, 50)],
  ])('is refused for %s, with the record that it stands for', async (_, again) => {
    const address = await freshLog();
    const writer = writerOn(address);
    const [first] = await writer.append(randomUUID(), keyed('a', 3));
    const refused = await writer.append(randomUUID(), again);
    expect(refused).toEqual(again.map(() => ({ ...first, reservation: 'conflict' })));
    expect(await checkLog(address)).toHaveLength(3);
  });

  it('that is taken costs the rest of its batch nothing', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    const first = await writer.append(randomUUID(), keyed('a', 2));
    const batch = [
      ...numbered(1, 10),
      ...keyed('a', 2),
      ...keyed('b', 2, 20),
      ...keyed('a', 1, 30, 'other'),
      ...keyed('b', 2, 20),
      ...keyed('b', 2, 40, 'other'),
      ...numbered(1, 50),
    ];
    const committed = await writer.append(randomUUID(), batch);
    expect(committed.map(({ seq, reservation = 'new' }) => [seq, reservation])).toEqual([
      [2, 'new'],
      ...[0, 1].map((seq) => [seq, 'replayed']),
      ...[3, 4].map((seq) => [seq, 'new']),
      [0, 'conflict'],
      ...[3, 4].map((seq) => [seq, 'replayed']),
      ...[3, 3].map((seq) => [seq, 'conflict']),
      [5, 'new'],
    ]);
    const own = committed.filter(({ reservation }) => reservation === undefined);
    expect(numbersOf(await checkAcknowledged(address, [...first, ...own]))).toEqual([0, 1, 10, 20, 21, 50]);
  });

  it('makes one group when many writers are given it at once', async () => {
    const address = await freshLog();
    const writers = [1, 2, 3, 4].map(() => writerOn(address));
    const keys = Array.from({ length: 30 }, (_, n) => `key ${n}`);
    const told = await Promise.all(
      writers.map(async (writer) => {
        const places: number[][] = [];
        for (const [n, key] of keys.entries()) {
          places.push((await writer.append(randomUUID(), keyed(key, 2, n * 10))).map(({ seq }) => seq));
        }
        return places;
      }),
    );
    expect(await checkLog(address)).toHaveLength(60);
    for (const places of told) expect(places).toEqual(told[0]);
    expect(new Set(told[0]?.flat()).size).toBe(60);
  });

  it.each<Cut>(['before', 'midway', 'reply', 'race'])(
    'is new to a batch whose commit was in doubt (%s), and what was replayed stays so',
    async (cut) => {
      const address = await freshLog();
      const cutter = await startCommitCutter();
      later(() => cutter.close());
      const writer = writerOn({ url: cutter.urlOf(address.url) });
      const first = await writer.append(randomUUID(), keyed('a', 2));
      const batch = [...keyed('b', 2, 10), ...keyed('a', 2), ...keyed('c', 1, 20), ...keyed('b', 2, 10)];
      const batchId = randomUUID();
      cutter.arm(cut);
      await expect(writer.append(batchId, batch)).rejects.toThrow();
      const committed = await writer.append(batchId, batch);
      const fates = committed.map(({ seq, reservation = 'new' }) => `${seq} ${reservation}`);
      expect(fates).toEqual(['2 new', '3 new', '0 replayed', '1 replayed', '4 new', '2 replayed', '3 replayed']);
      expect(numbersOf(await checkAcknowledged(address, first))).toEqual([0, 1, 10, 11, 20]);
    },
  );

  it('may go to another writer while the first does not know whether it wrote it', async () => {
    const address = await freshLog();
    const cutter = await startCommitCutter();
    later(() => cutter.close());
    const writer = writerOn({ url: cutter.urlOf(address.url) });
    const batchId = randomUUID();
    cutter.arm('before');
    await expect(writer.append(batchId, keyed('a', 2))).rejects.toThrow();
    const elsewhere = await writerOn(address).append(randomUUID(), keyed('a', 2));
    expect(await writer.append(batchId, keyed('a', 2))).toEqual(withFate(elsewhere, 'replayed'));
    expect(await checkLog(address)).toHaveLength(2);
  });

  it('is taken anew once, by who may replace what it stands for', async () => {
    const address = await freshLog();
    const writers = [1, 2, 3].map(() => writerOn(address));
    const [first] = await writerOn(address).append(randomUUID(), keyed('a', 1));
    const anew = (n: number) => [...replacing('a', 0, n), ...replacing('a', 0, n + 1)];
    const told = await Promise.all(writers.map((writer, n) => writer.append(randomUUID(), anew(10 * (n + 1)))));
    const fates = told.flat().map(({ seq, reservation = 'new' }) => `${seq} ${reservation}`);
    expect(fates.sort()).toEqual(['1 new', ...Array<string>(5).fill('1 replayed')]);
    expect(await checkAcknowledged(address, first === undefined ? [] : [first])).toHaveLength(2);
  });

  it.each<Cut>(['before', 'midway', 'reply', 'race'])(
    'is taken anew once by a batch whose commit was in doubt (%s)',
    async (cut) => {
      const address = await freshLog();
      const cutter = await startCommitCutter();
      later(() => cutter.close());
      const writer = writerOn({ url: cutter.urlOf(address.url) });
      await writer.append(randomUUID(), keyed('a', 1));
      const batch = [...replacing('a', 0, 10), ...keyed('b', 1, 20), ...replacing('a', 0, 30)];
      const batchId = randomUUID();
      cutter.arm(cut);
      await expect(writer.append(batchId, batch)).rejects.toThrow();
      const committed = await writer.append(batchId, batch);
      const fates = committed.map(({ seq, reservation = 'new' }) => `${seq} ${reservation}`);
      expect(fates).toEqual(['1 new', '2 new', '1 replayed']);
      expect(numbersOf(await checkLog(address))).toEqual([0, 10, 20]);
    },
  );

  it('is not taken anew by who may replace something else', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    await writer.append(randomUUID(), numbered(1, 50));
    const first = await writer.append(randomUUID(), keyed('a', 1));
    expect(await writer.append(randomUUID(), replacing('a', 0, 10))).toEqual(withFate(first, 'replayed'));
    expect(await checkLog(address)).toHaveLength(2);
  });

  it('is free again when its time is over, pruned or not', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    await writer.append(randomUUID(), keyed('a', 1));
    await query(
      address.url,
      `UPDATE log_idempotency SET reserved_at = now() - interval '1 second' * ${bounds.idempotencyKeptSec}`,
    );
    const [second] = await writer.append(randomUUID(), keyed('a', 1, 1, 'other'));
    expect(second).toMatchObject({ seq: 1 });
    expect(second?.reservation).toBeUndefined();
    const [third] = await writer.append(randomUUID(), keyed('a', 1, 1, 'other'));
    expect(third).toEqual({ ...second, reservation: 'replayed' });
  });

  it('is not taken by a batch that was refused', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    await query(address.url, "ALTER TABLE audit_event ADD CHECK (outcome <> 'denied')");
    const batch = [...keyed('a', 1), prepared({ outcome: 'denied' })];
    await expect(writer.append(randomUUID(), batch)).rejects.toThrow('violates check constraint');
    const [event] = await writer.append(randomUUID(), keyed('a', 1));
    expect(event?.reservation).toBeUndefined();
  });

  it.each(['', "'; DROP TABLE audit_event; --", 'a'.repeat(63), 'A'.repeat(64)])(
    'that is not a hash never becomes part of a statement (%j)',
    async (hash) => {
      const address = await freshLog();
      const writer = writerOn(address);
      for (const reserves of [
        { keyHash: hash, bodyHash: sha256Hex('x'), records: 1 },
        { keyHash: sha256Hex('x'), bodyHash: hash, records: 1 },
      ]) {
        const events = [prepared({ companions: { reserves } })];
        await expect(writer.append(randomUUID(), events)).rejects.toThrow('named by a SHA-256');
      }
      expect(await checkLog(address)).toEqual([]);
    },
  );
});

describe('pruning', () => {
  it('forgets the keys whose time is over, and no other', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    await writer.append(randomUUID(), [...keyed('old', 1), ...keyed('young', 1, 1)]);
    const age = (key: string, seconds: number) =>
      query(
        address.url,
        `UPDATE log_idempotency SET reserved_at = now() - interval '1 second' * ${seconds} WHERE key_hash = '\\x${sha256Hex(key)}'`,
      );
    await age('old', bounds.idempotencyKeptSec + 1);
    await age('young', bounds.idempotencyKeptSec - 60);
    const pool = openReadPool(address);
    later(() => pool.end());
    expect(await pruneReservations(pool)).toBe(1);
    expect(await pruneReservations(pool)).toBe(0);
    const left = await query(address.url, "SELECT encode(key_hash, 'hex') AS key FROM log_idempotency");
    expect(left).toEqual([{ key: sha256Hex('young') }]);
    expect(await checkLog(address)).toHaveLength(2);
  });

  it('forgets any number of them', async () => {
    const address = await freshLog();
    await query(
      address.url,
      `INSERT INTO log_idempotency SELECT sha256(n::text::bytea), '', n, 1, now() - interval '2 days' FROM generate_series(1, 12000) n`,
    );
    const pool = openReadPool(address);
    later(() => pool.end());
    expect(await pruneReservations(pool)).toBe(12_000);
    expect(await query(address.url, 'SELECT * FROM log_idempotency')).toEqual([]);
  });
});

describe('an intent whose commit was in doubt until its caller was gone', () => {
  const intent = () => [prepared({ meta: { phase: 'intent' }, companions: { opensIntent: true } })];

  it('is nobody’s as soon as the writer knows that it is there, and only it', async () => {
    const address = await freshLog();
    const cutter = await startCommitCutter();
    later(() => cutter.close());
    const pool = openReadPool(address);
    later(() => pool.end());
    const store = createIntentStore(pool);
    const writer = writerOn({ url: cutter.urlOf(address.url) });
    const [told] = await writer.append(randomUUID(), intent());
    cutter.arm('reply');
    await expect(writer.append(randomUUID(), intent())).rejects.toThrow();
    const other = randomUUID();
    expect(await store.claimOrphans(other, 60_000, new Set())).toEqual([]);
    // The batch was given up; the next one finds it.
    await writer.append(randomUUID(), []);
    const claimed = await store.claimOrphans(other, 60_000, new Set());
    expect(claimed.map(({ seq }) => seq)).toEqual([1]);
    expect(claimed[0]?.eventId).not.toBe(told?.eventId);
  });

  it('stays its writer’s when the writer finds it in time', async () => {
    const address = await freshLog();
    const cutter = await startCommitCutter();
    later(() => cutter.close());
    const pool = openReadPool(address);
    later(() => pool.end());
    const writer = writerOn({ url: cutter.urlOf(address.url) });
    const batchId = randomUUID();
    cutter.arm('reply');
    const batch = intent();
    await expect(writer.append(batchId, batch)).rejects.toThrow();
    expect(await writer.find(batchId, batch)).toMatchObject([{ seq: 0 }]);
    await writer.append(randomUUID(), []);
    expect(await createIntentStore(pool).claimOrphans(randomUUID(), 60_000, new Set())).toEqual([]);
  });

  it('is not there when nothing was committed', async () => {
    const address = await freshLog();
    const cutter = await startCommitCutter();
    later(() => cutter.close());
    const writer = writerOn({ url: cutter.urlOf(address.url) });
    await writer.append(randomUUID(), []);
    const batchId = randomUUID();
    cutter.arm('midway');
    const batch = intent();
    await expect(writer.append(batchId, batch)).rejects.toThrow();
    expect(await writer.find(batchId, batch)).toBeUndefined();
    expect(await writer.find(randomUUID(), batch)).toBeUndefined();
    expect(await checkLog(address)).toEqual([]);
  });
});
