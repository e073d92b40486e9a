/** An intent has one outcome, whoever comes to record one, in whatever order, and whatever becomes of the commit. */
import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { type ReconcilerOptions, startReconciler } from '../../src/audit/reconciler.ts';
import { createRecorder } from '../../src/audit/recorder.ts';
import type { PreparedEvent } from '../../src/core/audit-event.ts';
import { systemClock } from '../../src/core/clock.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import type { JsonValue } from '../../src/core/json.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createIntentStore } from '../../src/storage/intents.ts';
import { createTelemetry } from '../../src/telemetry/telemetry.ts';
import { type Cut, startCommitCutter } from '../support/commit-cutter.ts';
import { numbered, prepared } from '../support/drafts.ts';
import { checkAcknowledged, cleanUp, freshLog, later, query, writerOn } from '../support/log-fixture.ts';

afterEach(cleanUp);

const intent = () => prepared({ meta: { phase: 'intent' }, companions: { opensIntent: true } });

function outcomeOf(intentId: string, n = 0): PreparedEvent {
  return prepared({
    meta: { phase: 'outcome', intent_id: intentId, latency_ms: 7, n },
    companions: { closesIntent: intentId },
  });
}

/** A log with `count` open intents of one writer. */
async function withIntents(count: number) {
  const address = await freshLog();
  const writer = writerOn(address);
  const committed = await writer.append(randomUUID(), Array.from({ length: count }, intent));
  return { address, writer, ids: committed.map(({ eventId }) => eventId) };
}

/** Phase, number and reason of every record after the intents, once the log and its statistics are known to be whole. */
async function words(address: { url: string }): Promise<unknown[]> {
  const records = await checkAcknowledged(address, []);
  return records
    .map(({ record }) => record['meta'] as Record<string, JsonValue>)
    .filter(({ phase }) => phase !== 'intent')
    .map(({ phase, n, reason }) => [phase, n ?? reason]);
}

async function openIntents(address: { url: string }): Promise<unknown[]> {
  return await query(address.url, 'SELECT intent_id FROM log_intent');
}

/** Closes whatever is open, as the next gateway does; `before` runs when it has claimed and not yet recorded. */
async function reconcileAll(address: { url: string }, before: () => Promise<unknown> = async () => undefined) {
  const pool = openReadPool(address);
  const writer = writerOn(address);
  const telemetry = createTelemetry({ level: 'silent' });
  const recorder = createRecorder({ writer, clock: systemClock, telemetry });
  const recordAll: ReconcilerOptions['recorder']['recordAll'] = async (drafts) => {
    await before();
    return await recorder.recordAll(drafts);
  };
  const reconciler = startReconciler({
    intents: createIntentStore(pool),
    writerId: writer.writerId,
    recorder: { ...recorder, recordAll },
    intervalMs: 3_600_000,
    silentMs: 3_600_000,
    log: telemetry.log,
  });
  const closed = await reconciler.reconcile(0);
  await reconciler.close();
  await pool.end();
  return closed;
}

describe('of two outcomes', () => {
  it('the second one is late: on record, and counted nowhere', async () => {
    const { address, writer, ids } = await withIntents(1);
    const [id = ''] = ids;
    await writer.append(randomUUID(), [outcomeOf(id, 1)]);
    const [late] = await writerOn(address).append(randomUUID(), [outcomeOf(id, 2)]);
    expect(late).toMatchObject({ seq: 2 });
    expect(await words(address)).toEqual([
      ['outcome', 1],
      ['late', 2],
    ]);
    const counted = await query(address.url, 'SELECT counter, value FROM log_rollup WHERE span_sec = 60');
    expect(counted.map(({ value }) => value)).toEqual(['1', '1']);
    expect(await openIntents(address)).toEqual([]);
  });

  it('the one of a gateway that was silent for too long is late', async () => {
    const { address, writer, ids } = await withIntents(2);
    expect(await reconcileAll(address)).toBe(2);
    await writer.append(randomUUID(), ids.map(outcomeOf));
    expect(await words(address)).toEqual([
      ['outcome', 'gateway_restart'],
      ['outcome', 'gateway_restart'],
      ['late', 0],
      ['late', 1],
    ]);
  });

  it('that nobody knows is late when the gateway woke in between', async () => {
    const { address, writer, ids } = await withIntents(2);
    await reconcileAll(address, () => writer.append(randomUUID(), [outcomeOf(ids[1] ?? '', 1)]));
    expect(await words(address)).toEqual([
      ['outcome', 1],
      ['outcome', 'gateway_restart'],
      ['late', 'gateway_restart'],
    ]);
    expect(await openIntents(address)).toEqual([]);
  });

  it('in one batch the first one counts, and the others of the batch are as they were', async () => {
    const { address, writer, ids } = await withIntents(3);
    const [a = '', b = '', c = ''] = ids;
    await writerOn(address).append(randomUUID(), [outcomeOf(b, 1)]);
    const reserves = { keyHash: sha256Hex('k'), bodyHash: sha256Hex('b'), records: 1 };
    const keyed = prepared({ meta: { n: 4 }, companions: { reserves } });
    const batch = [outcomeOf(a, 2), outcomeOf(b, 3), keyed, outcomeOf(a, 5), ...numbered(1, 6), keyed, outcomeOf(c, 7)];
    const committed = await writer.append(randomUUID(), batch);
    expect(committed.map(({ seq }) => seq)).toEqual([4, 5, 6, 7, 8, 6, 9]);
    expect(await words(address)).toEqual([
      ['outcome', 1],
      ['outcome', 2],
      ['late', 3],
      [undefined, 4],
      ['late', 5],
      [undefined, 6],
      ['outcome', 7],
    ]);
  });

  it('of two writers at once one is late', async () => {
    const { address, writer, ids } = await withIntents(8);
    const batch = ids.map(outcomeOf);
    const others = [writer, writerOn(address), writerOn(address)];
    await Promise.all(others.map((one) => one.append(randomUUID(), batch)));
    const phases = (await words(address)).map((word) => (word as unknown[])[0]);
    expect(phases).toEqual([...batch.map(() => 'outcome'), ...batch.map(() => 'late'), ...batch.map(() => 'late')]);
  });

  it('an outcome of what is no intent is late too', async () => {
    const { address, writer } = await withIntents(0);
    await writer.append(randomUUID(), [outcomeOf('01900000-0000-7000-8000-000000000000')]);
    expect(await words(address)).toEqual([['late', 0]]);
  });

  it('refuses a name that is no event id, and writes nothing', async () => {
    const { address, writer } = await withIntents(1);
    await expect(writer.append(randomUUID(), [outcomeOf("' OR true --")])).rejects.toThrow('An intent is named by');
    expect(await words(address)).toEqual([]);
    expect(await openIntents(address)).toHaveLength(1);
  });
});

describe('an outcome whose commit is in doubt', () => {
  async function doubted(cut: Cut, between: (address: { url: string }) => Promise<unknown>) {
    const { address, ids } = await withIntents(2);
    const [known = '', id = ''] = ids;
    await writerOn(address).append(randomUUID(), [outcomeOf(known, 1)]);
    const cutter = await startCommitCutter();
    later(() => cutter.close());
    const writer = writerOn({ url: cutter.urlOf(address.url) });
    await writer.append(randomUUID(), []);
    const batchId = randomUUID();
    const batch = [outcomeOf(known, 2), outcomeOf(id, 3), ...numbered(1, 4)];
    cutter.arm(cut);
    await expect(writer.append(batchId, batch)).rejects.toThrow();
    await between(address);
    const committed = await writer.append(batchId, batch);
    expect(await writer.append(batchId, batch)).toEqual(committed);
    await checkAcknowledged(address, committed);
    return await words(address);
  }

  const nothing = async () => undefined;

  it.each<[string, Cut, (address: { url: string }) => Promise<unknown>, unknown[]]>([
    [
      'is what it was when it was committed',
      'reply',
      nothing,
      [
        ['late', 2],
        ['outcome', 3],
        [undefined, 4],
      ],
    ],
    [
      'stays what it was when others look for open intents',
      'reply',
      reconcileAll,
      [
        ['late', 2],
        ['outcome', 3],
        [undefined, 4],
      ],
    ],
    [
      'is written when it was not',
      'before',
      nothing,
      [
        ['late', 2],
        ['outcome', 3],
        [undefined, 4],
      ],
    ],
    [
      'is late when another one came before it was tried again',
      'midway',
      reconcileAll,
      [
        ['outcome', 'gateway_restart'],
        ['late', 2],
        ['late', 3],
        [undefined, 4],
      ],
    ],
  ])('%s', async (_, cut, between, after) => {
    expect(await doubted(cut, between)).toEqual([['outcome', 1], ...after]);
  });
});
