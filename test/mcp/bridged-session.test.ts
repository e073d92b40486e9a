import { once } from 'node:events';
import type { ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import type { McpBounds } from '../../src/mcp/mcp-bounds.ts';
import { richClient, type TestPeer, testPeer } from '../support/mcp-peer.ts';
import { scriptedStdioProgram } from '../support/mcp-processes.ts';
import { failureOf, patience, serverOf, textOf } from '../support/mcp-registry.ts';
import {
  event,
  openEvents,
  type Respond,
  said,
  sendError,
  sendResult,
  startScripted,
} from '../support/mcp-scripted.ts';

interface Script {
  readonly call?: Respond;
  readonly listen?: (filter: JsonObject, id: number, stream: ServerResponse) => void;
}

const subscription = (id: number) => ({ _meta: { 'io.modelcontextprotocol/subscriptionId': id } });

/** Acknowledges everything. */
function acknowledge(filter: JsonObject, id: number, stream: ServerResponse): void {
  const method = 'notifications/subscriptions/acknowledged';
  stream.write(event({ jsonrpc: '2.0', method, params: { notifications: filter, ...subscription(id) } }));
}

/** A client's session with a server of the stateless era that does what the script says. */
async function bridged(script: Script, bounds: Partial<McpBounds> = {}, peer: TestPeer = testPeer()) {
  const capabilities = { tools: { listChanged: true }, resources: { subscribe: true } };
  const upstream = await startScripted((received, response) => {
    const { method, id, params } = received.message;
    if (method === 'server/discover') {
      return sendResult(received, response, { supportedVersions: ['2026-07-28'], capabilities });
    }
    if (method === 'initialize') return sendError(received, response, -32_022, 'no', 400);
    if (method !== 'subscriptions/listen')
      return (script.call ?? ((_, r) => sendResult(received, r, said('done'))))(received, response);
    openEvents(response);
    return (script.listen ?? acknowledge)(
      (params as { notifications: JsonObject }).notifications,
      Number(id),
      response,
    );
  });
  const quick = { upstreamStreamRetryMinMs: 5, upstreamStreamRetryMaxMs: 20, ...bounds };
  const { server } = serverOf({ transport: 'http', url: upstream.url }, { bounds: quick });
  const session = await server.openSession({
    client: richClient,
    protocolVersion: '2025-11-25',
    peer,
    onLost: () => undefined,
    signal: patience(),
  });
  const call = () => session.callTool({ name: 'x', args: {}, requestId: 'r', signal: patience() });
  const ask = (method: string, params: JsonObject = {}) =>
    session.relay({ method, params, requestId: 'r', signal: patience() });
  const listens = () =>
    upstream.received
      .filter(({ message }) => message['method'] === 'subscriptions/listen')
      .map(({ message }) => (message['params'] as { notifications: JsonObject }).notifications);
  return { session, server, call, ask, listens, peer, upstream };
}

function wants(inputRequests: JsonObject | undefined, requestState?: string): Respond {
  return (received, response) =>
    sendResult(received, response, {
      resultType: 'input_required',
      ...(inputRequests && { inputRequests }),
      ...(requestState !== undefined && { requestState }),
    });
}

const question = { method: 'elicitation/create', params: {} };

describe('a stateless server that asks for input', () => {
  it.each<[string, Respond]>([
    ['without end', wants({ a: question })],
    ['without end and in nothing but state', wants(undefined, 'state')],
    ['for nothing', wants(undefined)],
    ['for nothing, in an empty map', wants({})],
    ['for too much at once', wants(Object.fromEntries(Array.from({ length: 5 }, (_, at) => [`k${at}`, question])))],
  ])('%s is given up', async (_, call) => {
    const bridge = await bridged({ call }, { upstreamInputRoundsMax: 3, upstreamInputRequestsMax: 4 });
    expect(await failureOf(bridge.call())).toMatchObject({ code: 'UPSTREAM_INVALID_RESPONSE', dispatched: true });
    const calls = bridge.upstream.received.filter(({ message }) => message['method'] === 'tools/call');
    expect(calls.length).toBeLessThanOrEqual(4);
  });

  it.each<[string, JsonObject]>([
    ['no method', { a: {} }],
    ['no request', { a: 'x' }],
    ['a method that is no text', { a: { method: 5 } }],
  ])('with %s is answered by the gateway, and the request fails as refused', async (_, requests) => {
    const bridge = await bridged({ call: wants(requests) });
    const answer = await bridge.call();
    expect(answer).toMatchObject({ kind: 'error', error: { code: -32_601 } });
    // What is hashed for the record is what the client gets, not the question before it.
    expect(JSON.parse(answer.raw.toString('utf8'))).toMatchObject({ error: { code: -32_601 } });
    expect(bridge.peer.asked).toEqual([]);
  });

  it('is given what the client says, under the names that it gave, and its state as it was', async () => {
    const rounds: JsonObject[] = [];
    const bridge = await bridged({
      call: (received, response) => {
        const { inputResponses, requestState } = received.message['params'] as JsonObject;
        rounds.push({ inputResponses: inputResponses ?? null, requestState: requestState ?? null });
        if (inputResponses !== undefined) return sendResult(received, response, said('thanks'));
        return wants({ 'a b': question, __proto__x: { method: 'roots/list' } }, 'sealed "state"')(received, response);
      },
    });
    expect(textOf(await bridge.call())).toBe('thanks');
    expect(rounds).toEqual([
      { inputResponses: null, requestState: null },
      {
        inputResponses: { 'a b': { answered: 'elicitation/create' }, __proto__x: { answered: 'roots/list' } },
        requestState: 'sealed "state"',
      },
    ]);
  });

  it('keeps its client no longer than one call may last, however often it asks', async () => {
    const peer = testPeer(async ({ signal }) => {
      await Promise.race([once(signal, 'abort'), delay(40, undefined, { signal }).catch(() => undefined)]);
      return { result: {} };
    });
    const bounds = { upstreamPatienceMaxMs: 100, upstreamCallTimeoutMs: 100, upstreamInputRoundsMax: 1_000_000 };
    const bridge = await bridged({ call: wants({ a: question }) }, bounds, peer);
    expect(await failureOf(bridge.call())).toMatchObject({ code: 'UPSTREAM_TIMEOUT', dispatched: true });
    expect(peer.asked.length).toBeGreaterThan(0);
  });

  it('may have acted when it is not there any more in a later round', async () => {
    let calls = 0;
    const bridge = await bridged({
      call: (received, response) => {
        if (++calls === 1) return wants({ a: question })(received, response);
        response.destroy();
      },
    });
    expect(await failureOf(bridge.call())).toMatchObject({ dispatched: true });
    const peer = testPeer(async () => {
      await gone.upstream.close();
      return { result: {} };
    });
    const gone = await bridged({ call: wants({ a: question }) }, {}, peer);
    expect(await failureOf(gone.call())).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: true });
  });

  it('is told of the client, and puts a log level into every request', async () => {
    const bridge = await bridged({});
    expect(await bridge.ask('logging/setLevel', { level: 'warning' })).toMatchObject({ kind: 'result', result: {} });
    await bridge.call();
    await bridge.ask('resources/list');
    const asked = bridge.upstream.received.filter(({ message }) => /call|resources/.test(String(message['method'])));
    expect(asked).toHaveLength(2);
    for (const { message } of asked) {
      expect((message['params'] as JsonObject)['_meta']).toMatchObject({
        'io.modelcontextprotocol/logLevel': 'warning',
        'io.modelcontextprotocol/clientCapabilities': richClient.capabilities,
      });
    }
  });

  it.each([
    ['logging/setLevel', {}],
    ['logging/setLevel', { level: 5 }],
    ['resources/subscribe', {}],
    ['resources/unsubscribe', { uri: null }],
  ])('is not bothered with %s of %j', async (method, params) => {
    const bridge = await bridged({});
    expect(await bridge.ask(method, params)).toMatchObject({ kind: 'error', error: { code: -32_602 } });
  });
});

describe('what a client hears of a stateless server', () => {
  it('are the lists it announces, and resources as they are subscribed, one stream at a time', async () => {
    const open = new Set<ServerResponse>();
    const bridge = await bridged({
      listen: (filter, id, stream) => {
        open.add(stream);
        stream.on('close', () => open.delete(stream));
        acknowledge(filter, id, stream);
        stream.write(
          event({
            jsonrpc: '2.0',
            method: 'notifications/resources/updated',
            params: { uri: 'a:b', ...subscription(id) },
          }),
        );
      },
    });
    expect(await bridge.ask('resources/subscribe', { uri: 'a:b' })).toMatchObject({ kind: 'result', result: {} });
    expect(await bridge.ask('resources/subscribe', { uri: 'a:b' })).toMatchObject({ kind: 'result' });
    expect(await bridge.ask('resources/subscribe', { uri: 'c:d' })).toMatchObject({ kind: 'result' });
    expect(await bridge.ask('resources/unsubscribe', { uri: 'a:b' })).toMatchObject({ kind: 'result' });
    expect(bridge.listens()).toEqual([
      { toolsListChanged: true },
      { toolsListChanged: true, resourceSubscriptions: ['a:b'] },
      { toolsListChanged: true, resourceSubscriptions: ['a:b', 'c:d'] },
      { toolsListChanged: true, resourceSubscriptions: ['c:d'] },
    ]);
    await expect.poll(() => open.size, { timeout: 20_000 }).toBe(1);
    expect(bridge.peer.told).toContainEqual(['notifications/resources/updated', { uri: 'a:b' }]);
    expect(bridge.server.isInUse).toBe(true);
    await bridge.session.close();
    await expect.poll(() => open.size, { timeout: 20_000 }).toBe(0);
    expect(bridge.server.isInUse).toBe(false);
  });

  it('is listened to again when the server ends it', async () => {
    let opened = 0;
    const bridge = await bridged({
      listen: (filter, id, stream) => {
        acknowledge(filter, id, stream);
        if (++opened < 3) stream.end(event({ jsonrpc: '2.0', id, result: { resultType: 'complete' } }));
      },
    });
    await expect.poll(() => opened, { timeout: 20_000 }).toBe(3);
    expect(bridge.listens()[2]).toEqual({ toolsListChanged: true });
  });

  it.each<[string, NonNullable<Script['listen']>]>([
    ['does not acknowledge the resource', (_, id, stream) => acknowledge({ toolsListChanged: true }, id, stream)],
    ['acknowledges nothing', (_, __, stream) => void stream.end()],
    [
      'answers with an error',
      (_, id, stream) => void stream.end(event({ jsonrpc: '2.0', id, error: { code: -1, message: 'no' } })),
    ],
    ['answers with half an event', (_, __, stream) => void stream.end('data: {"jsonrpc"')],
    ['answers with what is no message', (_, __, stream) => void stream.end('data: nothing\n\n')],
    ['keeps silent', () => undefined],
  ])('is refused to the client when the server %s', async (_, listen) => {
    const bridge = await bridged({ listen }, { upstreamListTimeoutMs: 1_000 });
    expect(await bridge.ask('resources/subscribe', { uri: 'a:b' })).toMatchObject({
      kind: 'error',
      error: { code: -32_602 },
    });
    expect(textOf(await bridge.call())).toBe('done');
  });

  it('are no more resources than a client may have', async () => {
    const bridge = await bridged({}, { upstreamSubscriptionsMax: 1 });
    expect(await bridge.ask('resources/subscribe', { uri: 'a:1' })).toMatchObject({ kind: 'result' });
    expect(await bridge.ask('resources/subscribe', { uri: 'a:2' })).toMatchObject({ kind: 'error' });
  });

  it('is nothing but changes', async () => {
    const bridge = await bridged({
      listen: (filter, id, stream) => {
        acknowledge(filter, id, stream);
        for (const method of ['notifications/progress', 'sampling/createMessage', 'notifications/tools/list_changed']) {
          const params = { progressToken: 1, progress: 1, ...subscription(id) };
          stream.write(event({ jsonrpc: '2.0', method, params }));
        }
      },
    });
    await expect.poll(() => bridge.peer.told.length, { timeout: 20_000 }).toBeGreaterThan(0);
    expect(bridge.peer.told.map(([method]) => method)).toEqual(['notifications/tools/list_changed']);
  });

  it('is nothing before it was acknowledged, and nothing after it was left', async () => {
    let late = (): void => undefined;
    const { server } = await bridged({
      listen: (filter, id, stream) => {
        const change = event({ jsonrpc: '2.0', method: 'notifications/tools/list_changed', params: subscription(id) });
        stream.write(change);
        acknowledge(filter, id, stream);
        late = () => stream.write(change);
      },
    });
    const heard: string[] = [];
    const leaving = new AbortController();
    const onNotification = (method: string) => heard.push(method);
    await server.listen({ filter: { toolsListChanged: true }, onNotification, signal: leaving.signal });
    leaving.abort();
    late();
    await server.hello(patience());
    expect(heard).toEqual([]);
  });
});

describe('a stateless process', () => {
  it('is listened to on its one stream, each listener for itself', async () => {
    const { server } = serverOf({ transport: 'stdio', command: 'node', args: [scriptedStdioProgram, 'stateless'] });
    const heard: (readonly [number, string, JsonObject])[] = [];
    const leaving = new AbortController();
    const filter = { toolsListChanged: true };
    for (const who of [1, 2]) {
      const onNotification = (method: string, params: JsonObject) => heard.push([who, method, params]);
      expect(await server.listen({ filter, onNotification, signal: leaving.signal })).toEqual({ acknowledged: filter });
    }
    const changed = 'notifications/tools/list_changed';
    await expect
      .poll(() => heard, { timeout: 20_000 })
      .toEqual([
        [1, changed, {}],
        [2, changed, {}],
      ]);
    const seen = () => server.callTool({ name: 'seen', args: {}, requestId: 'r', signal: patience() }).then(textOf);
    leaving.abort();
    expect((await seen()).match(/notifications\/cancelled/g)).toHaveLength(2);
  });

  it('tells its listeners when it ends', async () => {
    const { server } = serverOf({ transport: 'stdio', command: 'node', args: [scriptedStdioProgram, 'stateless'] });
    let ends = 0;
    const listening = { filter: {}, onNotification: () => undefined, onEnd: () => ends++, signal: patience() };
    await server.listen(listening);
    await failureOf(server.callTool({ name: 'crash', args: {}, requestId: 'r', signal: patience() }));
    await expect.poll(() => ends, { timeout: 20_000 }).toBe(1);
  });
});
