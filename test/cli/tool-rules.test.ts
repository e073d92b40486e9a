/** `talos pins`, `talos policies` and `talos approvals` against a running gateway. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { childEnv } from '../support/child-env.ts';
import { callTool, eventually, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { type RugPull, startRugPull } from '../support/rug-pull.ts';

const admin = 'an admin secret that only this test knows';
let folder: string;
let upstream: RugPull;
let gateway: TestGateway;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-rules-'));
  await writeFile(join(folder, 'keys'), `one:${'11'.repeat(32)}\n`);
  upstream = await startRugPull(['moved', 'pay']);
  gateway = await startTestGateway({
    servers: { tested: upstream.url },
    env: {
      AUTH_ADMIN_SECRET: admin,
      TALOS_SECRETS_KEY_FILE: join(folder, 'keys'),
      TALOS_APPROVAL_WAIT_SECONDS: '0',
    },
  });
});

afterAll(async () => {
  await gateway.stop();
  await upstream.close();
  await rm(folder, { recursive: true });
});

async function talos(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const child = spawn(process.execPath, ['cli/talos.ts', ...args, '--gateway', gateway.url], {
    env: { ...childEnv, AUTH_ADMIN_SECRET: admin },
  });
  const [out, err, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
  return { code, out, err };
}

it('shows how a tool changed, approves it by its hash, and forgets pins', { timeout: 60_000 }, async () => {
  await eventually(async () => (await talos('pins', 'list')).out.includes('moved  pinned'), 30_000);
  await upstream.change(gateway, 'moved', { description: 'The tool moved.\u001b[2J And \u202emore.' });
  expect((await callTool(gateway, 'moved')).status).toBe(403);
  const { out } = await talos('pins', 'diff', 'tested', 'moved');
  expect(out).toContain('+  The tool moved.\\u{1b}[2J And \\u{202e}more.');
  expect(out).not.toContain('\u001b');
  expect(out).not.toContain('\u202e');
  const [, hash = ''] = /talos pins approve tested moved --hash (\S+)/.exec(out) ?? [];
  expect((await talos('pins', 'list', '--state', 'held')).out).toContain(hash);
  const wrong = await talos('pins', 'approve', 'tested', 'moved', '--hash', `sha256:${'00'.repeat(32)}`);
  expect([wrong.code, wrong.err]).toEqual([2, expect.stringContaining('CONFLICT')]);
  expect((await talos('pins', 'approve', 'tested', 'moved', '--hash', hash)).out).toContain('moved  pinned');
  expect((await callTool(gateway, 'moved')).status).toBe(200);
  expect((await talos('pins', 'forget', 'tested')).err).toContain('Forgotten: 3.');
});

it('makes a policy and decides on what it demands', { timeout: 60_000 }, async () => {
  const added = await talos('policies', 'add', 'p', '--team', 'default', '--approve', 'tested/pay*');
  expect(added.out).toContain('approval {"tested":["pay*"]}');
  expect((await talos('policies', 'change', 'p', '--server', 'tested')).out).toContain('servers tested');
  expect((await talos('policies', 'list', '--team', 'default')).out).toMatch(/^p {2}default {2}/);
  const pending = await callTool(gateway, 'pay', { amount: 5 });
  const { approval_id: id } = pending.body['details'] as unknown as { approval_id: string };
  expect((await talos('approvals', 'list')).out).toContain(id);
  expect((await talos('approvals', 'show', id)).out).toContain('"amount": 5');
  expect((await talos('approvals', 'approve', id, '--reason', 'seen')).out).toContain('approved');
  expect((await callTool(gateway, 'pay', { amount: 5 })).status).toBe(200);
  expect(await talos('approvals', 'deny', id)).toMatchObject({ code: 2, err: expect.stringContaining('used') });
  expect((await talos('policies', 'remove', 'p')).code).toBe(0);
});

it.each([
  [['pins', 'diff', 'tested', 'nobody'], 'NOT_FOUND'],
  [['pins', 'approve', 'tested', 'moved'], '--hash'],
  [['pins', 'list', '--state', 'nothing'], 'VALIDATION_FAILED'],
  [['policies', 'add'], '--team'],
  [['policies', 'add', '--team', 'red', '--tool', 'git'], "'/'"],
  [['policies', 'change', 'nobody'], 'what to change'],
  [['approvals', 'approve', 'nobody'], 'NOT_FOUND'],
])('refuses %j with a sentence', { timeout: 60_000 }, async (args, sentence) => {
  const { code, err } = await talos(...args);
  expect([code, err]).toEqual([2, expect.stringContaining(sentence)]);
});
