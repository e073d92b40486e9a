import { randomBytes } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { CommitPool, type PoolBounds } from '../../src/audit/pool.ts';
import { bounds } from '../../src/config/bounds.ts';
import type { CommittedEvent, PreparedEvent } from '../../src/core/audit-event.ts';
import type { Clock } from '../../src/core/clock.ts';
import { TalosError } from '../../src/core/errors.ts';
import type { Role, RoleBinding } from '../../src/core/role.ts';
import type { RoleChange } from '../../src/core/role-change.ts';
import { type CommitCutter, type Cut, startCommitCutter } from '../support/commit-cutter.ts';
import { numbered, prepared } from '../support/drafts.ts';
import { checkLog } from '../support/log-checker.ts';
import { checkAcknowledged, cleanUp, freshLog, later, numbersOf, query, writerOn } from '../support/log-fixture.ts';
import { type StoreProxy, startStoreProxy } from '../support/store-proxy.ts';

afterEach(cleanUp);

interface TestPool {
  readonly pool: CommitPool;
  readonly batches: number[];
  readonly failures: string[];
  readonly clock: Clock & { skewMs: number };
}

function poolOn(address: { url: string }, changed: Partial<PoolBounds> = {}): TestPool {
  const batches: number[] = [];
  const failures: string[] = [];
  const clock = { skewMs: 0, now: () => 0, monotonic: () => performance.now() + clock.skewMs };
  const pool = new CommitPool({
    writer: writerOn(address),
    clock,
    bounds: { ...bounds, ...changed },
    onCommit: ({ records }) => batches.push(records),
    onFailure: (reason) => failures.push(reason),
  });
  later(() => pool.drained());
  return { pool, batches, failures, clock };
}

async function proxied(): Promise<{ address: { url: string }; way: { url: string }; proxy: StoreProxy }> {
  const address = await freshLog();
  const proxy = await startStoreProxy();
  later(() => proxy.close());
  return { address, way: { url: proxy.urlOf(address.url) }, proxy };
}

async function cuttable(): Promise<{ address: { url: string }; way: { url: string }; cutter: CommitCutter }> {
  const address = await freshLog();
  const cutter = await startCommitCutter();
  later(() => cutter.close());
  return { address, way: { url: cutter.urlOf(address.url) }, cutter };
}

function codeOf(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    () => 'resolved',
    (error: unknown) => (error instanceof TalosError ? error.code : String(error)),
  );
}

/** Waits until the log can be written again, however busy the machine is. */
async function recovered(pool: CommitPool): Promise<void> {
  await expect.poll(() => codeOf(pool.ensureWritable()), { timeout: 15_000 }).toBe('resolved');
}

describe('group commit', () => {
  it('commits alone what comes alone, and together what waited together', async () => {
    const address = await freshLog();
    const { pool, batches } = poolOn(address);
    await pool.add(numbered(1));
    const rest = await Promise.all(Array.from({ length: 500 }, (_, n) => pool.add(numbered(1, n + 1))));
    expect(batches[0]).toBe(1);
    expect(batches.length).toBeLessThan(10);
    expect(numbersOf(await checkAcknowledged(address, rest.flat()))).toEqual(Array.from({ length: 501 }, (_, n) => n));
  });

  it('keeps the order in which events were added, and groups whole and in their order', async () => {
    const address = await freshLog();
    const { pool, batches } = poolOn(address, { batchRecordsMax: 50 });
    const sizes = [3, 1, 49, 50, 51, 120, 7, 0, 1];
    let from = 0;
    const groups = sizes.map((size) => {
      const added = pool.add(numbered(size, from));
      from += size;
      return added;
    });
    const committed = await Promise.all(groups);
    expect(committed.map((group) => group.length)).toEqual(sizes);
    expect(committed.flat().map(({ seq }) => seq)).toEqual(Array.from({ length: from }, (_, n) => n));
    expect(numbersOf(await checkAcknowledged(address, committed.flat()))).toEqual(
      Array.from({ length: from }, (_, n) => n),
    );
    // A group is never torn apart, so one that is larger than a batch makes a batch of its own.
    expect(batches).toEqual([4, 49, 50, 51, 120, 8]);
  });

  it('ends a batch by its bytes too', async () => {
    const address = await freshLog();
    const { pool, batches } = poolOn(address, { batchBytesMax: 10_000 });
    const large = () => [prepared({ meta: { text: 'x'.repeat(4_000) } })];
    await Promise.all(Array.from({ length: 6 }, () => pool.add(large())));
    expect(batches).toEqual([2, 2, 2]);
    await checkLog(address);
  });

  it('commits thousands of events of four pools without a gap', async () => {
    const address = await freshLog();
    const pools = [0, 1, 2, 3].map(() => poolOn(address).pool);
    const groups = pools.flatMap((pool, index) =>
      Array.from({ length: 400 }, (_, n) => pool.add(numbered(1 + (n % 5), index * 100_000 + n * 10))),
    );
    const committed = (await Promise.all(groups)).flat();
    const records = await checkAcknowledged(address, committed);
    expect(records).toHaveLength(committed.length);
    expect(committed.length).toBe(4_800);
    expect(new Set(numbersOf(records)).size).toBe(4_800);
  });

  it('counts what is pending down to nothing', async () => {
    const { pool } = poolOn(await freshLog());
    const added = [pool.add(numbered(2)), pool.add(numbered(3))];
    expect(pool.pending).toBe(5);
    await Promise.all(added);
    expect(pool.pending).toBe(0);
  });
});

describe('admission', () => {
  it('refuses more records than the queue may hold, before accepting them, and loses none that it accepted', async () => {
    const { address, way, proxy } = await proxied();
    const { pool } = poolOn(way, { queueRecordsMax: 10 });
    proxy.hold();
    const accepted = [pool.add(numbered(4)), pool.add(numbered(6, 4))];
    expect(await codeOf(pool.add(numbered(1, 99)))).toBe('AUDIT_OVERLOADED');
    expect(pool.pending).toBe(10);
    await proxy.restore();
    const committed = (await Promise.all(accepted)).flat();
    expect(numbersOf(await checkAcknowledged(address, committed))).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(await codeOf(pool.add(numbered(1, 10)))).toBe('resolved');
  });

  it('refuses more bytes than the queue may hold', async () => {
    const { address, way, proxy } = await proxied();
    const [event] = numbered(1);
    const { pool } = poolOn(way, { queueBytesMax: (event?.size ?? 0) * 2 });
    proxy.hold();
    const accepted = [pool.add(numbered(1)), pool.add(numbered(1, 1))];
    expect(await codeOf(pool.add(numbered(1, 2)))).toBe('AUDIT_OVERLOADED');
    await proxy.restore();
    expect(numbersOf(await checkAcknowledged(address, (await Promise.all(accepted)).flat()))).toEqual([0, 1]);
  });

  it('refuses for ever what is larger than the whole queue, and says so', async () => {
    const { pool } = poolOn(await freshLog(), { queueRecordsMax: 5, queueBytesMax: 100_000 });
    expect(await codeOf(pool.add(numbered(6)))).toBe('RECORD_TOO_LARGE');
    expect(await codeOf(pool.add([prepared({ details: { text: 'x'.repeat(100_000) } })]))).toBe('RECORD_TOO_LARGE');
    expect(pool.pending).toBe(0);
    expect(await codeOf(pool.add(numbered(5)))).toBe('resolved');
  });

  it('refuses while the oldest waits for too long', async () => {
    const { address, way, proxy } = await proxied();
    const { pool, clock } = poolOn(way, { queueAgeMsMax: 100 });
    proxy.hold();
    const inFlight = pool.add(numbered(1));
    await delay(0);
    const waiting = pool.add(numbered(1, 1));
    expect(pool.pending).toBe(2);
    clock.skewMs = 200;
    expect(await codeOf(pool.add(numbered(1, 99)))).toBe('AUDIT_OVERLOADED');
    await proxy.restore();
    const committed = (await Promise.all([inFlight, waiting])).flat();
    expect(numbersOf(await checkAcknowledged(address, committed))).toEqual([0, 1]);
  });
});

describe('a store that fails', () => {
  const deadline = { commitDeadlineMs: 600, commitRetryMs: 20 };

  it.each<Cut>(['before', 'midway', 'reply', 'race'])(
    'a connection lost (%s) costs nobody an event or a second one',
    async (cut) => {
      const { address, way, cutter } = await cuttable();
      const { pool, failures } = poolOn(way);
      const committed: CommittedEvent[][] = [await pool.add(numbered(10))];
      for (let round = 1; round <= 3; round++) {
        cutter.arm(cut);
        const added = Array.from({ length: 20 }, (_, n) => pool.add(numbered(2, round * 100 + n * 2)));
        committed.push(...(await Promise.all(added)));
      }
      expect(cutter.cuts()).toBe(3);
      expect(failures).toEqual([]);
      const records = await checkAcknowledged(address, committed.flat());
      expect(records).toHaveLength(130);
      expect(new Set(numbersOf(records)).size).toBe(130);
    },
  );

  it('rejects within the deadline when nothing listens, and recovers', async () => {
    const { address, way, proxy } = await proxied();
    const { pool, failures } = poolOn(way, deadline);
    await proxy.cut();
    const startedAt = performance.now();
    expect(await codeOf(pool.add(numbered(2)))).toBe('AUDIT_UNAVAILABLE');
    expect(performance.now() - startedAt).toBeLessThan(deadline.commitDeadlineMs + 20_000);
    expect(failures).toHaveLength(1);
    expect(failures[0]).toContain('ECONNREFUSED');
    expect(pool.pending).toBe(0);
    await proxy.restore();
    await recovered(pool);
    const committed = await pool.add(numbered(1, 2));
    expect(numbersOf(await checkAcknowledged(address, committed))).toEqual([2]);
  });

  it('commits within the deadline when the store comes back in time', async () => {
    const { address, way, proxy } = await proxied();
    const { pool, failures } = poolOn(way);
    await pool.add(numbered(1));
    await proxy.cut();
    const added = pool.add(numbered(3, 1));
    await proxy.restore();
    expect(numbersOf(await checkAcknowledged(address, await added))).toEqual([0, 1, 2, 3]);
    expect(failures).toEqual([]);
  });

  it.each([
    ['before the first connection', false],
    ['on a connection that stood', true],
  ])('rejects at the deadline when the store hangs %s, and recovers', async (_, connected) => {
    const { address, way, proxy } = await proxied();
    const { pool, failures } = poolOn(way, deadline);
    if (connected) await recovered(pool);
    proxy.hold();
    const startedAt = performance.now();
    expect(await codeOf(pool.add(numbered(1, 1)))).toBe('AUDIT_UNAVAILABLE');
    const took = performance.now() - startedAt;
    expect(took).toBeGreaterThanOrEqual(deadline.commitDeadlineMs - 50);
    expect(took).toBeLessThan(deadline.commitDeadlineMs + 20_000);
    expect(failures).toEqual(['the store did not answer in time']);
    await proxy.restore();
    await recovered(pool);
    // A rejected event may have been committed or not, as its caller was told; never twice, and never in part.
    const committed = await pool.add(numbered(1, 2));
    const numbers = numbersOf(await checkAcknowledged(address, committed));
    expect(numbers.filter((n) => n === 1).length).toBeLessThanOrEqual(1);
    expect(numbers.at(-1)).toBe(2);
  });

  it('rejects at the deadline when the store falls silent in the middle of a commit, and recovers', async () => {
    const { address, way, cutter } = await cuttable();
    const { pool } = poolOn(way, deadline);
    await recovered(pool);
    cutter.arm('silence');
    expect(await codeOf(pool.add(numbered(1, 1)))).toBe('AUDIT_UNAVAILABLE');
    const { pool: other } = poolOn(address);
    const committed = await other.add(numbered(1, 2));
    await recovered(pool);
    expect(numbersOf(await checkAcknowledged(address, committed))).toEqual([2]);
  });

  it('rejects every entry at its own deadline, not only the first', async () => {
    const { way, proxy } = await proxied();
    const { pool } = poolOn(way, deadline);
    proxy.hold();
    const first = codeOf(pool.add(numbered(1)));
    await delay(0);
    const second = codeOf(pool.add(numbered(1, 1)));
    expect(await Promise.all([first, second])).toEqual(['AUDIT_UNAVAILABLE', 'AUDIT_UNAVAILABLE']);
    expect(pool.pending).toBe(0);
  });

  it('a group whose rows are refused fails whole; what commits after it is not held up', async () => {
    const address = await freshLog();
    const { pool } = poolOn(address, deadline);
    await query(address.url, "ALTER TABLE audit_event ADD CHECK (outcome <> 'denied')");
    const group = pool.add([...numbered(3), prepared({ outcome: 'denied' }), ...numbered(3)]);
    expect(await codeOf(group)).toBe('AUDIT_UNAVAILABLE');
    await recovered(pool);
    const committed = await pool.add(numbered(2, 50));
    expect(numbersOf(await checkAcknowledged(address, committed))).toEqual([50, 51]);
  });
});

describe('an entry that the store can never hold', () => {
  const role = (name: string): Role => ({
    role_id: name,
    name,
    permissions: ['mcp:invoke'],
    built_in: false,
  });
  const changing = (roles: RoleChange) => [prepared({ companions: { roles } })];
  const binding = (binding_id: string): RoleBinding => ({
    binding_id,
    principal_id: 'agent',
    role_id: '018f0000-0000-7000-8000-000000000001',
    scope: { scope_type: 'global', attributes: {} },
    created_at: '2026-01-01T00:00:00.000Z',
  });
  const unwritable: readonly (readonly [string, () => PreparedEvent[]])[] = [
    ['an id that is no UUID', () => changing({ kind: 'add_role', role: role('my-role') })],
    [
      'a text with NUL',
      () => changing({ kind: 'add_role', role: { ...role('018f0000-0000-7000-8000-00000000000a'), name: 'a\0b' } }),
    ],
    [
      'a name that no index takes',
      () => changing({ kind: 'put_bindings', bindings: [binding(randomBytes(4_096).toString('hex'))] }),
    ],
    ['one row twice', () => changing({ kind: 'put_bindings', bindings: [binding('a'), binding('a')] })],
    [
      'a time beyond all times',
      () => [prepared({ companions: { revokes: { kind: 'id', value: 'a', endsAtSec: Number.MAX_SAFE_INTEGER } } })],
    ],
    [
      'a value that a constraint refuses',
      () => [prepared({ companions: { revokes: { kind: 'id', value: 'x'.repeat(201) } } })],
    ],
    ['an intent that has no such name', () => [prepared({ companions: { closesIntent: "'; --" } })]],
  ];

  it.each(unwritable)('is refused alone and for ever: %s', async (_, guilty) => {
    const address = await freshLog();
    const { pool, failures } = poolOn(address);
    // A writer that is alone seals ahead after some batches: both ways are tried.
    for (const from of [0, 10, 20, 30, 40]) {
      const before = pool.add(numbered(2, from));
      const refused = codeOf(pool.add([...numbered(1, 99), ...guilty()]));
      const after = [pool.add(numbered(1, from + 2)), pool.add(numbered(3, from + 3))];
      expect(await refused).toBe('INTERNAL');
      const committed = (await Promise.all([before, ...after])).flat();
      expect(committed.map(({ seq }) => seq)).toEqual(committed.map((_, n) => (committed[0]?.seq ?? 0) + n));
    }
    expect(failures).toEqual([]);
    expect(pool.pending).toBe(0);
    await pool.ensureWritable();
    const numbers = [0, 10, 20, 30, 40].flatMap((from) => [0, 1, 2, 3, 4, 5].map((n) => from + n));
    expect(numbersOf(await checkLog(address))).toEqual(numbers);
  });

  it('two of them in one batch cost the others nothing', async () => {
    const address = await freshLog();
    const { pool, failures } = poolOn(address);
    const guilty = () => codeOf(pool.add(changing({ kind: 'add_role', role: role('my-role') })));
    const refused = [guilty()];
    const others = Array.from({ length: 20 }, (_, n) => pool.add(numbered(1, n)));
    refused.push(guilty());
    expect(await Promise.all(refused)).toEqual(['INTERNAL', 'INTERNAL']);
    expect(numbersOf(await checkAcknowledged(address, (await Promise.all(others)).flat()))).toHaveLength(20);
    expect(failures).toEqual([]);
  });

  it('what the tables of the log itself refuse is the fault of no entry', async () => {
    const address = await freshLog();
    await query(address.url, 'ALTER TABLE log_writer ADD CHECK (size < 3)');
    const { pool, failures } = poolOn(address, { commitDeadlineMs: 300, commitRetryMs: 20 });
    expect(await codeOf(pool.add(numbered(3)))).toBe('AUDIT_UNAVAILABLE');
    expect(failures).toHaveLength(1);
  });
});

describe('ensureWritable', () => {
  it('holds for a log that can be written, and writes nothing', async () => {
    const address = await freshLog();
    const { pool, batches } = poolOn(address);
    await pool.ensureWritable();
    expect(batches).toEqual([0]);
    expect(await checkLog(address)).toEqual([]);
  });

  it('asks the store only when the last commit is not fresh', async () => {
    const { pool, batches, clock } = poolOn(await freshLog());
    await pool.add(numbered(1));
    await pool.ensureWritable();
    await pool.ensureWritable();
    expect(batches).toEqual([1]);
    clock.skewMs = bounds.writableFreshMs + 1;
    await pool.ensureWritable();
    expect(batches).toEqual([1, 0]);
  });

  it('finds out that the store is gone, at once, although the last commit is fresh', async () => {
    const { way, proxy } = await proxied();
    const { pool } = poolOn(way, { commitDeadlineMs: 200, commitRetryMs: 10, writableFreshMs: 3_600_000 });
    await recovered(pool);
    await proxy.cut();
    await expect.poll(() => codeOf(pool.ensureWritable())).toBe('AUDIT_UNAVAILABLE');
    await proxy.restore();
    await recovered(pool);
  });

  it('finds out that the store hangs', async () => {
    const { way, proxy } = await proxied();
    const { pool, clock } = poolOn(way, { commitDeadlineMs: 200, commitRetryMs: 10 });
    await recovered(pool);
    proxy.hold();
    clock.skewMs = bounds.writableFreshMs + 1;
    expect(await codeOf(pool.ensureWritable())).toBe('AUDIT_UNAVAILABLE');
  });

  it('finds out that the store takes no writes', async () => {
    const address = await freshLog();
    const database = new URL(address.url).pathname.slice(1);
    await query(address.url, `ALTER DATABASE ${database} SET default_transaction_read_only = on`);
    const { pool, failures } = poolOn(address, { commitDeadlineMs: 200, commitRetryMs: 10 });
    expect(await codeOf(pool.ensureWritable())).toBe('AUDIT_UNAVAILABLE');
    expect(failures[0]).toContain('read-only transaction');
  });
});

describe('drained', () => {
  it('resolves at once when nothing waits', async () => {
    await poolOn(await freshLog()).pool.drained();
  });

  it('resolves when everything that was accepted is durable', async () => {
    const address = await freshLog();
    const { pool } = poolOn(address, { batchRecordsMax: 10 });
    const added = Array.from({ length: 100 }, (_, n) => pool.add(numbered(1, n)));
    await pool.drained();
    expect(pool.pending).toBe(0);
    expect(await checkLog(address)).toHaveLength(100);
    await Promise.all(added);
  });

  it('resolves also when the store never comes back', async () => {
    const { way, proxy } = await proxied();
    const { pool } = poolOn(way, { commitDeadlineMs: 100, commitRetryMs: 10 });
    await proxy.cut();
    const added = codeOf(pool.add(numbered(1)));
    await pool.drained();
    expect(await added).toBe('AUDIT_UNAVAILABLE');
  });
});
