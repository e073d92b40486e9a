/** The circuit breaker of a tool server: open when the server is away, never for what a tool does, closed by its own probe. */
import { describe, expect, it } from 'vitest';
import { scriptedStdioProgram } from '../support/mcp-processes.ts';
import { call, failureOf, patience, serverOf, textOf } from '../support/mcp-registry.ts';
import { mcpScript, type Respond, sendError, sendResult, startScripted, toolNamed } from '../support/mcp-scripted.ts';

const quick = { upstreamCircuitMinMs: 50, upstreamCircuitMaxMs: 200, upstreamListTimeoutMs: 300 };
/** Probes come so late that no test sees one. */
const late = { ...quick, upstreamCircuitMinMs: 60_000, upstreamCircuitMaxMs: 60_000 };
const never: Respond = () => undefined;
const goneUrl = 'http://127.0.0.1:1/';

describe('a server that cannot be reached', () => {
  it('is not asked any more after five failures, and callers are told when to come again', async () => {
    const { server, log } = serverOf({ transport: 'jsonrpc', url: goneUrl }, { bounds: late });
    expect(server.health).toEqual({ state: 'unknown', failures: 0 });
    for (let at = 0; at < 4; at++) await failureOf(call(server, 'any'));
    expect(server.health).toMatchObject({ state: 'failing', failures: 4 });
    expect((await failureOf(call(server, 'any'))).retryAfterSec).toBeUndefined();
    const refusal = await failureOf(call(server, 'any'));
    expect(refusal).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false, retryable: true });
    expect(refusal.retryAfterSec).toBeGreaterThan(50);
    expect(refusal.message).toBe('The tool server could not be reached.');
    // What was refused is no failure of the server.
    expect(server.health).toMatchObject({ state: 'down', failures: 5, lastFailure: { code: 'UPSTREAM_UNAVAILABLE' } });
    expect(log.lines.filter(({ msg }) => String(msg).includes('not asked any more'))).toHaveLength(1);
  });

  it('fails a listing at once as well', async () => {
    const { server } = serverOf({ transport: 'jsonrpc', url: goneUrl }, { bounds: late });
    for (let at = 0; at < 5; at++) await failureOf(server.listTools(patience()));
    expect(await failureOf(server.listTools(patience()))).toMatchObject({ retryAfterSec: expect.any(Number) });
    expect(await failureOf(server.hello(patience()))).toMatchObject({ retryAfterSec: expect.any(Number) });
  });

  it('is used again when it is back, by a probe of the gateway and not by a call of anybody', async () => {
    const script = mcpScript({ era: 'bare', tools: () => [toolNamed('any')] });
    const first = await startScripted(script.respond);
    const port = Number(new URL(first.url).port);
    const { server } = serverOf({ transport: 'jsonrpc', url: first.url }, { bounds: quick });
    await first.close();
    for (let at = 0; at < 5; at++) await failureOf(call(server, 'any'));
    expect(server.health.state).toBe('down');
    const back = await startScripted(script.respond, port);
    await expect.poll(() => server.health.state, { timeout: 20_000 }).toBe('up');
    expect(new Set(back.methods())).toEqual(new Set(['tools/list']));
    expect(textOf(await call(server, 'any'))).toBe('any');
    expect(server.health).toMatchObject({ failures: 0, answeredAtMs: expect.any(Number) });
  });

  it('is probed less and less often', async () => {
    const { server, log } = serverOf({ transport: 'jsonrpc', url: goneUrl }, { bounds: quick });
    for (let at = 0; at < 5; at++) await failureOf(call(server, 'any'));
    await expect.poll(() => server.health.failures, { timeout: 20_000 }).toBeGreaterThan(7);
    expect(server.health.state).toBe('down');
    expect(log.lines.filter(({ msg }) => String(msg).includes('not asked any more'))).toHaveLength(1);
  });
});

describe('a server that takes everything and answers nothing', () => {
  it('is noticed by its probe', async () => {
    const { url } = await startScripted(never);
    const { server } = serverOf({ transport: 'jsonrpc', url }, { bounds: { ...late, upstreamListTimeoutMs: 100 } });
    for (let at = 0; at < 5; at++) {
      expect(await failureOf(call(server, 'any', {}, { timeoutMs: 20 }))).toMatchObject({ code: 'UPSTREAM_TIMEOUT' });
    }
    await expect.poll(() => server.health.state, { timeout: 20_000 }).toBe('down');
    expect(await failureOf(call(server, 'any'))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false });
  });
});

describe('a server that answers nothing after its handshake', () => {
  it('is noticed, however often somebody asks what is remembered of it', async () => {
    const calls = { any: never };
    const { respond } = mcpScript({ era: 'session', calls, methods: { 'tools/list': never } });
    const { url } = await startScripted(respond);
    const { server } = serverOf({ transport: 'http', url }, { bounds: { ...late, upstreamListTimeoutMs: 200 } });
    const signal = new AbortController();
    for (let at = 0; at < 5; at++) {
      await server.hello(patience());
      await server.listen({ filter: {}, onNotification: () => undefined, signal: signal.signal });
      await failureOf(call(server, 'any', {}, { timeoutMs: 20 }));
    }
    expect(server.health).toMatchObject({ failures: 5, lastFailure: { code: 'UPSTREAM_TIMEOUT' } });
    await expect.poll(() => server.health.state, { timeout: 20_000 }).toBe('down');
    signal.abort();
  });
});

describe('the circuit stays closed', () => {
  const tools = [toolNamed('good'), toolNamed('bad')];
  const serverWith = async (bad: Respond) => {
    const { url } = await startScripted(mcpScript({ era: 'bare', tools: () => tools, calls: { bad } }).respond);
    return serverOf({ transport: 'jsonrpc', url }, { bounds: late }).server;
  };
  const times = async (count: number, work: () => Promise<unknown>) => {
    for (let at = 0; at < count; at++) await work();
  };

  it('whatever a tool says of itself', async () => {
    const server = await serverWith((received, response) =>
      sendResult(received, response, { content: [], isError: true }),
    );
    await times(20, () => call(server, 'bad'));
    expect(server.health).toMatchObject({ state: 'up', failures: 0 });
  });

  it('whatever errors of the protocol a tool answers with', async () => {
    const server = await serverWith((received, response) => sendError(received, response, -32_603, 'broken'));
    await times(20, () => call(server, 'bad'));
    expect(server.health).toMatchObject({ state: 'up', failures: 0 });
  });

  it.each<[string, Respond, number]>([
    ['never answers', never, 20],
    ['breaks the connection', (_, response) => void response.destroy(), 5_000],
    ['answers nonsense', (_, response) => void response.end('nonsense'), 5_000],
  ])('for a tool that %s, because the probe is answered', async (_, bad, timeoutMs) => {
    const server = await serverWith(bad);
    await times(12, () => failureOf(call(server, 'bad', {}, { timeoutMs })));
    expect(textOf(await call(server, 'good'))).toBe('good');
    expect(server.health).toMatchObject({ state: 'up', failures: 0 });
  });

  it('for a client whose sessions the server does not even begin, because the probe is answered', async () => {
    const { respond } = mcpScript({ era: 'session', tools: () => tools });
    const { url } = await startScripted((received, response) => {
      const isHostile = JSON.stringify(received.message).includes('hostile');
      return isHostile ? void response.destroy() : respond(received, response);
    });
    const { server } = serverOf({ transport: 'http', url }, { bounds: late });
    await server.listTools(patience());
    const hostile = {
      client: { clientInfo: { name: 'hostile', version: '1' }, capabilities: {} },
      protocolVersion: '2025-06-18',
      peer: { onNotification: () => undefined },
      onLost: () => undefined,
      signal: patience(),
    };
    await times(12, () => failureOf(server.openSession(hostile)));
    expect(textOf(await call(server, 'good'))).toBe('good');
    await expect.poll(() => server.health, { timeout: 20_000 }).toMatchObject({ state: 'up', failures: 0 });
  });

  it('for callers who leave', async () => {
    const server = await serverWith(never);
    await times(12, async () => {
      const leaving = new AbortController();
      const left = failureOf(call(server, 'bad', {}, { signal: leaving.signal }));
      leaving.abort();
      expect(await left).toMatchObject({ code: 'CALL_CANCELLED' });
    });
    expect(server.health).toEqual({ state: 'unknown', failures: 0 });
  });

  it('for a secret of ours that is missing', async () => {
    const { url } = await startScripted(mcpScript({ era: 'bare' }).respond);
    const headers = { authorization: `Bearer \${secret:${'missing'}}` };
    const { server } = serverOf({ transport: 'jsonrpc', url, headers }, { bounds: late });
    await times(12, () => failureOf(call(server, 'any')));
    expect(server.health).toEqual({ state: 'unknown', failures: 0 });
  });
});

describe('a process', () => {
  it('that dies at once is not asked any more, and tried again by itself', async () => {
    const spec = { transport: 'stdio', command: 'node', args: [scriptedStdioProgram, 'dies'] } as const;
    const { server } = serverOf(spec, { bounds: { ...quick, stdioRestartBackoffMinMs: 0 } });
    for (let at = 0; at < 5; at++) await failureOf(call(server, 'echo'));
    await expect.poll(() => server.health.state, { timeout: 20_000 }).toBe('down');
    await expect.poll(() => server.health.failures, { timeout: 20_000 }).toBeGreaterThan(6);
  });
});
