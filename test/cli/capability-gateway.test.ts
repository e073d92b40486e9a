/** Commands that deal with capabilities of a running gateway: revoking one, and judging recorded calls again. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import { callTool, productionEnv, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { strangeIssuer, tokenWith, trustedIssuer } from '../support/issuer.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

const program = resolve(import.meta.dirname, '../support/capability-cli-process.ts');
const reader = tokenWith({ scope: 'tool:gateway/method:events.read', constraints: { team_id: '*' } });
// Records have the time of the store, which tokens have to outlast.
const exp = 4_100_000_000;
const used = tokenWith({ sub: 'agent-1', scope: 'tool:tested', exp });
let folder: string;
let upstream: Upstream;
let gateway: TestGateway;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-replay-'));
  upstream = await startUpstream({ calls: { echo } });
  gateway = await startTestGateway({ env: productionEnv, clock: wallClock(), servers: { tested: upstream.url } });
  for (const tool of ['echo', 'echo']) await callTool(gateway, tool, {}, { token: used });
  await callTool(gateway, 'echo', {}, { token: tokenWith({ sub: 'agent-2', scope: 'tool:other', exp }) });
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
  await rm(folder, { recursive: true });
});

async function talos(args: readonly string[], input = '', env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [program, ...args], {
    stdio: 'pipe',
    env: { PATH: process.env['PATH'] ?? '', ...env },
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const exited = new Promise<number | null>((done) => child.on('close', done));
  const [out, err, code] = await Promise.all([readAll(child.stdout), readAll(child.stderr), exited]);
  return { out, err, code };
}

let files = 0;

async function replay(tokens: readonly string[], ...more: readonly string[]) {
  const file = join(folder, `tokens-${files++}`);
  await writeFile(file, `${tokens.join('\n')}\n`);
  const args = ['replay', '--url', gateway.url, '--token', reader, '--capabilities', file, '--json'];
  const issuer = more.includes('--trusted-issuer') ? [] : ['--trusted-issuer', trustedIssuer.did];
  const { out, err, code } = await talos([...args, ...issuer, ...more]);
  return { err, code, report: (out === '' ? {} : JSON.parse(out)) as JsonObject };
}

describe('talos replay', () => {
  const tool = 'tested/echo';

  it('finds no change under the tokens that were used', async () => {
    const { code, report } = await replay([used, tokenWith({ sub: 'agent-2', scope: 'tool:other', exp })]);
    expect(report).toEqual({ calls: 3, unchanged: 3, changes: [] });
    expect(code).toBe(0);
  });

  it('says what a narrower token would deny, and what a wider one would allow', async () => {
    const narrower = tokenWith({ sub: 'agent-1', scope: 'tool:tested/method:other', exp });
    const wider = tokenWith({ sub: 'agent-2', scope: 'tool:tested', exp });
    const { code, report } = await replay([narrower, wider]);
    expect(report['changes']).toEqual([
      { change: 'newly_denied', principal: 'agent-1', tool, why: 'SCOPE_MISMATCH scope', calls: 2 },
      { change: 'newly_allowed', principal: 'agent-2', tool, why: '', calls: 1 },
    ]);
    expect(code).toBe(1);
  });

  it('judges times as they were', async () => {
    const late = tokenWith({ sub: 'agent-1', scope: 'tool:tested', nbf: 4_000_000_000, exp });
    const { report } = await replay([late]);
    expect(report['changes']).toMatchObject([
      { change: 'newly_denied', why: 'SCOPE_MISMATCH not_yet_valid' },
      { change: 'not_judged', principal: 'agent-2', why: 'no token is given for it' },
    ]);
  });

  it('does not pretend to know arguments', async () => {
    const { code, report } = await replay([
      tokenWith({ sub: 'agent-1', scope: 'tool:tested', exp, constraints: { paths: ['/a/**'] } }),
    ]);
    expect(report['changes']).toMatchObject([
      { change: 'not_judged', principal: 'agent-1', why: 'its arguments decide', calls: 2 },
      { change: 'not_judged', principal: 'agent-2' },
    ]);
    expect(code).toBe(0);
  });

  it('says that tokens of an issuer who is no longer trusted count for nothing', async () => {
    const { err, report } = await replay([used], '--trusted-issuer', strangeIssuer.did);
    expect(err).toContain('counts for nothing: issuer_untrusted');
    expect(report['changes']).toMatchObject([{ change: 'not_judged', calls: 2 }, { change: 'not_judged' }]);
  });

  it.each([
    ['an issuer that is none', ['--trusted-issuer', 'nobody'], '--trusted-issuer: The DID is neither'],
    [
      'a tool registry that is not there',
      ['--tool-registry', '/nowhere.json'],
      'The tool registry /nowhere.json cannot be used',
    ],
    ['a time that is none', ['--from', 'yesterday'], '--from is not a time'],
  ])('refuses %s in one sentence', async (_, args, sentence) => {
    const { code, err } = await replay([used], ...args);
    expect(code).toBe(2);
    expect(err).toContain(sentence);
    expect(err.trim().split('\n')).toHaveLength(1);
  });
});

describe('talos revoke', () => {
  const secret = productionEnv.AUTH_ADMIN_SECRET;

  it('works through a gateway', async () => {
    const token = tokenWith({ sub: 'agent-3', scope: 'tool:tested' });
    expect((await callTool(gateway, 'echo', {}, { token })).status).toBe(200);
    const { code, out } = await talos(['revoke', token, '--url', gateway.url, '--reason', 'a test'], secret);
    expect(code).toBe(0);
    expect(out).toMatch(/^Revoked the capability with the hash [0-9a-f]{64}; recorded as [0-9a-f-]{36}\.\n$/);
    expect((await callTool(gateway, 'echo', {}, { token })).body).toMatchObject({
      details: { denial_reason: 'REVOKED' },
    });
  });

  it('works in the database', async () => {
    const token = tokenWith({ sub: 'agent-4', scope: 'tool:tested' });
    const env = { DATABASE_URL: gateway.database.url, DEV_MODE: 'true' };
    const { code, err } = await talos(['revoke', '-'], token, env);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    await expect
      .poll(async () => (await callTool(gateway, 'echo', {}, { token })).body, { timeout: 20_000 })
      .toMatchObject({ details: { denial_reason: 'REVOKED' } });
  });

  it.each([
    ['what names nothing', ['hello'], '', 'This is not a capability token'],
    ['an empty id', ['', '--id'], '', 'An id has 1 to 200 printable characters'],
    ['a long reason', ['f'.repeat(64), '--reason', 'x'.repeat(501)], '', '--reason is too long'],
    ['two uses of standard input', ['-', '--url', 'http://127.0.0.1:1'], '', 'standard input holds the secret'],
  ])('refuses %s in one sentence', async (_, args, input, sentence) => {
    const { code, err } = await talos(['revoke', ...args], input);
    expect(code).toBe(2);
    expect(err).toContain(sentence);
    expect(err.trim().split('\n')).toHaveLength(1);
  });

  it('says why a gateway refuses', async () => {
    const { code, err } = await talos(['revoke', 'f'.repeat(64), '--url', gateway.url], 'not the secret');
    expect(code).toBe(2);
    expect(err).toBe('error: The gateway refuses: Invalid authentication credentials\n');
  });
});
