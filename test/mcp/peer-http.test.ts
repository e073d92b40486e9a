import type { ServerResponse } from 'node:http';
import { describe, expect, it } from 'vitest';
import type { JsonObject } from '../../src/core/json.ts';
import type { McpBounds } from '../../src/mcp/mcp-bounds.ts';
import { richClient, slowPeer, testPeer } from '../support/mcp-peer.ts';
import { call, failureOf, patience, serverOf, textOf } from '../support/mcp-registry.ts';
import {
  event,
  mcpScript,
  openEvents,
  type Received,
  type Respond,
  said,
  sendResult,
  startScripted,
} from '../support/mcp-scripted.ts';

function idOf({ message }: Received) {
  return message['id'] ?? null;
}

function metaOf({ message }: Received): JsonObject {
  return ((message['params'] as JsonObject)['_meta'] ?? {}) as JsonObject;
}

/** A server of the session era whose tool answers as `respond` says; `replies` are what it is answered. */
async function session(respond: Respond, bounds: Partial<McpBounds> = {}, callTimeoutMs?: number) {
  const script = mcpScript({ era: 'session', calls: { tested: respond } });
  const scripted = await startScripted(script.respond);
  const spec = { transport: 'http', url: scripted.url } as const;
  const { server } = serverOf(callTimeoutMs === undefined ? spec : { ...spec, callTimeoutMs }, { bounds });
  const replies = () => scripted.received.map(({ message }) => message).filter(({ result, error }) => result ?? error);
  return { server, scripted, replies };
}

function ask(response: ServerResponse, id: string | number, method: string, params: JsonObject = {}): void {
  response.write(event({ jsonrpc: '2.0', id, method, params }));
}

function answer(received: Received, response: ServerResponse): void {
  response.end(event({ jsonrpc: '2.0', id: idOf(received), result: said('done') }));
}

describe('progress over HTTP', () => {
  it('is told under the token that the client named, which the server never sees', async () => {
    const tokens: unknown[] = [];
    const { server } = await session((received, response) => {
      const { progressToken } = metaOf(received);
      tokens.push(progressToken);
      openEvents(response);
      const method = 'notifications/progress';
      response.write(event({ jsonrpc: '2.0', method, params: { progressToken: progressToken ?? '', progress: 1 } }));
      answer(received, response);
    });
    const [first, second] = [testPeer(), testPeer()];
    const meta = { progressToken: 'mine', traceparent: '00-1' };
    await Promise.all([
      call(server, 'tested', {}, { peer: first, meta }),
      call(server, 'tested', {}, { peer: second, meta }),
    ]);
    for (const { told } of [first, second]) {
      expect(told).toEqual([['notifications/progress', { progressToken: 'mine', progress: 1 }]]);
    }
    expect(new Set(tokens).size).toBe(2);
    expect(tokens).not.toContain('mine');
  });

  it.each([
    ['of nobody', { progressToken: 999_999, progress: 1 }],
    ['by the name the client gave it', { progressToken: 'mine', progress: 1 }],
    ['without a token', { progress: 1 }],
  ])('%s is told to nobody', async (_, params) => {
    const { server } = await session((received, response) => {
      openEvents(response);
      response.write(event({ jsonrpc: '2.0', method: 'notifications/progress', params }));
      answer(received, response);
    });
    const peer = testPeer();
    await call(server, 'tested', {}, { peer, meta: { progressToken: 'mine' } });
    expect(peer.told).toEqual([]);
  });

  it('passes the rest of the meta on, and names of the protocol in the stateless era only by itself', async () => {
    const seen: JsonObject[] = [];
    const { server } = await session((received, response) => {
      seen.push(metaOf(received));
      sendResult(received, response, said('done'));
    });
    await call(server, 'tested', {}, { meta: { 'com.example/x': [1] } });
    await call(server, 'tested');
    expect(seen).toEqual([{ 'com.example/x': [1] }, {}]);
  });

  it('renews the patience of whoever follows it, and of nobody else', async () => {
    const respond: Respond = (received, response) => {
      const { progressToken = 0 } = metaOf(received);
      openEvents(response);
      let progress = 0;
      const timer = setInterval(() => {
        const params = { progressToken, progress: ++progress };
        response.write(event({ jsonrpc: '2.0', method: 'notifications/progress', params }));
        if (progress < 20) return;
        clearInterval(timer);
        answer(received, response);
      }, 100);
      response.on('close', () => clearInterval(timer));
    };
    const { server } = await session(respond, {}, 1_500);
    const followed = call(server, 'tested', {}, { peer: testPeer(), meta: { progressToken: 1 } });
    const failure = failureOf(call(server, 'tested', {}, { meta: { progressToken: 1 } }));
    expect((await failure).code).toBe('UPSTREAM_TIMEOUT');
    expect(textOf(await followed)).toBe('done');
  });

  it('renews it for so long only', async () => {
    const { server } = await session(
      (received, response) => {
        const { progressToken = 0 } = metaOf(received);
        openEvents(response);
        const timer = setInterval(() => {
          const params = { progressToken, progress: 1 };
          response.write(event({ jsonrpc: '2.0', method: 'notifications/progress', params }));
        }, 20);
        response.on('close', () => clearInterval(timer));
      },
      { upstreamPatienceMaxMs: 600 },
      300,
    );
    const failure = await failureOf(call(server, 'tested', {}, { peer: testPeer(), meta: { progressToken: 1 } }));
    expect(failure).toMatchObject({ code: 'UPSTREAM_TIMEOUT', dispatched: true });
  });
});

describe('what a server asks in the middle of a call over HTTP', () => {
  it('is put to the peer, and the reply goes back under the id of the server', async () => {
    const { server, replies } = await session((received, response) => {
      openEvents(response);
      ask(response, 'q-1', 'sampling/createMessage', { maxTokens: 3 });
      ask(response, 7, 'elicitation/create');
      const timer = setInterval(() => {
        if (replies().length < 2) return;
        clearInterval(timer);
        answer(received, response);
      }, 5);
    });
    const peer = testPeer(({ method }) =>
      method === 'elicitation/create' ? { error: { code: -1, message: 'no' } } : { result: { role: 'assistant' } },
    );
    expect(textOf(await call(server, 'tested', {}, { peer }))).toBe('done');
    expect(peer.asked.map(({ method, params }) => [method, params])).toEqual([
      ['sampling/createMessage', { maxTokens: 3 }],
      ['elicitation/create', {}],
    ]);
    expect(replies()).toContainEqual({ jsonrpc: '2.0', id: 'q-1', result: { role: 'assistant' } });
    expect(replies()).toContainEqual({ jsonrpc: '2.0', id: 7, error: { code: -1, message: 'no' } });
  });

  it.each([
    ['there is no peer', undefined],
    ['the peer cannot be asked', { onNotification: () => undefined }],
  ])('is declined when %s', async (_, peer) => {
    const { server, replies } = await session((received, response) => {
      openEvents(response);
      ask(response, 1, 'roots/list');
      ask(response, 2, 'ping');
      answer(received, response);
    });
    await call(server, 'tested', {}, peer === undefined ? {} : { peer });
    await expect.poll(() => replies().length, { timeout: 20_000 }).toBe(2);
    expect(replies()).toContainEqual(
      expect.objectContaining({ id: 1, error: expect.objectContaining({ code: -32_601 }) }),
    );
    expect(replies()).toContainEqual({ jsonrpc: '2.0', id: 2, result: {} });
  });

  it('stops the clock of the call while the peer is asked', async () => {
    const { server } = await session(
      (received, response) => {
        openEvents(response);
        ask(response, 1, 'elicitation/create');
        response.on('close', () => undefined);
        waiting.push(() => answer(received, response));
      },
      {},
      1_000,
    );
    const waiting: (() => void)[] = [];
    const { peer, answer: reply } = slowPeer();
    const answered = call(server, 'tested', {}, { peer });
    await expect.poll(() => peer.asked.length, { timeout: 20_000 }).toBe(1);
    // Calls that ask nobody run out of patience meanwhile.
    for (const _ of ['once', 'again']) await failureOf(call(server, 'tested'));
    reply();
    waiting[0]?.();
    expect(textOf(await answered)).toBe('done');
  });

  it('ends with the bound on it, and with it what the peer was asked', async () => {
    const { server } = await session(
      (_, response) => {
        openEvents(response);
        ask(response, 1, 'elicitation/create');
      },
      { upstreamPatienceMaxMs: 1_500 },
      1_000,
    );
    const { peer } = slowPeer();
    expect((await failureOf(call(server, 'tested', {}, { peer }))).code).toBe('UPSTREAM_TIMEOUT');
    expect(peer.asked[0]?.signal.aborted).toBe(true);
  });

  it.each([
    [
      'the server cancels it',
      (response: ServerResponse) => {
        response.write(event({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: 'q' } }));
      },
    ],
    ['the server answers the call without waiting', () => undefined],
  ])('is nobody’s any more when %s', async (_, afterwards) => {
    const { server, replies } = await session((received, response) => {
      openEvents(response);
      ask(response, 'q', 'sampling/createMessage');
      afterwards(response);
      answer(received, response);
    });
    const { peer } = slowPeer();
    expect(textOf(await call(server, 'tested', {}, { peer }))).toBe('done');
    await expect.poll(() => peer.asked[0]?.signal.aborted, { timeout: 20_000 }).toBe(true);
    expect(replies()).toEqual([]);
  });

  it('is refused when too much is asked at once, or under an id that is in use', async () => {
    const { server, replies } = await session(
      (received, response) => {
        openEvents(response);
        for (const id of [1, 1, 2, 3, 4, 5]) ask(response, id, 'sampling/createMessage');
        waiting.push(() => answer(received, response));
      },
      { upstreamPeerRequestsMax: 2 },
    );
    const waiting: (() => void)[] = [];
    const { peer } = slowPeer();
    const answered = call(server, 'tested', {}, { peer });
    await expect.poll(() => replies().length, { timeout: 20_000 }).toBe(4);
    expect(peer.asked).toHaveLength(2);
    expect(
      replies()
        .map(({ error }) => (error as JsonObject)['code'])
        .sort(),
    ).toEqual([-32_000, -32_000, -32_000, -32_600]);
    waiting[0]?.();
    expect(textOf(await answered)).toBe('done');
  });

  it('is refused when a call asks without end, and its clock runs again', async () => {
    const { server, replies } = await session(
      (_, response) => {
        openEvents(response);
        let id = 0;
        const timer = setInterval(() => ask(response, ++id, 'sampling/createMessage'), 2);
        response.on('close', () => clearInterval(timer));
      },
      { upstreamPeerRequestsPerCallMax: 5, upstreamPeerRequestsMax: 1_000 },
      1_000,
    );
    const peer = testPeer();
    expect((await failureOf(call(server, 'tested', {}, { peer }))).code).toBe('UPSTREAM_TIMEOUT');
    expect(peer.asked).toHaveLength(5);
    expect(replies()).toContainEqual(
      expect.objectContaining({ error: { code: -32_000, message: 'Too many requests' } }),
    );
  });

  it.each([null, [1], { a: 1 }, true])('is ignored under the id %j, which is none', async (id) => {
    const { server, replies } = await session((received, response) => {
      openEvents(response);
      response.write(event({ jsonrpc: '2.0', id, method: 'sampling/createMessage' }));
      answer(received, response);
    });
    const peer = testPeer();
    expect(textOf(await call(server, 'tested', {}, { peer }))).toBe('done');
    expect(peer.asked).toEqual([]);
    expect(replies()).toEqual([]);
  });

  it('that is larger than an answer may be fails the call', async () => {
    const { server } = await session(
      (_, response) => {
        openEvents(response);
        ask(response, 1, 'sampling/createMessage', { text: 'x'.repeat(20_000) });
      },
      { upstreamResponseBytesMax: 10_000 },
    );
    const peer = testPeer();
    expect((await failureOf(call(server, 'tested', {}, { peer }))).code).toBe('UPSTREAM_RESPONSE_TOO_LARGE');
    expect(peer.asked).toEqual([]);
  });

  it('outlives half a frame of it, which is never asked', async () => {
    const { server } = await session((_, response) => {
      openEvents(response);
      response.end('data: {"jsonrpc":"2.0","id":1,"method":"sampling/createMessage"');
    });
    const peer = testPeer();
    expect((await failureOf(call(server, 'tested', {}, { peer }))).code).toBe('UPSTREAM_INVALID_RESPONSE');
    expect(peer.asked).toEqual([]);
  });

  it('is cancelled together with the call, of which the server is told', async () => {
    const { server, scripted } = await session((_, response) => {
      openEvents(response);
      ask(response, 1, 'sampling/createMessage');
    });
    const caller = new AbortController();
    const { peer } = slowPeer();
    const failure = failureOf(call(server, 'tested', {}, { peer, signal: caller.signal }));
    await expect.poll(() => peer.asked.length, { timeout: 20_000 }).toBe(1);
    caller.abort();
    expect((await failure).code).toBe('CALL_CANCELLED');
    expect(peer.asked[0]?.signal.aborted).toBe(true);
    await expect.poll(() => scripted.methods(), { timeout: 20_000 }).toContain('notifications/cancelled');
    const id = scripted.received.find(({ message }) => message['method'] === 'tools/call')?.message['id'];
    const told = scripted.received.find(({ message }) => message['method'] === 'notifications/cancelled');
    expect(told?.message['params']).toMatchObject({ requestId: id });
  });
});

describe('a server of the stateless era', () => {
  async function stateless(respond: Respond) {
    const scripted = await startScripted((received, response) => {
      const { method } = received.message;
      if (method === 'server/discover') {
        return sendResult(received, response, { supportedVersions: ['2026-07-28'], capabilities: { tools: {} } });
      }
      if (method === 'tools/list') return sendResult(received, response, { tools: [] });
      return respond(received, response);
    });
    return { scripted, ...serverOf({ transport: 'http', url: scripted.url }) };
  }

  const wants = {
    resultType: 'input_required',
    inputRequests: { name: { method: 'elicitation/create', params: {} } },
    requestState: 'sealed',
  };

  it('is told of the client, and of none where there is none', async () => {
    const { server, scripted } = await stateless((received, response) => sendResult(received, response, said('x')));
    await call(server, 'tested', {}, { client: richClient, meta: { progressToken: 'p', note: 1 } });
    await call(server, 'tested');
    const [first, second] = scripted.received.filter(({ message }) => message['method'] === 'tools/call').map(metaOf);
    expect(first).toEqual({
      note: 1,
      progressToken: expect.any(Number),
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientInfo': richClient.clientInfo,
      'io.modelcontextprotocol/clientCapabilities': richClient.capabilities,
    });
    expect(second).toMatchObject({ 'io.modelcontextprotocol/clientCapabilities': {} });
  });

  it('cannot be spoken for by what the client puts into its meta', async () => {
    const { server, scripted } = await stateless((received, response) => sendResult(received, response, said('x')));
    const meta = {
      'io.modelcontextprotocol/clientCapabilities': { sampling: {} },
      'io.modelcontextprotocol/protocolVersion': '1',
    };
    await call(server, 'tested', {}, { meta });
    const sent = scripted.received.filter(({ message }) => message['method'] === 'tools/call').map(metaOf);
    expect(sent).toEqual([
      expect.objectContaining({
        'io.modelcontextprotocol/clientCapabilities': {},
        'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      }),
    ]);
  });

  it('may ask for input in place of an answer, of tools and of prompts, and is given it', async () => {
    const { server, scripted } = await stateless((received, response) => {
      const { inputResponses } = received.message['params'] as JsonObject;
      sendResult(received, response, inputResponses === undefined ? wants : said('thanks'));
    });
    const asked = await call(server, 'tested', {}, { client: richClient });
    expect(asked).toMatchObject({ kind: 'input_required', result: wants });
    const input = { inputResponses: { name: { action: 'accept' } }, requestState: 'sealed' };
    expect(textOf(await call(server, 'tested', { a: 1 }, { client: richClient, input }))).toBe('thanks');
    expect(scripted.received.at(-1)?.message['params']).toMatchObject({
      name: 'tested',
      arguments: { a: 1 },
      ...input,
    });
    const request = { method: 'prompts/get', params: { name: 'p' }, requestId: 'r', signal: patience() };
    expect(await server.relay({ ...request, client: richClient })).toMatchObject({ kind: 'input_required' });
    expect((await failureOf(server.relay(request))).code).toBe('UPSTREAM_INVALID_RESPONSE');
  });

  it.each([
    ['a client that was not told of', undefined, wants],
    ['a kind of result that nobody knows', richClient, { resultType: 'something_else' }],
  ])('is not believed that wants input of %s', async (_, client, result) => {
    const { server } = await stateless((received, response) => sendResult(received, response, result));
    const failure = await failureOf(call(server, 'tested', {}, client === undefined ? {} : { client }));
    expect(failure).toMatchObject({ code: 'UPSTREAM_INVALID_RESPONSE', dispatched: true });
  });

  it('asks nobody while it answers', async () => {
    const { server, scripted } = await stateless((received, response) => {
      openEvents(response);
      ask(response, 1, 'sampling/createMessage');
      response.end(event({ jsonrpc: '2.0', id: idOf(received), result: said('done') }));
    });
    const peer = testPeer();
    expect(textOf(await call(server, 'tested', {}, { peer, client: richClient }))).toBe('done');
    expect(peer.asked).toEqual([]);
    expect(scripted.received.filter(({ message }) => message['method'] === undefined)).toEqual([]);
  });
});
