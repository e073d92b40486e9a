import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { McpServerSpec } from '../../src/core/mcp-server.ts';
import type { McpServer } from '../../src/mcp/registry.ts';
import type { ToolCall } from '../../src/mcp/upstream-call.ts';
import { richClient, slowPeer, type TestPeer, testPeer } from '../support/mcp-peer.ts';
import { isAlive, scriptedStdioProgram } from '../support/mcp-processes.ts';
import { call, failureOf, patience, type RegistrySettings, serverOf, textOf } from '../support/mcp-registry.ts';

function program(mode = 'normal', more: Partial<McpServerSpec> = {}, settings: RegistrySettings = {}) {
  return serverOf({ transport: 'stdio', command: 'node', args: [scriptedStdioProgram, mode], ...more }, settings)
    .server;
}

async function open(server: McpServer, peer: TestPeer = testPeer(), signal = patience(), owner = 'somebody') {
  const lost: string[] = [];
  const onLost = (reason: string) => lost.push(reason);
  const hello = { client: richClient, protocolVersion: '2025-06-18' };
  const session = await server.openSession({ ...hello, peer, onLost, signal, owner });
  const ask = (name: string, more: Partial<ToolCall> = {}) =>
    session.callTool({ name, args: {}, requestId: 'r', signal: patience(), ...more });
  return { session, ask, peer, lost };
}

async function pidOf({ ask }: Awaited<ReturnType<typeof open>>): Promise<number> {
  return Number(textOf(await ask('pid')));
}

describe('a peer of a process', () => {
  it('follows the progress of its own call, however many are in flight', async () => {
    const server = program();
    const hanging = new AbortController();
    const rest = failureOf(call(server, 'hang', {}, { signal: hanging.signal, peer: testPeer() }));
    const [one, two] = [testPeer(), testPeer()];
    const tokens = await Promise.all([
      call(server, 'progresses', {}, { peer: one, meta: { progressToken: 'same' } }),
      call(server, 'progresses', {}, { peer: two, meta: { progressToken: 'same' } }),
    ]);
    for (const { told } of [one, two]) {
      expect(told).toEqual([['notifications/progress', { progressToken: 'same', progress: 1 }]]);
    }
    expect(new Set(tokens.map(textOf)).size).toBe(2);
    hanging.abort();
    await rest;
  });

  it('hears no messages that may be another one’s', async () => {
    const server = program();
    const hanging = new AbortController();
    const [peer, other] = [testPeer(), testPeer()];
    const rest = failureOf(call(server, 'hang', {}, { signal: hanging.signal, peer: other }));
    await call(server, 'logs', {}, { peer });
    expect([...peer.told, ...other.told]).toEqual([]);
    hanging.abort();
    await rest;
    // Nobody waits for it any more, but it may be what the server speaks of.
    await call(server, 'logs', {}, { peer });
    expect(peer.told).toEqual([]);
  });

  it('hears the messages of its own call, also after one that was given up was answered after all', async () => {
    const server = program();
    const peer = testPeer();
    await call(server, 'logs', {}, { peer });
    expect(peer.told).toHaveLength(1);
    await failureOf(call(server, 'later', { delayMs: 100, text: '' }, { timeoutMs: 1 }));
    await call(server, 'logs', {}, { peer });
    expect(peer.told).toHaveLength(1);
    await call(server, 'later', { delayMs: 200, text: '' });
    await call(server, 'logs', {}, { peer });
    expect(peer.told).toHaveLength(2);
  });

  it('is asked when its call is the only one, and never for another one’s', async () => {
    const server = program();
    const peer = testPeer();
    expect(textOf(await call(server, 'asks the client', { a: 1 }, { peer }))).toBe('{"answered":"elicitation/create"}');
    expect(peer.asked.map(({ params }) => params)).toEqual([{ a: 1 }]);
    const hanging = new AbortController();
    const rest = failureOf(call(server, 'hang', {}, { signal: hanging.signal, peer }));
    expect(textOf(await call(server, 'asks the client', {}, { peer }))).toContain('-32601');
    expect(peer.asked).toHaveLength(1);
    hanging.abort();
    await rest;
  });

  it('never gets the answer of a call that was given up', async () => {
    const server = program();
    const caller = new AbortController();
    const args = { delayMs: 30, text: 'late' };
    const failure = failureOf(call(server, 'later', args, { signal: caller.signal }));
    await call(server, 'echo');
    caller.abort();
    expect((await failure).code).toBe('CALL_CANCELLED');
    const answers = await Promise.all(
      [60, 0, 90].map((delayMs) => call(server, 'later', { delayMs, text: `${delayMs}` })),
    );
    expect(answers.map(textOf)).toEqual(['60', '0', '90']);
  });

  it('is told when the server takes its question back', async () => {
    const server = program();
    const { peer } = slowPeer();
    const caller = new AbortController();
    const failure = failureOf(call(server, 'takes it back', {}, { peer, signal: caller.signal }));
    await expect.poll(() => peer.asked[0]?.signal.aborted, { timeout: 20_000 }).toBe(true);
    caller.abort();
    expect((await failure).code).toBe('CALL_CANCELLED');
  });
});

describe('a session of its own over stdio', () => {
  it('is a process of its own, started as the client that it is for', async () => {
    const server = program();
    const shared = Number(textOf(await call(server, 'pid')));
    const [one, two] = await Promise.all([open(server), open(server)]);
    const pids = [shared, await pidOf(one), await pidOf(two)];
    expect(new Set(pids).size).toBe(3);
    expect(JSON.parse(textOf(await one.ask('hello')))).toEqual({ protocolVersion: '2025-06-18', ...richClient });
    await one.session.close();
    await expect.poll(() => isAlive(pids[1] ?? 0), { timeout: 20_000 }).toBe(false);
    expect(await pidOf(two)).toBe(pids[2]);
    expect(one.lost).toEqual([]);
  });

  it('asks its client, whatever else is in flight', async () => {
    const session = await open(program());
    const hanging = new AbortController();
    const rest = failureOf(session.ask('hang', { signal: hanging.signal }));
    expect(textOf(await session.ask('asks the client'))).toBe('{"answered":"elicitation/create"}');
    expect(textOf(await session.ask('asks in passing'))).toBe('passed');
    expect(session.peer.asked.map(({ method }) => method)).toEqual(['elicitation/create', 'roots/list']);
    hanging.abort();
    await rest;
  });

  it('replies to a question also when the call that was in flight was answered before', async () => {
    const { peer, answer } = slowPeer();
    const session = await open(program(), peer);
    expect(textOf(await session.ask('asks in passing'))).toBe('passed');
    expect(peer.asked.map(({ signal }) => signal.aborted)).toEqual([false]);
    answer();
    await expect.poll(async () => textOf(await session.ask('seen')), { timeout: 20_000 }).toContain('answered');
  });

  it('is lost once when its process ends, and what was asked then may have been carried out', async () => {
    const server = program();
    const session = await open(server);
    const hanging = failureOf(session.ask('hang'));
    const crashing = failureOf(session.ask('crash'));
    for (const failure of await Promise.all([hanging, crashing])) {
      expect(failure).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: true });
    }
    expect(session.lost).toEqual(['it exited with code 7']);
    expect(await failureOf(session.ask('echo'))).toMatchObject({ dispatched: false });
    expect(session.lost).toHaveLength(1);
    // Neither others nor newcomers pay for it.
    expect(textOf(await call(server, 'echo', { text: 'well' }))).toBe('well');
    await pidOf(await open(server));
  });

  it.each(['dies', 'refuses', 'mute', 'future'])(
    'fails to open with a server that %s, and leaves nothing',
    async (mode) => {
      const server = program(mode, {}, { bounds: { stdioStartTimeoutMs: 500, stdioRestartBackoffMinMs: 60_000 } });
      expect(await failureOf(open(server))).toMatchObject({ dispatched: false });
      // Whoever it was waits for the back-off; what they said of themselves may be why, so nobody else does.
      expect((await failureOf(open(server))).inside).toMatch(/may start again/);
      const other = await failureOf(open(server, testPeer(), patience(), 'somebody else'));
      expect(other.inside ?? '').not.toMatch(/may start again/);
    },
  );

  it('is given up when the client leaves meanwhile', async () => {
    const server = program('mute');
    const client = new AbortController();
    const failure = failureOf(open(server, testPeer(), client.signal));
    client.abort();
    expect(await failure).toMatchObject({ code: 'CALL_CANCELLED', dispatched: false });
    expect(server.isInUse).toBe(false);
  });

  it('is refused where as many processes run as may', async () => {
    const server = program('normal', { maxSessions: 1 });
    const first = await open(server);
    expect(await failureOf(open(server))).toMatchObject({ code: 'UPSTREAM_BUSY', dispatched: false });
    await first.session.close();
    const second = await open(server);
    await failureOf(second.ask('crash'));
    await pidOf(await open(server));
  });

  it('takes its place until its process is gone', async () => {
    const server = program('stubborn', { maxSessions: 1 });
    const { session } = await open(server);
    const closed = session.close();
    expect(await failureOf(open(server))).toMatchObject({ code: 'UPSTREAM_BUSY', dispatched: false });
    await closed;
    await pidOf(await open(server));
  });

  it('ends with the server, and its process too', async () => {
    const server = program('stubborn');
    const session = await open(server);
    const pid = await pidOf(session);
    await server.close();
    expect(session.lost).toHaveLength(1);
    expect(isAlive(pid)).toBe(false);
  });
});

describe('a process with limits', () => {
  it('has them, and takes its arguments as they are', async () => {
    const tricky = '"; echo hacked; "$(echo x)';
    const text = 'ulimit -d >&2; ulimit -n >&2; echo "$1" >&2';
    const limited = serverOf({
      ...{ transport: 'stdio', command: 'sh', args: ['-c', text, 'sh', tricky] },
      ...{ maxMemoryBytes: 64 * 1024 * 1024, maxOpenFiles: 50 },
    });
    await failureOf(call(limited.server, 'x'));
    const said = () => limited.log.lines.map(({ stderr }) => stderr).filter((line) => line !== undefined);
    await expect.poll(said, { timeout: 20_000 }).toEqual(['65536', '50', tricky]);
  });

  it('works, and ends where it asks for more', async () => {
    const server = program('normal', { maxMemoryBytes: 1024 ** 3, maxOpenFiles: 200 });
    const pid = Number(textOf(await call(server, 'pid')));
    expect(textOf(await call(server, 'echo', { text: 'x' }))).toBe('x');
    expect(await failureOf(call(server, 'takes memory'))).toMatchObject({
      code: 'UPSTREAM_UNAVAILABLE',
      dispatched: true,
    });
    await expect.poll(() => isAlive(pid), { timeout: 20_000 }).toBe(false);
  });

  it('that the machine does not grant does not start', async () => {
    const server = program('normal', { maxOpenFiles: 1_048_576_000 });
    expect(await failureOf(call(server, 'echo'))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false });
  });
});

describe('clients that share a process', () => {
  it('do so when the entry of the server says it', async () => {
    const server = program('normal', { sessions: 'shared' });
    const [one, two] = [await open(server), await open(server)];
    expect(await pidOf(one)).toBe(await pidOf(two));
    expect(JSON.parse(textOf(await one.ask('hello')))).toMatchObject({ capabilities: {} });
    // Nobody may be asked what may be meant for another.
    expect(textOf(await one.ask('asks the client'))).toContain('-32601');
    expect(one.peer.asked).toEqual([]);
  });

  it.each(['logging/setLevel', 'resources/subscribe', 'resources/unsubscribe'])(
    'are refused %s, which would have its effect on others',
    async (method) => {
      const { session } = await open(program('normal', { sessions: 'shared' }));
      const params = { level: 'debug', uri: 'a:b' };
      const answer = await session.relay({ method, params, requestId: 'r', signal: patience() });
      expect(answer).toMatchObject({
        kind: 'error',
        error: { code: -32_601, message: expect.stringContaining('share') },
      });
    },
  );

  it('do so when the server has no sessions', async () => {
    const server = program('stateless');
    const [one, two] = [await open(server), await open(server)];
    expect(await pidOf(one)).toBe(await pidOf(two));
    await one.session.close();
    await pidOf(two);
  });

  it('and start no process to see that each time', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'talos-starts-'));
    onTestFinished(() => rm(folder, { recursive: true }));
    const starts = join(folder, 'starts');
    const args = ['-c', 'echo >> "$0"; exec node "$1" stateless', starts, scriptedStdioProgram];
    const server = serverOf({ transport: 'stdio', command: '/bin/sh', args }).server;
    await call(server, 'echo');
    await Promise.all([open(server), open(server), open(server)]);
    expect(await readFile(starts, 'utf8')).toBe('\n');
  });
});
