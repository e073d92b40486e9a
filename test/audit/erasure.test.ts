/** Values that can be erased: shown while they are kept, gone afterwards, and the log is the same before and after. */
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eraseValues } from '../../src/audit/erasure.ts';
import { fsck } from '../../src/audit/fsck/fsck.ts';
import { createRecorder } from '../../src/audit/recorder.ts';
import { systemClock } from '../../src/core/clock.ts';
import { commitment, withCommitments } from '../../src/core/erasable.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createErasableStore, type ErasureTarget } from '../../src/storage/erasable.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { openLogSnapshot } from '../../src/storage/log-snapshot.ts';
import { createTileReader } from '../../src/storage/tiles.ts';
import { createTelemetry } from '../../src/telemetry/telemetry.ts';
import { trust, verifyReceipt } from '../../verifier/index.ts';
import { dumpOf, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { query } from '../support/log-fixture.ts';

let gateway: TestGateway;

beforeAll(async () => {
  gateway = await startTestGateway({ env: { TALOS_AUDIT_ERASABLE: 'email,profile' } });
});

afterAll(() => gateway.stop());

async function submit(metadata: JsonObject, actor = 'agent-1'): Promise<string> {
  const json = { event_type: 'visit', actor, action: 'test', metadata };
  const answer = await gateway.send('/api/events', { json });
  expect(answer.status).toBe(200);
  return String(answer.body['event_id']);
}

async function read(id: string): Promise<{ item: JsonObject; meta: JsonObject; metadata: JsonObject }> {
  const { body } = await gateway.send(`/api/events/${id}`);
  const { item, record } = body as { item: JsonObject; record: JsonObject };
  return { item, meta: record['meta'] as JsonObject, metadata: item['metadata'] as JsonObject };
}

async function erase(target: ErasureTarget) {
  const pool = openReadPool({ url: gateway.database.url });
  const telemetry = createTelemetry({ level: 'silent' });
  const writer = createLogWriter({ url: gateway.database.url });
  const recorder = createRecorder({ writer, clock: systemClock, telemetry });
  try {
    const store = createErasableStore(pool);
    return await eraseValues(target, { store, record: recorder.record, requestId: 'erase-1' });
  } finally {
    await recorder.close();
    await pool.end();
  }
}

async function faults(): Promise<string[]> {
  const pool = openReadPool({ url: gateway.database.url });
  const snapshot = await openLogSnapshot({ url: gateway.database.url });
  try {
    const report = await fsck({ snapshot, nodes: createTileReader(pool).nodes });
    return report.faults.map(({ sentence }) => sentence);
  } finally {
    await snapshot.close();
    await pool.end();
  }
}

const secretAddress = 'somebody@example.com';

describe('an erasable value', () => {
  it('is shown in the item, and is not in the record', async () => {
    const id = await submit({ email: secretAddress, profile: { age: 42, tags: ['ä', '\0'] }, n: 1 });
    const { metadata, meta } = await read(id);
    expect(metadata).toMatchObject({ email: secretAddress, profile: { age: 42, tags: ['ä', '\0'] }, n: 1 });
    expect(meta).toMatchObject({ email: expect.stringMatching(/^sha256:[0-9a-f]{64}$/), n: 1 });
    expect(meta['profile']).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(meta['details_hash']).toBeUndefined();
    const { body } = await gateway.send('/api/events?event_type=visit');
    expect((body['items'] as unknown as JsonObject[])[0]?.['metadata']).toMatchObject({ email: secretAddress });
  });

  it('is committed to by a salt of its own', async () => {
    const [one, other] = [await submit({ email: 'x@example.com' }), await submit({ email: 'x@example.com' })];
    expect((await read(one)).meta['email']).not.toBe((await read(other)).meta['email']);
    const [row] = await query(
      gateway.database.url,
      `SELECT encode(salt, 'hex') AS salt, value FROM log_erasable WHERE event_id = '${one}'`,
    );
    const hash = createHash('sha256')
      .update(Buffer.from(String(row?.['salt']), 'hex'))
      .update('"x@example.com"');
    expect((await read(one)).meta['email']).toBe(`sha256:${hash.digest('hex')}`);
  });

  it('is committed to where the rest of the metadata needs details, too', async () => {
    const id = await submit({ email: 'deep@example.com', nested: { a: 1 } });
    const { metadata } = await read(id);
    expect(metadata).toMatchObject({ email: 'deep@example.com', nested: { a: 1 } });
    const rows = await query(gateway.database.url, `SELECT details FROM audit_event WHERE event_id = '${id}'`);
    expect(String(rows[0]?.['details'])).not.toContain('deep@');
    expect(await faults()).toEqual([]);
  });

  it('is gone once it is erased, and every proof still holds', async () => {
    const id = await submit({ email: 'gone@example.com', profile: 'p' });
    const before = (await gateway.send(`/api/events/${id}/proof`)).text;
    const { meta } = await read(id);
    const erased = await erase({ eventId: id, key: 'email' });
    expect(erased?.values).toBe(1);
    const after = await read(id);
    expect(after.meta).toEqual(meta);
    expect(after.metadata).toMatchObject({ email: meta['email'], profile: 'p' });
    expect(await dumpOf(gateway)).not.toContain('gone@example.com');
    const { body } = await gateway.send('/log/keys');
    const believed = await trust({ vkeys: body['keys'] as unknown as string[] });
    expect(await verifyReceipt(before, believed)).toMatchObject({ ok: true });
    const receipt = (await gateway.send(`/api/events/${id}/proof`)).text;
    expect(await verifyReceipt(receipt, believed)).toMatchObject({ ok: true });
    expect(await faults()).toEqual([]);
    const said = await read(erased?.eventId ?? '');
    expect(said.meta).toMatchObject({ erased_event_id: id, erased_key: 'email', erased_count: 1 });
    expect(said.item['method']).toBe('log.erasure');
  });

  it('is erased in all events of an agent, and of nobody else', async () => {
    const mine = [await submit({ email: 'a@example.com' }, 'leaver'), await submit({ profile: 1 }, 'leaver')];
    const other = await submit({ email: 'b@example.com' }, 'stayer');
    expect(await erase({ agentId: 'leaver' })).toMatchObject({ values: 2 });
    for (const id of mine) expect(JSON.stringify((await read(id)).metadata)).not.toContain('a@example.com');
    expect((await read(other)).metadata).toMatchObject({ email: 'b@example.com' });
  });

  it.each([
    [{ eventId: '01900000-0000-7000-8000-000000000000' }],
    [{ agentId: 'nobody' }],
    [{ agentId: 'stayer', key: 'profile' }],
    [{ key: 'email' }],
    [{}],
  ])('is not erased by %o, and nothing is recorded', async (target) => {
    const count = async () =>
      (await query(gateway.database.url, 'SELECT count(*)::int AS n FROM log_erasable'))[0]?.['n'];
    const before = await count();
    expect(await erase(target)).toBeUndefined();
    expect(await count()).toBe(before);
  });

  it('is kept or not together with its record', async () => {
    const before = await query(gateway.database.url, 'SELECT count(*)::int AS n FROM log_erasable');
    const json = { event_type: 'visit', actor: 'a', action: 'x'.repeat(5_000), metadata: { email: 'e' } };
    expect((await gateway.send('/api/events', { json })).status).toBe(422);
    expect(await query(gateway.database.url, 'SELECT count(*)::int AS n FROM log_erasable')).toEqual(before);
  });

  it('that was changed or does not belong is found by fsck', async () => {
    const id = await submit({ email: 'changed@example.com' });
    await query(gateway.database.url, `UPDATE log_erasable SET value = '"other@example.com"' WHERE event_id = '${id}'`);
    expect(await faults()).toEqual([expect.stringContaining('is not what it names')]);
    await query(gateway.database.url, `DELETE FROM log_erasable WHERE event_id = '${id}'`);
    expect(await faults()).toEqual([]);
  });
});

describe('withCommitments', () => {
  it('leaves everything else as it is', () => {
    const metadata = { a: 1, b: { c: [null] } };
    expect(withCommitments(metadata, new Set(['email']))).toEqual({ metadata, erasable: [] });
  });

  it('commits to any JSON value by its canonical form', () => {
    for (const value of ['', 0, false, null, [], {}, { b: 1, a: 2 }]) {
      const { metadata, erasable } = withCommitments({ k: value }, new Set(['k']));
      expect(erasable).toHaveLength(1);
      for (const hidden of erasable) expect(metadata).toEqual({ k: commitment(hidden) });
    }
  });
});
