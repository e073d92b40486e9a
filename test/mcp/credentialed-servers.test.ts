import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { McpServerSpec } from '../../src/core/mcp-server.ts';
import { CredentialedServers } from '../../src/mcp/credentials/credentialed-servers.ts';
import type { UpstreamCredential } from '../../src/mcp/credentials/upstream-credential.ts';
import type { McpServer } from '../../src/mcp/registry.ts';
import { registryOf } from '../support/mcp-registry.ts';
import { gate, startUpstream } from '../support/upstream.ts';

const spec: McpServerSpec = {
  id: 'tested',
  name: 'Tested',
  transport: 'jsonrpc',
  auth: { type: 'oauth', clientId: 'talos' },
};

const credentialOf = (token: string): UpstreamCredential => ({
  header: () => `Bearer ${token}`,
  renewed: async () => `Bearer ${token} again`,
  whenRefused: 'CONNECTION_EXPIRED',
});

interface Settings {
  readonly url: string;
  readonly max?: number;
  readonly perAccountMax?: number;
  readonly maxConcurrency?: number;
}

function copiesOf({ url, max = 10, perAccountMax = max, ...limits }: Settings) {
  const { registry } = registryOf([{ ...spec, url, ...limits }], { bounds: { upstreamRetireMs: 1 } });
  const clock = { ms: 0, monotonic: () => clock.ms };
  const copies = new CredentialedServers({
    current: registry.get,
    clock,
    log: pino({ level: 'silent' }),
    bounds: {
      upstreamCopiesMax: max,
      upstreamCopiesPerAccountMax: perAccountMax,
      upstreamCopyIdleMs: 1_000,
      upstreamCopySweepMs: 5,
    },
  });
  onTestFinished(() => copies.close());
  const original = registry.get('tested') as McpServer;
  const find = (owner: string, server = original, account = owner) =>
    copies.of(server, { owner, account }, () => credentialOf(owner))?.server;
  const of = (owner: string, server = original, account = owner) => find(owner, server, account) as McpServer;
  return { copies, registry, clock, of, find, original };
}

const call = (server: McpServer) =>
  server.callTool({ name: 'wait', args: {}, requestId: 'r', signal: new AbortController().signal });

async function upstreamOf(options: Parameters<typeof startUpstream>[0] = {}) {
  const upstream = await startUpstream(options);
  onTestFinished(() => upstream.close());
  return upstream;
}

describe('a copy of a server', () => {
  it('is one for each owner, and the same one again', async () => {
    const { of, original } = copiesOf({ url: 'http://127.0.0.1:9/' });
    expect(of('ann')).toBe(of('ann'));
    expect(of('ann')).not.toBe(of('ben'));
    expect(of('ann')).not.toBe(original);
  });

  it('shares the bound on what is in flight with all others', async () => {
    const held = gate();
    const upstream = await upstreamOf({ calls: { wait: held.respond } });
    const { of } = copiesOf({ url: upstream.url, maxConcurrency: 1 });
    const [first, second] = [call(of('ann')), call(of('ben'))];
    await expect.poll(held.waiting, { timeout: 20_000 }).toBe(1);
    expect(upstream.calls).toHaveLength(1);
    held.open();
    await Promise.all([first, second]);
    expect(upstream.calls).toHaveLength(2);
  });

  it('that nobody uses is closed, and one in use is not', async () => {
    const { copies, of, clock } = copiesOf({ url: 'http://127.0.0.1:9/' });
    of('ann');
    of('ben');
    clock.ms = 900;
    of('ben');
    clock.ms = 1_500;
    await expect.poll(() => copies.size, { timeout: 20_000 }).toBe(1);
  });

  it('gives way to others when there are too many, the one that was used longest ago', async () => {
    const { copies, of, clock } = copiesOf({ url: 'http://127.0.0.1:9/', max: 2 });
    const ann = of('ann');
    clock.ms++;
    const ben = of('ben');
    clock.ms++;
    expect(of('ann')).toBe(ann);
    of('cat');
    expect(copies.size).toBe(2);
    expect(of('ann')).toBe(ann);
    expect(of('ben')).not.toBe(ben);
  });

  it('that never got an answer goes first: whoever has no account costs nobody theirs', async () => {
    const upstream = await upstreamOf({ calls: { wait: gate().respond } });
    const { of, clock } = copiesOf({ url: upstream.url, max: 2 });
    const ann = of('ann');
    await ann.listTools(new AbortController().signal);
    for (const stranger of ['s1', 's2', 's3']) {
      clock.ms++;
      of(stranger);
    }
    expect(of('ann')).toBe(ann);
  });

  it('in use makes room for nobody: whoever comes when all are is refused', async () => {
    const { copies, of, find, clock } = copiesOf({ url: 'http://127.0.0.1:9/', max: 2 });
    const ann = of('ann');
    const callOff = ann.onToolsChanged(() => undefined);
    const ben = of('ben');
    const stop = ben.onToolsChanged(() => undefined);
    expect(find('cat')).toBeUndefined();
    expect([copies.size, of('ann'), of('ben')]).toEqual([2, ann, ben]);
    clock.ms++;
    callOff();
    expect(find('cat')).toBeDefined();
    expect(of('ben')).toBe(ben);
    stop();
  });

  it('of whoever has many credentials makes room for their next one, and others keep theirs', () => {
    const { copies, of, find, clock, original } = copiesOf({ url: 'http://127.0.0.1:9/', max: 4, perAccountMax: 2 });
    const ann = of('ann');
    const calls: (() => void)[] = [];
    for (const owner of ['m1', 'm2', 'm3']) {
      clock.ms++;
      of(owner, original, 'mallory');
    }
    expect(copies.size).toBe(3);
    for (const owner of ['m2', 'm3']) calls.push(of(owner, original, 'mallory').onToolsChanged(() => undefined));
    expect(find('m4', original, 'mallory')).toBeUndefined();
    expect(find('ben')).toBeDefined();
    expect(of('ann')).toBe(ann);
    for (const callOff of calls) callOff();
  });

  it('of a server that was changed is another one, and what is in flight is finished', async () => {
    const held = gate();
    const upstream = await upstreamOf({ calls: { wait: held.respond } });
    const { copies, registry, of } = copiesOf({ url: upstream.url });
    const before = of('ann');
    const running = call(before);
    await expect.poll(held.waiting, { timeout: 20_000 }).toBe(1);
    registry.replace([{ ...spec, url: upstream.url, name: 'Changed' }]);
    await expect.poll(() => copies.size, { timeout: 20_000 }).toBe(0);
    expect(of('ann', registry.get('tested'))).not.toBe(before);
    held.open();
    expect((await running).kind).toBe('result');
  });

  it('is what the health of its server is seen by', async () => {
    const upstream = await upstreamOf({ calls: { wait: gate().respond } });
    const { of, registry } = copiesOf({ url: upstream.url });
    expect(registry.servers()[0]?.health).toBe('unknown');
    await of('ann').listTools(new AbortController().signal);
    expect(registry.servers()[0]?.health).toBe('up');
  });
});

describe('a server that needs a user', () => {
  it('is asked nothing without one, neither by its own connections nor to warm them up', async () => {
    const upstream = await upstreamOf({ calls: { wait: gate().respond } });
    const { registry, original } = copiesOf({ url: upstream.url });
    await registry.warmUp(new AbortController().signal);
    await expect(call(original)).rejects.toMatchObject({ code: 'CONNECTION_REQUIRED', dispatched: false });
    const tested = await registry.test(original.spec, new AbortController().signal);
    expect(tested).toMatchObject({ isGood: false, code: 'CONNECTION_REQUIRED' });
    expect(upstream.calls).toEqual([]);
    expect(registry.servers()[0]?.health).toBe('unknown');
  });
});
