/** Revoking capabilities of a running gateway by the command line. */
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { childEnv } from '../support/child-env.ts';
import { callTool, productionEnv, startTestGateway, type TestGateway, wallClock } from '../support/gateway.ts';
import { tokenWith } from '../support/issuer.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

const program = resolve(import.meta.dirname, '../support/capability-cli-process.ts');
let upstream: Upstream;
let gateway: TestGateway;

beforeAll(async () => {
  upstream = await startUpstream({ calls: { echo } });
  gateway = await startTestGateway({ env: productionEnv, clock: wallClock(), servers: { tested: upstream.url } });
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
});

async function talos(args: readonly string[], input = '', env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [program, ...args], {
    stdio: 'pipe',
    env: { ...childEnv, ...env },
  });
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const exited = new Promise<number | null>((done) => child.on('close', done));
  const [out, err, code] = await Promise.all([readAll(child.stdout), readAll(child.stderr), exited]);
  return { out, err, code };
}

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
