import { pino } from 'pino';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { McpServerSpec } from '../../src/core/mcp-server.ts';
import { CredentialedServers } from '../../src/mcp/credentials/credentialed-servers.ts';
import type { UpstreamCredential } from '../../src/mcp/credentials/upstream-credential.ts';
import type { McpServer } from '../../src/mcp/registry.ts';
import { richClient, testPeer } from '../support/mcp-peer.ts';
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

/** Opens a session there; gives the reasons why it was lost. */
async function sessionAt(server: McpServer): Promise<readonly string[]> {
  const lost: string[] = [];
  const options = { client: richClient, protocolVersion: '2025-06-18', peer: testPeer() };
  const onLost = (reason: string) => lost.push(reason);
  await server.openSession({ ...options, onLost, signal: new AbortController().signal });
  return lost;
}

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
    const callOff = ann.onListsChanged(() => undefined);
    const ben = of('ben');
    const stop = ben.onListsChanged(() => undefined);
    expect(find('cat')).toBeUndefined();
    expect([copies.size, of('ann'), of('ben')]).toEqual([2, ann, ben]);
    clock.ms++;
    callOff();
    expect(find('cat')).toBeDefined();
    expect(of('ben')).toBe(ben);
    stop();
  });

  it('that is idle makes room before anybody is refused, and before one that is at work', async () => {
    const held = gate();
    const upstream = await upstreamOf({ calls: { wait: held.respond } });
    const { copies, of, find, clock } = copiesOf({ url: upstream.url, max: 4 });
    const [working, listened, idle] = [of('working'), of('listened'), of('idle')];
    for (const server of [working, idle]) await server.listTools(new AbortController().signal);
    const called = call(working);
    await expect.poll(held.waiting, { timeout: 20_000 }).toBe(1);
    const callOff = listened.onListsChanged(() => undefined);
    clock.ms++;
    const stop = of('newest').onListsChanged(() => undefined);
    expect(of('idle')).toBe(idle);
    clock.ms++;
    const stopNext = find('next')?.onListsChanged(() => undefined);
    expect([copies.size, of('working'), of('listened')]).toEqual([4, working, listened]);
    // When nobody is idle, what is at work goes on to its end beside the newcomer.
    expect(find('last')).toBeDefined();
    held.open();
    expect(await called).toMatchObject({ isError: false });
    expect(of('listened')).toBe(listened);
    for (const each of [callOff, stop, stopNext]) each?.();
  });

  it('by an account that is disconnected ends at once, and those of others go on', async () => {
    const held = gate();
    const upstream = await upstreamOf({ calls: { wait: held.respond } });
    const { copies, original } = copiesOf({ url: upstream.url });
    const connectionOf = (principalId: string, teamId = 't') => ({ serverId: 'tested', principalId, teamId });
    const connect = (principalId: string, teamId = 't') => {
      const connection = connectionOf(principalId, teamId);
      const owner = { owner: JSON.stringify(connection), account: principalId, connection };
      const create = () => ({ ...credentialOf(principalId), connectionId: `${principalId} of ${teamId}` });
      return copies.of(original, owner, create)?.server as McpServer;
    };
    const connected = () => copies.connected().map(({ connectionId }) => connectionId);
    const [ann, ben, elsewhere] = [connect('ann'), connect('ben'), connect('ann', 'another')];
    const calls = [ann, ben, elsewhere].map((server) => call(server).catch(({ code }: { code: string }) => code));
    await expect.poll(held.waiting, { timeout: 20_000 }).toBe(3);
    const [lost, kept] = [await sessionAt(ann), await sessionAt(ben)];
    copies.endOf(connectionOf('ann'));
    copies.endOf(connectionOf('ann'));
    expect(await calls[0]).toBe('UPSTREAM_UNAVAILABLE');
    expect([lost.length, kept.length]).toEqual([1, 0]);
    await expect.poll(connected, { timeout: 20_000 }).toEqual(['ben of t', 'ann of another']);
    expect(connect('ann')).not.toBe(ann);
    held.open();
    expect(await Promise.all(calls.slice(1))).toMatchObject([{ isError: false }, { isError: false }]);
    copies.endOf(connectionOf('nobody'));
    expect(copies.size).toBe(3);
  });

  it('by an account that is disconnected ends also when it was leaving already', async () => {
    const held = gate();
    const upstream = await upstreamOf({ calls: { wait: held.respond } });
    const { copies, original, find } = copiesOf({ url: upstream.url, max: 1 });
    const connection = { serverId: 'tested', principalId: 'ann', teamId: 't' };
    const ann = copies.of(original, { owner: 'ann', account: 'ann', connection }, () => credentialOf('ann'))?.server;
    const called = call(ann as McpServer).catch(({ code }: { code: string }) => code);
    await expect.poll(held.waiting, { timeout: 20_000 }).toBe(1);
    expect(find('ben')).toBeDefined();
    copies.endOf(connection);
    expect(await called).toBe('UPSTREAM_UNAVAILABLE');
    held.open();
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
    for (const owner of ['m2', 'm3']) calls.push(of(owner, original, 'mallory').onListsChanged(() => undefined));
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
