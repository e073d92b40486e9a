/** `talos tail` as a person runs it, at a real gateway. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tailLine } from '../../cli/tail-line.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { childEnv } from '../support/child-env.ts';
import { eventually, productionEnv, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { liveToken } from '../support/live-token.ts';
import { report } from '../support/stream.ts';

const program = resolve(import.meta.dirname, '../../cli/talos.ts');
const reader = liveToken({ scope: 'tool:gateway/method:events.read' });
const writer = liveToken({ scope: 'tool:gateway/method:events.write' });
const hostile = 'red\u001b[31m\u202e\nnext';

let folder: string;
let gateway: TestGateway;
let start: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-tail-'));
  await writeFile(join(folder, 'token'), `${reader}\n`);
  gateway = await startTestGateway({ env: productionEnv, servers: { tested: 'http://127.0.0.1:9/' } });
  [start = ''] = await report(gateway, [{ action: 'start' }], writer);
  const events = [{ action: 'one', event_type: 'deploy' }, { action: 'two' }, { action: 'three', event_type: hostile }];
  await report(gateway, events, writer);
});

afterAll(async () => {
  await gateway.stop();
  await rm(folder, { recursive: true });
});

function spawnTail(args: readonly string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [program, 'tail', '--url', gateway.url, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...childEnv, ...env },
  });
  const exited = new Promise<number | null>((done) => child.on('close', done));
  return { child, exited };
}

async function tail(args: readonly string[], env?: Record<string, string>) {
  const { child, exited } = spawnTail(args, env);
  const [out, err, code] = await Promise.all([readAll(child.stdout), readAll(child.stderr), exited]);
  return { out, err, code };
}

describe('talos tail', () => {
  it('prints records from a cursor on, each on a line, and says where to go on', async () => {
    const { out, err, code } = await tail(['--after', start, '--limit', '3'], { TALOS_TOKEN: reader });
    expect(code).toBe(0);
    expect(out.split('\n')).toEqual([
      expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z {2}OK {5}deploy +agent-1 {2}\S.* {2}[0-9a-f-]{36}$/),
      expect.stringMatching(/ {2}test /),
      expect.stringContaining('red\ufffd[31m\ufffd\ufffdnext'),
      '',
    ]);
    expect(err).toContain(`Watching ${gateway.url}`);
    const [, cursor = ''] = /--after (\S+) goes on here/.exec(err) ?? [];
    await report(gateway, [{ action: 'four', event_type: 'later' }], writer);
    const next = await tail(['--after', cursor, '--event-type', 'later', '--limit', '1', '--json', '--token', reader]);
    expect(JSON.parse(next.out)).toMatchObject({ event_type: 'later', outcome: 'OK' });
  });

  it('prints what matches as JSON, verified, with a capability from a file', async () => {
    const file = join(folder, 'token');
    const filter = ['--event-type', 'deploy', '--agent', 'agent-1', '--outcome', 'success'];
    const { out, err, code } = await tail([
      ...['--after', start, '--limit', '1', '--json', '--verify', '--token-file', file],
      ...filter,
    ]);
    expect({ code, warnings: err.match(/warning|ALTERED/) }).toEqual({ code: 0, warnings: null });
    expect(JSON.parse(out)).toMatchObject({ event_type: 'deploy', agent_id: 'agent-1' });
  });

  it('goes on until it is told to end', async () => {
    const { child, exited } = spawnTail(['--event-type', 'live', '--token', reader]);
    let [out, err] = ['', ''];
    child.stdout.on('data', (chunk) => {
      out += String(chunk);
    });
    child.stderr.on('data', (chunk) => {
      err += String(chunk);
    });
    await eventually(() => err.includes('Watching'), 20_000);
    await report(gateway, [{ action: 'now', event_type: 'live' }], writer);
    await eventually(() => out.includes('live'), 20_000);
    child.kill('SIGINT');
    expect(await exited).toBe(0);
  });

  it.each([
    [['--token', 'nonsense'], 'AUTH_FAILED'],
    [['--token', liveToken({ scope: 'tool:other' })], 'AUTH_FAILED'],
    [['--token', liveToken({ iat: 1_000_000_000, exp: 1_000_000_100 })], 'CAPABILITY_EXPIRED'],
    [['--token-file', '/nowhere/token'], 'CREDENTIALS_UNAVAILABLE'],
  ])('exits with 1 when it is refused: %#', async (args, expected) => {
    const { out, err, code } = await tail(args);
    expect({ out, code }).toEqual({ out: '', code: 1 });
    expect(err).toContain(`error: ${expected}: `);
  });

  it('exits with 1 when nobody answers', async () => {
    const child = spawn(process.execPath, [program, 'tail', '--url', 'http://127.0.0.1:1'], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const exited = new Promise<number | null>((done) => child.on('close', done));
    expect(await readAll(child.stderr)).toContain('No gateway answers at http://127.0.0.1:1');
    expect(await exited).toBe(1);
  });

  it.each([
    [['--after', 'x'], '--after is not a cursor'],
    [['--limit', '0'], '--limit is not a number'],
    [['--outcome', 'fine'], '--outcome is success, failure or denied'],
    [['--url', 'gateway'], 'gateway is not a URL'],
    [['--token', 'a', '--token-file', 'b'], 'Give either --token or --token-file'],
  ])('exits with 2 for %j', async (args, sentence) => {
    const { err, code } = await tail(args);
    expect(code).toBe(2);
    expect(err).toContain(sentence);
  });
});

describe('a line', () => {
  const denied: JsonObject = { ts: 'T', outcome: 'DENY', event_type: 'e', denial_reason: 'EXPIRED', event_id: 'i' };

  it('has colours only where somebody looks', () => {
    expect(tailLine(denied, true)).toContain('\u001b[33mDENY \u001b[0m');
    expect(tailLine(denied, false)).toBe('T  DENY   e                 -  EXPIRED  i');
  });

  it('lets no colour of the record through', () => {
    expect(tailLine({ ...denied, tool: '\u001b[2J' }, false)).not.toContain('\u001b');
  });
});
