/** The checker that the other tests of the log rely on must itself see every way in which a log can be wrong. */
import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { numbered, prepared } from '../support/drafts.ts';
import { checkLog } from '../support/log-checker.ts';
import { cleanUp, freshLog, query, writerOn } from '../support/log-fixture.ts';

afterEach(cleanUp);

async function writtenLog(): Promise<{ url: string }> {
  const address = await freshLog();
  const writer = writerOn(address);
  await writer.append(randomUUID(), numbered(600));
  await writer.append(randomUUID(), [prepared({ meta: { session_id: 's' }, details: { list: [1] } })]);
  return address;
}

describe('checkLog', () => {
  it('accepts the log as it was written', async () => {
    expect(await checkLog(await writtenLog())).toHaveLength(601);
  });

  it.each([
    [
      'an edited record',
      "UPDATE audit_event SET canon = replace(canon, 'success', 'failure') WHERE seq = 5",
      'the leaf of record 5',
    ],
    [
      'an edited record with its leaf',
      `UPDATE audit_event SET canon = replace(canon, '"n":5', '"n":6'),
         leaf_hash = sha256('\\x00' || convert_to(replace(canon, '"n":5', '"n":6'), 'UTF8')) WHERE seq = 5`,
      'tile 0/0 holds other hashes',
    ],
    [
      'an edited record at the edge, with its leaf',
      `UPDATE audit_event SET canon = replace(canon, '"n":599', '"n":7'),
         leaf_hash = sha256('\\x00' || convert_to(replace(canon, '"n":599', '"n":7'), 'UTF8')) WHERE seq = 599`,
      'the root of the head is not the root of the records',
    ],
    ['a deleted record', 'DELETE FROM audit_event WHERE seq = 5', 'record 5 has the sequence number 6'],
    ['a cut tail', 'DELETE FROM audit_event WHERE seq >= 590', 'the head counts 601 records, there are 590'],
    [
      'two records that changed places',
      'UPDATE audit_event SET seq = seq + 60000 WHERE seq IN (5, 6); UPDATE audit_event SET seq = 60011 - seq WHERE seq > 60000',
      'the id of record 6 is not after the one before it',
    ],
    [
      'an inserted record',
      `CREATE TABLE added AS SELECT * FROM audit_event WHERE seq = 600;
         UPDATE added SET seq = 601, event_id = 'ffffffff-ffff-7fff-bfff-ffffffffffff';
         INSERT INTO audit_event SELECT * FROM added`,
      'record 601 names another id than its row',
    ],
    ['another key', "UPDATE audit_event SET session_id = 'x' WHERE seq = 600", 'session_id of record 600 is not'],
    ['a missing key', 'UPDATE audit_event SET agent_id = NULL WHERE seq = 5', 'agent_id of record 5 is not'],
    ['other details', `UPDATE audit_event SET details = '{"list":[2]}' WHERE seq = 600`, 'the details of record 600'],
    ['missing details', 'UPDATE audit_event SET details = NULL WHERE seq = 600', 'the details of record 600'],
    ['added details', "UPDATE audit_event SET details = '{}' WHERE seq = 5", 'the details of record 5'],
    [
      'another time',
      "UPDATE audit_event SET ts = ts + interval '1 ms' WHERE seq = 5",
      'the row of record 5 has another time',
    ],
    ['another head', 'UPDATE log_head SET next_seq = 600', 'the head counts 600 records'],
    ['another root', "UPDATE log_head SET root = sha256('x')", 'the root of the head'],
    ['another tree', "UPDATE log_head SET tree = tree || '\\x00'", 'the tree of the head'],
    ['another last time', 'UPDATE log_head SET last_ms = last_ms + 1', 'the head is at another time'],
    ['no head', 'DELETE FROM log_head', 'there are 0 heads'],
    ['a missing tile', 'DELETE FROM log_tile WHERE index = 1', 'tile'],
    ['another tile', "UPDATE log_tile SET root = sha256('x') WHERE index = 1", 'tile 0/1 has another root'],
    ['another counter', 'UPDATE log_rollup SET value = value + 1 WHERE span_sec = 3600', 'record.success is 602'],
    ['a counter of nothing', "INSERT INTO log_rollup VALUES (60, 0, '', 'record.success', 1)", 'is 1, not 0'],
    ['a missing counter', 'DELETE FROM log_rollup WHERE span_sec = 86400', 'record.success is missing'],
    ['a tile too many', "INSERT INTO log_tile VALUES (0, 2, '', '')", 'there are 1 tiles too many'],
  ])('sees %s', async (_, damage, fault) => {
    const address = await writtenLog();
    await query(address.url, damage);
    await expect(checkLog(address)).rejects.toThrow(fault);
  });
});
