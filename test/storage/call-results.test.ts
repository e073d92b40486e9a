/** What a call's key answers is there with the record of the outcome, or not at all, and is what the first outcome says. */
import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import type { KeySettlement, PreparedEvent } from '../../src/core/audit-event.ts';
import { type CallResultStore, createCallResultStore, pruneCallResults } from '../../src/storage/call-results.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { startCommitCutter } from '../support/commit-cutter.ts';
import { prepared } from '../support/drafts.ts';
import { checkAcknowledged, cleanUp, freshLog, later, query, writerOn } from '../support/log-fixture.ts';

afterEach(cleanUp);

const envelope = { kek_id: 'k', nonce_b64u: 'bm9uY2U', ciphertext_b64u: 'Y2lwaGVy', tag_b64u: 'dGFn' };

function outcomeOf(intentId: string, kind: KeySettlement['kind'] = 'answered'): PreparedEvent {
  return prepared({
    meta: { phase: 'outcome', intent_id: intentId },
    companions: { closesIntent: intentId, settlesKey: { kind, intentId } },
  });
}

async function withIntent() {
  const address = await freshLog();
  const cutter = await startCommitCutter();
  later(() => cutter.close());
  const writer = writerOn({ url: cutter.urlOf(address.url) });
  const intent = prepared({ meta: { phase: 'intent' }, companions: { opensIntent: true } });
  const [committed] = await writer.append(randomUUID(), [intent]);
  const pool = openReadPool(address);
  later(() => pool.end());
  return { address, cutter, writer, pool, results: createCallResultStore(pool), id: committed?.eventId ?? '' };
}

describe('the key of a call', () => {
  it('answers nothing before the outcome is on record, also when the result is there', async () => {
    const { results, id } = await withIntent();
    expect(await results.find(id)).toBeUndefined();
    await results.put(id, envelope);
    expect(await results.find(id)).toBeUndefined();
  });

  it.each<KeySettlement['kind']>(['answered', 'unknown', 'freed'])(
    'answers with the outcome that is %s',
    async (kind) => {
      const { writer, results, id } = await withIntent();
      const [outcome] = await writer.append(randomUUID(), [outcomeOf(id, kind)]);
      expect(await results.find(id)).toEqual({ outcomeId: outcome?.eventId, kind, envelope: undefined });
    },
  );

  it('answers what was kept', async () => {
    const { writer, results, id } = await withIntent();
    await results.put(id, envelope);
    const [outcome] = await writer.append(randomUUID(), [outcomeOf(id)]);
    expect(await results.find(id)).toEqual({ outcomeId: outcome?.eventId, kind: 'answered', envelope });
  });

  it.each<[KeySettlement['kind'], KeySettlement['kind']]>([
    ['unknown', 'answered'],
    ['answered', 'unknown'],
    ['unknown', 'freed'],
  ])('answers the first outcome (%s), not one that comes late (%s)', async (first, second) => {
    const { address, writer, results, id } = await withIntent();
    const [outcome] = await writer.append(randomUUID(), [outcomeOf(id, first)]);
    await writer.append(randomUUID(), [outcomeOf(id, second)]);
    expect(await results.find(id)).toMatchObject({ outcomeId: outcome?.eventId, kind: first });
    expect(await checkAcknowledged(address, [])).toHaveLength(3);
  });

  it.each(['before', 'midway'] as const)('answers nothing when the batch of the outcome fails (%s)', async (cut) => {
    const { cutter, writer, results, id } = await withIntent();
    cutter.arm(cut);
    await expect(writer.append(randomUUID(), [outcomeOf(id)])).rejects.toThrow();
    expect(await results.find(id)).toBeUndefined();
    const [outcome] = await writer.append(randomUUID(), [outcomeOf(id)]);
    expect(await results.find(id)).toMatchObject({ outcomeId: outcome?.eventId });
  });

  it.each(['', "'; DROP TABLE audit_event; --", randomUUID()])(
    'that is not named by an intent never becomes part of a statement (%j)',
    async (intentId) => {
      const { address, writer } = await withIntent();
      const event = prepared({ companions: { settlesKey: { kind: 'answered', intentId } } });
      await expect(writer.append(randomUUID(), [event])).rejects.toThrow('An intent is named by its event id.');
      expect(await checkAcknowledged(address, [])).toHaveLength(1);
    },
  );

  it('is not answered by a store that is away', async () => {
    const { pool, id } = await withIntent();
    const away = openReadPool({ url: 'postgres://nobody@127.0.0.1:1/none' });
    later(() => away.end());
    const results: CallResultStore = createCallResultStore(away);
    await expect(results.find(id)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    await expect(results.put(id, envelope)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(await createCallResultStore(pool).find(id)).toBeUndefined();
  });
});

describe('pruning', () => {
  it('forgets what is older than any key, settled or not, and nothing else', async () => {
    const { address, pool, results } = await withIntent();
    const put = async (id: string, ageSec: number) => {
      await results.put(id, envelope);
      const age = `interval '1 second' * ${ageSec}`;
      await query(address.url, `UPDATE call_result SET kept_at = now() - ${age} WHERE intent_id = '${id}'`);
    };
    const [old, young] = [randomUUID(), randomUUID()];
    await put(old, bounds.idempotencyKeptSec);
    await put(young, bounds.idempotencyKeptSec - 3_600);
    expect(await pruneCallResults(pool)).toBe(1);
    expect(await query(address.url, 'SELECT intent_id FROM call_result')).toEqual([{ intent_id: young }]);
  });
});
