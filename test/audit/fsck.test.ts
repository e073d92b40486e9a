/** Every stored thing is changed once, and the check of the whole log must name it. */
import { createPublicKey, generateKeyPairSync, randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { type FsckOptions, type FsckReport, fsck } from '../../src/audit/fsck/fsck.ts';
import type { PreparedEvent } from '../../src/core/audit-event.ts';
import { formatCheckpoint } from '../../src/core/checkpoint.ts';
import { signNote } from '../../src/core/note.ts';
import { formatVerifierKey, generateNoteKey, noteSigner } from '../../src/core/note-key.ts';
import { createCheckpointStore } from '../../src/storage/checkpoints.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { openLogSnapshot } from '../../src/storage/log-snapshot.ts';
import { createTileReader } from '../../src/storage/tiles.ts';
import { hostileTexts, numbered, prepared } from '../support/drafts.ts';
import { cleanUp, freshLog, later, query, writerOn } from '../support/log-fixture.ts';

afterEach(cleanUp);

const origin = 'gateway.example/log';
const { privateKey } = generateKeyPairSync('ed25519');
const signer = noteSigner(origin, privateKey);
const vkey = formatVerifierKey(origin, createPublicKey(privateKey));

async function check(address: { url: string }, more: Partial<FsckOptions> = {}): Promise<FsckReport> {
  const pool = openReadPool(address);
  const snapshot = await openLogSnapshot(address);
  try {
    return await fsck({ snapshot, nodes: createTileReader(pool).nodes, ...more });
  } finally {
    await snapshot.close();
    await pool.end();
  }
}

const sentencesOf = ({ faults }: FsckReport) => faults.map(({ part, sentence }) => `${part}: ${sentence}`);

async function append(address: { url: string }, ...batches: readonly (readonly PreparedEvent[])[]): Promise<string[]> {
  const writer = writerOn(address);
  const ids: string[] = [];
  for (const batch of batches) ids.push(...(await writer.append(randomUUID(), batch)).map(({ eventId }) => eventId));
  return ids;
}

/** Signs the head, as a gateway does. */
async function signHead(address: { url: string }): Promise<string> {
  const pool = openReadPool(address);
  const store = createCheckpointStore(pool);
  await store.origin(origin);
  await store.claimSigner(vkey);
  const { size, root } = await store.head();
  const note = await signNote({ text: formatCheckpoint({ origin, size, root }), signatures: [] }, [signer]);
  await store.add({ size, root, note });
  await pool.end();
  return note;
}

/** 602 records in two full tiles and an edge, with details, a key, an open intent, and two checkpoints. */
async function writtenLog(): Promise<{ url: string }> {
  const address = await freshLog();
  await append(address, numbered(300));
  await signHead(address);
  await append(address, numbered(300, 300), [
    prepared({ meta: { session_id: 's' }, details: { list: [1] } }),
    prepared({ meta: { phase: 'intent' }, companions: { opensIntent: true } }),
  ]);
  await signHead(address);
  return address;
}

const editRecord = (seq: number, from: string, to: string, withLeaf: boolean) => {
  const edited = `replace(canon, '${from}', '${to}')`;
  const leaf = withLeaf ? `, leaf_hash = sha256('\\x00' || convert_to(${edited}, 'UTF8'))` : '';
  return `UPDATE audit_event SET canon = ${edited}${leaf} WHERE seq = ${seq}`;
};

describe('fsck', () => {
  it('accepts an empty log', async () => {
    const report = await check(await freshLog());
    expect(report).toMatchObject({ ok: true, size: 0, faults: [], openIntents: [] });
  });

  it('accepts the log as it was written, and says what it looked at', async () => {
    const report = await check(await writtenLog());
    expect(sentencesOf(report)).toEqual([]);
    expect(report).toMatchObject({ ok: true, origin, size: 602, firstSeq: 0, hasOutsideKeys: false });
    expect(report.checked).toMatchObject({ records: 602, tiles: 2, checkpoints: 2, outsideCheckpoints: 0 });
    expect(report.openIntents).toHaveLength(1);
  });

  it('accepts records with every hostile text in every place', async () => {
    const address = await freshLog();
    const events = hostileTexts.flatMap((text) => [
      prepared({ meta: { session_id: text, tool_name: text, event_type: text, text }, requestId: text }),
      prepared({ principal: { authMode: 'bearer', id: text, teamId: text }, details: { [text]: text } }),
    ]);
    await append(address, events);
    expect(sentencesOf(await check(address))).toEqual([]);
  });

  it.each([0, 1, 255, 256, 257, 511, 512, 1_023])('accepts a log of %i records', async (count) => {
    const address = await freshLog();
    if (count > 0) await append(address, numbered(count));
    expect(await check(address)).toMatchObject({ ok: true, size: count });
  });

  it.each([
    ['an edited record', editRecord(5, 'success', 'failure', false), 'records: The leaf of record 5'],
    ['an edited record with its leaf', editRecord(5, '"n":5', '"n":6', true), 'tiles: Tile 0/0 holds other hashes'],
    ['an edited record at the edge, with its leaf', editRecord(599, '"n":599', '"n":7', true), 'root: The root'],
    ['a record that is not canonical', editRecord(5, '{"event_id"', '{ "event_id"', true), 'records: Record 5 is not'],
    ['a record that is no JSON', editRecord(5, '{"event_id"', '', true), 'records: Record 5 is not canonical'],
    ['a deleted record', 'DELETE FROM audit_event WHERE seq = 5', 'records: Record 6 stands where record 5'],
    ['a cut tail', 'DELETE FROM audit_event WHERE seq >= 590', 'head: The head counts 602 records; there are 590'],
    [
      'two records that changed places',
      'UPDATE audit_event SET seq = seq + 60000 WHERE seq IN (5, 6); UPDATE audit_event SET seq = 60011 - seq WHERE seq > 60000',
      'records: The id of record 6 is not after',
    ],
    [
      'a repeated record',
      `CREATE TABLE added AS SELECT * FROM audit_event WHERE seq = 600;
         UPDATE added SET seq = 602, event_id = 'ffffffff-ffff-7fff-bfff-ffffffffffff';
         INSERT INTO audit_event SELECT * FROM added`,
      'records: Record 602 names another id',
    ],
    ['another key', "UPDATE audit_event SET session_id = 'x' WHERE seq = 600", 'keys: The columns of record 600'],
    ['a missing key', 'UPDATE audit_event SET agent_id = NULL WHERE seq = 5', 'keys: The columns of record 5'],
    ['an added key', "UPDATE audit_event SET tool = '' WHERE seq = 5", 'keys: The columns of record 5'],
    ['another intent mark', 'UPDATE audit_event SET is_intent = true WHERE seq = 5', 'keys: The columns of record 5'],
    ['another time', "UPDATE audit_event SET ts = ts + interval '1 ms' WHERE seq = 5", 'keys: The columns of record 5'],
    ['other details', `UPDATE audit_event SET details = '{"list":[2]}' WHERE seq = 600`, 'details: The details of'],
    ['missing details', 'UPDATE audit_event SET details = NULL WHERE seq = 600', 'details: The details of record 600'],
    ['added details', "UPDATE audit_event SET details = '{}' WHERE seq = 5", 'details: The details of record 5'],
    ['another head', 'UPDATE log_head SET next_seq = 600', 'head: The head counts 600 records'],
    ['another root', "UPDATE log_head SET root = sha256('x')", 'root: The root of the head'],
    ['another tree', "UPDATE log_head SET tree = tree || '\\x00'", 'root: The compact range'],
    ['another last time', 'UPDATE log_head SET last_ms = last_ms + 1', 'head: The head stands at another time'],
    ['another last count', 'UPDATE log_head SET last_counter = last_counter + 1', 'head: The head stands at another'],
    ['no head', 'DELETE FROM log_head', 'head: There are 0 heads'],
    ['a missing tile', 'DELETE FROM log_tile WHERE index = 1', 'tiles: Tile 0/1 is missing'],
    ['a cut tile', "UPDATE log_tile SET data = '' WHERE index = 0", 'tiles: Tile 0/0 is missing or not whole'],
    ['another tile', "UPDATE log_tile SET root = sha256('x') WHERE index = 1", 'tiles: Tile 0/1 has another root'],
    ['a tile too many', "INSERT INTO log_tile VALUES (0, 2, '', '')", 'tiles: Tile 0/2 is of records that are not'],
    ['a level too many', "INSERT INTO log_tile VALUES (2, 0, '', '')", 'tiles: 1 tiles are of levels'],
    ['a tile below all', "INSERT INTO log_tile VALUES (0, -1, '', '')", 'tiles: Tile 0/0 is missing'],
    [
      'another counter',
      'UPDATE log_rollup SET value = value + 1 WHERE span_sec = 3600',
      'counters: The counter record.',
    ],
    [
      'a counter of nothing',
      "INSERT INTO log_rollup VALUES (60, 0, '', 'record.success', 1)",
      'is 1; the records say 0',
    ],
    ['a missing counter', 'DELETE FROM log_rollup WHERE span_sec = 86400', 'is 0; the records say 601'],
    ['an odd span', "INSERT INTO log_rollup VALUES (7, 0, '', 'record.success', 1)", 'counters: The counter'],
    ['a forgotten intent', 'DELETE FROM log_intent', 'has no outcome, and nobody will close it'],
    ['an intent of nothing', `INSERT INTO log_intent VALUES ('${randomUUID()}', '${randomUUID()}')`, 'is no intent'],
    [
      'a value of no record',
      "INSERT INTO log_erasable VALUES ('01900000-0000-7000-8000-000000000000', 'k', '', '1')",
      'erasable: An erasable value is kept of',
    ],
    [
      'a value that no record binds',
      "INSERT INTO log_erasable SELECT event_id, 'n', '', '1' FROM audit_event WHERE seq = 5",
      'erasable: An erasable value of record 5',
    ],
    [
      'a lost partition',
      'ALTER TABLE audit_event DETACH PARTITION audit_event_0',
      'partitions: The partition of records 0',
    ],
    ['an unknown partition', 'DELETE FROM log_partition', 'partitions: The partitions end at 0'],
    ['a batch beyond the log', 'UPDATE log_writer SET size = 5000', 'lies beyond the log'],
    [
      'another note',
      "UPDATE log_checkpoint SET note = replace(note, 'gateway', 'gatewax')",
      'checkpoints: The checkpoint',
    ],
    ['another row', 'UPDATE log_checkpoint SET size = 301 WHERE size = 300', 'Its row says something else'],
    ['another checkpoint root', "UPDATE log_checkpoint SET root = sha256('x')", 'Its row says something else'],
    [
      'another signer',
      `UPDATE log_signer SET verifier_key = '${generateNoteKey(origin).vkey}'`,
      'no signature of a known',
    ],
    ['a broken signer', "UPDATE log_signer SET verifier_key = 'x'", 'A key of the log cannot be read'],
    ['another name', "UPDATE log_head SET origin = 'other.example/log'", 'It is of another log'],
  ])('sees %s', async (_, damage, fault) => {
    const address = await writtenLog();
    await query(address.url, damage);
    const report = await check(address);
    expect(report.ok).toBe(false);
    expect(sentencesOf(report).join('\n')).toContain(fault);
  });

  it('names a single changed record and nothing else', async () => {
    const address = await writtenLog();
    await query(address.url, editRecord(5, '"n":5', '"n":6', false));
    const report = await check(address);
    expect(sentencesOf(report)).toEqual(['records: The leaf of record 5 is not the hash of its bytes.']);
  });

  it('counts all faults and keeps the first ones', async () => {
    const address = await writtenLog();
    await query(address.url, "UPDATE audit_event SET session_id = 'x'");
    const report = await check(address);
    expect(report.faultCount).toBe(602);
    expect(report.faults).toHaveLength(200);
  });

  describe('of outcomes', () => {
    const word = (phase: string, intentId: string, closes = true) =>
      prepared({ meta: { phase, intent_id: intentId }, ...(closes ? { companions: { closesIntent: intentId } } : {}) });

    async function withIntent(): Promise<{ address: { url: string }; id: string }> {
      const address = await freshLog();
      const [id = ''] = await append(address, [
        prepared({ meta: { phase: 'intent' }, companions: { opensIntent: true } }),
      ]);
      return { address, id };
    }

    it('accepts one, and what came late', async () => {
      const { address, id } = await withIntent();
      await append(address, [word('outcome', id)], [word('outcome', id), word('outcome', id)]);
      expect(sentencesOf(await check(address))).toEqual([]);
    });

    it('sees a second one', async () => {
      const { address, id } = await withIntent();
      await append(address, [word('outcome', id)], [word('outcome', id, false)]);
      expect(sentencesOf(await check(address))).toEqual([
        `intents: Record 2 is an outcome of ${id}, which has one already or is no intent.`,
      ]);
    });

    it('sees one of nothing', async () => {
      const { address } = await withIntent();
      await append(address, [word('outcome', 'ffffffff-ffff-7fff-bfff-ffffffffffff', false)]);
      expect(sentencesOf(await check(address)).join()).toContain('intents: Record 1 is an outcome of ffffffff');
    });

    it('sees a late one that nothing was before', async () => {
      const { address, id } = await withIntent();
      await append(address, [word('late', id, false)], [word('outcome', id)]);
      expect(sentencesOf(await check(address))).toEqual([
        `intents: Record 1 says that it is late, but the intent ${id} had no outcome before it.`,
      ]);
    });

    it('sees an outcome that is made a late one', async () => {
      const { address, id } = await withIntent();
      await append(address, [word('outcome', id)]);
      await query(address.url, editRecord(1, '"phase":"outcome"', '"phase":"late"', true));
      expect(sentencesOf(await check(address)).join()).toContain('intents: Record 1 says that it is late');
    });
  });

  it('sees a rewritten history by a checkpoint from outside alone', async () => {
    const note = await signHead(await writtenLog());
    const other = await freshLog();
    await append(other, numbered(700));
    await signHead(other);
    expect(await check(other)).toMatchObject({ ok: true });
    const report = await check(other, { outside: [{ name: 'My checkpoint', note }] });
    expect(sentencesOf(report)).toEqual([
      'checkpoints: My checkpoint: The first 602 records are not the ones that were signed: the database was changed or replaced.',
    ]);
  });

  it('sees a cut tail by a checkpoint from outside alone', async () => {
    const address = await writtenLog();
    const note = await signHead(address);
    const old = await freshLog();
    await append(old, numbered(300));
    await signHead(old);
    const report = await check(old, { outside: [{ name: 'My checkpoint', note }] });
    expect(sentencesOf(report).join()).toContain('it is an old copy');
  });

  it('believes the keys that it is given, not those of the database', async () => {
    const address = await writtenLog();
    expect(await check(address, { verifierKeys: [vkey] })).toMatchObject({ ok: true, hasOutsideKeys: true });
    const strange = await check(address, { verifierKeys: [generateNoteKey(origin).vkey] });
    expect(strange).toMatchObject({ ok: false, faultCount: 2 });
  });

  it('refuses a database that holds no log', async () => {
    const address = await freshLog();
    await query(address.url, 'DROP SCHEMA public CASCADE', 'CREATE SCHEMA public');
    await expect(openLogSnapshot(address)).rejects.toThrow('This database holds no log of a gateway.');
  });

  it('checks the moment at which it began while a writer goes on', async () => {
    const address = await writtenLog();
    const snapshot = await openLogSnapshot(address);
    const pool = openReadPool(address);
    later(() => Promise.all([snapshot.close(), pool.end()]));
    await snapshot.heads();
    await append(address, numbered(700, 1_000));
    expect(await fsck({ snapshot, nodes: createTileReader(pool).nodes })).toMatchObject({ ok: true, size: 602 });
  });
});
