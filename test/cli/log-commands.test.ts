/** The commands that speak with the database, run as a user runs them: exit codes, output, refusals. */
import { execFile } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createRecorder } from '../../src/audit/recorder.ts';
import { pruneBefore } from '../../src/audit/retention.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { createPartitionStore } from '../../src/storage/partitions.ts';
import { createTileReader } from '../../src/storage/tiles.ts';
import { createTelemetry } from '../../src/telemetry/telemetry.ts';
import { childEnv } from '../support/child-env.ts';
import { numbered, prepared } from '../support/drafts.ts';
import { startTestGateway, type TestGateway } from '../support/gateway.ts';
import { query } from '../support/log-fixture.ts';

const program = new URL('../../cli/talos.ts', import.meta.url).pathname;
const partition = 65_536;
let gateway: TestGateway;
let folder = '';

interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-commands-'));
  gateway = await startTestGateway();
  const writer = createLogWriter({ url: gateway.database.url });
  await writer.append(randomUUID(), [prepared({ meta: { session_id: 's-1' } })]);
  for (let from = 1; from < partition + 300; from += 1_024) await writer.append(randomUUID(), numbered(1_024, from));
  await writer.close();
}, 120_000);

afterAll(async () => {
  await gateway.stop();
  await rm(folder, { recursive: true });
});

function talos(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Run> {
  const database = { DATABASE_URL: gateway.database.url, DEV_MODE: 'true', TALOS_DATA_DIR: folder };
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      [program, ...args],
      { env: { ...childEnv, ...database, ...env }, cwd: folder },
      (error, out, err) =>
        resolve({ code: typeof error?.code === 'number' ? error.code : error === null ? 0 : -1, out, err }),
    );
  });
}

const get = (path: string) => gateway.send(path);

describe('the commands of the log', { timeout: 120_000 }, () => {
  it('fsck finds the log sound, in words and as JSON', async () => {
    const words = await talos(['fsck']);
    expect(words).toMatchObject({ code: 0, err: '' });
    expect(words.out).toMatch(/the log is sound\n$/);
    const json = await talos(['fsck', '--json']);
    expect(JSON.parse(json.out)).toMatchObject({ ok: true, faultCount: 0, firstSeq: 0 });
  });

  it.each([
    [['fsck', '--checkpoint', '/nowhere'], {}, 2, 'cannot be read (ENOENT)'],
    [['fsck'], { DATABASE_URL: 'postgres://127.0.0.1:1/none' }, 2, 'error: '],
    [['fsck', 'extra'], {}, 2, 'too many arguments'],
    [['prune'], {}, 2, '--before'],
    [['prune', '--before', 'yesterday'], {}, 2, 'is not a day'],
    [['prune', '--before', '2999-01-01'], {}, 2, 'lies in the future'],
    [['erase'], {}, 2, 'either --event or --agent'],
    [['erase', '--event', 'x'], {}, 2, 'is not the id of an event'],
    [['erase', '--event', 'x', '--agent', 'y'], {}, 2, 'either --event or --agent'],
    [['export', '--resume'], {}, 2, '--resume needs --output'],
    [['export', '--from-seq', 'x'], {}, 2, 'is not the index of a record'],
    [['export', '--from', 'noon'], {}, 2, 'is not a time'],
    [['export', '--from', '2026-01-01', '--to-seq', '5'], {}, 2, 'Give either'],
    [['export', '--format', 'xml'], {}, 2, '--format is jsonl or csv'],
    [['export', '--view', 'cef'], {}, 2, '--view is ocsf or cadf'],
    [['export', '--proofs', '--format', 'csv'], {}, 2, 'Give one of'],
    [['export', '--outcome', 'fine'], {}, 2, '--outcome is success'],
    [['export', '--url', 'nowhere'], {}, 2, 'is not a URL'],
  ])('%j with %j exits with %i and says why', async (args, env, code, sentence) => {
    const run = await talos(args, env);
    expect(run.err).toContain(sentence);
    expect(run.code).toBe(code);
  });

  it('export and verify work together', async () => {
    const file = join(folder, 'log.jsonl');
    const token = ['--url', gateway.url];
    expect(await talos(['export', ...token, '--to-seq', '5000', '--output', file])).toMatchObject({ code: 0, out: '' });
    const keys = (await get('/log/keys')).body['keys'] as unknown as string[];
    const verified = await talos(['verify', 'export', file, '--key', keys[0] ?? '']);
    expect(verified.out).toMatch(/verified\n$/);
    expect(verified.code).toBe(0);
    const again = await talos(['export', ...token, '--output', file]);
    expect(again).toMatchObject({ code: 2, err: expect.stringContaining('exists') });
    const lines = await talos(['export', ...token, '--session', 's-1', '--view', 'ocsf']);
    expect(lines.out.split('\n').filter((line) => line !== '')).toHaveLength(1);
    expect((await readFile(file, 'utf8')).split('\n')).toHaveLength(5_002);
  });

  it('prune drops what is old, and the gateway says that it is gone', async () => {
    const [first] = (await get('/api/events?session_id=s-1')).body['items'] as unknown as JsonObject[];
    const id = String(first?.['id']);
    const receipt = await get(`/api/events/${id}/proof`);
    expect((await get('/log/tile/entries/000')).status).toBe(200);
    expect(await talos(['prune', '--before', '2020-01-01'])).toMatchObject({
      code: 0,
      out: 'No partition is that old.\n',
    });

    await pruneAll();

    const gone = await get(`/api/events/${id}`);
    expect(gone).toMatchObject({ status: 410, body: { code: 'RECORD_PRUNED' } });
    expect((await get(`/api/events/${id}/proof`)).status).toBe(410);
    expect((await get('/log/tile/entries/000')).status).toBe(410);
    expect((await get('/log/tile/0/000')).status).toBe(200);
    expect((await get(`/log/consistency?from=100&to=${partition + 1}`)).status).toBe(200);
    expect((await get('/api/events?session_id=s-1')).body).toMatchObject({ items: [], has_more: false });
    expect((await get('/api/events?limit=3')).body['items']).toHaveLength(3);
    expect((await get('/api/events/01900000-0000-7000-8000-000000000000')).status).toBe(410);
    expect((await get('/api/events/ffffffff-ffff-7fff-bfff-ffffffffffff')).status).toBe(404);

    // The receipt of before still verifies.
    const keys = (await get('/log/keys')).body['keys'] as unknown as string[];
    const file = join(folder, 'receipt.json');
    await writeFile(file, receipt.text);
    expect(await talos(['verify', 'receipt', file, '--key', keys[0] ?? ''])).toMatchObject({ code: 0 });

    const rest = join(folder, 'rest.jsonl');
    expect(await talos(['export', '--url', gateway.url, '--output', rest])).toMatchObject({ code: 0 });
    expect(await talos(['verify', 'export', rest, '--key', keys[0] ?? ''])).toMatchObject({ code: 0 });
    const all = await talos(['export', '--url', gateway.url, '--from-seq', '0']);
    expect(all).toMatchObject({ code: 1, err: expect.stringContaining('does not show record 0') });
    expect(await talos(['fsck', '--json'])).toMatchObject({
      code: 0,
      out: expect.stringContaining('"firstSeq": 65536'),
    });
    expect(await talos(['erase', '--agent', 'agent-1'])).toMatchObject({
      code: 0,
      out: 'There is nothing to erase.\n',
    });
  });

  it('fsck finds what was changed, and exits with 1', async () => {
    await query(gateway.database.url, "UPDATE log_head SET root = sha256('x')");
    const run = await talos(['fsck']);
    expect(run.out).toContain('FAULT root:');
    expect(run.out).toMatch(/THE LOG IS NOT SOUND: 1 faults\n$/);
    expect(run.code).toBe(1);
  });
});

/** As the command does it, with a day that it refuses: everything was recorded today. */
async function pruneAll(): Promise<void> {
  const address = { url: gateway.database.url };
  const pool = openReadPool(address);
  const telemetry = createTelemetry({ level: 'silent' });
  const recorder = createRecorder({ writer: createLogWriter(address), clock: systemClock, telemetry });
  const pruned = await pruneBefore(Number.MAX_SAFE_INTEGER, 'test', {
    partitions: createPartitionStore(pool, address),
    nodes: createTileReader(pool).nodes,
    record: recorder.record,
    requestId: randomUUID,
  });
  expect(pruned).toMatchObject({ fromSeq: 0, toSeq: partition });
  await recorder.close();
  await pool.end();
}
