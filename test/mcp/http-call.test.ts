import { describe, expect, it, vi } from 'vitest';
import { isJsonObject } from '../../src/core/json.ts';
import { call, failureOf, patience, serverOf, textOf } from '../support/mcp-registry.ts';
import {
  event,
  mcpScript,
  openEvents,
  type Respond,
  said,
  sendError,
  sendJson,
  sendResult,
  startScripted,
} from '../support/mcp-scripted.ts';
import { startSdkServer } from '../support/mcp-sdk.ts';

/** One call of the tool `tested` on a server that answers it with `respond`. */
async function answered(respond: Respond, era: 'session' | 'bare' = 'session') {
  const scripted = await startScripted(mcpScript({ era, calls: { tested: respond } }).respond);
  const { server, log } = serverOf({ transport: era === 'bare' ? 'jsonrpc' : 'http', url: scripted.url });
  return { ...scripted, server, log };
}

describe('answers over HTTP', () => {
  it('gives the result and the exact bytes of a JSON answer', async () => {
    let bytes = '';
    const { server } = await answered(({ message }, response) => {
      bytes = ` {"jsonrpc":"2.0" , "id":${message['id']},\n"result":{"content":[],"n":1.0,"é":"\\u00e9"}} `;
      response.writeHead(200, { 'content-type': 'application/json' }).end(bytes);
    });
    const answer = await call(server, 'tested');
    expect(answer).toMatchObject({ kind: 'result', isError: false, result: { content: [], n: 1, é: 'é' } });
    expect(answer.raw.toString()).toBe(bytes);
  });

  it('gives the same of an answer in an event stream, whatever comes before it', async () => {
    let bytes = '';
    const { server } = await answered(({ message }, response) => {
      openEvents(response);
      bytes = `{"jsonrpc":"2.0", "id":${message['id']}, "result":{"n":2.0}}`;
      response.write(': hello\n\n');
      response.write(event({ jsonrpc: '2.0', method: 'notifications/message', params: { data: 1 } }));
      for (const char of `data: ${bytes}\r\n\r\n`) response.write(char);
      response.end();
    });
    const notes: unknown[] = [];
    const answer = await call(
      server,
      'tested',
      {},
      { peer: { onNotification: (method, params) => notes.push([method, params]) } },
    );
    expect(answer).toMatchObject({ kind: 'result', result: { n: 2 } });
    expect(answer.raw.toString()).toBe(bytes);
    expect(notes).toEqual([['notifications/message', { data: 1 }]]);
  });

  it('tells the failure of a tool from its success', async () => {
    const { server } = await answered((received, response) =>
      sendResult(received, response, { ...said('no'), isError: true }),
    );
    expect(await call(server, 'tested')).toMatchObject({ kind: 'result', isError: true });
  });

  it.each([200, 400, 401, 500])('gives a JSON-RPC error that comes with HTTP %i', async (status) => {
    const { server } = await answered((received, response) =>
      sendError(received, response, -32_000, 'it failed', status),
    );
    expect(await call(server, 'tested')).toMatchObject({
      kind: 'error',
      error: { code: -32_000, message: 'it failed' },
    });
  });

  it('takes "error": null for no error', async () => {
    const { server } = await answered(
      ({ message }, response) =>
        sendJson(response, { jsonrpc: '2.0', id: message['id'] ?? null, result: said('fine'), error: null }),
      'bare',
    );
    expect(textOf(await call(server, 'tested'))).toBe('fine');
  });

  it('hears the first answer when there are two', async () => {
    const { server } = await answered(({ message }, response) => {
      openEvents(response);
      response.write(event({ jsonrpc: '2.0', id: message['id'] ?? null, result: said('first') }));
      response.end(event({ jsonrpc: '2.0', id: message['id'] ?? null, result: said('second') }));
    });
    expect(textOf(await call(server, 'tested'))).toBe('first');
    expect(textOf(await call(server, 'tested'))).toBe('first');
  });

  it('does not wait for the end of a stream that has answered', async () => {
    const { server } = await answered(({ message }, response) => {
      openEvents(response);
      response.write(event({ jsonrpc: '2.0', id: message['id'] ?? null, result: said('here') }));
    });
    expect(textOf(await call(server, 'tested'))).toBe('here');
  });

  it('sends arguments and names as they are', async () => {
    const names = ['a.b', 'a/b', 'a:b', 'ns__tool', 'größe', '名前', 'a b', '"quoted"', '__proto__'];
    const { url, received } = await startScripted(mcpScript({ era: 'session' }).respond);
    const { server } = serverOf({ transport: 'http', url });
    for (const name of names) expect(textOf(await call(server, name, { ключ: [name, null, 1.5] }))).toBe(name);
    const params = received
      .filter(({ message }) => message['method'] === 'tools/call')
      .map(({ message }) => message['params']);
    expect(params).toEqual(names.map((name) => ({ name, arguments: { ключ: [name, null, 1.5] } })));
  });

  it('sends them also where the name goes into a header', async () => {
    const names = ['a.b', 'a/b', 'a:b', 'größe', '名前'];
    const { url } = await startSdkServer({ legacy: 'reject', tools: names });
    const { server } = serverOf({ transport: 'http', url });
    const listed = await server.listTools(patience());
    expect(listed.map(({ name }) => name)).toEqual(names);
    for (const name of names) expect(textOf(await call(server, name, { text: 'x' }))).toBe(`${name} {"text":"x"}`);
  });

  it('sends configured headers, and no request id that is no plain text', async () => {
    const { url, received } = await startScripted(mcpScript({ era: 'bare' }).respond);
    const { server } = serverOf({
      transport: 'jsonrpc',
      url,
      headers: { Authorization: 'Bearer secret', 'X-Team': 'a' },
    });
    await call(server, 'tested', {}, { requestId: 'a\r\nx-evil: 1' });
    expect(received[0]?.headers).toMatchObject({ authorization: 'Bearer secret', 'x-team': 'a' });
    expect(received[0]?.headers).not.toHaveProperty('x-request-id');
    expect(received[0]?.headers).not.toHaveProperty('x-evil');
  });
});

describe('what a server asks back', () => {
  it('is declined, and a ping answered, while the call goes on', async () => {
    const { server, received } = await answered(({ message }, response) => {
      openEvents(response);
      response.write(event({ jsonrpc: '2.0', id: 'q1', method: 'sampling/createMessage', params: {} }));
      response.write(event({ jsonrpc: '2.0', id: 'q2', method: 'ping' }));
      response.end(event({ jsonrpc: '2.0', id: message['id'] ?? null, result: said('done') }));
    });
    expect(textOf(await call(server, 'tested'))).toBe('done');
    await vi.waitFor(() => {
      const replies = received
        .map(({ message }) => message)
        .filter(({ method, id }) => method === undefined && typeof id === 'string');
      expect(replies).toEqual(
        expect.arrayContaining([
          { jsonrpc: '2.0', id: 'q1', error: { code: -32_601, message: 'Method not found' } },
          { jsonrpc: '2.0', id: 'q2', result: {} },
        ]),
      );
    }, 15_000);
  });

  it('does not pile up when a server asks more than it takes answers to', async () => {
    const asked = 20_000;
    const { server, received } = await answered(({ message }, response) => {
      openEvents(response);
      const pings = Array.from({ length: asked }, (_, n) => event({ jsonrpc: '2.0', id: `q${n}`, method: 'ping' }));
      response.end(pings.join('') + event({ jsonrpc: '2.0', id: message['id'] ?? null, result: said('done') }));
    });
    expect(textOf(await call(server, 'tested'))).toBe('done');
    expect(textOf(await call(server, 'tested'))).toBe('done');
    const replies = received.filter(({ message }) => message['method'] === undefined);
    expect(replies.length).toBeLessThan(asked / 2);
  });

  it('is not answered where no session is', async () => {
    const { server, received } = await answered(({ message }, response) => {
      openEvents(response);
      response.write(event({ jsonrpc: '2.0', id: 'q1', method: 'ping' }));
      response.end(event({ jsonrpc: '2.0', id: message['id'] ?? null, result: said('done') }));
    }, 'bare');
    expect(textOf(await call(server, 'tested'))).toBe('done');
    expect(textOf(await call(server, 'tested'))).toBe('done');
    expect(received.every(({ message }) => message['method'] === 'tools/call')).toBe(true);
  });

  it('is a failure when it is asked in place of an answer', async () => {
    const { server } = await answered((received, response) =>
      sendResult(received, response, { resultType: 'input_required', inputRequests: {} }),
    );
    expect(await failureOf(call(server, 'tested'))).toMatchObject({
      code: 'UPSTREAM_INVALID_RESPONSE',
      dispatched: true,
    });
  });
});

describe('a stream that breaks off', () => {
  function resuming(resumed: Respond, first = (id: unknown) => `id: ${id}-1\nretry: 1\ndata:\n\n`) {
    return mcpScript({
      era: 'session',
      calls: {
        tested: ({ message }, response) => {
          openEvents(response);
          response.end(first(message['id']));
        },
      },
      stream: resumed,
    });
  }

  it('is resumed where it named a point', async () => {
    const { respond } = resuming(({ headers }, response) => {
      openEvents(response);
      const id = Number.parseInt(String(headers['last-event-id']), 10);
      response.end(event({ jsonrpc: '2.0', id, result: said('resumed') }, 'x'));
    });
    const { url, received } = await startScripted(respond);
    const { server } = serverOf({ transport: 'http', url });
    expect(textOf(await call(server, 'tested'))).toBe('resumed');
    expect(received.at(-1)).toMatchObject({ method: 'GET', headers: { 'mcp-session-id': 'session-1' } });
  });

  it('is resumed a bounded number of times', async () => {
    const { respond } = resuming((_, response) => {
      openEvents(response);
      response.end('id: again\nretry: 1\ndata:\n\n');
    });
    const { url, methods } = await startScripted(respond);
    const { server } = serverOf({ transport: 'http', url }, { bounds: { upstreamStreamResumesMax: 3 } });
    expect(await failureOf(call(server, 'tested'))).toMatchObject({
      code: 'UPSTREAM_INVALID_RESPONSE',
      dispatched: true,
    });
    expect(methods().filter((method) => method === 'GET')).toHaveLength(3);
  });

  it.each<[string, Respond]>([
    ['cannot be resumed', (_, response) => void response.writeHead(405).end()],
    ['belongs to a session that is lost meanwhile', (_, response) => void response.writeHead(404).end()],
    [
      'resumes with the answer to another call',
      (_, response) => sendJson(response, { jsonrpc: '2.0', id: 4_711, result: {} }),
    ],
    ['is cut when resumed', (_, response) => void response.destroy()],
  ])('fails, and may have been carried out, when it %s', async (_, resumed) => {
    const { url, methods } = await startScripted(resuming(resumed).respond);
    const { server } = serverOf({ transport: 'http', url });
    expect(await failureOf(call(server, 'tested'))).toMatchObject({ dispatched: true });
    expect(methods().filter((method) => method === 'tools/call')).toHaveLength(1);
  });

  it('fails where it named no point', async () => {
    const { url, methods } = await startScripted(
      resuming(
        () => undefined,
        () => ': nothing\n\n',
      ).respond,
    );
    const { server } = serverOf({ transport: 'http', url });
    expect(await failureOf(call(server, 'tested'))).toMatchObject({
      code: 'UPSTREAM_INVALID_RESPONSE',
      dispatched: true,
    });
    expect(methods()).not.toContain('GET');
  });
});

describe('giving up', () => {
  const hang: Respond = () => undefined;

  it('tells a session which call it was', async () => {
    const { server, received } = await answered(hang);
    expect(await failureOf(call(server, 'tested', {}, { timeoutMs: 50 }))).toMatchObject({
      code: 'UPSTREAM_TIMEOUT',
      dispatched: true,
    });
    const sent = received.find(({ message }) => message['method'] === 'tools/call');
    await vi.waitFor(() => {
      const cancelled = received.find(({ message }) => message['method'] === 'notifications/cancelled')?.message[
        'params'
      ];
      expect(isJsonObject(cancelled) && cancelled['requestId']).toBe(sent?.message['id']);
    }, 15_000);
  });

  it('closes the connection, so that a server without sessions can notice', async () => {
    const closed = Promise.withResolvers<void>();
    const { server, methods } = await answered((_, response) => void response.on('close', closed.resolve), 'bare');
    expect(await failureOf(call(server, 'tested', {}, { timeoutMs: 50 }))).toMatchObject({ code: 'UPSTREAM_TIMEOUT' });
    await closed.promise;
    expect(methods()).toEqual(['tools/call']);
  });

  it('happens when the caller leaves', async () => {
    const { server, methods } = await answered(hang);
    const leaving = new AbortController();
    const left = failureOf(call(server, 'tested', {}, { signal: leaving.signal }));
    await vi.waitFor(() => expect(methods()).toContain('tools/call'), 15_000);
    leaving.abort();
    expect(await left).toMatchObject({ code: 'CALL_CANCELLED', dispatched: true });
    await vi.waitFor(() => expect(methods()).toContain('notifications/cancelled'), 15_000);
  });

  it('sends nothing for a caller that had left before', async () => {
    const { server, received } = await answered(hang);
    expect(await failureOf(call(server, 'tested', {}, { signal: AbortSignal.abort() }))).toMatchObject({
      code: 'CALL_CANCELLED',
      dispatched: false,
    });
    expect(received).toEqual([]);
  });

  it('follows the configured patience of the server', async () => {
    const { url } = await startScripted(mcpScript({ era: 'bare', calls: { tested: hang } }).respond);
    const { server } = serverOf({ transport: 'jsonrpc', url, callTimeoutMs: 50 });
    expect(await failureOf(call(server, 'tested'))).toMatchObject({ code: 'UPSTREAM_TIMEOUT', dispatched: true });
  });

  it('leaves no listener at the signal of a caller who makes many calls', async () => {
    const { server } = await answered((received, response) => sendResult(received, response, said('x')));
    const { signal } = new AbortController();
    const add = vi.spyOn(signal, 'addEventListener');
    const remove = vi.spyOn(signal, 'removeEventListener');
    for (let i = 0; i < 20; i++) await call(server, 'tested', {}, { signal });
    expect(add.mock.calls.length).toBeGreaterThan(0);
    expect(remove.mock.calls.length).toBe(add.mock.calls.length);
  });
});

describe('what stays inside', () => {
  it('names neither address nor cause to the caller', async () => {
    const { server } = serverOf({ transport: 'auto', url: 'http://127.0.0.1:1/secret-path?key=secret' });
    const error = await failureOf(call(server, 'tested', { password: 'hunter2' }));
    const outside = JSON.stringify([error.message, error.details ?? null]);
    expect(outside).not.toMatch(/127\.0\.0\.1|secret|hunter2|ECONN/);
  });

  it('logs no argument, result or credential', async () => {
    const { server, log } = await answered((_, response) => void response.writeHead(200).end('hunter2 in an answer'));
    await failureOf(call(server, 'tested', { password: 'hunter2' }));
    expect(log.text()).not.toContain('hunter2');
  });
});
