import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer, type Socket } from 'node:net';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { call, failureOf, patience, serverOf, textOf } from '../support/mcp-registry.ts';
import {
  event,
  mcpScript,
  openEvents,
  type Received,
  type Respond,
  said,
  sendJson,
  sendResult,
  startScripted,
} from '../support/mcp-scripted.ts';

const bounds = { upstreamResponseBytesMax: 10_000 };

function id({ message }: Received) {
  return message['id'] ?? null;
}

/** Sends a body without end until the other side has had enough. */
function flood(response: Parameters<Respond>[1], chunk: string): void {
  const more = () => {
    while (!response.destroyed && response.write(chunk));
  };
  response.on('drain', more);
  more();
}

const invalid: readonly (readonly [string, Respond])[] = [
  [
    'HTML with HTTP 500',
    (_, response) => void response.writeHead(500, { 'content-type': 'text/html' }).end('<h1>Oops</h1>'),
  ],
  ['an empty HTTP 500', (_, response) => void response.writeHead(500).end()],
  [
    'HTTP 500 with a result',
    (received, response) => sendJson(response, { jsonrpc: '2.0', id: id(received), result: {} }, 500),
  ],
  [
    'garbage',
    (_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('\u0000\u0001 garbage'),
  ],
  ['bytes that are not UTF-8', (_, response) => void response.writeHead(200).end(Buffer.from([0x7b, 0xff, 0x7d]))],
  ['nothing', (_, response) => void response.writeHead(200).end()],
  ['HTTP 202', (_, response) => void response.writeHead(202).end()],
  ['HTTP 204', (_, response) => void response.writeHead(204).end()],
  [
    'half a JSON document',
    (received, response) => void response.writeHead(200).end(`{"jsonrpc":"2.0","id":${id(received)},"result":{`),
  ],
  ['the id of another call', (_, response) => sendJson(response, { jsonrpc: '2.0', id: 4_711, result: {} })],
  ['a batch', (received, response) => sendJson(response, [{ jsonrpc: '2.0', id: id(received), result: {} }])],
  ['its own request', (received, response) => sendJson(response, received.message)],
  [
    'half an event',
    (received, response) => {
      openEvents(response);
      response.end(`data: {"jsonrpc":"2.0","id":${id(received)},"result":{}}\n`);
    },
  ],
  [
    'an event that is no JSON',
    (_, response) => {
      openEvents(response);
      response.end('data: hello\n\n');
    },
  ],
  [
    'an event with the id of another call',
    (_, response) => {
      openEvents(response);
      response.end(event({ jsonrpc: '2.0', id: 4_711, result: {} }));
    },
  ],
  ['a redirect', (_, response) => void response.writeHead(307, { location: '/elsewhere' }).end()],
  [
    'a redirect with an answer',
    (received, response) =>
      sendJson(response, { jsonrpc: '2.0', id: id(received), result: {} }, 302, { location: '/elsewhere' }),
  ],
  [
    'a compressed body that nobody asked for',
    (_, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end(Buffer.from([0x1f, 0x8b, 8, 0])),
  ],
  [
    'a body cut in the middle',
    (_, response) => {
      response.writeHead(200, { 'content-length': '500' }).write('{"jsonrpc":');
      response.socket?.end();
    },
  ],
  [
    'a chunked body cut in the middle',
    (_, response) => {
      response.writeHead(200).write('{"jsonrpc":');
      response.socket?.end();
    },
  ],
  [
    'a stream cut in the middle',
    (_, response) => {
      openEvents(response);
      response.write('data: {"json');
      response.socket?.end();
    },
  ],
  ['what is not HTTP', (_, response) => void response.socket?.end('SSH-2.0-OpenSSH_9.9\r\n')],
  [
    'headers without end',
    (_, response) => {
      const socket = response.socket as Socket;
      socket.on('error', () => undefined);
      socket.write('HTTP/1.1 200 OK\r\n');
      for (let i = 0; i < 2_000; i++) socket.write(`x-${i}: ${'y'.repeat(100)}\r\n`);
    },
  ],
];

const tooLarge: readonly (readonly [string, Respond])[] = [
  [
    'a body that announces its size',
    (_, response) => void response.writeHead(200, { 'content-length': '10001' }).write('{'),
  ],
  ['a body without end', (_, response) => flood(response.writeHead(200), 'x'.repeat(1_000))],
  [
    'an event without end',
    (_, response) => {
      openEvents(response);
      response.write('data: ');
      flood(response, 'x'.repeat(1_000));
    },
  ],
  [
    'an event of lines without end',
    (_, response) => {
      openEvents(response);
      flood(response, 'data: xxxxxxxxxxxxxxxxx\n');
    },
  ],
  ['an error page without end', (_, response) => flood(response.writeHead(503), 'x'.repeat(1_000))],
];

const silent: readonly (readonly [string, Respond])[] = [
  ['never answers', () => undefined],
  [
    'sends headers only',
    (_, response) => response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders(),
  ],
  [
    'drips a byte at a time',
    (_, response) => {
      response.writeHead(200);
      const timer = setInterval(() => response.write(' '), 5);
      response.on('close', () => clearInterval(timer));
    },
  ],
  [
    'drips comments',
    (_, response) => {
      openEvents(response);
      const timer = setInterval(() => response.write(': still here\n\n'), 5);
      response.on('close', () => clearInterval(timer));
    },
  ],
  [
    'drips notifications',
    (_, response) => {
      openEvents(response);
      const timer = setInterval(() => response.write(event({ jsonrpc: '2.0', method: 'notifications/message' })), 5);
      response.on('close', () => clearInterval(timer));
    },
  ],
];

async function hostile(respond: Respond) {
  const scripted = await startScripted(mcpScript({ era: 'bare', calls: { bad: respond, good: goodTool } }).respond);
  return { ...scripted, ...serverOf({ transport: 'jsonrpc', url: scripted.url }, { bounds }) };
}

const goodTool: Respond = (received, response) => sendResult(received, response, said('good'));

describe('a server that answers', () => {
  it.each(invalid)('%s', async (_, respond) => {
    const { server, received } = await hostile(respond);
    expect(await failureOf(call(server, 'bad', {}, { timeoutMs: 5_000 }))).toMatchObject({
      code: 'UPSTREAM_INVALID_RESPONSE',
      dispatched: true,
    });
    expect(received.every(({ url }) => url === '/mcp')).toBe(true);
    expect(textOf(await call(server, 'good'))).toBe('good');
  });

  it.each(tooLarge)('%s', async (_, respond) => {
    const closed = Promise.withResolvers<void>();
    const { server } = await hostile((received, response) => {
      response.on('close', closed.resolve);
      return respond(received, response);
    });
    expect(await failureOf(call(server, 'bad', {}, { timeoutMs: 5_000 }))).toMatchObject({
      code: 'UPSTREAM_RESPONSE_TOO_LARGE',
      dispatched: true,
    });
    await closed.promise;
    expect(textOf(await call(server, 'good'))).toBe('good');
  });

  it('up to the bound exactly', async () => {
    const { server } = await hostile((received, response) => {
      const text = JSON.stringify({ jsonrpc: '2.0', id: id(received), result: {} });
      response.writeHead(200).end(text.padEnd(bounds.upstreamResponseBytesMax));
    });
    expect((await call(server, 'bad')).raw).toHaveLength(bounds.upstreamResponseBytesMax);
  });

  it('deeper than a serialiser can follow', async () => {
    const { server } = serverOf({
      transport: 'jsonrpc',
      url: (
        await startScripted((received, response) => {
          response
            .writeHead(200)
            .end(`{"jsonrpc":"2.0","id":${id(received)},"result":{"a":${'['.repeat(50_000)}${']'.repeat(50_000)}}}`);
        })
      ).url,
    });
    expect(await failureOf(call(server, 'bad'))).toMatchObject({ code: 'UPSTREAM_INVALID_RESPONSE', dispatched: true });
  });
});

describe('a server that', () => {
  it.each(silent)('%s runs into the deadline of the call', async (_, respond) => {
    const { server } = await hostile(respond);
    const started = performance.now();
    expect(await failureOf(call(server, 'bad', {}, { timeoutMs: 150 }))).toMatchObject({
      code: 'UPSTREAM_TIMEOUT',
      dispatched: true,
    });
    expect(performance.now() - started).toBeLessThan(5_000);
    expect(textOf(await call(server, 'good'))).toBe('good');
  });

  it('closes the connection in place of an answer is unavailable, and may have acted', async () => {
    const { server } = await hostile((_, response) => void response.socket?.destroy());
    expect(await failureOf(call(server, 'bad'))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: true });
  });

  it('refuses connections is unavailable, and has surely not acted', async () => {
    const scripted = await startScripted(goodTool);
    await scripted.close();
    const { server } = serverOf({ transport: 'jsonrpc', url: scripted.url });
    expect(await failureOf(call(server, 'bad'))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false });
  });

  it('has a name that does not resolve is unavailable, and has surely not acted', async () => {
    const { server } = serverOf({ transport: 'auto', url: 'http://tool-server.invalid/mcp' });
    expect(await failureOf(call(server, 'bad'))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false });
  });

  it('speaks TLS to nobody we trust is unavailable, and has surely not acted', async () => {
    const { port } = await silentSocket();
    const { server } = serverOf({ transport: 'jsonrpc', url: `https://127.0.0.1:${port}/` });
    expect(await failureOf(call(server, 'bad', {}, { timeoutMs: 300 }))).toMatchObject({
      code: 'UPSTREAM_TIMEOUT',
      dispatched: false,
    });
  });

  it('answers before the request asked for anything confuses no other call', async () => {
    const { server } = await hostile(
      (_, response) =>
        void response.socket?.end(
          `HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}${'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}'.repeat(3)}`,
        ),
    );
    expect(await failureOf(call(server, 'bad'))).toMatchObject({ code: 'UPSTREAM_INVALID_RESPONSE', dispatched: true });
    expect(textOf(await call(server, 'good'))).toBe('good');
  });
});

describe('what is in flight', () => {
  it('is bounded: one call more is refused at once and not sent', async () => {
    const scripted = await startScripted(mcpScript({ era: 'bare', calls: { hang: () => undefined } }).respond);
    const { server } = serverOf(
      { transport: 'jsonrpc', url: scripted.url },
      { bounds: { upstreamInFlightMax: 3, upstreamQueueMax: 0 } },
    );
    const leaving = new AbortController();
    const held = Array.from({ length: 3 }, () => failureOf(call(server, 'hang', {}, { signal: leaving.signal })));
    expect(await failureOf(call(server, 'hang'))).toMatchObject({ code: 'UPSTREAM_BUSY', dispatched: false });
    leaving.abort();
    await Promise.all(held);
    expect(textOf(await call(server, 'other'))).toBe('other');
  });

  it('uses no more connections than allowed; a call that waited in vain for one was not sent', async () => {
    const scripted = await startScripted(mcpScript({ era: 'bare', calls: { hang: () => undefined } }).respond);
    const { server } = serverOf({ transport: 'jsonrpc', url: scripted.url }, { bounds: { upstreamConnectionsMax: 2 } });
    const leaving = new AbortController();
    const held = [1, 2].map(() => failureOf(call(server, 'hang', {}, { signal: leaving.signal })));
    await vi.waitFor(() => expect(scripted.received).toHaveLength(2), 15_000);
    expect(await failureOf(call(server, 'third', {}, { timeoutMs: 100 }))).toMatchObject({
      code: 'UPSTREAM_TIMEOUT',
      dispatched: false,
    });
    leaving.abort();
    await Promise.all(held);
    expect(textOf(await call(server, 'fourth'))).toBe('fourth');
    expect(scripted.received.map(({ message }) => message['params'])).not.toContainEqual({
      name: 'third',
      arguments: {},
    });
  });

  it('fails when the gateway closes, and so does what comes after', async () => {
    const scripted = await startScripted(mcpScript({ era: 'session', calls: { hang: () => undefined } }).respond);
    const { server, registry } = serverOf({ transport: 'http', url: scripted.url });
    const held = failureOf(call(server, 'hang'));
    await vi.waitFor(() => expect(scripted.methods()).toContain('tools/call'), 15_000);
    await registry.close();
    expect(await held).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: true });
    expect(await failureOf(call(server, 'hang'))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false });
    expect(await failureOf(server.listTools(patience()))).toMatchObject({ dispatched: false });
  });
});

/** Takes connections and says nothing. */
async function silentSocket(): Promise<{ readonly port: number }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port };
}
