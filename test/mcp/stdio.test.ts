import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { isAlive, scriptedStdioProgram } from '../support/mcp-processes.ts';
import { call, failureOf, patience, type RegistrySettings, serverOf, textOf } from '../support/mcp-registry.ts';

function program(mode = 'normal', settings: RegistrySettings = {}) {
  return serverOf({ transport: 'stdio', command: 'node', args: [scriptedStdioProgram, mode] }, settings);
}

/** Crashes cost no waiting. */
const eager = { bounds: { stdioRestartBackoffMinMs: 0 } };

async function pidOf(server: ReturnType<typeof program>['server']): Promise<number> {
  return Number(textOf(await call(server, 'pid')));
}

/** What becomes of a call in a process that may open no more files. */
const outOfFiles = `
  import { openSync, closeSync } from 'node:fs';
  import { pino } from 'pino';
  import { systemClock } from './src/core/clock.ts';
  import { createRegistry } from './src/mcp/registry.ts';
  const spec = { id: 'x', name: 'x', transport: 'stdio', command: process.execPath, args: ['-e', ''] };
  const registry = createRegistry([spec], { clock: systemClock, log: pino({ level: 'silent' }) });
  const files = [];
  try { for (;;) files.push(openSync('/dev/null')); } catch {}
  const error = await registry.get('x').listTools(new AbortController().signal).catch((error) => error);
  await new Promise((resolve) => setImmediate(resolve));
  for (const file of files) closeSync(file);
  console.log(error.code, error.dispatched);
  await registry.close();`;

describe('a server over stdio', () => {
  it('that cannot be started for want of files takes nothing else with it', () => {
    const node = [process.execPath, '--input-type=module', '-e', outOfFiles];
    const { stdout, stderr } = spawnSync('/bin/sh', ['-c', 'ulimit -n 64 && exec "$@"', 'sh', ...node], {
      encoding: 'utf8',
    });
    expect({ stdout, stderr }).toEqual({ stdout: 'UPSTREAM_UNAVAILABLE false\n', stderr: '' });
  });

  it('is started by the first use, and not before', async () => {
    const { server, log } = program();
    expect(log.lines).toEqual([]);
    expect((await server.listTools(patience())).map(({ name }) => name)).toContain('echo');
    expect(textOf(await call(server, 'echo', { text: 'größe\n"x"' }))).toBe('größe\n"x"');
    expect(JSON.parse(textOf(await call(server, 'seen')))).toEqual([
      'initialize',
      'notifications/initialized',
      'tools/list',
      'tools/call',
      'tools/call',
    ]);
  });

  it('is started once for callers that come at once', async () => {
    const { server } = program();
    const pids = await Promise.all(Array.from({ length: 10 }, () => pidOf(server)));
    expect(new Set(pids).size).toBe(1);
  });

  it('answers concurrent calls in any order, each to its caller', async () => {
    const { server } = program();
    const delays = [120, 0, 60, 30, 90];
    const answers = delays.map(async (delayMs) => textOf(await call(server, 'later', { delayMs, text: `${delayMs}` })));
    expect(await Promise.all(answers)).toEqual(delays.map(String));
  });

  it('gives the exact bytes of the answer', async () => {
    const { server } = program();
    const answer = await call(server, 'echo', { text: 'é' });
    expect(answer.raw.toString()).toMatch(
      /^\{"jsonrpc":"2.0","id":\d+,"result":\{"content":\[\{"type":"text","text":"é"\}\]\}\}$/,
    );
  });

  it('gives JSON-RPC errors and notifications', async () => {
    const { server } = program();
    expect(await call(server, 'error')).toMatchObject({
      kind: 'error',
      error: { code: -32_000, message: 'it failed', data: { why: 'because' } },
    });
    const notes: unknown[] = [];
    await call(server, 'logs', {}, { peer: { onNotification: (method, params) => notes.push([method, params]) } });
    expect(notes).toEqual([['notifications/message', { level: 'info', data: 1 }]]);
  });

  it('says that its tools changed', async () => {
    const { server } = program();
    expect(await server.tool('added later', patience())).toBeUndefined();
    await call(server, 'changes');
    expect(await server.tool('added later', patience())).toBeDefined();
  });

  it('is spoken to in the stateless era when it refuses the other', async () => {
    const { server } = program('stateless');
    expect((await server.listTools(patience())).length).toBeGreaterThan(5);
    expect(textOf(await call(server, 'echo', { text: 'x' }))).toBe('x');
  });

  it('is declined what it asks, and answered a ping', async () => {
    const { server } = program();
    await call(server, 'asks');
    await vi.waitFor(async () => {
      const seen = textOf(await call(server, 'seen'));
      expect(seen).toContain('reply to mine');
      expect(seen).toContain('-32601');
      expect(seen).toContain('reply to ping');
    }, 15_000);
  });
});

describe('the environment of a process', () => {
  it('is what was configured and a few defaults, never the environment of the gateway', async () => {
    vi.stubEnv('TALOS_TEST_SECRET', 'hunter2');
    onTestFinished(() => void vi.unstubAllEnvs());
    const spec = {
      transport: 'stdio',
      command: 'node',
      args: [scriptedStdioProgram],
      env: { OWN: 'x', LANG: 'de_DE' },
      cwd: tmpdir(),
    } as const;
    const { server } = serverOf(spec);
    const { env, cwd } = JSON.parse(textOf(await call(server, 'environment'))) as {
      env: Record<string, string>;
      cwd: string;
    };
    expect(env).toMatchObject({ OWN: 'x', LANG: 'de_DE' });
    expect(
      Object.keys(env)
        .filter((name) => !/^(__CF|PWD$|SHLVL$|_$)/.test(name))
        .sort(),
    ).toEqual(['HOME', 'LANG', 'OWN', 'PATH']);
    expect(cwd).toBe(tmpdir());
  });

  it('has no shell: what a shell would act on is an argument like any other', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'talos-stdio-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    writeFileSync(
      join(folder, 'args.mjs'),
      'process.stderr.write(JSON.stringify(process.argv.slice(2)) + "\\n"); setInterval(() => 0, 1000)',
    );
    const args = ['$(id)', '; id', '*', '`id`', '> out'];
    const { server, log } = serverOf({
      transport: 'stdio',
      command: 'node',
      args: [join(folder, 'args.mjs'), ...args],
    });
    void failureOf(call(server, 'x', {}, { timeoutMs: 10_000 }));
    await vi.waitFor(
      () => expect(log.lines).toContainEqual(expect.objectContaining({ level: 30, stderr: JSON.stringify(args) })),
      {
        timeout: 5_000,
      },
    );
  });
});

describe('a process that', () => {
  it.each(['no-such-program-anywhere', '/etc/hostname', tmpdir(), 'node\0x'])(
    'cannot be started (%j) is unavailable',
    async (command) => {
      const { server } = serverOf({ transport: 'stdio', command });
      const error = await failureOf(call(server, 'echo'));
      expect(error).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false });
      expect(error.message).not.toContain(command);
    },
  );

  it('has no such folder to run in is unavailable', async () => {
    const { server } = serverOf({ transport: 'stdio', command: 'node', cwd: '/no/such/folder' });
    expect(await failureOf(call(server, 'echo'))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false });
  });

  it.each([
    ['dies', 'UPSTREAM_UNAVAILABLE'],
    ['refuses', 'UPSTREAM_INVALID_RESPONSE'],
    ['future', 'UPSTREAM_INVALID_RESPONSE'],
  ])('%s in its handshake fails the call, which was surely not sent', async (mode, code) => {
    const { server } = program(mode);
    expect(await failureOf(call(server, 'echo'))).toMatchObject({ code, dispatched: false });
  });

  it('says nothing in its handshake is given up and ended', async () => {
    const { server, log } = program('mute', { bounds: { stdioStartTimeoutMs: 300 } });
    expect(await failureOf(call(server, 'echo'))).toMatchObject({ code: 'UPSTREAM_TIMEOUT', dispatched: false });
    await vi.waitFor(() => expect(log.text()).toContain('it was ended by SIGKILL'), 15_000);
  });

  it('crashes fails all calls in flight, which may have been carried out', async () => {
    const { server } = program('normal', eager);
    await call(server, 'echo', { text: 'x' });
    const failures = await Promise.all([
      failureOf(call(server, 'hang')),
      failureOf(call(server, 'hang')),
      failureOf(call(server, 'crash')),
    ]);
    for (const failure of failures)
      expect(failure).toMatchObject({
        code: 'UPSTREAM_UNAVAILABLE',
        dispatched: true,
        inside: 'it exited with code 7',
      });
  });

  it('crashes is started again by the next use', async () => {
    const { server } = program('normal', eager);
    const before = await pidOf(server);
    await failureOf(call(server, 'crash'));
    expect(await pidOf(server)).not.toBe(before);
  });

  it('is killed by somebody is started again by the next use', async () => {
    const { server, log } = program('normal', eager);
    const pid = await pidOf(server);
    process.kill(pid, 'SIGKILL');
    await vi.waitFor(() => expect(log.text()).toContain('it was ended by SIGKILL'), 15_000);
    expect(await pidOf(server)).not.toBe(pid);
  });

  it('crashes again and again is left alone for longer and longer', async () => {
    const clock = { nowMs: 0, now: () => 0, monotonic: () => clock.nowMs };
    const { server, log } = program('dies', { clock, bounds: { upstreamCircuitFailuresMax: 100 } });
    for (const waitMs of [250, 500, 1_000]) {
      expect((await failureOf(call(server, 'echo'))).inside).toBe('it exited with code 3');
      expect((await failureOf(call(server, 'echo'))).inside).toBe(`it ended; it may start again in ${waitMs} ms`);
      clock.nowMs += waitMs - 1;
      expect((await failureOf(call(server, 'echo'))).inside).toBe('it ended; it may start again in 1 ms');
      clock.nowMs += 1;
    }
    expect(log.lines.filter(({ level }) => level === 40)).toHaveLength(3);
  });

  it('answers and exits at once is heard', async () => {
    const { server } = program('normal', eager);
    expect(textOf(await call(server, 'crash after answer'))).toBe('last words');
  });

  it('writes a line without end fails the calls in flight and is replaced', async () => {
    const { server } = program('normal', {
      bounds: { stdioRestartBackoffMinMs: 0, upstreamResponseBytesMax: 100_000 },
    });
    const pid = await pidOf(server);
    const failures = await Promise.all([failureOf(call(server, 'hang')), failureOf(call(server, 'huge'))]);
    for (const failure of failures)
      expect(failure).toMatchObject({ code: 'UPSTREAM_RESPONSE_TOO_LARGE', dispatched: true });
    await vi.waitFor(() => expect(isAlive(pid)).toBe(false), 15_000);
    await vi.waitFor(async () => expect(await pidOf(server)).not.toBe(pid), 15_000);
  });

  it.each([
    ['noise', 'after the noise'],
    ['wrong id', 'to you'],
    ['twice', 'first'],
  ])('writes what is no answer (%s) does not disturb the call', async (tool, text) => {
    const { server } = program();
    expect(textOf(await call(server, tool))).toBe(text);
    expect(textOf(await call(server, 'echo', { text: 'next' }))).toBe('next');
  });

  it('answers what is not valid fails that call only', async () => {
    const { server } = program();
    expect(await failureOf(call(server, 'broken'))).toMatchObject({
      code: 'UPSTREAM_INVALID_RESPONSE',
      dispatched: true,
    });
    expect(textOf(await call(server, 'echo', { text: 'next' }))).toBe('next');
  });

  it('hangs runs into the deadline, and is told so', async () => {
    const { server } = program();
    await call(server, 'echo', { text: 'x' });
    expect(await failureOf(call(server, 'hang', {}, { timeoutMs: 50 }))).toMatchObject({
      code: 'UPSTREAM_TIMEOUT',
      dispatched: true,
    });
    expect(textOf(await call(server, 'seen'))).toContain('notifications/cancelled');
  });

  it('hangs is told when the caller leaves', async () => {
    const { server } = program();
    await call(server, 'echo', { text: 'x' });
    const leaving = new AbortController();
    const left = failureOf(call(server, 'hang', {}, { signal: leaving.signal }));
    leaving.abort();
    expect(await left).toMatchObject({ code: 'CALL_CANCELLED', dispatched: true });
    expect(textOf(await call(server, 'seen'))).toContain('notifications/cancelled');
  });

  it('does not read is sent no more than its queue may hold', async () => {
    const { server } = program('deaf', { bounds: { stdioQueueBytesMax: 100_000 } });
    const leaving = new AbortController();
    const large = { text: 'x'.repeat(200_000) };
    const held = [failureOf(call(server, 'echo', large, { signal: leaving.signal }))];
    await vi.waitFor(async () => {
      const next = call(server, 'echo', large, { signal: leaving.signal, timeoutMs: 500 });
      expect(await failureOf(next)).toMatchObject({ code: 'UPSTREAM_BUSY', dispatched: false });
    }, 5_000);
    leaving.abort();
    await Promise.all(held);
  });

  it('complains after its start is logged for debugging only: it may quote arguments', async () => {
    const { server, log } = program();
    await call(server, 'complains');
    await vi.waitFor(() => expect(log.text()).toContain('short'), 15_000);
    expect(log.lines.filter(({ stderr }) => stderr !== undefined).map(({ level }) => level)).toEqual([20, 20]);
  });

  it('complains at length is logged in bounded lines', async () => {
    const { server, log } = program();
    await call(server, 'complains');
    await vi.waitFor(() => expect(log.lines.map(({ stderr }) => stderr)).toContain('short'), 15_000);
    for (const { stderr } of log.lines) expect(String(stderr ?? '').length).toBeLessThanOrEqual(2_048);
  });

  it('complains without end is logged for a while', async () => {
    const { server, log } = program('normal', { bounds: { stdioStderrLinesPerMinuteMax: 5 } });
    for (let i = 0; i < 10; i++) await call(server, 'complains');
    await vi.waitFor(() => expect(log.text()).toContain('writes too much'), 15_000);
    expect(log.lines.filter(({ stderr }) => stderr !== undefined)).toHaveLength(4);
  });
});

describe('closing', () => {
  it('ends the process and what it started', async () => {
    const { server, registry } = program();
    const pids = [await pidOf(server), Number(textOf(await call(server, 'has a child')))];
    expect(pids.map(isAlive)).toEqual([true, true]);
    await registry.close();
    await vi.waitFor(() => expect(pids.map(isAlive)).toEqual([false, false]), 15_000);
  });

  it('insists when the process does not want to go', async () => {
    const { server, registry } = program('stubborn', { bounds: { stdioStopGraceMs: 100 } });
    const pid = await pidOf(server);
    await registry.close();
    expect(isAlive(pid)).toBe(false);
  });

  it('does not wait for a handshake that never ends', async () => {
    const { server, registry } = program('mute', { bounds: { stdioStopGraceMs: 100 } });
    const failure = failureOf(call(server, 'echo'));
    await registry.close();
    expect(await failure).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false });
  });

  it('fails calls in flight, and starts nothing any more', async () => {
    const { server, registry } = program();
    await call(server, 'echo', { text: 'x' });
    const held = failureOf(call(server, 'hang'));
    await registry.close();
    expect(await held).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: true });
    expect(await failureOf(server.listTools(patience()))).toMatchObject({
      code: 'UPSTREAM_UNAVAILABLE',
      dispatched: false,
    });
  });
});
