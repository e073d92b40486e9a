/** `talos verify log` against real gateways, a database that was put back, and logs that lie in each way there is. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, CommanderError } from 'commander';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { verifyCommand } from '../../cli/commands/verify.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { leafHash } from '../../src/core/merkle.ts';
import { generateNoteKey } from '../../src/core/note-key.ts';
import { encodeEntryBundle, parseTilePath } from '../../src/core/tile.ts';
import { eventually, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { createTestDatabase, type TestDatabase, testServerUrl } from '../support/postgres.ts';
import { logKey, logSigner, makeRecords, makeWitness, TestLog } from '../verifier/log.ts';

const stranger = generateNoteKey('gateway.example/log').vkey;
let folder = '';
let files = 0;
let out = '';
let err = '';
const cleanups: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-verify-log-'));
});

afterAll(() => rm(folder, { recursive: true }));

beforeEach(() => {
  vi.spyOn(console, 'log').mockImplementation((text: string) => {
    out += text;
  });
  vi.spyOn(console, 'error').mockImplementation((text: string) => {
    err += text;
  });
});

afterEach(async () => {
  vi.restoreAllMocks();
  process.exitCode = undefined;
  for (const step of cleanups.splice(0)) await step();
});

const newState = () => join(folder, `state-${++files}`);

interface Verdict {
  readonly code: number;
  readonly decision: unknown;
  readonly report: JsonObject;
  readonly err: string;
}

/** Runs the command in this process. */
async function verifyLog(url: string, state: string, ...args: readonly string[]): Promise<Verdict> {
  out = err = '';
  const program = new Command('talos').exitOverride().configureOutput({ writeErr: (text) => (err += text) });
  verifyCommand(program);
  let code: number;
  try {
    await program.parseAsync(['verify', 'log', '--url', url, '--state', state, '--json', ...args], { from: 'user' });
    code = Number(process.exitCode ?? 0);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    code = error.exitCode;
  }
  process.exitCode = undefined;
  const report = out === '' ? {} : (JSON.parse(out) as JsonObject);
  return { code, decision: report['decision'], report, err };
}

const failed = ({ report }: Verdict) =>
  (report['checks'] as unknown as { name: string; ok: boolean }[]).filter(({ ok }) => !ok).map(({ name }) => name);

type Answer = { readonly status?: number; readonly body: string | Buffer } | undefined;

/** A server that answers GETs by path and query; what it knows nothing of is not found. */
async function serve(answer: (url: URL) => Promise<Answer>): Promise<string> {
  const reply = async (request: IncomingMessage, response: ServerResponse) => {
    const { status = 200, body } = (await answer(new URL(request.url ?? '', 'http://log'))) ?? {
      status: 404,
      body: '',
    };
    response.writeHead(status).end(body);
  };
  const server: Server = createServer((request, response) => void reply(request, response)).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  cleanups.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** What a gateway serves of this log, the answers of `other` in front of it. */
function served(log: () => TestLog, other: (path: string) => Answer = () => undefined): Promise<string> {
  return serve(async (url) => {
    const shown = other(url.pathname);
    if (shown !== undefined) return shown;
    if (url.pathname === '/log/checkpoint') return { body: await log().checkpoint() };
    if (url.pathname === '/log/keys')
      return { body: JSON.stringify({ keys: [stranger, logKey], retired: [stranger] }) };
    if (url.pathname === '/log/consistency') return await proofOf(log(), url);
    const tile = parseTilePath(url.pathname.slice('/log/'.length));
    if (tile === undefined) return undefined;
    const records = log().records.slice(tile.index * 256, tile.index * 256 + tile.width);
    if (tile.level === 'entries') return { body: encodeEntryBundle(records.map((record) => Buffer.from(record))) };
    return tile.level === 0 ? { body: Buffer.concat(records.map(leafHash)) } : undefined;
  });
}

async function proofOf(log: TestLog, url: URL): Promise<Answer> {
  const [from, to] = ['from', 'to'].map((name) => Number(url.searchParams.get(name))) as [number, number];
  if (from < 1 || from > to || to > log.records.length) return { status: 400, body: '{"code":"INVALID_REQUEST"}' };
  return { body: JSON.stringify({ proof: await log.consistency(from, to) }) };
}

const records = makeRecords(700);
const honest = new TestLog(records);
const upTo = (size: number) => new TestLog(records.slice(0, size));
const withToken = ['--key', logKey, '--token', 'any'];

/** The state of a monitor that has read the first 300 records. */
async function stateAt(size = 300, args: readonly string[] = withToken): Promise<string> {
  const state = newState();
  expect(await verifyLog(await served(() => upTo(size)), state, ...args)).toMatchObject({ code: 0, decision: 'first' });
  return state;
}

/** What must be seen, exit code 1, and a memory that did not change. */
async function refused(state: string, url: string, ...args: readonly string[]): Promise<Verdict> {
  const before = await readFile(state, 'utf8');
  const verdict = await verifyLog(url, state, ...(args.length === 0 ? withToken : args));
  expect(verdict.code).toBe(1);
  expect(verdict.report['ok']).toBe(false);
  expect(await readFile(state, 'utf8')).toBe(before);
  return verdict;
}

describe('a running gateway', () => {
  let database: TestDatabase;
  let gateway: TestGateway;
  const keyFile = () => join(folder, 'log.key');

  const start = (url: string) =>
    startTestGateway({
      databaseUrl: () => url,
      env: { TALOS_LOG_KEY_FILE: keyFile(), TALOS_LOG_ORIGIN: 'gateway.example/log' },
    });

  /** Adds records and waits until the log has signed all of them. */
  async function grow(to: TestGateway, count: number, name: string): Promise<void> {
    const json = Array.from({ length: count }, (_, n) => ({
      event_type: name,
      actor: 'a',
      action: 'test',
      metadata: { n },
    }));
    const before = await sizeOf(to);
    await to.send('/api/events/batch', { json });
    await eventually(async () => (await sizeOf(to)) >= before + count);
  }

  async function sizeOf(of: TestGateway): Promise<number> {
    return Number((await of.send('/root')).body['size']);
  }

  async function keyOf(of: TestGateway): Promise<string> {
    return (await of.send('/log/keys')).body['keys']?.toString() ?? '';
  }

  async function copyOf(of: TestDatabase): Promise<TestDatabase> {
    const copy = await createTestDatabase();
    const name = (url: string) => /\/(test_[0-9a-f]+)$/.exec(url)?.[1] ?? '';
    const client = new pg.Client({ connectionString: testServerUrl() });
    await client.connect();
    await client.query(`DROP DATABASE ${name(copy.url)}`);
    await client.query(`CREATE DATABASE ${name(copy.url)} TEMPLATE ${name(of.url)}`);
    await client.end();
    return copy;
  }

  it('holds, grows, and is found out when an old copy of its database is put back', async () => {
    database = await createTestDatabase();
    gateway = await start(database.url);
    await grow(gateway, 300, 'old');
    await gateway.gateway.stop();
    const backup = await copyOf(database);
    cleanups.push(database.drop, backup.drop);

    gateway = await start(database.url);
    cleanups.unshift(gateway.stop);
    const state = newState();
    const args = ['--key', await keyOf(gateway), '--token', 'any'];
    const first = await verifyLog(gateway.url, state, ...args);
    expect(first).toMatchObject({ code: 0, decision: 'first' });
    await grow(gateway, 400, 'new');
    const second = await verifyLog(gateway.url, state, ...args);
    expect(second).toMatchObject({ code: 0, decision: 'grown' });
    expect(second.report['reading']).toMatchObject({ size: await sizeOf(gateway) });
    expect(out + err).not.toContain('any token');

    const restored = await start(backup.url);
    cleanups.unshift(restored.stop);
    expect(await refused(state, restored.url, ...args)).toMatchObject({ decision: 'rollback' });
    expect(await readFile(`${state}.refused`, 'utf8')).toBe((await restored.send('/log/checkpoint')).text);
    await grow(restored, 600, 'another');
    const forked = await refused(state, restored.url, ...args);
    expect(forked).toMatchObject({ decision: 'inconsistent' });
    expect(forked.err).toContain('contradicts itself');
  });

  it('shows records to those who may read everybody’s only', async () => {
    const own = await startTestGateway();
    cleanups.push(own.stop);
    const key = await keyOf(own);
    const now = Math.floor(Date.now() / 1000);
    const scope = 'tool:gateway/method:events.read';
    const token = tokenWith({ scope, iat: now - 10, exp: now + 600, constraints: { team_id: 'one' } });
    await grow(own, 3, 'some');
    const state = newState();
    const verdict = await verifyLog(own.url, state, '--key', key, '--token', token);
    expect(verdict).toMatchObject({ code: 2 });
    expect(verdict.err).toContain('tool:gateway/method:events.read');
    await expect(readFile(state)).rejects.toThrow('ENOENT');
    expect(await verifyLog(own.url, state, '--key', key, '--token', token, '--no-records')).toMatchObject({ code: 0 });
  });
});

describe('a log that holds', () => {
  it.each([
    [0, 1],
    [1, 255],
    [255, 256],
    [256, 257],
    [300, 700],
    [512, 512],
    [700, 700],
  ])('from %i to %i records is read on', async (from, to) => {
    const state = await stateAt(from);
    const verdict = await verifyLog(await served(() => upTo(to)), state, ...withToken);
    expect(verdict).toMatchObject({ code: 0, decision: to === from ? 'unchanged' : 'grown' });
    expect(JSON.parse(await readFile(state, 'utf8'))).toMatchObject({ reading: { size: to } });
  });

  it('is read from where records were read last, not from the last checkpoint', async () => {
    const state = await stateAt(300, ['--key', logKey]);
    expect(err).toContain('were not read');
    const { report } = await verifyLog(await served(() => honest), state, ...withToken);
    expect(JSON.stringify(report['checks'])).toContain('700 new records give the signed root');
  });

  it('may have pruned records: their hashes stand for them', async () => {
    const state = newState();
    const url = await served(
      () => honest,
      (path) => (path === '/log/tile/entries/000' ? { status: 410, body: '{"code":"RECORD_PRUNED"}' } : undefined),
    );
    const { code, report } = await verifyLog(url, state, ...withToken);
    expect(code).toBe(0);
    expect(JSON.stringify(report['checks'])).toContain('256 by hash only');
  });

  it('may be a moment behind at one of its gateways', async () => {
    const state = await stateAt();
    let looks = 0;
    const url = await served(() => (++looks === 1 ? upTo(200) : honest));
    expect(await verifyLog(url, state, ...withToken)).toMatchObject({ code: 0, decision: 'grown' });
  });

  it('is believed at first sight when told, and by those keys from then on', async () => {
    const state = newState();
    const url = await served(() => honest);
    expect(await verifyLog(url, state)).toMatchObject({ code: 2 });
    expect(await verifyLog(url, state, '--trust-on-first-use')).toMatchObject({ code: 0 });
    expect(JSON.parse(await readFile(state, 'utf8'))).toMatchObject({ keys: [logKey] });
    const impostor = generateNoteKey('gateway.example/log');
    const replaced = await served(
      () => honest,
      (path) => (path === '/log/keys' ? { body: JSON.stringify({ keys: [impostor.vkey], retired: [] }) } : undefined),
    );
    expect(await verifyLog(replaced, state, '--trust-on-first-use')).toMatchObject({ code: 0 });
  });

  it('must have its witnesses where they are named', async () => {
    const witness = makeWitness('witness.example/w');
    const args = ['--key', logKey, '--key', witness.vkey];
    const cosigned = await honest.checkpoint(700, [logSigner, witness.signer]);
    const url = await served(
      () => honest,
      (path) => (path === '/log/checkpoint' ? { body: cosigned } : undefined),
    );
    expect(await verifyLog(url, newState(), ...args)).toMatchObject({ code: 0 });
    const alone = await verifyLog(await served(() => honest), newState(), ...args);
    expect(alone).toMatchObject({ code: 1, decision: 'untrusted' });
    expect(failed(alone)).toContain('witnesses');
  });
});

describe('a log that lies', () => {
  const forged = records.with(7, '{"event_id":"forged"}');

  it('by an older checkpoint', async () => {
    expect(await refused(await stateAt(), await served(() => upTo(299)))).toMatchObject({ decision: 'rollback' });
  });

  it('by a second history of the same size, which is kept as evidence', async () => {
    const state = await stateAt();
    const other = new TestLog(forged.slice(0, 300));
    expect(await refused(state, await served(() => other))).toMatchObject({ decision: 'fork' });
    expect(await readFile(`${state}.refused`, 'utf8')).toBe(await other.checkpoint());
  });

  it('by a second history that is longer, with its own proof or without any', async () => {
    const state = await stateAt();
    const other = new TestLog(forged);
    expect(await refused(state, await served(() => other))).toMatchObject({ decision: 'inconsistent' });
    const silent = await served(
      () => other,
      (path) => (path === '/log/consistency' ? { status: 400, body: '{}' } : undefined),
    );
    expect(await refused(state, silent)).toMatchObject({ decision: 'inconsistent' });
  });

  it.each<[string, (note: string) => string]>([
    ['another size', (note) => note.replace('\n700\n', '\n701\n')],
    ['no signature', (note) => note.replace(/\n\n[\s\S]*/, '\n\n')],
    ['no form', () => 'good morning'],
    ['nothing', () => ''],
  ])('by a checkpoint with %s', async (_, damage) => {
    const note = await honest.checkpoint();
    const url = await served(
      () => honest,
      (path) => (path === '/log/checkpoint' ? { body: damage(note) } : undefined),
    );
    expect(await refused(await stateAt(), url)).toMatchObject({ decision: 'untrusted' });
  });

  it('by a key that nobody believes', async () => {
    const state = await stateAt();
    const url = await served(() => honest);
    expect(await refused(state, url, '--key', stranger)).toMatchObject({ decision: 'untrusted' });
  });

  const bundle = (of: readonly string[]) => encodeEntryBundle(of.map((record) => Buffer.from(record)));
  it.each<[string, Answer]>([
    ['edited', { body: bundle(records.slice(256, 512).with(100, '{"event_id":"forged"}')) }],
    [
      'exchanged',
      {
        body: bundle(
          records
            .slice(256, 512)
            .with(100, records[357] ?? '')
            .with(101, records[356] ?? ''),
        ),
      },
    ],
    ['left out', { body: bundle(records.slice(256, 511)) }],
    ['added', { body: bundle([...records.slice(256, 512), '{}']) }],
    ['cut', { body: bundle(records.slice(256, 512)).subarray(0, -1) }],
    ['kept back', { status: 404, body: '{"code":"NOT_FOUND"}' }],
    ['none', { body: '' }],
  ])('by records that are %s', async (_, body) => {
    const state = await stateAt();
    const url = await served(
      () => honest,
      (path) => (path === '/log/tile/entries/001' ? body : undefined),
    );
    const verdict = await refused(state, url);
    expect(verdict.decision).toBe('grown');
    expect(failed(verdict)).toEqual(['records']);
    // Without the records nothing is wrong with it.
    expect(await verifyLog(url, state, '--key', logKey)).toMatchObject({ code: 0 });
  });
});

describe('what is not a verdict', () => {
  it.each<[string, () => Promise<string>]>([
    ['nobody answers', async () => 'http://127.0.0.1:9'],
    ['it is not a gateway', () => serve(async () => undefined)],
    ['it cannot now', () => serve(async () => ({ status: 503, body: '{"message":"Try again."}' }))],
  ])('exits with 3 when %s', async (_, url) => {
    const state = newState();
    expect(await verifyLog(await url(), state, '--key', logKey)).toMatchObject({ code: 3, report: {} });
    expect(err).toMatch(/^error: /);
    await expect(readFile(state)).rejects.toThrow('ENOENT');
  });

  it.each<[string, string, readonly string[], RegExp]>([
    ['nobody to believe', '', [], /Whom shall it believe/],
    ['a key that is none', '', ['--key', 'key'], /A key is not/],
    ['a policy and the first sight', '', ['--policy', 'policy', '--trust-on-first-use'], /Give either/],
    ['a state of another form', '{"format":"talos.export/v1"}', ['--key', logKey], /cannot be read/],
    ['a state that is damaged', '{"format":', ['--key', logKey], /cannot be read/],
    [
      'a state with a damaged checkpoint',
      '{"format":"talos.log-state/v1","checkpoint":"x","keys":[],"reading":{"size":0,"edge":[]}}',
      ['--key', logKey],
      /cannot be read/,
    ],
  ])('exits with 2 for %s', async (_, text, args, message) => {
    const state = newState();
    if (text !== '') await writeFile(state, text);
    const verdict = await verifyLog(await served(() => honest), state, ...args);
    expect(verdict).toMatchObject({ code: 2, report: {} });
    expect(verdict.err).toMatch(message);
    if (text !== '') expect(await readFile(state, 'utf8')).toBe(text);
  });

  it('exits with 2 for an address that is none, and where the state cannot be kept', async () => {
    expect(await verifyLog('nowhere', newState(), '--key', logKey)).toMatchObject({ code: 2 });
    const nowhere = join(folder, 'missing', 'state');
    expect(await verifyLog(await served(() => honest), nowhere, '--key', logKey)).toMatchObject({ code: 2 });
    expect(err).toContain('cannot be written');
  });
});
