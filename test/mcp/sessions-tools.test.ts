import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import type { McpServer } from '../../src/mcp/registry.ts';
import type { ToolSource } from '../../src/mcp/upstream-session.ts';
import { richClient, slowPeer, testPeer } from '../support/mcp-peer.ts';
import { failureOf, patience, type RegistrySettings, serverOf, textOf } from '../support/mcp-registry.ts';
import {
  event,
  mcpScript,
  openEvents,
  type Received,
  sendError,
  sendResult,
  startScripted,
  toolNamed,
} from '../support/mcp-scripted.ts';

const toolsChanged = 'notifications/tools/list_changed';

interface Settings {
  readonly announces?: boolean;
  readonly bounds?: RegistrySettings['bounds'];
  readonly sessions?: 'shared';
}

/** A server that shows each session the tools of `shown`, or `hello` and `bye`. The first session is everybody's. */
async function varyingServer({ announces = true, bounds = {}, sessions }: Settings = {}) {
  const shown = new Map<string, readonly JsonValue[]>();
  const streams = new Map<string, ServerResponse>();
  const lists: string[] = [];
  const idOf = ({ headers }: Received) => String(headers['mcp-session-id']);
  const script = mcpScript({
    era: 'session',
    announcesToolChanges: announces,
    stream: (received, response) => {
      openEvents(response);
      streams.set(idOf(received), response);
    },
    calls: { gone: (received, response) => sendError(received, response, -32_602, 'Unknown tool: gone') },
    methods: {
      'tools/list': (received, response) => {
        lists.push(idOf(received));
        const tools = shown.get(idOf(received)) ?? [toolNamed('hello'), toolNamed('bye')];
        if (tools.length === 0) return void response.writeHead(500).end();
        sendResult(received, response, { tools: [...tools] });
      },
    },
  });
  const scripted = await startScripted(script.respond);
  const settings = { bounds: { upstreamStreamRetryMinMs: 5, upstreamStreamRetryMaxMs: 50, ...bounds } };
  const spec = { transport: 'http', url: scripted.url, ...(sessions && { sessions }) } as const;
  const change = (id: string, tools: readonly JsonValue[]) => {
    shown.set(id, tools);
    streams.get(id)?.write(event({ jsonrpc: '2.0', method: toolsChanged }));
  };
  const { server } = serverOf(spec, settings);
  await server.listTools(patience());
  return { server, shown, lists, streams, change };
}

async function open(server: McpServer, looks = true) {
  const changes: number[] = [];
  const session = await server.openSession({
    client: richClient,
    protocolVersion: '2025-06-18',
    peer: testPeer(),
    onLost: () => undefined,
    ...(looks && { onToolsChanged: () => changes.push(changes.length) }),
    signal: patience(),
  });
  return { session, tools: session.tools as ToolSource, changes };
}

async function namesOf(source: ToolSource): Promise<string[]> {
  return (await source.catalogTools(patience())).map(({ definition }) => definition.name);
}

const described = (name: string, description: string): JsonObject => ({ ...toolNamed(name), description });

describe('the tools of a session', () => {
  it('are everybody’s, the same objects, and are not asked for again, where the server shows no others', async () => {
    const { server, lists } = await varyingServer({ bounds: { toolListMissRefreshMs: 600_000 } });
    const { tools, changes } = await open(server);
    const [own, everybodys] = [await tools.catalogTools(patience()), await server.catalogTools(patience())];
    expect(own.length).toBe(2);
    for (const [at, tool] of own.entries()) expect(tool).toBe(everybodys[at]);
    await tools.tool('hello', patience());
    await tools.tool('unknown', patience());
    expect(lists).toEqual(['session-1', 'session-2']);
    expect(changes).toEqual([]);
  });

  it('are those that the server shows in it, in it alone, and its client is told', async () => {
    const { server, shown } = await varyingServer();
    shown.set('session-2', [toolNamed('hello'), toolNamed('secret')]);
    const [one, two] = [await open(server), await open(server)];
    await expect.poll(() => one.changes.length, { timeout: 20_000 }).toBe(1);
    expect(await namesOf(one.tools)).toEqual(['hello', 'secret']);
    expect(await namesOf(two.tools)).toEqual(['hello', 'bye']);
    expect(await namesOf(server)).toEqual(['hello', 'bye']);
    expect(await one.tools.tool('secret', patience())).toMatchObject({ definition: { name: 'secret' } });
    for (const [source, name] of [
      [one.tools, 'bye'],
      [two.tools, 'secret'],
      [server, 'secret'],
    ] as const) {
      expect(await source.tool(name, patience())).toBeUndefined();
    }
    expect(two.changes).toEqual([]);
  });

  it('have hashes of their own where they are defined otherwise, and the same ones where they are not', async () => {
    const { server, shown } = await varyingServer();
    shown.set('session-2', [described('hello', 'Otherwise.'), toolNamed('bye')]);
    const { tools } = await open(server);
    const hashOf = async (source: ToolSource, name: string) => (await source.tool(name, patience()))?.definitionHash;
    expect(await hashOf(tools, 'hello')).not.toBe(await hashOf(server, 'hello'));
    expect(await hashOf(tools, 'bye')).toBe(await hashOf(server, 'bye'));
  });

  it('change when the server says so in that session, of which others are not told', async () => {
    const { server, change, streams } = await varyingServer();
    const everybody: string[] = [];
    server.onListsChanged((method) => everybody.push(method));
    const [one, two] = [await open(server), await open(server)];
    expect(await namesOf(one.tools)).toEqual(['hello', 'bye']);
    await expect.poll(() => streams.has('session-2'), { timeout: 20_000 }).toBe(true);
    change('session-2', [toolNamed('after login')]);
    await expect.poll(() => one.changes.length, { timeout: 20_000 }).toBe(1);
    expect(await namesOf(one.tools)).toEqual(['after login']);
    expect(await namesOf(two.tools)).toEqual(['hello', 'bye']);
    change('session-2', [toolNamed('hello'), toolNamed('bye')]);
    await expect.poll(() => one.changes.length, { timeout: 20_000 }).toBe(2);
    expect(await one.tools.catalogTools(patience())).toEqual(await server.catalogTools(patience()));
    expect([two.changes, everybody]).toEqual([[], []]);
  });

  it('change as often as a server says so, but its client hears it only now and then', async () => {
    const { server, streams } = await varyingServer({ bounds: { upstreamChangesRestMs: 300 } });
    const { changes } = await open(server);
    await expect.poll(() => streams.has('session-2'), { timeout: 20_000 }).toBe(true);
    streams.get('session-2')?.write(event({ jsonrpc: '2.0', method: toolsChanged }).repeat(1_000));
    await expect.poll(() => changes.length, { timeout: 20_000 }).toBeGreaterThanOrEqual(2);
    expect(changes.length).toBeLessThan(50);
  });

  it('are looked at again when the server says that a tool of them is unknown', async () => {
    const { server, shown } = await varyingServer();
    shown.set('session-2', [toolNamed('gone')]);
    const { session, tools } = await open(server);
    expect(await namesOf(tools)).toEqual(['gone']);
    shown.delete('session-2');
    await session.callTool({ name: 'gone', args: {}, requestId: 'r', signal: patience() });
    expect(await namesOf(tools)).toEqual(['hello', 'bye']);
  });

  it('are looked at again after a while where the server never says that they change, and for one that is missed', async () => {
    const { server, shown } = await varyingServer({
      announces: false,
      bounds: { toolListFreshMs: 0, toolListMissRefreshMs: 0 },
    });
    const { tools } = await open(server);
    expect(await namesOf(tools)).toEqual(['hello', 'bye']);
    shown.set('session-2', [toolNamed('new')]);
    expect(await namesOf(tools)).toEqual(['new']);
    const announcing = await varyingServer({ bounds: { toolListMissRefreshMs: 0 } });
    const other = await open(announcing.server);
    expect(await namesOf(other.tools)).toEqual(['hello', 'bye']);
    announcing.shown.set('session-2', [toolNamed('hello'), toolNamed('missed')]);
    expect(await other.tools.tool('missed', patience())).toBeDefined();
  });

  it('are asked for without getting in the way of a question in the course of the first call', async () => {
    const asking = startScripted(
      mcpScript({
        era: 'session',
        stream: (_, response) => {
          openEvents(response);
          stream = response;
        },
        calls: { asks: () => void stream?.write(event({ jsonrpc: '2.0', id: 'q', method: 'roots/list' })) },
        methods: { 'tools/list': () => undefined },
      }).respond,
    );
    let stream: ServerResponse | undefined;
    const { server } = serverOf({ transport: 'http', url: (await asking).url, callTimeoutMs: 1_500 });
    const { peer, answer } = slowPeer();
    const hello = { client: richClient, protocolVersion: '2025-06-18', peer, onLost: () => undefined };
    const session = await server.openSession({ ...hello, onToolsChanged: () => undefined, signal: patience() });
    const called = failureOf(session.callTool({ name: 'asks', args: {}, requestId: 'r', signal: patience() }));
    await expect.poll(() => peer.asked.length, { timeout: 20_000 }).toBe(1);
    const still = new Promise((resolve) => setTimeout(() => resolve('waiting'), 2_500));
    expect(await Promise.race([called, still])).toBe('waiting');
    answer();
    expect((await called).code).toBe('UPSTREAM_TIMEOUT');
  });

  it('are everybody’s where the server does not say which they are', async () => {
    const { server, shown } = await varyingServer();
    shown.set('session-2', []);
    const { tools, session, changes } = await open(server);
    expect(await namesOf(tools)).toEqual(['hello', 'bye']);
    expect(textOf(await session.callTool({ name: 'hello', args: {}, requestId: 'r', signal: patience() }))).toBe(
      'hello',
    );
    expect(changes).toEqual([]);
  });

  it('are kept in bounds for all sessions together; whoever finds no room is shown what everybody is', async () => {
    const { server, shown } = await varyingServer({ bounds: { toolListsOwnCharsMax: 1_000 } });
    for (const id of ['session-2', 'session-3', 'session-4', 'session-5']) {
      shown.set(id, [described('own', 'x'.repeat(id === 'session-4' ? 2_000 : 600))]);
    }
    const [one, two, three] = [await open(server), await open(server), await open(server)];
    expect(await namesOf(one.tools)).toEqual(['own']);
    for (const { tools } of [two, three]) expect(await namesOf(tools)).toEqual(['hello', 'bye']);
    await one.session.close();
    expect(await namesOf((await open(server)).tools)).toEqual(['own']);
  });

  it('are nobody’s business where nobody wants to know, and where clients share a connection', async () => {
    const { server, lists } = await varyingServer();
    expect((await open(server, false)).tools).toBeUndefined();
    expect(lists).toEqual(['session-1']);
    const shared = await varyingServer({ sessions: 'shared' });
    expect((await open(shared.server)).tools).toBeUndefined();
  });
});
