import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { recordWhileSound } from '../../src/audit/checkpointer-recorder.ts';
import { createRecorder } from '../../src/audit/recorder.ts';
import { bounds } from '../../src/config/bounds.ts';
import { formatCheckpoint, parseCheckpoint } from '../../src/core/checkpoint.ts';
import { systemClock } from '../../src/core/clock.ts';
import { openNote, parseNote, signNote } from '../../src/core/note.ts';
import { generateNoteKey, noteSigner, parseSignerKey } from '../../src/core/note-key.ts';
import type { StoredCheckpoint } from '../../src/storage/checkpoints.ts';
import { draft, numbered } from '../support/drafts.ts';
import { eventually } from '../support/gateway.ts';
import { cleanUp, freshLog, later, query, writerOn } from '../support/log-fixture.ts';
import {
  freshFolder,
  listeningTelemetry,
  type Place,
  rollBack,
  rootsOf,
  type Signer,
  signerOn,
} from '../support/log-signer.ts';
import { startStoreProxy } from '../support/store-proxy.ts';

let log: Place;
let folder: string;

beforeEach(async () => {
  log = await freshLog();
  folder = await freshFolder();
});
afterEach(cleanUp);

async function append(count: number, to = log): Promise<void> {
  const writer = writerOn(to);
  for (let left = count; left > 0; left -= 500) await writer.append(randomUUID(), numbered(Math.min(left, 500)));
  await writer.close();
}

/** The note is signed by the key, and tells the root that the records have at its size. */
async function expectTrue({ key }: Signer, { note, size }: StoredCheckpoint, roots?: Buffer[]): Promise<void> {
  const checkpoint = parseCheckpoint(openNote(note, key.verifiers).text);
  const root = (roots ?? (await rootsOf(log)))[size];
  expect(checkpoint).toMatchObject({ origin: key.origin, size });
  expect(root?.equals(checkpoint.root)).toBe(true);
}

const keptFile = () => join(folder, 'log.checkpoint');
const keptSize = async () => parseCheckpoint(parseNote(await readFile(keptFile(), 'utf8')).text).size;
const storedSizes = async () =>
  (await query(log.url, 'SELECT size FROM log_checkpoint ORDER BY size')).map(({ size }) => Number(size));

/** The sentence that a start is refused with. */
async function refusal(starting: Promise<unknown>): Promise<string> {
  return await starting.then(
    () => 'was not refused',
    (error: Error) => error.message,
  );
}

describe('a checkpoint', () => {
  it('is of size 0 for an empty log', async () => {
    const signer = await signerOn(log, { folder });
    const latest = await signer.checkpointer.latest();
    expect(latest.size).toBe(0);
    await expectTrue(signer, latest);
  });

  it('covers what was committed, whatever its size', async () => {
    const signer = await signerOn(log, { folder });
    let size = 0;
    for (const count of [1, 1, 253, 1, 1, 300]) {
      await append(count);
      size += count;
      const checkpoint = await signer.checkpointer.covering(size);
      expect(checkpoint.size).toBe(size);
      await expectTrue(signer, checkpoint);
    }
  });

  it('follows a commit within the interval, and is kept outside before anybody sees it', async () => {
    const signer = await signerOn(log, { folder });
    await append(3);
    signer.checkpointer.committed();
    await eventually(async () => (await storedSizes()).includes(3));
    expect(await keptSize()).toBe(3);
    expect((await signer.checkpointer.latest()).size).toBe(3);
  });

  it('is nowhere when it cannot be kept outside', async () => {
    const gone = await freshFolder();
    const signer = await signerOn(log, { folder: gone });
    await append(3);
    await rm(gone, { recursive: true });
    await expect(signer.checkpointer.covering(3)).rejects.toMatchObject({
      code: 'AUDIT_UNAVAILABLE',
      cause: { code: 'ENOENT' },
    });
    expect(await storedSizes()).toEqual([]);
    await mkdir(gone);
    expect((await signer.checkpointer.covering(3)).size).toBe(3);
  });

  it('is not asked of the store again and again', async () => {
    const signer = await signerOn(log, { folder, intervalMs: 60_000 });
    await append(2);
    expect((await signer.checkpointer.latest()).size).toBe(2);
    await append(2);
    expect((await signer.checkpointer.latest()).size).toBe(2);
    expect((await signer.checkpointer.covering(4)).size).toBe(4);
  });

  it('is no larger than the log, whatever is asked for', async () => {
    const signer = await signerOn(log, { folder });
    await append(2);
    expect((await signer.checkpointer.covering(1_000_000)).size).toBe(2);
  });

  it('is signed when the gateway stops, and not after that', async () => {
    const signer = await signerOn(log, { folder });
    await append(2);
    await signer.checkpointer.close();
    expect(await storedSizes()).toEqual([2]);
    await append(2);
    signer.checkpointer.committed();
    await signer.checkpointer.close();
    expect(await storedSizes()).toContain(4);
  });
});

describe('under load', () => {
  it('everybody gets a true checkpoint that covers what they ask for', async () => {
    const signer = await signerOn(log, { folder });
    const writers = Array.from({ length: 3 }, () => writerOn(log));
    const given: { asked: number; checkpoint: StoredCheckpoint }[] = [];
    await Promise.all(
      writers.map(async (writer) => {
        for (let round = 0; round < 25; round++) {
          const committed = await writer.append(randomUUID(), numbered(7));
          signer.checkpointer.committed();
          const asked = (committed.at(-1)?.seq ?? 0) + 1;
          given.push({ asked, checkpoint: await signer.checkpointer.covering(asked) });
        }
      }),
    );
    const roots = await rootsOf(log);
    expect(roots).toHaveLength(3 * 25 * 7 + 1);
    for (const { asked, checkpoint } of given) {
      expect(checkpoint.size).toBeGreaterThanOrEqual(asked);
      await expectTrue(signer, checkpoint, roots);
    }
  });

  it('gateways with one key never sign two histories, and none goes back', async () => {
    const first = await signerOn(log, { folder });
    const others = await Promise.all(
      [1, 2].map(async () => signerOn(log, { folder: await freshFolder(), keyFile: join(folder, 'log.key') })),
    );
    const seen = new Map<Signer, StoredCheckpoint[]>();
    await Promise.all(
      [first, ...others].map(async (signer) => {
        const writer = writerOn(log);
        const mine: StoredCheckpoint[] = [];
        for (let round = 0; round < 25; round++) {
          await writer.append(randomUUID(), numbered(5));
          signer.checkpointer.committed();
          mine.push(await (round % 2 === 0 ? signer.checkpointer.covering(round * 5) : signer.checkpointer.latest()));
        }
        seen.set(signer, mine);
      }),
    );
    const roots = await rootsOf(log);
    for (const [signer, checkpoints] of seen) {
      const sizes = checkpoints.map(({ size }) => size).filter((_, at) => at % 2 === 1);
      expect(sizes).toEqual([...sizes].sort((a, b) => a - b));
      for (const checkpoint of checkpoints) await expectTrue(signer, checkpoint, roots);
    }
    for (const row of await query(log.url, 'SELECT size, root, note FROM log_checkpoint')) {
      const { size, root, note } = row as { size: string; root: Buffer; note: string };
      await expectTrue(first, { size: Number(size), root, note }, roots);
    }
    expect(first.logText()).not.toContain('fatal');
  });

  it('a gateway that writes nothing shows and keeps what the others have signed', async () => {
    const writing = await signerOn(log, { folder });
    const elsewhere = await freshFolder();
    const idle = await signerOn(log, { folder: elsewhere, keyFile: join(folder, 'log.key') });
    await append(4);
    const { size, note } = await writing.checkpointer.covering(4);
    await eventually(async () => (await idle.checkpointer.latest()).size === size);
    expect(await readFile(join(elsewhere, 'log.checkpoint'), 'utf8')).toBe(note);
  });

  it('gateways that share a folder leave whole files, and never take one back to what is older', async () => {
    const signers: Signer[] = [];
    for (let n = 0; n < 3; n++) signers.push(await signerOn(log, { folder }));
    const writer = writerOn(log);
    for (let round = 1; round <= 20; round++) {
      await writer.append(randomUUID(), numbered(3));
      const size = round * 3;
      await Promise.all(signers.map(({ checkpointer }) => checkpointer.covering(size)));
      expect(await keptSize()).toBe(size);
    }
    expect((await readdir(folder)).sort()).toEqual(['log.checkpoint', 'log.key']);
    const [ahead, behind] = signers;
    await writer.append(randomUUID(), numbered(3));
    await ahead?.checkpointer.covering(63);
    await behind?.checkpointer.latest();
    expect(await keptSize()).toBe(63);
  });
});

describe('a start', () => {
  beforeEach(async () => {
    const signer = await signerOn(log, { folder });
    await append(300);
    await signer.checkpointer.covering(300);
    await signer.checkpointer.close();
  });

  it('goes on where the last one ended', async () => {
    const signer = await signerOn(log, { folder });
    expect((await signer.checkpointer.latest()).size).toBe(300);
    await append(1);
    await expectTrue(signer, await signer.checkpointer.covering(301));
  });

  it('goes on after a crash between the file and the database', async () => {
    await query(log.url, 'DELETE FROM log_checkpoint');
    const signer = await signerOn(log, { folder });
    await expectTrue(signer, await signer.checkpointer.latest());
    expect(await keptSize()).toBe(300);
  });

  it('goes on after a crash while the file was written', async () => {
    await writeFile(`${keptFile()}.4242.next`, 'half a che');
    await signerOn(log, { folder });
  });

  it.each([299, 256, 1, 0])('is refused with an old copy of %d records', async (size) => {
    await rollBack(log, size);
    expect(await refusal(signerOn(log, { folder }))).toBe(
      `The database holds ${size} records, but 300 were signed: it is an old copy. Restore the newest one.`,
    );
  });

  it('is refused with an old copy that has grown again', async () => {
    await rollBack(log, 100);
    await append(400);
    expect(await refusal(signerOn(log, { folder }))).toMatch(/first 300 records are not the ones that were signed/);
  });

  it.each([
    ['a leaf at the edge', "UPDATE audit_event SET leaf_hash = sha256('x') WHERE seq = 299"],
    ['a tile', "UPDATE log_tile SET data = overlay(data PLACING '\\x00' FROM 5), root = sha256('x')"],
    [
      'the order',
      'UPDATE audit_event SET leaf_hash = (SELECT leaf_hash FROM audit_event WHERE seq = 298) WHERE seq = 299',
    ],
  ])('is refused when %s was changed', async (_name, statement) => {
    await query(log.url, statement);
    expect(await refusal(signerOn(log, { folder }))).toMatch(/the database was changed or replaced/);
  });

  it.each([
    ['records', 'DELETE FROM audit_event WHERE seq = 299'],
    ['tiles and records', 'TRUNCATE log_tile; TRUNCATE audit_event'],
  ])('is refused when %s are missing', async (_name, statement) => {
    await query(log.url, statement);
    expect(await refusal(signerOn(log, { folder }))).toMatch(/are missing|was changed/);
  });

  it('is refused with another database in its place, though it has the same name and key', async () => {
    const { origin } = (await query(log.url, 'SELECT origin FROM log_head'))[0] ?? {};
    const other = await freshLog();
    await append(500, other);
    await query(other.url, `UPDATE log_head SET origin = '${String(origin)}'`);
    expect(await refusal(signerOn(other, { folder }))).toMatch(/the database was changed or replaced/);
  });

  it('is refused with an empty database in its place', async () => {
    expect(await refusal(signerOn(await freshLog(), { folder }))).toMatch(/holds 0 records, but 300 were signed/);
  });

  it('is refused when the file is of another log', async () => {
    const { skey } = generateNoteKey('other.example/log');
    const text = formatCheckpoint({ origin: 'other.example/log', size: 1, root: Buffer.alloc(32) });
    const { name, privateKey } = parseSignerKey(skey);
    await writeFile(keptFile(), await signNote({ text, signatures: [] }, [noteSigner(name, privateKey)]));
    expect(await refusal(signerOn(log, { folder }))).toBe(
      `${keptFile()} is of the log other.example/log, but the database holds log.example/audit.`,
    );
  });

  it.each(['', 'hello', 'a\n1\n\n'])('is refused when the file holds %j', async (text) => {
    await writeFile(keptFile(), text);
    expect(await refusal(signerOn(log, { folder }))).toMatch(/last signed checkpoint in .* cannot be read/);
  });

  it('is refused by what the database itself has signed, when the file is gone', async () => {
    await rm(keptFile());
    await query(log.url, "UPDATE audit_event SET leaf_hash = sha256('x') WHERE seq = 299");
    expect(await refusal(signerOn(log, { folder }))).toMatch(/the database was changed or replaced/);
  });

  describe('without anything outside the database', () => {
    beforeEach(() => rm(keptFile()));

    it('is a loud warning in production', async () => {
      const { logText } = await signerOn(log, { folder, production: true });
      expect(logText()).toMatch(/"level":40.*NOTHING OUTSIDE THE DATABASE/);
    });

    it('is none in development', async () => {
      expect((await signerOn(log, { folder })).logText()).not.toContain('NOTHING OUTSIDE');
    });

    it('is none where an anchor tells', async () => {
      const anchorFiles = [join(folder, 'anchor')];
      const first = await signerOn(log, { folder, anchorFiles });
      await first.checkpointer.latest();
      await first.checkpointer.close();
      await rm(keptFile());
      const { logText } = await signerOn(log, { folder, anchorFiles, production: true });
      expect(logText()).not.toContain('NOTHING OUTSIDE');
    });
  });

  it('with the file, or with an empty log, warns of nothing', async () => {
    expect((await signerOn(log, { folder, production: true })).logText()).not.toContain('NOTHING OUTSIDE');
    const empty = await signerOn(await freshLog(), { folder: await freshFolder(), production: true });
    expect(empty.logText()).not.toContain('NOTHING OUTSIDE');
  });
});

describe('a database that is changed while the gateway runs', () => {
  let signer: Signer;

  beforeEach(async () => {
    await append(300);
    signer = await signerOn(log, { folder });
    await signer.checkpointer.covering(300);
  });

  async function expectStopped(): Promise<void> {
    await expect(signer.checkpointer.covering(301)).rejects.toMatchObject({ code: 'AUDIT_UNAVAILABLE' });
    expect(() => signer.checkpointer.assertSound()).toThrow('The audit log cannot be written');
    expect(signer.logText()).toMatch(/"level":60.*THE LOG WAS FORKED/);
    expect(await signer.metrics()).toMatch(/^gateway_log_forked 1$/m);
    expect(Math.max(...(await storedSizes()), 0)).toBeLessThanOrEqual(300);
    expect(await keptSize()).toBe(300);
  }

  it.each<[string, () => Promise<unknown>]>([
    ['by an old backup', () => rollBack(log, 120)],
    ['by an old backup that has grown again', () => rollBack(log, 120).then(() => append(300))],
    [
      'by an edit',
      () => query(log.url, "UPDATE audit_event SET leaf_hash = sha256('x') WHERE seq = 299").then(() => append(1)),
    ],
    ['by a loss', () => query(log.url, 'DELETE FROM log_tile').then(() => query(log.url, 'DELETE FROM audit_event'))],
    [
      'by a root that is not that of its records',
      () => append(1).then(() => query(log.url, "UPDATE log_head SET root = sha256('x')")),
    ],
  ])('%s ends the signing, loudly', async (_name, change) => {
    await change();
    signer.checkpointer.committed();
    await eventually(() => signer.logText().includes('FORKED'));
    await expectStopped();
  });

  it('still has the last checkpoint to show, and nothing else to give', async () => {
    const before = await signer.checkpointer.latest();
    await rollBack(log, 120);
    await expect(signer.checkpointer.covering(301)).rejects.toMatchObject({ code: 'AUDIT_UNAVAILABLE' });
    expect(await signer.checkpointer.latest()).toEqual(before);
    await expect(signer.checkpointer.covering(5)).rejects.toMatchObject({ code: 'AUDIT_UNAVAILABLE' });
    await expect(signer.checkpointer.cosigned(5)).rejects.toMatchObject({ code: 'AUDIT_UNAVAILABLE' });
  });

  it('takes no record any more, and does not come back by itself', async () => {
    const { telemetry } = listeningTelemetry();
    const writer = writerOn(log);
    const recorder = recordWhileSound(
      createRecorder({ writer, clock: systemClock, telemetry }),
      signer.checkpointer.assertSound,
    );
    later(() => recorder.close());
    await recorder.record(draft());
    await recorder.ensureWritable();
    await rollBack(log, 120);
    await expect(signer.checkpointer.covering(400)).rejects.toThrow();
    await append(600);
    for (const work of [recorder.record(draft()), recorder.recordAll([draft()]), recorder.ensureWritable()]) {
      await expect(work).rejects.toMatchObject({ code: 'AUDIT_UNAVAILABLE' });
    }
    expect(await query(log.url, 'SELECT next_seq FROM log_head')).toEqual([{ next_seq: '720' }]);
    await expectStopped();
  });

  it('says it once', async () => {
    await rollBack(log, 120);
    for (let n = 0; n < 5; n++) await signer.checkpointer.covering(400).catch(() => undefined);
    await signer.checkpointer.close();
    expect(signer.logText().match(/FORKED/g)).toHaveLength(1);
  });
});

describe('what stands in the table of checkpoints is not believed', () => {
  async function plant(size: number, note: string): Promise<void> {
    await query(
      log.url,
      `INSERT INTO log_checkpoint (size, root, note) VALUES (${size}, sha256('x'), '${note.replaceAll("'", "''")}')`,
    );
  }

  async function noteBy(skey: string, size: number): Promise<string> {
    const { name, privateKey } = parseSignerKey(skey);
    const text = formatCheckpoint({ origin: 'log.example/audit', size, root: Buffer.alloc(32) });
    return await signNote({ text, signatures: [] }, [noteSigner(name, privateKey)]);
  }

  it.each<[string, (size: number) => Promise<string> | string]>([
    ['words', () => 'hello'],
    ['the word of a stranger', (size) => noteBy(generateNoteKey('log.example/audit').skey, size)],
    ['our own word of another size', async () => noteBy((await readFile(join(folder, 'log.key'), 'utf8')).trim(), 3)],
  ])('%s beyond the log changes nothing', async (_name, note) => {
    const signer = await signerOn(log, { folder });
    await append(10);
    await plant(7, await note(7));
    await plant(1_000_000, await note(1_000_000));
    const checkpoint = await signer.checkpointer.covering(10);
    expect(checkpoint.size).toBe(10);
    await expectTrue(signer, checkpoint);
    expect(signer.logText()).not.toContain('FORKED');
  });
});

describe('a store that is gone', () => {
  it.each(['hold', 'cut'] as const)('(%s) is no fork, and does not keep the gateway from stopping', async (how) => {
    const proxy = await startStoreProxy();
    later(() => proxy.close());
    await append(5);
    const signer = await signerOn({ url: proxy.urlOf(log.url) }, { folder });
    const before = await signer.checkpointer.covering(5);
    await append(5);
    if (how === 'cut') await proxy.cut();
    else proxy.hold();
    signer.checkpointer.committed();
    if (how === 'cut')
      await expect(signer.checkpointer.covering(10)).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    const startedAt = performance.now();
    await signer.checkpointer.close();
    expect(performance.now() - startedAt).toBeLessThan(2 * bounds.checkpointCloseMs + 20_000);
    expect(() => signer.checkpointer.assertSound()).not.toThrow();
    expect((await signer.checkpointer.latest()).note).toBe(before.note);
    await proxy.restore();
    await eventually(async () => (await signer.checkpointer.covering(10)).size === 10, 20_000);
    expect(signer.logText()).not.toContain('FORKED');
  });
});
