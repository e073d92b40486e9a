/** The policy `spool` on a real log whose store goes away: nothing accepted is lost, doubled or out of order. */
import { cp, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import type { EventSink } from '../../src/audit/event-sink.ts';
import { CommitPool } from '../../src/audit/pool.ts';
import { startSpool } from '../../src/audit/spool.ts';
import { SpoolFolder } from '../../src/audit/spool-file.ts';
import { bounds } from '../../src/config/bounds.ts';
import { type EventDraft, prepareEvent } from '../../src/core/audit-event.ts';
import { systemClock } from '../../src/core/clock.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { createSpoolStore, type SpoolStore } from '../../src/storage/spool.ts';
import { createTelemetry } from '../../src/telemetry/telemetry.ts';
import { startCommitCutter } from '../support/commit-cutter.ts';
import { draft } from '../support/drafts.ts';
import { eventually } from '../support/gateway.ts';
import { checkLog } from '../support/log-checker.ts';
import { cleanUp, freshLog, later, numbersOf, query } from '../support/log-fixture.ts';
import { type StoreProxy, startStoreProxy } from '../support/store-proxy.ts';

afterEach(cleanUp);

interface Stage {
  readonly address: { url: string };
  readonly folder: string;
  readonly store: StoreProxy;
  /** Another process with the same folder and log. */
  readonly start: (more?: ProcessOptions) => Promise<Process>;
}

interface ProcessOptions {
  readonly store?: (store: SpoolStore) => SpoolStore;
  readonly bytesMax?: number;
  readonly commitDeadlineMs?: number;
}

interface Process {
  readonly sink: EventSink;
  readonly spool: SpoolFolder;
  readonly logged: () => string;
  readonly close: () => Promise<void>;
}

async function stage(way: (url: string) => string = (url) => url): Promise<Stage> {
  const address = await freshLog();
  const folder = await mkdtemp(join(tmpdir(), 'talos-spool-'));
  later(() => rm(folder, { recursive: true }));
  const store = await startStoreProxy();
  later(() => store.close());
  const url = way(store.urlOf(address.url));
  return { address, folder, store, start: (more = {}) => startProcess(url, folder, more) };
}

async function startProcess(url: string, path: string, more: ProcessOptions): Promise<Process> {
  let text = '';
  const destination = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk);
      done();
    },
  });
  const telemetry = createTelemetry({ level: 'trace', destination });
  const writer = createLogWriter({ url });
  const pool = new CommitPool({
    writer,
    clock: systemClock,
    bounds: { ...bounds, commitDeadlineMs: more.commitDeadlineMs ?? 400, commitResolveMs: 200 },
    onCommit: telemetry.batchCommitted,
    onFailure: telemetry.batchFailed,
  });
  const reads = openReadPool({ url });
  const folder = await SpoolFolder.open({ folder: path, bytesMax: more.bytesMax ?? 1e8, segmentBytesMax: 2_000 });
  const spoolStore = createSpoolStore(reads);
  const sink = startSpool({
    folder,
    store: more.store?.(spoolStore) ?? spoolStore,
    recorder: { recordAll: async (drafts) => await pool.add(drafts.map((each) => prepareEvent(each, bounds))) },
    clock: systemClock,
    telemetry,
    retryMs: 20,
    pruneIntervalMs: 1e9,
  });
  let closed: Promise<void> | undefined;
  const close = () => {
    closed ??= (async () => {
      await sink.close();
      await pool.drained();
      await writer.close();
      await reads.end();
    })();
    return closed;
  };
  later(close);
  return { sink, spool: folder, logged: () => text, close };
}

const numbered = (n: number, more: Partial<EventDraft> = {}) => draft({ meta: { n }, ...more });
const drained = (process: Process) => eventually(() => process.spool.isEmpty, 20_000);

async function leftovers(address: { url: string }): Promise<number> {
  const [row] = await query(address.url, 'SELECT count(*) AS count FROM log_spool');
  return Number(row?.['count']);
}

describe('while the log can be written', () => {
  it('the spool is not used, and names of groups do not stay', async () => {
    const { address, folder, start } = await stage();
    const process = await start({ commitDeadlineMs: 20_000 });
    const submitted = await Promise.all([1, 2, 3].map((n) => process.sink.submit([numbered(n)])));
    expect(submitted.map(({ kind }) => kind)).toEqual(['recorded', 'recorded', 'recorded']);
    expect(await readdir(folder)).toEqual([]);
    await process.close();
    expect(await leftovers(address)).toBe(0);
    expect(numbersOf(await checkLog(address))).toEqual([1, 2, 3]);
  });

  it('events that are at fault themselves are refused', async () => {
    const { start } = await stage();
    const { sink } = await start();
    const wrong = numbered(1, { meta: { x: 'y'.repeat(70_000) } });
    await expect(sink.submit([wrong])).rejects.toMatchObject({ code: 'RECORD_TOO_LARGE' });
  });
});

describe('while it cannot', () => {
  it('events are spooled, recorded once and in order when it can again, and new ones go behind them', async () => {
    const { address, store, start } = await stage();
    const process = await start();
    await process.sink.submit([numbered(0)]);
    await store.cut();
    expect(await process.sink.submit([numbered(1), numbered(2)])).toEqual({ kind: 'spooled' });
    for (let n = 3; n < 40; n++) expect(await process.sink.submit([numbered(n)])).toEqual({ kind: 'spooled' });
    await store.restore();
    let n = 40;
    let kind = 'spooled';
    while (kind === 'spooled') kind = (await process.sink.submit([numbered(n++)])).kind;
    expect(kind).toBe('recorded');
    const records = await checkLog(address);
    expect(numbersOf(records)).toEqual(Array.from({ length: n }, (_, index) => index));
    expect(records[0]?.record['meta']).not.toHaveProperty('spooled_at');
    expect(records[5]?.record['meta']).toHaveProperty('spooled_at', expect.stringMatching(/^\d{4}-.*Z$/));
    expect(process.logged().match(/events are spooled/g)).toHaveLength(1);
    await process.close();
    expect(await leftovers(address)).toBe(0);
  });

  it('events that the log would refuse are not spooled', async () => {
    const { folder, store, start } = await stage();
    const { sink } = await start();
    await store.cut();
    await sink.submit([numbered(1)]);
    const bytes = (await readdir(folder)).length;
    const wrong = numbered(2, { meta: { x: 'y'.repeat(70_000) } });
    await expect(sink.submit([wrong])).rejects.toMatchObject({ code: 'RECORD_TOO_LARGE' });
    expect((await readdir(folder)).length).toBe(bytes);
    await store.restore();
  });

  it('a full spool refuses as if there were none', async () => {
    const { address, store, start } = await stage();
    const process = await start({ bytesMax: 1_500 });
    await store.cut();
    const kinds: string[] = [];
    for (let n = 0; n < 10; n++) {
      kinds.push(
        await process.sink.submit([numbered(n)]).then(
          ({ kind }) => kind,
          (error) => error.code,
        ),
      );
    }
    const accepted = kinds.indexOf('AUDIT_UNAVAILABLE');
    expect(accepted).toBeGreaterThan(0);
    expect(kinds).toEqual(kinds.map((_, n) => (n < accepted ? 'spooled' : 'AUDIT_UNAVAILABLE')));
    await store.restore();
    await drained(process);
    expect(numbersOf(await checkLog(address))).toEqual(Array.from({ length: accepted }, (_, n) => n));
  });
});

describe('exactly once', () => {
  it.each(['reply', 'race', 'silence', 'midway', 'before'] as const)(
    'whatever became of the first attempt (cut: %s)',
    { timeout: 30_000 },
    async (cut) => {
      const cutter = await startCommitCutter();
      later(() => cutter.close());
      const { address, start } = await stage((url) => cutter.urlOf(url));
      const process = await start();
      // So often that the deadline passes with the commit in doubt.
      cutter.arm(cut, cut === 'silence' ? 3 : 1_000);
      const first = process.sink.submit([numbered(1), numbered(2)]);
      await first;
      cutter.arm(cut, 0);
      await process.sink.submit([numbered(3)]);
      await drained(process);
      expect(numbersOf(await checkLog(address))).toEqual([1, 2, 3]);
    },
  );

  it('when the first attempt was committed and nobody could tell', async () => {
    const cutter = await startCommitCutter();
    later(() => cutter.close());
    const { address, store, start } = await stage((url) => cutter.urlOf(url));
    const process = await start();
    cutter.arm('reply');
    const first = process.sink.submit([numbered(1), numbered(2)]);
    await eventually(() => cutter.commits() === 1);
    await store.cut();
    expect(await first).toEqual({ kind: 'spooled' });
    expect(await process.sink.submit([numbered(3)])).toEqual({ kind: 'spooled' });
    expect(numbersOf(await checkLog(address))).toEqual([1, 2]);
    await store.restore();
    await drained(process);
    expect(numbersOf(await checkLog(address))).toEqual([1, 2, 3]);
  });

  it('when the process ends between the commit and the removal of the segment', async () => {
    const { address, folder, store, start } = await stage();
    let hasCrashed = false;
    const first = await start();
    await store.cut();
    for (let n = 0; n < 30; n++) await first.sink.submit([numbered(n)]);
    await first.close();
    const kept = await readdir(folder);
    expect(kept.length).toBeGreaterThan(1);
    await store.restore();

    // A crash: what is on disk is copied away while the log has it, and put back.
    const copy = await mkdtemp(join(tmpdir(), 'talos-spool-'));
    later(() => rm(copy, { recursive: true }));
    await cp(folder, copy, { recursive: true });
    const forgetful = (inner: SpoolStore): SpoolStore => ({
      ...inner,
      // The names go only after the segment, so whoever crashed before has not come to it.
      forget: async () => {
        hasCrashed = true;
      },
    });
    const second = await start({ store: forgetful });
    await drained(second);
    await second.close();
    expect(hasCrashed).toBe(true);
    expect(await leftovers(address)).toBe(30);
    await cp(copy, folder, { recursive: true });

    const third = await start();
    await drained(third);
    expect(numbersOf(await checkLog(address))).toEqual(Array.from({ length: 30 }, (_, n) => n));
    await third.close();
    expect(await leftovers(address)).toBe(0);
    expect(await readdir(folder)).toEqual([]);
  });

  it('under a key of the client that was used again', async () => {
    const { address, store, start } = await stage();
    const process = await start();
    const under = (n: number, body: string) =>
      numbered(n, { companions: { reserves: { keyHash: 'a'.repeat(64), bodyHash: body.repeat(64), records: 1 } } });
    await store.cut();
    await process.sink.submit([numbered(0)]);
    for (let repeat = 0; repeat < 3; repeat++) await process.sink.submit([under(1, 'b')]);
    // Another body under the same key would be refused, but it was accepted before anybody could tell.
    await process.sink.submit([under(2, 'c')]);
    await store.restore();
    await drained(process);
    expect(numbersOf(await checkLog(address)).sort()).toEqual([0, 1, 2]);
  });
});

describe('what an earlier process left', () => {
  it('is recorded before anything new, with the times at which it was accepted', async () => {
    const { address, store, start } = await stage();
    const first = await start();
    await store.cut();
    for (let n = 0; n < 25; n++) await first.sink.submit([numbered(n)]);
    await first.close();
    await store.restore();
    const second = await start();
    const kinds = new Set<string>();
    for (let n = 25; n < 30; n++) kinds.add((await second.sink.submit([numbered(n)])).kind);
    expect(kinds).toContain('spooled');
    await drained(second);
    expect(numbersOf(await checkLog(address))).toEqual(Array.from({ length: 30 }, (_, n) => n));
  });

  it('may end in the middle of a group, which nobody was told of', async () => {
    const { address, folder, store, start } = await stage();
    const first = await start();
    await store.cut();
    for (let n = 0; n < 3; n++) await first.sink.submit([numbered(n)]);
    await first.close();
    const [name = ''] = await readdir(folder);
    const path = join(folder, name);
    await truncate(path, (await stat(path)).size - 7);
    await store.restore();
    const second = await start();
    await drained(second);
    expect(numbersOf(await checkLog(address))).toEqual([0, 1]);
    expect(second.logged()).toContain('that were never acknowledged');
  });

  it('may be damaged, which is told and kept', async () => {
    const { address, folder, store, start } = await stage();
    const first = await start();
    await store.cut();
    for (let n = 0; n < 3; n++) await first.sink.submit([numbered(n)]);
    await first.close();
    const [name = ''] = await readdir(folder);
    const bytes = await readFile(join(folder, name));
    const middle = Math.floor(bytes.length / 2);
    bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle);
    await writeFile(join(folder, name), bytes);
    await store.restore();
    const second = await start();
    await drained(second);
    expect(numbersOf(await checkLog(address))).toEqual([0]);
    expect(await readdir(folder)).toEqual([`${name}.damaged`]);
    expect(second.logged()).toContain('cannot be read');
  });
});
