/** The official server of both eras, as its clients are served by it: in sessions of their own, and without. */
import { describe, expect, it, onTestFinished } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import type { McpServerSpec } from '../../src/core/mcp-server.ts';
import type { PeerReply } from '../../src/mcp/protocol/peer.ts';
import type { UpstreamAnswer } from '../../src/mcp/upstream-call.ts';
import { type AskedOfPeer, richClient, testPeer } from '../support/mcp-peer.ts';
import { failureOf, patience, serverOf, textOf } from '../support/mcp-registry.ts';
import { startReferenceServer } from '../support/reference/server.ts';

/** Something for every form of the server. */
const content = { name: 'Ada', username: 'ada', email: 'ada@example.com', color: 'red', context: 'x', ok: true };

const replies: Readonly<Record<string, JsonObject>> = {
  'elicitation/create': { action: 'accept', content },
  'sampling/createMessage': { role: 'assistant', model: 'm', content: { type: 'text', text: 'Paris' } },
  'roots/list': { roots: [{ uri: 'file:///a', name: 'a' }] },
};

function willing({ method }: AskedOfPeer): PeerReply {
  const result = replies[method];
  return result === undefined ? { error: { code: -32_601, message: 'unknown' } } : { result };
}

const kinds = [
  ['its own session', {}],
  ['the connection that is shared', { sessions: 'shared' }],
] as const satisfies readonly (readonly [string, Partial<McpServerSpec>])[];

async function open(more: Partial<McpServerSpec>, peer = testPeer(willing)) {
  const upstream = await startReferenceServer();
  onTestFinished(upstream.stop);
  const { server } = serverOf(
    { transport: 'http', url: upstream.url, ...more },
    { bounds: { upstreamStreamRetryMinMs: 20, upstreamStreamRetryMaxMs: 100 } },
  );
  const session = await server.openSession({
    client: richClient,
    protocolVersion: '2025-11-25',
    peer,
    onLost: () => undefined,
    signal: patience(),
  });
  const call = (name: string, args: JsonObject = {}, meta?: JsonObject) =>
    session.callTool({ name, args, requestId: 'r', signal: patience(), ...(meta && { meta }) });
  const ask = (method: string, params: JsonObject = {}): Promise<UpstreamAnswer> =>
    session.relay({ method, params, requestId: 'r', signal: patience() });
  return { upstream, server, session, call, ask, peer };
}

describe.each(kinds)('a client of the session era in %s', (_, more) => {
  it('follows progress under its own token', async () => {
    const { call, peer } = await open(more);
    await call('test_tool_with_progress', {}, { progressToken: 'mine' });
    const tokens = peer.told.filter(([method]) => method === 'notifications/progress').map(([, params]) => params);
    expect(tokens.map(({ progressToken }) => progressToken)).toEqual(['mine', 'mine', 'mine']);
  });

  it('hears log messages once it has set a level', async () => {
    const { call, ask, peer } = await open(more);
    expect(await ask('logging/setLevel', { level: 'debug' })).toMatchObject({ kind: 'result', result: {} });
    await call('test_tool_with_logging');
    await expect
      .poll(() => peer.told.filter(([method]) => method === 'notifications/message').length, { timeout: 20_000 })
      .toBe(3);
  });

  it('subscribes to resources', async () => {
    const { ask } = await open(more);
    const params = { uri: 'test://watched-resource' };
    expect(await ask('resources/subscribe', params)).toMatchObject({ kind: 'result' });
    expect(await ask('resources/subscribe', params)).toMatchObject({ kind: 'result' });
    expect(await ask('resources/unsubscribe', params)).toMatchObject({ kind: 'result' });
  });

  it('hears that lists changed', async () => {
    const { call, peer } = await open(more);
    // The stream may not stand yet when the first change is told.
    await expect
      .poll(
        async () => {
          await call('test_trigger_prompt_change');
          await call('test_trigger_tool_change');
          return new Set(peer.told.map(([method]) => method));
        },
        { timeout: 20_000 },
      )
      .toEqual(new Set(['notifications/prompts/list_changed', 'notifications/tools/list_changed']));
  });

  it('reads resources and prompts', async () => {
    const { ask } = await open(more);
    expect(await ask('resources/list')).toMatchObject({ kind: 'result', result: { resources: expect.any(Array) } });
    expect(await ask('no/such')).toMatchObject({ kind: 'error', error: { code: -32_601 } });
  });
});

describe('a client in its own session', () => {
  it('is asked in the middle of a call', async () => {
    const { call, peer, upstream, session } = await open({});
    expect(textOf(await call('test_elicitation', { message: 'who?' }))).toContain('action=accept');
    expect(textOf(await call('test_sampling', { prompt: 'capital?' }))).toBe('LLM response: Paris');
    expect(peer.asked.map(({ method }) => method)).toEqual(['elicitation/create', 'sampling/createMessage']);
    expect(upstream.sessions()).toBe(1);
    await session.close();
    expect(upstream.sessions()).toBe(0);
  });

  it('gets the answer of a call whose stream the server ended before', async () => {
    const { call } = await open({});
    expect(await call('test_reconnection')).toMatchObject({ kind: 'result' });
  });
});

describe('a client of the session era at a server that needs input in place of an answer', () => {
  const shared = { sessions: 'shared' } as const;

  it('is asked for it, and the request is repeated with what it gives', async () => {
    const { call, ask, peer } = await open(shared);
    expect(textOf(await call('test_input_required_result_elicitation'))).toBe('Hello, Ada!');
    expect(textOf(await call('test_input_required_result_sampling'))).toContain('Paris');
    expect(textOf(await call('test_input_required_result_list_roots'))).toContain('file:///a');
    expect(peer.asked.map(({ method }) => method)).toEqual(Object.keys(replies));
    expect(await call('test_input_required_result_multiple_inputs')).toMatchObject({ kind: 'result', isError: false });
    expect(await call('test_input_required_result_multi_round')).toMatchObject({ kind: 'result', isError: false });
    expect(await ask('prompts/get', { name: 'test_input_required_result_prompt' })).toMatchObject({ kind: 'result' });
  });

  it('fails the request with the client’s own error', async () => {
    const { call } = await open(
      shared,
      testPeer(() => ({ error: { code: -1, message: 'User rejected' } })),
    );
    expect(await call('test_input_required_result_sampling')).toMatchObject({
      kind: 'error',
      error: { code: -1, message: 'User rejected' },
    });
  });

  it('is no longer asked when it has left', async () => {
    const leaving = new AbortController();
    const peer = testPeer(() => {
      leaving.abort();
      return { result: {} };
    });
    const { session } = await open(shared, peer);
    const name = 'test_input_required_result_elicitation';
    const failure = await failureOf(session.callTool({ name, args: {}, requestId: 'r', signal: leaving.signal }));
    expect(failure).toMatchObject({ code: 'CALL_CANCELLED', dispatched: true });
    expect(peer.asked).toHaveLength(1);
  });
});

describe('a client of the stateless era', () => {
  it('listens on a stream of its own, to what the server acknowledges, until it leaves', async () => {
    const { server, call, upstream } = await open({});
    const heard: (readonly [string, JsonObject])[] = [];
    const leaving = new AbortController();
    let ends = 0;
    const { acknowledged } = await server.listen({
      filter: { promptsListChanged: true, resourceSubscriptions: ['a:b'], toolsListChanged: false },
      onNotification: (method, params) => heard.push([method, params]),
      onEnd: () => ends++,
      signal: leaving.signal,
    });
    expect(acknowledged).toEqual({ promptsListChanged: true, resourceSubscriptions: ['a:b'] });
    await call('test_trigger_tool_change');
    await call('test_trigger_prompt_change');
    await expect.poll(() => heard, { timeout: 20_000 }).toEqual([['notifications/prompts/list_changed', {}]]);
    leaving.abort();
    expect(ends).toBe(0);
    const other = { filter: { toolsListChanged: true }, onNotification: () => undefined, signal: patience() };
    await server.listen({ ...other, onEnd: () => ends++ });
    await upstream.stop();
    await expect.poll(() => ends, { timeout: 20_000 }).toBe(1);
  });
});
