import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import type { McpServerSpec } from '../../src/core/mcp-server.ts';
import { createRegistry } from '../../src/mcp/registry.ts';
import { scriptedStdioProgram } from '../support/mcp-processes.ts';
import { call, failureOf, patience, registryOf, textOf } from '../support/mcp-registry.ts';
import { mcpScript, startScripted, toolNamed } from '../support/mcp-scripted.ts';

function http(id: string, url: string): McpServerSpec {
  return { id, name: id, transport: 'jsonrpc', url };
}

describe('the registry', () => {
  it('lists servers in configured order, without what is secret', () => {
    const { registry } = registryOf([
      {
        id: 'zeta',
        name: 'Z',
        transport: 'auto',
        url: 'https://example.com:8443/mcp?key=secret#secret',
        headers: { authorization: 'secret' },
        tags: ['a'],
      },
      { id: 'alpha', name: 'A', transport: 'stdio', command: 'secret', args: ['secret'], env: { TOKEN: 'secret' } },
    ]);
    expect(registry.servers()).toEqual([
      {
        id: 'zeta',
        name: 'Z',
        transport: 'http',
        tags: ['a'],
        upstream: 'https://example.com:8443/mcp',
        health: 'unknown',
      },
      { id: 'alpha', name: 'A', transport: 'stdio', tags: [], health: 'unknown' },
    ]);
  });

  it('knows no server that is disabled, or that was not configured', () => {
    const { registry } = registryOf([
      { ...http('off', 'http://localhost/'), enabled: false },
      http('on', 'http://localhost/'),
    ]);
    expect(registry.servers().map(({ id }) => id)).toEqual(['on']);
    for (const id of ['off', 'ON', '', '__proto__', 'constructor']) expect(registry.get(id)).toBeUndefined();
  });

  it('connects to every server when it warms up, and does not mind those that are down', async () => {
    const { url, methods } = await startScripted(mcpScript({ era: 'bare', tools: () => [toolNamed('a')] }).respond);
    const { registry, log } = registryOf([
      http('up', url),
      http('down', 'http://127.0.0.1:1/'),
      { id: 'process', name: 'p', transport: 'stdio', command: 'node', args: [scriptedStdioProgram] },
    ]);
    await registry.warmUp(patience());
    expect(methods()).toEqual(['tools/list']);
    expect(log.lines.map(({ server, msg }) => [server, msg])).toEqual(
      expect.arrayContaining([
        ['up', 'connected to a tool server'],
        ['process', 'connected to a tool server'],
        ['down', 'a tool server cannot be used yet'],
      ]),
    );
  });

  it('keeps servers apart: one that hangs delays none of the others', async () => {
    const hanging = await startScripted(() => undefined);
    const { url } = await startScripted(mcpScript({ era: 'bare' }).respond);
    const { registry } = registryOf([http('hangs', hanging.url), http('works', url)], {
      bounds: { upstreamInFlightMax: 100 },
    });
    const [hangs, works] = [registry.get('hangs'), registry.get('works')];
    if (hangs === undefined || works === undefined) throw new Error('a server is missing');
    const leaving = new AbortController();
    const held = Array.from({ length: 100 }, () => failureOf(call(hangs, 'x', {}, { signal: leaving.signal })));
    const started = performance.now();
    await Promise.all(Array.from({ length: 100 }, async () => expect(textOf(await call(works, 'tool'))).toBe('tool')));
    expect(performance.now() - started).toBeLessThan(5_000);
    leaving.abort();
    await Promise.all(held);
  });
});

describe('what the registry refuses', () => {
  const base = { id: 'ok', name: 'n', transport: 'jsonrpc', url: 'http://localhost/' } as const;

  it.each<[string, McpServerSpec, string]>([
    ['the reserved id', { ...base, id: 'gateway' }, "Tool server 'gateway': the server id 'gateway' is reserved."],
    ['an upper-case id', { ...base, id: 'Git' }, "the server id 'Git' must be"],
    ['an id with the separator', { ...base, id: 'a__b' }, "the server id 'a__b' must be"],
    ['an id that starts with a dash', { ...base, id: '-a' }, "the server id '-a' must be"],
    ['an empty id', { ...base, id: '' }, "the server id '' must be"],
    ['a long id', { ...base, id: 'a'.repeat(64) }, 'must be 1 to 63'],
    ['an id with a slash', { ...base, id: 'a/b' }, "the server id 'a/b' must be"],
    ['no url', { id: 'ok', name: 'n', transport: 'http' }, "a server with the transport 'http' needs a url"],
    ['no command', { id: 'ok', name: 'n', transport: 'stdio' }, 'a stdio server needs a command'],
    ['what is no url', { ...base, url: 'localhost' }, 'the url cannot be parsed'],
    ['another scheme', { ...base, url: 'file:///etc/passwd' }, 'the url must start with http:// or https://'],
    [
      'a password in the url',
      { ...base, url: 'http://user:hunter2@localhost/' },
      'the url must not hold a user name or password',
    ],
    ['a user in the url', { ...base, url: 'http://user@localhost/' }, 'the url must not hold a user name or password'],
    [
      'a header of ours',
      { ...base, headers: { 'Mcp-Session-Id': 'x' } },
      "the header 'mcp-session-id' is set by the gateway itself",
    ],
    [
      'a header that frames',
      { ...base, headers: { 'Content-Length': '1' } },
      "the header 'content-length' is set by the gateway itself",
    ],
    [
      'a header with a line break',
      { ...base, headers: { 'x-a': 'a\r\nhunter2: b' } },
      "the header 'x-a' has a value that HTTP does not allow",
    ],
    ['a header without a name', { ...base, headers: { '': 'a' } }, 'a header has a name that HTTP does not allow'],
    ['no patience at all', { ...base, callTimeoutMs: 0 }, 'callTimeoutMs must be an integer from 1 to 3600000'],
    [
      'endless patience',
      { ...base, callTimeoutMs: Number.POSITIVE_INFINITY },
      'callTimeoutMs must be an integer from 1 to 3600000',
    ],
  ])('is %s', (_, spec, sentence) => {
    const refusal = refusalOf([spec]);
    expect(refusal).toContain(sentence);
    expect(refusal).not.toContain('hunter2');
  });

  it('is an id used twice', () => {
    expect(refusalOf([base, base])).toBe("Tool server 'ok' is configured twice.");
  });
});

function refusalOf(specs: readonly McpServerSpec[]): string {
  try {
    const registry = createRegistry(specs, { clock: systemClock, log: pino({ level: 'silent' }) });
    onTestFinished(() => registry.close());
  } catch (error) {
    expect(error).toMatchObject({ code: 'INVALID_REQUEST', status: 400 });
    return (error as Error).message;
  }
  throw new Error('nothing was refused');
}
