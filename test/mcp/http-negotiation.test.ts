import { describe, expect, it, vi } from 'vitest';
import { freePort } from '../support/mcp-processes.ts';
import { call, failureOf, patience, serverOf, textOf } from '../support/mcp-registry.ts';
import {
  mcpScript,
  type Respond,
  said,
  sendError,
  sendJson,
  sendResult,
  startScripted,
  toolNamed,
} from '../support/mcp-scripted.ts';
import { startSdkServer } from '../support/mcp-sdk.ts';

const behaves = {
  calls: { echo: ((received, response) => sendResult(received, response, said('echo'))) satisfies Respond },
};

describe('finding the era of a server', () => {
  it('opens a session with a server that knows sessions', async () => {
    const { url, received, methods } = await startScripted(mcpScript({ era: 'session', ...behaves }).respond);
    const { server } = serverOf({ transport: 'auto', url });
    expect(textOf(await call(server, 'echo'))).toBe('echo');
    expect(methods()).toEqual(['server/discover', 'initialize', 'notifications/initialized', 'tools/call']);
    expect(received[1]?.headers).not.toHaveProperty('mcp-session-id');
    for (const { headers } of received.slice(2)) {
      expect(headers).toMatchObject({ 'mcp-session-id': 'session-1', 'mcp-protocol-version': '2025-11-25' });
    }
    expect(received[3]?.headers).toMatchObject({
      accept: 'application/json, text/event-stream',
      'content-type': 'application/json',
      'x-request-id': 'request-1',
    });
  });

  it('speaks without sessions to a server that knows the stateless era', async () => {
    const { url, tools, methods } = await startSdkServer({ legacy: 'reject', tools: ['echo'] });
    const { server } = serverOf({ transport: 'http', url });
    expect((await server.listTools(patience())).map(({ name }) => name)).toEqual(tools);
    expect(textOf(await call(server, 'echo', { region: 'zürich', text: 'x' }))).toBe(
      'echo {"region":"zürich","text":"x"}',
    );
    expect(methods).toEqual(expect.arrayContaining(['server/discover', 'tools/list', 'tools/call']));
  });

  it('prefers the stateless era where a server knows both', async () => {
    const { url, methods } = await startSdkServer({ legacy: 'stateless', tools: ['echo'] });
    const { server } = serverOf({ transport: 'auto', url });
    await call(server, 'echo');
    expect(methods).toEqual(['server/discover', 'tools/call']);
  });

  it('falls back to bare JSON-RPC where a server knows neither', async () => {
    const { url, methods, received } = await startScripted(mcpScript({ era: 'bare', ...behaves }).respond);
    const { server } = serverOf({ transport: 'auto', url });
    await call(server, 'echo');
    await call(server, 'echo');
    expect(methods()).toEqual(['server/discover', 'initialize', 'tools/call', 'tools/call']);
    expect(received[3]?.headers).not.toHaveProperty('mcp-protocol-version');
  });

  it.each<[string, Respond]>([
    ['404', (_, response) => void response.writeHead(404).end()],
    ['405', (_, response) => void response.writeHead(405).end('Method Not Allowed')],
    ['400 and HTML', (_, response) => void response.writeHead(400, { 'content-type': 'text/html' }).end('<h1>no</h1>')],
    ['a result that is no handshake', (received, response) => sendResult(received, response, { ok: true })],
    ['what is no JSON', (_, response) => void response.writeHead(200).end('hello')],
    ['method not found and HTTP 500', (received, response) => sendError(received, response, -32_601, 'no', 500)],
  ])('falls back to bare JSON-RPC where initialize is answered with %s', async (_, refuse) => {
    const methods = { initialize: refuse, 'server/discover': refuse };
    const { url } = await startScripted(mcpScript({ era: 'bare', ...behaves, methods }).respond);
    const { server } = serverOf({ transport: 'auto', url });
    expect(textOf(await call(server, 'echo'))).toBe('echo');
  });

  it('shakes no hands when told that the server speaks bare JSON-RPC', async () => {
    const { url, methods } = await startScripted(mcpScript({ era: 'bare', ...behaves }).respond);
    const { server } = serverOf({ transport: 'jsonrpc', url });
    await server.listTools(patience());
    await call(server, 'echo');
    expect(methods()).toEqual(['tools/list', 'tools/call']);
  });

  it('does not fall back when told that the server speaks MCP', async () => {
    const { url, methods } = await startScripted(mcpScript({ era: 'bare', ...behaves }).respond);
    const { server } = serverOf({ transport: 'http', url });
    expect(await failureOf(call(server, 'echo'))).toMatchObject({
      code: 'UPSTREAM_INVALID_RESPONSE',
      dispatched: false,
    });
    expect(methods()).not.toContain('tools/call');
  });

  it.each([401, 403, 429, 500, 502, 503])('does not take HTTP %i for an old server', async (status) => {
    const { url, methods } = await startScripted((_, response) => void response.writeHead(status).end('no'));
    const { server } = serverOf({ transport: 'auto', url });
    expect(await failureOf(call(server, 'echo'))).toMatchObject({
      code: 'UPSTREAM_INVALID_RESPONSE',
      dispatched: false,
    });
    expect(methods()).toEqual(['server/discover']);
  });

  it.each<[string, Respond]>([
    [
      'a version that was not offered',
      (received, response) => sendResult(received, response, { protocolVersion: '2999-01-01', capabilities: {} }),
    ],
    [
      'a session id that is no header',
      ({ message }, response) =>
        sendJson(
          response,
          { jsonrpc: '2.0', id: message['id'] ?? null, result: { protocolVersion: '2025-11-25' } },
          200,
          { 'mcp-session-id': 'a b' },
        ),
    ],
    [
      'another id',
      (_, response) => sendJson(response, { jsonrpc: '2.0', id: 12_345, result: { protocolVersion: '2025-11-25' } }),
    ],
    [
      'an event stream without an answer',
      (_, response) => void response.writeHead(200, { 'content-type': 'text/event-stream' }).end(': nothing\n\n'),
    ],
  ])('does not accept %s in the handshake', async (_, initialize) => {
    const { url, methods } = await startScripted(
      mcpScript({ era: 'session', ...behaves, methods: { initialize } }).respond,
    );
    const { server } = serverOf({ transport: 'http', url });
    expect(await failureOf(call(server, 'echo'))).toMatchObject({
      code: 'UPSTREAM_INVALID_RESPONSE',
      dispatched: false,
    });
    expect(methods()).not.toContain('tools/call');
  });

  it('does not speak to a server that knows only newer versions', async () => {
    const discover: Respond = ({ message }, response) =>
      sendJson(
        response,
        {
          jsonrpc: '2.0',
          id: message['id'] ?? null,
          error: { code: -32_022, message: 'no', data: { supported: ['2027-01-01'] } },
        },
        400,
      );
    const { url, methods } = await startScripted(
      mcpScript({ era: 'session', ...behaves, methods: { 'server/discover': discover } }).respond,
    );
    const { server } = serverOf({ transport: 'auto', url });
    expect(await failureOf(call(server, 'echo'))).toMatchObject({
      code: 'UPSTREAM_INVALID_RESPONSE',
      dispatched: false,
    });
    expect(methods()).toEqual(['server/discover']);
  });

  it('happens once for callers that come at once', async () => {
    const { url, methods } = await startScripted(mcpScript({ era: 'session', ...behaves }).respond);
    const { server } = serverOf({ transport: 'auto', url });
    await Promise.all(Array.from({ length: 20 }, () => call(server, 'echo')));
    expect(methods().filter((method) => method === 'initialize')).toHaveLength(1);
    expect(methods().filter((method) => method === 'tools/call')).toHaveLength(20);
  });

  it('goes on for the others when one caller leaves', async () => {
    const gate = Promise.withResolvers<void>();
    const script = mcpScript({ era: 'session', ...behaves });
    const { url, methods } = await startScripted(async (received, response) => {
      if (received.message['method'] === 'initialize') await gate.promise;
      await script.respond(received, response);
    });
    const { server } = serverOf({ transport: 'auto', url });
    const leaving = new AbortController();
    const left = failureOf(call(server, 'echo', {}, { signal: leaving.signal }));
    const stays = call(server, 'echo');
    await vi.waitFor(() => expect(methods()).toContain('initialize'), 15_000);
    leaving.abort();
    expect(await left).toMatchObject({ code: 'CALL_CANCELLED', dispatched: false });
    gate.resolve();
    expect(textOf(await stays)).toBe('echo');
  });

  it('has its own time limit', async () => {
    const { url } = await startScripted(() => undefined);
    const { server } = serverOf({ transport: 'auto', url }, { bounds: { upstreamListTimeoutMs: 100 } });
    expect(await failureOf(call(server, 'echo'))).toMatchObject({ code: 'UPSTREAM_TIMEOUT', dispatched: false });
  });

  it('happens anew after a failure, and finds out that the server was replaced', async () => {
    const port = await freePort();
    const old = await startScripted(mcpScript({ era: 'bare', ...behaves }).respond, port);
    const { server } = serverOf({ transport: 'auto', url: old.url });
    await call(server, 'echo');
    await old.close();
    expect(await failureOf(call(server, 'echo'))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' });
    const successor = await startScripted(mcpScript({ era: 'session', ...behaves }).respond, port);
    expect(textOf(await call(server, 'echo'))).toBe('echo');
    expect(successor.methods()).toContain('initialize');
  });
});

describe('a lost session', () => {
  it('is opened again and the call repeated, once, because it was not processed', async () => {
    const { respond, sessions } = mcpScript({ era: 'session', ...behaves });
    const { url, methods } = await startScripted(respond);
    const { server } = serverOf({ transport: 'http', url });
    await call(server, 'echo');
    sessions.clear();
    expect(textOf(await call(server, 'echo'))).toBe('echo');
    expect(methods().filter((method) => method === 'initialize')).toHaveLength(2);
    expect(methods().filter((method) => method === 'tools/call')).toHaveLength(3);
  });

  it('is opened again once for callers that notice it at once', async () => {
    const { respond, sessions } = mcpScript({ era: 'session', ...behaves });
    const { url, methods } = await startScripted(respond);
    const { server } = serverOf({ transport: 'http', url });
    await call(server, 'echo');
    sessions.clear();
    const answers = await Promise.all(Array.from({ length: 10 }, () => call(server, 'echo')));
    expect(answers.map(textOf)).toEqual(Array.from({ length: 10 }, () => 'echo'));
    expect(methods().filter((method) => method === 'initialize')).toHaveLength(2);
  });

  it('is recognised in the HTTP 400 that many servers send', async () => {
    let lost = true;
    const echo: Respond = (received, response) => {
      if (!lost) return sendResult(received, response, said('echo'));
      lost = false;
      return sendError(received, response, -32_000, 'Bad Request: No valid session ID provided', 400);
    };
    const { url, methods } = await startScripted(mcpScript({ era: 'session', calls: { echo } }).respond);
    const { server } = serverOf({ transport: 'http', url });
    expect(textOf(await call(server, 'echo'))).toBe('echo');
    expect(methods().filter((method) => method === 'initialize')).toHaveLength(2);
  });

  it.each([{}, { id: null }])('is recognised in one that names no request, and nothing else is: %j', async (id) => {
    const refusals = ['Bad Request: No valid session ID provided', 'Bad Request: another one'];
    const echo: Respond = (received, response) => {
      const message = refusals.shift();
      if (message === undefined) return sendResult(received, response, said('echo'));
      return sendJson(response, { jsonrpc: '2.0', error: { code: -32_000, message }, ...id }, 400);
    };
    const { url, methods } = await startScripted(mcpScript({ era: 'session', calls: { echo } }).respond);
    const { server } = serverOf({ transport: 'http', url });
    expect(await call(server, 'echo')).toMatchObject({ kind: 'error', error: { message: 'Bad Request: another one' } });
    expect(textOf(await call(server, 'echo'))).toBe('echo');
    expect(methods().filter((method) => method === 'initialize')).toHaveLength(2);
    expect(methods().filter((method) => method === 'tools/call')).toHaveLength(3);
  });

  it('is not seen in a result, nor in another status', async () => {
    const message = 'Bad Request: No valid session ID provided';
    const odd: Respond = (_, response) =>
      sendJson(response, { jsonrpc: '2.0', error: { code: -32_000, message } }, 500);
    const { url, methods } = await startScripted(mcpScript({ era: 'session', calls: { odd } }).respond);
    const { server } = serverOf({ transport: 'http', url });
    expect(await call(server, 'odd')).toMatchObject({ kind: 'error' });
    expect(methods().filter((method) => method === 'tools/call')).toHaveLength(1);
  });

  it('is not seen in the words of a tool, which is called once', async () => {
    const login: Respond = (received, response) =>
      sendError(received, response, -32_000, 'Your login session has expired', 400);
    const { url, methods } = await startScripted(mcpScript({ era: 'session', calls: { login } }).respond);
    const { server } = serverOf({ transport: 'http', url });
    expect(await call(server, 'login')).toMatchObject({ kind: 'error' });
    expect(methods().filter((method) => method === 'tools/call')).toHaveLength(1);
  });

  it('is not reopened without end', async () => {
    const lost: Respond = (_, response) => void response.writeHead(404).end();
    const { url, methods } = await startScripted(mcpScript({ era: 'session', calls: { lost } }).respond);
    const { server } = serverOf({ transport: 'http', url });
    expect(await failureOf(call(server, 'lost'))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false });
    expect(methods().filter((method) => method === 'tools/call')).toHaveLength(2);
  });

  it('is not seen in a 404 of a server without sessions', async () => {
    const { url, methods } = await startScripted(
      mcpScript({ era: 'bare', calls: { lost: (_, response) => void response.writeHead(404).end() } }).respond,
    );
    const { server } = serverOf({ transport: 'jsonrpc', url });
    expect(await failureOf(call(server, 'lost'))).toMatchObject({
      code: 'UPSTREAM_INVALID_RESPONSE',
      dispatched: true,
    });
    expect(methods()).toEqual(['tools/call']);
  });

  it('is closed with a word when the gateway leaves', async () => {
    const { url, received } = await startScripted(
      mcpScript({ era: 'session', tools: () => [toolNamed('echo')] }).respond,
    );
    const { server, registry } = serverOf({ transport: 'http', url });
    await server.listTools(patience());
    await registry.close();
    expect(received.at(-1)).toMatchObject({ method: 'DELETE', headers: { 'mcp-session-id': 'session-1' } });
  });
});
