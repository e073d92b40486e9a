import { createHash } from 'node:crypto';
import canonicalize from 'canonicalize';
import { describe, expect, it, vi } from 'vitest';
import type { JsonObject, JsonValue } from '../../src/core/json.ts';
import type { McpBounds } from '../../src/mcp/mcp-bounds.ts';
import { call, failureOf, patience, serverOf } from '../support/mcp-registry.ts';
import {
  event,
  mcpScript,
  openEvents,
  type Respond,
  said,
  sendError,
  sendResult,
  startScripted,
  toolNamed,
} from '../support/mcp-scripted.ts';
import { startSdkServer } from '../support/mcp-sdk.ts';

function handClock() {
  const clock = { nowMs: 0, now: () => 0, monotonic: () => clock.nowMs };
  return clock;
}

/** A server whose tools a test can exchange, and how often it was asked for them. */
async function listing(
  first: readonly JsonValue[],
  more: { readonly bounds?: Partial<McpBounds>; readonly calls?: Record<string, Respond> } = {},
) {
  const state = { tools: first };
  const script = mcpScript({ era: 'bare', tools: () => state.tools, ...(more.calls && { calls: more.calls }) });
  const scripted = await startScripted(script.respond);
  const clock = handClock();
  const tested = serverOf(
    { transport: 'jsonrpc', url: scripted.url },
    { clock, ...(more.bounds && { bounds: more.bounds }) },
  );
  const names = async () => (await tested.server.listTools(patience())).map(({ name }) => name);
  const lists = () => scripted.methods().filter((method) => method === 'tools/list').length;
  return { ...tested, ...scripted, state, clock, names, lists };
}

function sha256(value: unknown): string {
  return `sha256:${createHash('sha256')
    .update(canonicalize(value) ?? '')
    .digest('hex')}`;
}

describe('a tool', () => {
  const definition = {
    name: 'tool',
    title: 'A tool',
    description: 'Does things',
    inputSchema: {
      type: 'object',
      properties: { b: { type: 'string' }, a: { type: 'integer' }, '10': {}, '9': {} },
      required: ['a'],
    },
    outputSchema: { type: 'object' },
    annotations: { readOnlyHint: true },
    'x-own': [1.0, 'é'],
  };

  it('is given as its server defines it', async () => {
    const { server } = await listing([definition]);
    expect(await server.listTools(patience())).toEqual([definition]);
    expect((await server.tool('tool', patience()))?.definition).toEqual(definition);
  });

  it('has the hashes of its schema and of what callers rely on', async () => {
    const { server } = await listing([definition, { name: 'bare', inputSchema: {}, title: 'x' }]);
    const { name, description, inputSchema, outputSchema } = definition;
    expect(await server.tool('tool', patience())).toMatchObject({
      schemaHash: sha256(inputSchema),
      definitionHash: sha256({ name, description, inputSchema, outputSchema }),
    });
    expect(await server.tool('bare', patience())).toMatchObject({
      schemaHash: sha256({}),
      definitionHash: sha256({ name: 'bare', inputSchema: {} }),
    });
  });

  it('validates arguments', async () => {
    const { server } = await listing([definition]);
    expect((await server.tool('tool', patience()))?.validate({ b: 1 })).toEqual([
      "required property 'a' missing",
      "property 'b' must be string",
    ]);
  });

  it('is listed also when its schema cannot be used, and then accepts no arguments', async () => {
    const { server, names } = await listing([{ name: 'bad', inputSchema: { $ref: 'https://example.com/x' } }]);
    expect(await names()).toEqual(['bad']);
    expect((await server.tool('bad', patience()))?.validate({})).toEqual([
      "the tool's input schema cannot be used: it refers to something outside of itself",
    ]);
  });

  it('is found by its exact name only', async () => {
    const { server } = await listing([toolNamed('Tool'), toolNamed('a/b'), toolNamed('größe')]);
    for (const name of ['Tool', 'a/b', 'größe']) expect(await server.tool(name, patience())).toBeDefined();
    for (const name of ['tool', 'Tool ', 'a%2Fb', 'gro\u0308ße', '', 'constructor', '__proto__']) {
      expect(await server.tool(name, patience())).toBeUndefined();
    }
  });

  it('is the same object while its definition stays the same', async () => {
    const { server, clock, state } = await listing([toolNamed('same'), toolNamed('other')]);
    const [same, other] = [await server.tool('same', patience()), await server.tool('other', patience())];
    clock.nowMs = 60_000;
    state.tools = [toolNamed('same'), { ...toolNamed('other'), description: 'changed' }];
    expect(await server.tool('same', patience())).toBe(same);
    expect((await server.tool('other', patience()))?.definitionHash).not.toBe(other?.definitionHash);
    expect((await server.tool('other', patience()))?.schemaHash).toBe(other?.schemaHash);
  });
});

describe('what is not offered', () => {
  const deep = (levels: number): JsonObject => (levels === 0 ? {} : { not: deep(levels - 1) });

  it.each<[string, JsonValue, string]>([
    ['a tool with a reserved name', toolNamed('rpc.resources.read'), "names that start with 'rpc.' are reserved"],
    ['one without a name', { inputSchema: {} }, 'it has no name'],
    ['one with an empty name', toolNamed(''), 'it has no name'],
    ['one whose name is no text', { name: 7, inputSchema: {} }, 'it has no name'],
    ['one whose name is endless', toolNamed('x'.repeat(513)), 'its name is longer than 512 characters'],
    ['one without a schema', { name: 'x' }, 'it has no input schema'],
    ['one whose schema is no object', { name: 'x', inputSchema: true }, 'it has no input schema'],
    ['what is no tool', 'x', 'it is no object'],
    ['null', null, 'it is no object'],
    ['a second tool of the same name', toolNamed('good'), 'another one has the same name'],
    ['one nested too deeply', { name: 'x', inputSchema: deep(200) }, 'its definition is nested too deeply'],
    [
      'one with a broken string',
      { name: 'x', inputSchema: { title: '\ud800' } },
      'its definition has no canonical form',
    ],
  ])('is %s, and the log says why', async (_, tool, problem) => {
    const { names, log } = await listing([toolNamed('good'), tool]);
    expect(await names()).toEqual(['good']);
    expect(log.lines.map(({ msg }) => msg)).toContain(`a tool is not offered: ${problem}`);
  });

  it('is said once, not with every list', async () => {
    const { names, clock, log } = await listing([toolNamed('rpc.x')]);
    for (let i = 1; i < 5; i++) {
      await names();
      clock.nowMs = i * 60_000;
    }
    expect(log.lines.filter(({ level }) => level === 40)).toHaveLength(1);
  });
});

describe('pages', () => {
  /** Page n has the tool `n` and leads to the page that `next` says. */
  async function paged(
    next: (page: number) => JsonValue | undefined,
    bounds: Partial<McpBounds> = {},
    tool = (page: number) => toolNamed(String(page)),
  ) {
    const list: Respond = (received, response) => {
      const { cursor } = { cursor: (received.message['params'] as JsonObject)['cursor'] };
      const page = cursor === undefined ? 0 : Number(cursor);
      const nextCursor = next(page);
      sendResult(received, response, { tools: [tool(page)], ...(nextCursor !== undefined && { nextCursor }) });
    };
    const { url, methods } = await startScripted(mcpScript({ era: 'bare', methods: { 'tools/list': list } }).respond);
    const { server, log } = serverOf({ transport: 'jsonrpc', url }, { bounds });
    const names = async () => (await server.listTools(patience())).map(({ name }) => name);
    return { names, methods, log, server };
  }

  it('are read to the last', async () => {
    const { names } = await paged((page) => (page < 4 ? String(page + 1) : undefined));
    expect(await names()).toEqual(['0', '1', '2', '3', '4']);
  });

  it.each([null, '', 7])('end with the cursor %j', async (cursor) => {
    const { names } = await paged(() => cursor);
    expect(await names()).toEqual(['0']);
  });

  it('that lead in a circle are left', async () => {
    const { names, log } = await paged((page) => String((page + 1) % 3));
    expect(await names()).toEqual(['0', '1', '2']);
    expect(log.text()).toContain('its pages lead in a circle');
  });

  it('without end are cut', async () => {
    const { names, methods, log } = await paged((page) => String(page + 1), { toolListPagesMax: 5 });
    expect(await names()).toHaveLength(5);
    expect(methods()).toHaveLength(5);
    expect(log.text()).toContain('its list has too many pages');
  });

  it('with too many tools are cut', async () => {
    const { names, log } = await paged((page) => String(page + 1), { toolsPerServerMax: 3 });
    expect(await names()).toEqual(['0', '1', '2']);
    expect(log.text()).toContain('it has too many tools');
  });

  it('that are too large together are refused', async () => {
    const { server } = await paged(
      (page) => String(page + 1),
      { toolListBytesMax: 10_000 },
      (page) => ({ ...toolNamed(String(page)), description: 'x'.repeat(1_000) }),
    );
    expect(await failureOf(server.listTools(patience()))).toMatchObject({
      code: 'UPSTREAM_RESPONSE_TOO_LARGE',
      dispatched: false,
    });
  });

  it('are given up together at the deadline of the list', async () => {
    const slow: Respond = (received, response) =>
      void setTimeout(() => sendResult(received, response, { tools: [], nextCursor: String(performance.now()) }), 30);
    const { url } = await startScripted(mcpScript({ era: 'bare', methods: { 'tools/list': slow } }).respond);
    const { server } = serverOf({ transport: 'jsonrpc', url }, { bounds: { upstreamListTimeoutMs: 150 } });
    expect(await failureOf(server.listTools(patience()))).toMatchObject({
      code: 'UPSTREAM_TIMEOUT',
      dispatched: false,
    });
  });
});

describe('a list', () => {
  it('is believed for its time and then asked for again', async () => {
    const { names, lists, clock, state } = await listing([toolNamed('old')]);
    await names();
    state.tools = [toolNamed('new')];
    clock.nowMs = 59_999;
    expect(await names()).toEqual(['old']);
    clock.nowMs = 60_000;
    expect(await names()).toEqual(['new']);
    expect(lists()).toBe(2);
  });

  it('is fetched once for all who ask at once', async () => {
    const { server, lists } = await listing([toolNamed('a')]);
    await Promise.all(Array.from({ length: 20 }, () => server.tool('a', patience())));
    expect(lists()).toBe(1);
  });

  it('is asked for again when a tool is missing, but not without end', async () => {
    const { server, lists, clock, state } = await listing([]);
    expect(await server.tool('late', patience())).toBeUndefined();
    state.tools = [toolNamed('late')];
    for (let i = 0; i < 10; i++) expect(await server.tool('late', patience())).toBeUndefined();
    expect(lists()).toBe(1);
    clock.nowMs = 5_000;
    expect(await server.tool('late', patience())).toBeDefined();
    expect(lists()).toBe(2);
  });

  it.each<[string, Respond]>([
    ['method not found', (received, response) => sendError(received, response, -32_601, 'Method not found')],
    ['an unknown tool', (received, response) => sendError(received, response, -32_602, 'Unknown tool: gone')],
    ['a tool that is not found', (received, response) => sendError(received, response, -32_602, 'Tool gone not found')],
    [
      'the same as a result',
      (received, response) =>
        sendResult(received, response, { ...said('MCP error -32602: Tool gone not found'), isError: true }),
    ],
  ])('is doubted when a call is answered with %s', async (_, gone) => {
    const { server, names, lists } = await listing([toolNamed('gone')], { calls: { gone } });
    await names();
    await call(server, 'gone');
    await names();
    expect(lists()).toBe(2);
  });

  it.each<[string, Respond]>([
    ['another error', (received, response) => sendError(received, response, -32_000, 'Tool is tired')],
    ['wrong arguments', (received, response) => sendError(received, response, -32_602, 'Invalid arguments')],
    [
      'a failure',
      (received, response) => sendResult(received, response, { ...said('The file was not found'), isError: true }),
    ],
    [
      'a result that speaks of an unknown tool',
      (received, response) => sendResult(received, response, said('Unknown tool')),
    ],
  ])('is not doubted when a call is answered with %s', async (_, answer) => {
    const { server, names, lists } = await listing([toolNamed('there')], { calls: { there: answer } });
    await names();
    await call(server, 'there');
    await names();
    expect(lists()).toBe(1);
  });

  it('is not believed any longer when it cannot be refreshed', async () => {
    const { server, names, clock, close } = await listing([toolNamed('a')]);
    await names();
    clock.nowMs = 60_000;
    await close();
    expect(await failureOf(server.tool('a', patience()))).toMatchObject({
      code: 'UPSTREAM_UNAVAILABLE',
      dispatched: false,
    });
  });

  it.each<[string, Respond, string]>([
    ['an error', (received, response) => sendError(received, response, -32_000, 'no'), 'UPSTREAM_INVALID_RESPONSE'],
    ['no tools', (received, response) => sendResult(received, response, {}), 'UPSTREAM_INVALID_RESPONSE'],
    [
      'tools that are no list',
      (received, response) => sendResult(received, response, { tools: {} }),
      'UPSTREAM_INVALID_RESPONSE',
    ],
    ['garbage', (_, response) => void response.writeHead(200).end('x'), 'UPSTREAM_INVALID_RESPONSE'],
    ['a closed connection', (_, response) => void response.socket?.destroy(), 'UPSTREAM_UNAVAILABLE'],
  ])('that is %s is a failure by which surely no tool ran', async (_, list, code) => {
    const { url } = await startScripted(mcpScript({ era: 'bare', methods: { 'tools/list': list } }).respond);
    const { server } = serverOf({ transport: 'jsonrpc', url });
    expect(await failureOf(server.listTools(patience()))).toMatchObject({ code, dispatched: false });
    expect(await failureOf(server.tool('a', patience()))).toMatchObject({ code, dispatched: false });
  });

  it('is empty for a server that has no tools at all', async () => {
    const list: Respond = (received, response) => sendError(received, response, -32_601, 'Method not found');
    const { url } = await startScripted(mcpScript({ era: 'session', methods: { 'tools/list': list } }).respond);
    const { server, log } = serverOf({ transport: 'http', url });
    expect(await server.listTools(patience())).toEqual([]);
    expect(log.text()).toContain('not all of its tools are listed: it does not know tools/list');
  });

  it('does not keep a caller who leaves', async () => {
    const { url } = await startScripted(() => undefined);
    const { server } = serverOf({ transport: 'jsonrpc', url });
    const leaving = new AbortController();
    const left = failureOf(server.listTools(leaving.signal));
    leaving.abort();
    expect(await left).toMatchObject({ code: 'CALL_CANCELLED', dispatched: false });
  });
});

describe('a change of tools', () => {
  it('is heard on the stream of a session', async () => {
    const state = { tools: [toolNamed('old')], change: (): void => undefined };
    const stream: Respond = (_, response) => {
      openEvents(response);
      state.change = () => void response.write(event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' }));
    };
    const script = mcpScript({ era: 'session', tools: () => state.tools, announcesToolChanges: true, stream });
    const { url, methods } = await startScripted(script.respond);
    const { server } = serverOf({ transport: 'http', url });
    await server.listTools(patience());
    await vi.waitFor(() => expect(methods()).toContain('GET'), 15_000);
    state.tools = [toolNamed('new')];
    state.change();
    await vi.waitFor(
      async () => expect((await server.listTools(patience())).map(({ name }) => name)).toEqual(['new']),
      15_000,
    );
    expect(methods().filter((method) => method === 'GET')).toHaveLength(1);
  });

  it('is heard in the stateless era', async () => {
    const { url, tools, handler, methods } = await startSdkServer({ legacy: 'reject', tools: ['old'] });
    const { server } = serverOf({ transport: 'http', url });
    await server.listTools(patience());
    await vi.waitFor(() => expect(methods).toContain('subscriptions/listen'), 15_000);
    tools.push('new');
    await vi.waitFor(async () => {
      handler.notify.toolsChanged();
      expect((await server.listTools(patience())).map(({ name }) => name)).toEqual(['old', 'new']);
    }, 15_000);
  });

  it('is heard among the events of a call', async () => {
    const state = { tools: [toolNamed('grow')] };
    const grow: Respond = ({ message }, response) => {
      state.tools = [...state.tools, toolNamed('new')];
      openEvents(response);
      response.write(event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed' }));
      response.end(event({ jsonrpc: '2.0', id: message['id'] ?? null, result: said('grown') }));
    };
    const { url } = await startScripted(mcpScript({ era: 'bare', tools: () => state.tools, calls: { grow } }).respond);
    const { server } = serverOf({ transport: 'jsonrpc', url });
    await server.listTools(patience());
    await call(server, 'grow');
    expect(await server.tool('new', patience())).toBeDefined();
  });

  it('is not listened for where the server announces none, and asked for once where it declines', async () => {
    for (const announcesToolChanges of [false, true]) {
      const { respond } = mcpScript({ era: 'session', tools: () => [toolNamed('a')], announcesToolChanges });
      const { url, methods } = await startScripted(respond);
      const clock = handClock();
      const { server } = serverOf({ transport: 'http', url }, { clock });
      for (let i = 0; i < 3; i++) {
        clock.nowMs += 60_000;
        await server.listTools(patience());
        if (announcesToolChanges) await vi.waitFor(() => expect(methods()).toContain('GET'), 15_000);
      }
      expect(methods().filter((method) => method === 'GET')).toHaveLength(announcesToolChanges ? 1 : 0);
    }
  });

  it('survives a stream that says nonsense', async () => {
    const stream: Respond = (_, response) => {
      openEvents(response);
      response.end('data: nonsense\n\n');
    };
    const script = mcpScript({ era: 'session', tools: () => [toolNamed('a')], announcesToolChanges: true, stream });
    const { url, methods } = await startScripted(script.respond);
    const { server } = serverOf({ transport: 'http', url });
    await server.listTools(patience());
    await vi.waitFor(() => expect(methods()).toContain('GET'), 15_000);
    expect(await server.tool('a', patience())).toBeDefined();
  });
});
