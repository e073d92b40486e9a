/** Servers that come, change and go while the gateway runs. */
import { describe, expect, it } from 'vitest';
import type { McpServerSpec } from '../../src/core/mcp-server.ts';
import { call, failureOf, patience, registryOf, textOf } from '../support/mcp-registry.ts';
import { mcpScript, startScripted } from '../support/mcp-scripted.ts';
import { gate } from '../support/upstream.ts';

function http(id: string, url: string, more: Partial<McpServerSpec> = {}): McpServerSpec {
  return { id, name: id, transport: 'jsonrpc', url, ...more };
}

async function slowServer() {
  const slow = gate();
  const { url } = await startScripted(mcpScript({ era: 'bare', calls: { slow: slow.respond } }).respond);
  return { slow, url };
}

const soon = { bounds: { upstreamRetireMs: 0 } };

describe('servers that are replaced', () => {
  it('come, change and go; one that stays as it is stays the same', async () => {
    const { url } = await slowServer();
    const { registry } = registryOf([http('stays', url), http('changes', url), http('goes', url)], soon);
    const stays = registry.get('stays');
    const changed = http('changes', url, { headers: { authorization: 'x' } });
    const change = registry.replace([http('stays', url), changed, http('comes', url)]);
    expect(change).toEqual({ added: ['comes'], changed: ['changes'], removed: ['goes'] });
    expect(registry.servers().map(({ id }) => id)).toEqual(['stays', 'changes', 'comes']);
    expect(registry.get('stays')).toBe(stays);
    expect(registry.get('goes')).toBeUndefined();
    expect(registry.replace([http('stays', url), changed, http('comes', url)])).toEqual({
      added: [],
      changed: [],
      removed: [],
    });
  });

  it('notice a header whose value alone is another', async () => {
    const { url } = await slowServer();
    const { registry } = registryOf([http('a', url, { headers: { authorization: 'one' } })], soon);
    const before = registry.get('a');
    expect(registry.replace([http('a', url, { headers: { authorization: 'two' } })]).changed).toEqual(['a']);
    expect(registry.get('a')).not.toBe(before);
  });

  it('finish the calls that they work on, and take no more after that', async () => {
    const { slow, url } = await slowServer();
    const { registry } = registryOf([http('goes', url)], soon);
    const server = registry.get('goes');
    if (server === undefined) throw new Error('the server is missing');
    const running = call(server, 'slow');
    await expect.poll(slow.waiting, { timeout: 20_000 }).toBe(1);
    registry.replace([]);
    expect(registry.get('goes')).toBeUndefined();
    slow.open();
    expect(textOf(await running)).toBe('after the wait');
    await expect
      .poll(async () => (await call(server, 'slow').catch((error) => error)).code, { timeout: 20_000 })
      .toBe('UPSTREAM_UNAVAILABLE');
  });

  it('serve who had found them before they went', async () => {
    const { slow, url } = await slowServer();
    slow.open();
    const { registry } = registryOf([http('goes', url)], { bounds: { upstreamRetireMs: 60_000 } });
    const server = registry.get('goes');
    registry.replace([]);
    if (server === undefined) throw new Error('the server is missing');
    expect(textOf(await call(server, 'slow'))).toBe('after the wait');
  });

  it('keep no gateway from closing', async () => {
    const { slow, url } = await slowServer();
    const { registry } = registryOf([http('goes', url)], soon);
    const server = registry.get('goes');
    if (server === undefined) throw new Error('the server is missing');
    const failing = failureOf(call(server, 'slow'));
    await expect.poll(slow.waiting, { timeout: 20_000 }).toBe(1);
    registry.replace([]);
    await registry.close();
    expect(await failing).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: true });
  });

  it.each([
    ['a reserved id', [http('gateway', 'http://localhost/')]],
    ['an id twice', [http('a', 'http://localhost/'), http('a', 'http://localhost/')]],
    ['no address', [{ id: 'a', name: 'a', transport: 'http' } as const]],
  ])('are refused as a whole for %s', (_, specs) => {
    const { registry } = registryOf([http('known', 'http://localhost/')], soon);
    const before = registry.get('known');
    expect(() => registry.replace(specs)).toThrow(expect.objectContaining({ code: 'INVALID_REQUEST' }));
    expect(registry.servers().map(({ id }) => id)).toEqual(['known']);
    expect(registry.get('known')).toBe(before);
  });
});

describe('a try of a server', () => {
  it('says what it found, apart from what the server is used for', async () => {
    const { url } = await slowServer();
    const { registry } = registryOf([], soon);
    expect(await registry.test(http('new', url), patience())).toEqual({ isGood: true, tools: ['slow'] });
    expect(registry.get('new')).toBeUndefined();
  });

  it('says why there is nothing', async () => {
    const { registry } = registryOf([], soon);
    const headers = { authorization: 'canary-credential-3815' };
    const answer = await registry.test(http('new', 'http://127.0.0.1:1/', { headers }), patience());
    expect(answer).toMatchObject({ isGood: false, code: 'UPSTREAM_UNAVAILABLE' });
    expect(JSON.stringify(answer)).not.toContain('canary');
  });
});
