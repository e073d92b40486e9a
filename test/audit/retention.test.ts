/** Records that are dropped: what the log says of it, what is left, and that nothing else is lost. */
import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { fsck } from '../../src/audit/fsck/fsck.ts';
import { createRecorder } from '../../src/audit/recorder.ts';
import { pruneBefore, startMaintenance } from '../../src/audit/retention.ts';
import { systemClock } from '../../src/core/clock.ts';
import { TalosError } from '../../src/core/errors.ts';
import { inclusionProof } from '../../src/core/merkle-proof.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createEventReader } from '../../src/storage/events.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { openLogSnapshot } from '../../src/storage/log-snapshot.ts';
import { createPartitionStore } from '../../src/storage/partitions.ts';
import { createTileReader } from '../../src/storage/tiles.ts';
import { isIncluded, leafHash } from '../../verifier/index.ts';
import { numbered, prepared } from '../support/drafts.ts';
import { cleanUp, freshLog, later, query, writerOn } from '../support/log-fixture.ts';
import { listeningTelemetry } from '../support/log-signer.ts';

afterEach(cleanUp);

const partition = 65_536;
const farFuture = 8_640_000_000_000;
const big = 90_000;

type Address = { readonly url: string };

async function fill(address: Address, count: number): Promise<void> {
  const writer = writerOn(address);
  for (let from = 0; from < count; from += 1_024) {
    await writer.append(randomUUID(), numbered(Math.min(1_024, count - from), from));
  }
}

function opened(address: Address) {
  const pool = openReadPool(address);
  const { telemetry, logText, metrics } = listeningTelemetry();
  const recorder = createRecorder({ writer: createLogWriter(address), clock: systemClock, telemetry });
  later(async () => {
    await recorder.close();
    await pool.end();
  });
  const partitions = createPartitionStore(pool, address);
  const { nodes } = createTileReader(pool);
  const options = { partitions, nodes, record: recorder.record, requestId: () => 'prune-1' };
  return { pool, recorder, partitions, nodes, events: createEventReader(pool), options, telemetry, logText, metrics };
}

async function check(address: Address) {
  const pool = openReadPool(address);
  const snapshot = await openLogSnapshot(address);
  try {
    return await fsck({ snapshot, nodes: createTileReader(pool).nodes });
  } finally {
    await snapshot.close();
    await pool.end();
  }
}

const partitionsOf = (address: Address) =>
  query(
    address.url,
    'SELECT first_seq::int, end_seq::int, pruned_at IS NOT NULL AS pruned FROM log_partition ORDER BY 1',
  );

describe('partitions', () => {
  it('are made by the batch that needs them, of twice the size while they fill quickly', async () => {
    const address = await freshLog();
    await query(address.url, `UPDATE log_head SET next_seq = ${partition - 10}, tree = tree`);
    expect(await partitionsOf(address)).toEqual([{ first_seq: 0, end_seq: partition, pruned: false }]);
    const ends = await query(address.url, `SELECT log_extend(${partition + 1})::int AS ends`);
    expect(ends).toEqual([{ ends: 3 * partition }]);
    expect(await query(address.url, `SELECT log_extend(${20 * partition})::int AS ends`)).toEqual([
      { ends: 31 * partition },
    ]);
  });

  it('are half as large after one that took weeks, and never smaller than 65,536', async () => {
    const address = await freshLog();
    await query(address.url, `SELECT log_extend(${partition + 1})`);
    await query(address.url, "UPDATE log_partition SET created_at = now() - interval '20 days'");
    await query(address.url, `SELECT log_extend(${3 * partition + 1})`);
    await query(address.url, "UPDATE log_partition SET created_at = now() - interval '20 days'");
    await query(address.url, `SELECT log_extend(${4 * partition + 1})`);
    expect((await partitionsOf(address)).map(({ end_seq }) => Number(end_seq) / partition)).toEqual([1, 3, 4, 5]);
  });

  it('keep their size when they last for days, and are never larger than 2^24', async () => {
    const address = await freshLog();
    await query(address.url, "UPDATE log_partition SET created_at = now() - interval '5 days'");
    await query(address.url, `SELECT log_extend(${partition + 1})`);
    await query(address.url, `SELECT log_extend(${2 ** 26})`);
    const sizes = (await partitionsOf(address)).map((row) => Number(row['end_seq']) - Number(row['first_seq']));
    expect(sizes.slice(0, 3)).toEqual([partition, partition, 2 * partition]);
    expect(Math.max(...sizes)).toBe(2 ** 24);
  });

  it('are made once, however many ask at the same time', async () => {
    const address = await freshLog();
    await Promise.all(Array.from({ length: 8 }, () => query(address.url, `SELECT log_extend(${partition + 1})`)));
    expect(await partitionsOf(address)).toHaveLength(2);
  });

  it('are there before a writer needs them', async () => {
    const address = await freshLog();
    const { partitions } = opened(address);
    await partitions.extendAhead();
    expect(await partitionsOf(address)).toHaveLength(1);
    await query(address.url, `UPDATE log_head SET next_seq = ${partition / 2 + 1}`);
    await partitions.extendAhead();
    expect(await partitionsOf(address)).toHaveLength(2);
  });
});

describe('a log of two partitions', () => {
  it('is written across the boundary, and pruned up to it', { timeout: 120_000 }, async () => {
    const address = await freshLog();
    await fill(address, big);
    expect(await check(address)).toMatchObject({ ok: true, faults: [], size: big });

    const { events, options, partitions, nodes, recorder } = opened(address);
    const [old] = await events.records({ filter: {}, firstSeq: 1_000, limit: 1 });
    const [kept] = await events.records({ filter: {}, firstSeq: partition, limit: 1 });
    if (old === undefined || kept === undefined) throw new Error('the records are not there');

    // Nothing is old enough, or a call is still open.
    expect(await pruneBefore(0, 'test', options)).toBeUndefined();
    await query(address.url, `INSERT INTO log_intent VALUES ('${old.eventId}', '${randomUUID()}')`);
    expect(await pruneBefore(farFuture, 'test', options)).toBeUndefined();
    await query(address.url, 'DELETE FROM log_intent');
    expect(await events.isPruned(old.eventId)).toBe(false);

    await query(address.url, `INSERT INTO log_erasable VALUES ('${old.eventId}', 'k', '', '1')`);
    const pruned = await pruneBefore(farFuture, '30 days', options);
    expect(pruned).toMatchObject({ fromSeq: 0, toSeq: partition });

    // The log says so.
    const said = await events.get(pruned?.eventId ?? '', {});
    const { surface_id, meta } = JSON.parse(said?.canon ?? '{}');
    expect(surface_id).toBe('log.retention.prune');
    expect(meta).toMatchObject({ pruned_from: 0, pruned_to: partition, pruned_policy: '30 days' });

    // They are gone, and it is known of them that they are.
    expect(await events.get(old.eventId, {})).toBeUndefined();
    expect(await events.isPruned(old.eventId)).toBe(true);
    expect(await events.isPruned(kept.eventId)).toBe(false);
    expect(await events.records({ filter: {}, firstSeq: 0, limit: 1 })).toMatchObject([{ seq: partition }]);
    expect(await query(address.url, "SELECT to_regclass('audit_event_0') AS gone")).toEqual([{ gone: null }]);
    expect(await query(address.url, 'SELECT count(*)::int AS n FROM log_erasable')).toEqual([{ n: 0 }]);
    expect(await partitions.extent()).toEqual({ prunedUntil: partition, nextSeq: big + 1 });

    // A receipt of one of them still verifies, against a tree that has grown since.
    await recorder.recordAll([]);
    await fillMore(address);
    const { root, size } = await headOf(address);
    const proof = (await inclusionProof(1_000, size, nodes)).map((hash) => new Uint8Array(hash));
    const head = { size, root: new Uint8Array(root) };
    expect(await isIncluded(await leafHash(Buffer.from(old.canon)), 1_000, head, proof)).toBe(true);

    const report = await check(address);
    expect(report.faults).toEqual([]);
    expect(report).toMatchObject({ ok: true, firstSeq: partition });

    // The newest partition is never dropped.
    expect(await pruneBefore(farFuture, 'test', options)).toBeUndefined();

    // What is left of the pruned records is still checked.
    await query(
      address.url,
      "UPDATE log_tile SET data = overlay(data placing '\\x00' from 40) WHERE level = 0 AND index = 3",
    );
    expect((await check(address)).faults).toMatchObject([
      { part: 'tiles', sentence: 'Tile 0/3 has another root than its hashes.' },
    ]);
  });

  it('finishes what a crash left undone', { timeout: 120_000 }, async () => {
    const address = await freshLog();
    await fill(address, partition + 300);
    const { partitions, options } = opened(address);
    const part = await partitions.prunable(farFuture);
    if (part === undefined) throw new Error('nothing can be pruned');
    await partitions.markPruned(part);
    expect(await check(address)).toMatchObject({ ok: true, firstSeq: 0 });
    await query(address.url, 'ALTER TABLE audit_event DETACH PARTITION audit_event_0');
    expect(await pruneBefore(0, 'test', options)).toBeUndefined();
    expect(await query(address.url, "SELECT to_regclass('audit_event_0') AS gone")).toEqual([{ gone: null }]);
    expect(await check(address)).toMatchObject({ ok: true, firstSeq: partition });
  });

  it('is not touched when the log cannot say so', { timeout: 120_000 }, async () => {
    const address = await freshLog();
    await fill(address, partition + 10);
    const { options, events } = opened(address);
    const record = () => Promise.reject(new TalosError('AUDIT_UNAVAILABLE'));
    await expect(pruneBefore(farFuture, 'test', { ...options, record })).rejects.toThrow(TalosError);
    expect(await events.records({ filter: {}, firstSeq: 0, limit: 1 })).toMatchObject([{ seq: 0 }]);
  });
});

async function fillMore(address: Address): Promise<void> {
  await writerOn(address).append(randomUUID(), [...numbered(299), prepared({ meta: { session_id: 'after' } })]);
}

async function headOf(address: Address): Promise<{ root: Buffer; size: number }> {
  const [row] = await query(address.url, 'SELECT root, next_seq::int AS size FROM log_head');
  return row as unknown as { root: Buffer; size: number };
}

describe('maintenance', () => {
  it('tells how much is kept, and warns once of what it cannot do', async () => {
    const address = await freshLog();
    await fill(address, 10);
    const { options, telemetry, logText, metrics } = opened(address);
    const hour = { intervalMs: 3_600_000, pruneIntervalMs: 0, clock: systemClock, telemetry };
    const maintenance = startMaintenance({ ...options, ...hour, retentionDays: 30 });
    later(() => maintenance.close());
    await maintenance.run();
    expect(await metrics()).toContain('gateway_log_records_kept 10');
    expect(await metrics()).toContain('gateway_log_retention_days 30');
    await query(address.url, 'ALTER TABLE log_partition RENAME TO moved');
    await maintenance.run();
    await maintenance.run();
    expect(logText().match(/could not be maintained/g)).toHaveLength(1);
    await query(address.url, 'ALTER TABLE moved RENAME TO log_partition');
  });
});
