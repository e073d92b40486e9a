/** A capability is used no more often than it says, whoever counts, to however many writers, whatever fails. */
import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import type { PreparedEvent, Spend } from '../../src/core/audit-event.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import { pruneCapabilityUse } from '../../src/storage/capability-use.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { type Cut, startCommitCutter } from '../support/commit-cutter.ts';
import { numbered, prepared } from '../support/drafts.ts';
import { checkAcknowledged, cleanUp, freshLog, later, numbersOf, query, writerOn } from '../support/log-fixture.ts';

afterEach(cleanUp);

const laterSec = 4_000_000_000;

function use(link: string, max: number, expiresAtSec = laterSec): Spend {
  return { linkHash: sha256Hex(link), max, expiresAtSec };
}

/** An intent that spends. */
function spending(n: number, ...spends: Spend[]): PreparedEvent {
  return prepared({ meta: { n, phase: 'intent' }, companions: { opensIntent: true, spends } });
}

async function usedOf(address: { url: string }): Promise<Record<string, number>> {
  const rows = await query(address.url, "SELECT encode(link_hash, 'hex') AS link, used FROM capability_use");
  return Object.fromEntries(rows.map(({ link, used }) => [String(link), Number(used)]));
}

const fateOf = ({ seq, reservation = 'new' }: { seq: number; reservation?: string }) => `${seq} ${reservation}`;

describe('a capability that may be used so many times', () => {
  it('is spent by what is recorded, and by nothing more', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    const first = await writer.append(randomUUID(), [spending(0, use('a', 2)), ...numbered(1, 1)]);
    const second = await writer.append(
      randomUUID(),
      [2, 3, 4].map((n) => spending(n, use('a', 2))),
    );
    expect(second.map(fateOf)).toEqual(['2 new', '-1 exhausted', '-1 exhausted']);
    expect((await writerOn(address).append(randomUUID(), [spending(5, use('a', 2))])).map(fateOf)).toEqual([
      '-1 exhausted',
    ]);
    const records = await checkAcknowledged(address, [...first, ...second.slice(0, 1)]);
    expect(numbersOf(records)).toEqual([0, 1, 2]);
    expect(await usedOf(address)).toEqual({ [sha256Hex('a')]: 2 });
    expect(await query(address.url, 'SELECT 1 FROM log_intent')).toHaveLength(2);
  });

  it('that is used up costs the rest of its batch nothing', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    const [a, b] = [use('a', 1), use('b', 2)];
    const batch = [
      spending(0, a),
      ...numbered(1, 1),
      spending(2, a),
      spending(3, b),
      spending(4, a, b),
      spending(5, b),
    ];
    const committed = await writer.append(randomUUID(), [...batch, spending(6, b), ...numbered(1, 7)]);
    expect(committed.map(fateOf)).toEqual([
      '0 new',
      '1 new',
      '-1 exhausted',
      '2 new',
      '-1 exhausted',
      '3 new',
      '-1 exhausted',
      '4 new',
    ]);
    expect(await usedOf(address)).toEqual({ [sha256Hex('a')]: 1, [sha256Hex('b')]: 2 });
  });

  it('counts all children of a parent together', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    const fates = [];
    for (const child of ['x', 'y', 'x', 'y']) {
      fates.push(...(await writer.append(randomUUID(), [spending(0, use('parent', 3), use(child, 2))])).map(fateOf));
    }
    expect(fates).toEqual(['0 new', '1 new', '2 new', '-1 exhausted']);
    expect(await usedOf(address)).toEqual({ [sha256Hex('parent')]: 3, [sha256Hex('x')]: 2, [sha256Hex('y')]: 1 });
  });

  it('is never spent once too often by writers that run at once', async () => {
    const address = await freshLog();
    const writers = Array.from({ length: 4 }, () => writerOn(address));
    const all = await Promise.all(
      writers.map(async (writer) => {
        const fates = [];
        for (let n = 0; n < 5; n++) {
          fates.push(
            ...(await writer.append(
              randomUUID(),
              [0, 1, 2].map(() => spending(n, use('a', 20))),
            )),
          );
        }
        return fates;
      }),
    );
    const recorded = all.flat().filter(({ reservation }) => reservation === undefined);
    expect(recorded).toHaveLength(20);
    expect(await checkAcknowledged(address, recorded)).toHaveLength(20);
  });

  it.each<Cut>(['before', 'midway', 'reply'])(
    'is spent once by a batch whose commit was in doubt (%s)',
    async (cut) => {
      const address = await freshLog();
      const cutter = await startCommitCutter();
      later(() => cutter.close());
      const writer = writerOn({ url: cutter.urlOf(address.url) });
      const [a, b] = [use('a', 2), use('b', 9)];
      await writer.append(randomUUID(), [spending(0, a)]);
      const batch = [
        spending(1, a),
        spending(2, a),
        spending(3, b),
        spending(1, a),
        ...numbered(1, 4),
        spending(5, a, b),
      ];
      const batchId = randomUUID();
      cutter.arm(cut);
      await expect(writer.append(batchId, batch)).rejects.toThrow();
      const committed = await writer.append(batchId, batch);
      expect(committed.map(fateOf)).toEqual([
        '1 new',
        '-1 exhausted',
        '2 new',
        '-1 exhausted',
        '3 new',
        '-1 exhausted',
      ]);
      expect(await usedOf(address)).toEqual({ [sha256Hex('a')]: 2, [sha256Hex('b')]: 1 });
    },
  );

  it('is not spent by a batch that was refused, and is forgotten when it has expired', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    const broken = { ...spending(0, use('a', 1)), middle: 'not a record' };
    await expect(
      writer.append(randomUUID(), [
        { ...broken, companions: { spends: [use('not a hash', 1), { ...use('b', 1), linkHash: "'; --" }] } },
      ]),
    ).rejects.toThrow();
    expect(await usedOf(address)).toEqual({});
    await writer.append(randomUUID(), [spending(0, use('old', 1, 1_000)), spending(1, use('young', 1))]);
    const pool = openReadPool(address);
    later(() => pool.end());
    expect(await pruneCapabilityUse(pool)).toBe(1);
    expect(await usedOf(address)).toEqual({ [sha256Hex('young')]: 1 });
  });
});
