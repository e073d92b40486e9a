import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import pg from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import { type CommittedEvent, type EventDraft, type PreparedEvent, prepareEvent } from '../../src/core/audit-event.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { projectedKey } from '../../src/storage/projected-key.ts';
import { type Cut, startCommitCutter } from '../support/commit-cutter.ts';
import { draft, hostileTexts, numbered, prepared } from '../support/drafts.ts';
import { checkLog } from '../support/log-checker.ts';
import { checkAcknowledged, cleanUp, freshLog, later, numbersOf, query, writerOn } from '../support/log-fixture.ts';

afterEach(cleanUp);

describe('the log writer', () => {
  it('gives places from 0 on, and stores what it acknowledged', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    const first = await writer.append(randomUUID(), numbered(3));
    const second = await writer.append(randomUUID(), numbered(2, 3));
    expect([...first, ...second].map(({ seq }) => seq)).toEqual([0, 1, 2, 3, 4]);
    const records = await checkAcknowledged(address, [...first, ...second]);
    expect(numbersOf(records)).toEqual([0, 1, 2, 3, 4]);
    expect(records.map(({ canon }) => sha256Hex(canon))).toEqual(
      [...first, ...second].map(({ eventHash }) => eventHash),
    );
  });

  it('leaves the log as it was when the batch is empty', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    expect(await writer.append(randomUUID(), [])).toEqual([]);
    expect(await checkLog(address)).toEqual([]);
    await writer.append(randomUUID(), numbered(1));
    const before = await query(address.url, 'SELECT * FROM log_head');
    await writer.append(randomUUID(), []);
    expect(await query(address.url, 'SELECT * FROM log_head')).toEqual(before);
  });

  it('stores a batch of many megabytes whole', async () => {
    const address = await freshLog();
    const text = 'ü'.repeat(30_000);
    const events = Array.from({ length: 100 }, (_, n) =>
      prepared({ meta: { n, text }, details: { text: text.repeat(2) } }),
    );
    const committed = await writerOn(address).append(randomUUID(), events);
    expect(numbersOf(await checkAcknowledged(address, committed))).toEqual(events.map((_, n) => n));
  });

  it('has no gap when four writers append at once, and completes its tiles across them', async () => {
    const address = await freshLog();
    const writers = [1, 2, 3, 4].map(() => writerOn(address));
    const acknowledged: CommittedEvent[][] = [];
    const load = writers.map(async (writer, index) => {
      for (let batch = 0; batch < 24; batch++) {
        const size = 1 + ((batch * 37 + index * 11) % 90);
        acknowledged.push(await writer.append(randomUUID(), numbered(size, index * 1_000_000 + batch * 1_000)));
      }
    });
    await Promise.all(load);
    const records = await checkAcknowledged(address, acknowledged.flat());
    expect(records).toHaveLength(acknowledged.flat().length);
    expect(records.length).toBeGreaterThan(3_000);
    for (const batch of acknowledged) {
      const first = batch[0]?.seq ?? 0;
      const base = records[first]?.record['meta']?.['n'] as unknown as number;
      expect(batch.map(({ seq }) => seq)).toEqual(batch.map((_, offset) => first + offset));
      expect(numbersOf(records.slice(first, first + batch.length))).toEqual(batch.map((_, offset) => base + offset));
    }
  });

  it('keeps ids in order when two writers take turns within a millisecond', async () => {
    const address = await freshLog();
    const [one, two] = [writerOn(address), writerOn(address)];
    for (let turn = 0; turn < 40; turn++) await (turn % 2 === 0 ? one : two).append(randomUUID(), numbered(2));
    expect(await checkLog(address)).toHaveLength(80);
  });

  it('keeps ids in order when the clock of the database runs an hour behind the last record', async () => {
    const address = await freshLog();
    const ahead = Date.now() + 3_600_000;
    await query(address.url, `UPDATE log_head SET last_ms = ${ahead}, last_counter = 4090`);
    const committed = await writerOn(address).append(randomUUID(), numbered(20));
    expect(committed.map(({ timeMs }) => timeMs)).toEqual([...Array(5).fill(ahead), ...Array(15).fill(ahead + 1)]);
    await checkAcknowledged(address, committed);
  });

  it('takes the time from the database', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    await writer.append(randomUUID(), []);
    const nowSql = 'SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint::text AS ms';
    const before = Number((await query(address.url, nowSql))[0]?.['ms']);
    const [event] = await writer.append(randomUUID(), numbered(1));
    const after = Number((await query(address.url, nowSql))[0]?.['ms']);
    expect(event?.timeMs).toBeGreaterThanOrEqual(before);
    expect(event?.timeMs).toBeLessThanOrEqual(after);
  });

  it('commits to disk also where the database is set not to', async () => {
    const address = await freshLog();
    const database = new URL(address.url).pathname.slice(1);
    await query(
      address.url,
      `ALTER DATABASE ${database} SET synchronous_commit = off`,
      'CREATE TABLE probe (setting text)',
      `CREATE FUNCTION probe() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO probe VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$`,
      'CREATE TRIGGER probe AFTER INSERT OR UPDATE ON log_writer FOR EACH ROW EXECUTE FUNCTION probe()',
    );
    expect(await query(address.url, 'SHOW synchronous_commit')).toEqual([{ synchronous_commit: 'off' }]);
    await writerOn(address).append(randomUUID(), numbered(1));
    expect(await query(address.url, 'SELECT DISTINCT setting FROM probe')).toEqual([{ setting: 'on' }]);
  });
});

describe('hostile content', () => {
  const places: readonly (readonly [string, (text: string) => Partial<EventDraft>])[] = [
    ['a meta value', (text) => ({ meta: { x: text } })],
    ['a meta key', (text) => ({ meta: Object.defineProperty({}, text, { value: 1, enumerable: true }) })],
    ['the session', (text) => ({ meta: { session_id: text } })],
    ['the correlation', (text) => ({ meta: { correlation_id: text } })],
    ['the event type', (text) => ({ meta: { event_type: text } })],
    ['server and tool', (text) => ({ meta: { server_id: text, tool_name: text } })],
    ['the request id', (text) => ({ requestId: text })],
    ['the surface', (text) => ({ surfaceId: text })],
    ['agent and team', (text) => ({ principal: { authMode: 'bearer', id: text, teamId: text } })],
    ['the resource', (text) => ({ resource: { type: text, id: text } })],
    ['the details', (text) => ({ details: { x: [text] } })],
  ];

  it.each(places)('poisons no batch in %s, and comes back as it was', async (_, given) => {
    const address = await freshLog();
    const drafts = hostileTexts.map((text) => draft(given(text)));
    const events = drafts.map((each) => prepareEvent(each, bounds));
    const committed = await writerOn(address).append(randomUUID(), [...numbered(1), ...events, ...numbered(1, 1)]);
    const records = (await checkAcknowledged(address, committed)).slice(1, -1);
    expect(records).toHaveLength(drafts.length);
    for (const [index, each] of drafts.entries()) {
      const { record, details } = records[index] ?? {};
      const { details_hash: _bound, ...meta } = record?.['meta'] ?? {};
      expect(meta).toEqual(each.meta);
      expect(details).toEqual(each.details);
      expect(record?.['request_id']).toBe(each.requestId);
      expect(record?.['resource']).toEqual({ resource_id: each.resource.id, resource_type: each.resource.type });
    }
  });

  it('in keys is cut to what an index holds, without two keys becoming one', () => {
    const long = '😀'.repeat(200);
    expect(projectedKey('short')).toBe('short');
    expect(projectedKey('x'.repeat(256))).toBe('x'.repeat(256));
    expect(projectedKey(long)).toHaveLength(256);
    expect(projectedKey(`${long}a`)).not.toBe(projectedKey(`${long}b`));
    expect(projectedKey('a\0')).not.toBe(projectedKey('a\ufffd'));
  });
});

describe('a commit in doubt', () => {
  const cuts: readonly (readonly [Cut, string])[] = [
    ['before', 'the connection is lost before the commit was sent'],
    ['midway', 'the connection is lost in the middle of the rows'],
    ['reply', 'the answer to the commit is lost'],
    ['race', 'the client is cut off while the server commits'],
  ];

  it.each(cuts)('is resolved by the same batch id, exactly once (%s: %s)', async (cut) => {
    const address = await freshLog();
    const cutter = await startCommitCutter();
    later(() => cutter.close());
    const writer = writerOn({ url: cutter.urlOf(address.url) });
    const first = await writer.append(randomUUID(), numbered(5));
    const batchId = randomUUID();
    cutter.arm(cut);
    await expect(writer.append(batchId, numbered(300, 5))).rejects.toThrow();
    expect(writer.isConnected()).toBe(false);
    const second = await writer.append(batchId, numbered(300, 5));
    const third = await writer.append(randomUUID(), numbered(300, 305));
    expect(cutter.cuts()).toBe(1);
    const records = await checkAcknowledged(address, [...first, ...second, ...third]);
    expect(numbersOf(records)).toEqual(Array.from({ length: 605 }, (_, n) => n));
  });

  it('is resolved also after the answer was lost three times over', async () => {
    const address = await freshLog();
    const cutter = await startCommitCutter();
    later(() => cutter.close());
    const writer = writerOn({ url: cutter.urlOf(address.url) });
    const batchId = randomUUID();
    cutter.arm('before', 3);
    for (let attempt = 0; attempt < 3; attempt++) await expect(writer.append(batchId, numbered(2))).rejects.toThrow();
    cutter.arm('reply');
    await expect(writer.append(batchId, numbered(2))).rejects.toThrow();
    const committed = await writer.append(batchId, numbered(2));
    expect(numbersOf(await checkAcknowledged(address, committed))).toEqual([0, 1]);
  });

  it('is resolved with another writer in between', async () => {
    const address = await freshLog();
    const cutter = await startCommitCutter();
    later(() => cutter.close());
    const writer = writerOn({ url: cutter.urlOf(address.url) });
    const other = writerOn(address);
    const batchId = randomUUID();
    cutter.arm('reply');
    await expect(writer.append(batchId, numbered(3))).rejects.toThrow();
    const between = await other.append(randomUUID(), numbered(4, 100));
    const committed = await writer.append(batchId, numbered(3));
    const last = await writer.append(randomUUID(), numbered(1, 3));
    const records = await checkAcknowledged(address, [...committed, ...between, ...last]);
    expect(numbersOf(records)).toEqual([0, 1, 2, 100, 101, 102, 103, 3]);
  });

  it('gives the same places when a batch that was acknowledged is sent again', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    const batchId = randomUUID();
    const committed = await writer.append(batchId, numbered(4));
    expect(await writer.append(batchId, numbered(4))).toEqual(committed);
    expect(await checkLog(address)).toHaveLength(4);
  });
});

describe('a store that fails', () => {
  it('rejects when nothing listens, and works once it does', async () => {
    const address = await freshLog();
    const url = new URL(address.url);
    url.host = '127.0.0.1:1';
    await expect(writerOn({ url: url.href }).append(randomUUID(), numbered(1))).rejects.toThrow('ECONNREFUSED');
  });

  it('rejects on a database that was never migrated', async () => {
    const address = await freshLog();
    await query(address.url, 'TRUNCATE log_head');
    await expect(writerOn(address).append(randomUUID(), numbered(1))).rejects.toThrow('The log has no head row');
  });

  it('rejects on a head whose tree does not fit its size, and writes nothing', async () => {
    const address = await freshLog();
    await query(address.url, 'UPDATE log_head SET next_seq = 3');
    await expect(writerOn(address).append(randomUUID(), numbered(1))).rejects.toThrow(
      'cannot belong to a tree of 3 leaves',
    );
    expect(await query(address.url, 'SELECT * FROM audit_event')).toEqual([]);
  });

  it('rejects a batch whose rows are refused, whole, and takes the next one', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    await query(address.url, "ALTER TABLE audit_event ADD CHECK (outcome <> 'denied')");
    const batch: PreparedEvent[] = [...numbered(5), prepared({ outcome: 'denied' }), ...numbered(5)];
    await expect(writer.append(randomUUID(), batch)).rejects.toThrow('violates check constraint');
    const committed = await writer.append(randomUUID(), numbered(2));
    expect(numbersOf(await checkAcknowledged(address, committed))).toEqual([0, 1]);
  });

  it('notices when the server ends its connection, and opens another', async () => {
    const address = await freshLog();
    const writer = writerOn(address);
    expect(writer.isConnected()).toBe(false);
    await writer.append(randomUUID(), numbered(1));
    expect(writer.isConnected()).toBe(true);
    await query(
      address.url,
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'talos-log'",
    );
    await expect.poll(() => writer.isConnected()).toBe(false);
    const committed = await writer.append(randomUUID(), numbered(1, 1));
    expect(numbersOf(await checkAcknowledged(address, committed))).toEqual([0, 1]);
  });

  it('can be given up while it connects to a server that never answers', async () => {
    const silent = createServer(() => undefined).listen(0, '127.0.0.1');
    await once(silent, 'listening');
    later(() => silent.close());
    const { port } = silent.address() as AddressInfo;
    const writer = createLogWriter({ url: `postgresql://nobody@127.0.0.1:${port}/none` });
    const accepted = once(silent, 'connection');
    const append = writer.append(randomUUID(), numbered(1));
    await accepted;
    expect(writer.isConnected()).toBe(false);
    writer.reset(new Error('enough'));
    await expect(append).rejects.toThrow('enough');
    await writer.close();
  });

  it('frees the head when a writer that holds it falls silent', async () => {
    const address = await freshLog();
    const cutter = await startCommitCutter();
    later(() => cutter.close());
    const silent = createLogWriter({ url: cutter.urlOf(address.url) });
    await silent.append(randomUUID(), numbered(1));
    cutter.arm('silence');
    const batchId = randomUUID();
    const lost = expect(silent.append(batchId, numbered(1, 1))).rejects.toThrow();
    await expect.poll(() => cutter.cuts()).toBe(1);
    const committed = await writerOn(address).append(randomUUID(), numbered(1, 2));
    await lost;
    const again = await silent.append(batchId, numbered(1, 1));
    expect(numbersOf(await checkAcknowledged(address, [...committed, ...again]))).toEqual([0, 2, 1]);
    await silent.close();
  });

  it('does not hold up the end when the server hangs', async () => {
    const address = await freshLog();
    const cutter = await startCommitCutter();
    later(() => cutter.close());
    const writer = createLogWriter({ url: cutter.urlOf(address.url) });
    cutter.arm('silence');
    const append = expect(writer.append(randomUUID(), numbered(1))).rejects.toThrow();
    await expect.poll(() => cutter.cuts()).toBe(1);
    await writer.close();
    await append;
    expect(writer.isConnected()).toBe(false);
  });

  it('leaves no connection behind when it is closed', async () => {
    const address = await freshLog();
    const writer = createLogWriter(address);
    await writer.append(randomUUID(), numbered(1));
    await writer.close();
    await writer.close();
    const open =
      'SELECT count(*)::int AS count FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()';
    const client = new pg.Client({ connectionString: address.url });
    await client.connect();
    later(() => client.end());
    await expect.poll(async () => (await client.query<{ count: number }>(open)).rows[0]?.count).toBe(0);
  });
});
