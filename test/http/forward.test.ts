/**
 * A gateway and another one that has an MCP session: here the other one is a server that writes down what it is sent and
 * answers as each test likes.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { text } from 'node:stream/consumers';
import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { mintSessionId, readVoucher, signVoucher } from '../../src/core/gateway-key.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { readGatewayKey } from '../../src/storage/gateway-key.ts';
import { createMcpSessionStore, type McpSessionStore } from '../../src/storage/mcp-sessions.ts';
import { selfSigned } from '../support/certificate.ts';
import { type Answer, recordOf, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { openRaw, sendRaw } from '../support/http-raw.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';

interface Reached {
  readonly request: IncomingMessage;
  readonly body: string;
}

const ownerId = '00000000-0000-4000-8000-000000000001';
let upstream: Upstream;
let gateway: TestGateway;
let pool: pg.Pool;
let store: McpSessionStore;
let key: Buffer;
let owner: Server;
let ownerUrl: string;
let reached: Reached[] = [];
let answer: (request: IncomingMessage, response: ServerResponse) => void;

beforeAll(async () => {
  upstream = await startUpstream({ calls: { act: echo } });
  gateway = await startTestGateway({
    servers: { tested: upstream.url },
    env: { AUDIT_IP_HMAC_KEY: 'a key for addresses that is long enough', TALOS_CORS_ORIGINS: 'https://page.example' },
  });
  pool = openReadPool({ url: gateway.database.url });
  store = createMcpSessionStore(pool);
  key = await readGatewayKey(pool);
  owner = createServer(async (request, response) => {
    const body = await text(request).catch(() => 'cut off');
    reached.push({ request, body });
    answer(request, response);
  });
  owner.listen(0, '127.0.0.1');
  await once(owner, 'listening');
  ownerUrl = `http://127.0.0.1:${(owner.address() as AddressInfo).port}`;
});

afterAll(async () => {
  owner.closeAllConnections();
  owner.close();
  await pool.end();
  await gateway.stop();
  await upstream.close();
});

beforeEach(() => {
  reached = [];
  answer = (_, response) => response.end('{}');
});

/** The id of a session that another gateway has, at `gatewayUrl`. */
async function foreign(gatewayUrl = ownerUrl): Promise<string> {
  const id = mintSessionId(key);
  await store.add({ id, principalId: 'p', teamId: 't', gatewayId: ownerId, gatewayUrl }, 300);
  return id;
}

const list = { jsonrpc: '2.0', id: 1, method: 'tools/list' };

function post(session: string, headers: Record<string, string> = {}, path = '/mcp/tested'): Promise<Answer> {
  return gateway.send(path, { json: list, headers: { 'mcp-session-id': session, ...headers } });
}

const only = (): Reached => {
  expect(reached).toHaveLength(1);
  return reached[0] as Reached;
};

describe('a request for a session of another gateway', () => {
  it('goes there as it came: method, path, body, and the headers of its client', async () => {
    const session = await foreign();
    await post(
      session,
      { authorization: 'Bearer not-judged-here', 'mcp-protocol-version': '2025-06-18', 'x-request-id': 'r-1' },
      '/mcp/tested?a=%20b',
    );
    const { request, body } = only();
    expect([request.method, request.url, JSON.parse(body)]).toEqual(['POST', '/mcp/tested?a=%20b', list]);
    expect(request.headers).toMatchObject({
      authorization: 'Bearer not-judged-here',
      'content-type': 'application/json',
      'mcp-protocol-version': '2025-06-18',
      'mcp-session-id': session,
      'x-request-id': 'r-1',
    });
  });

  it('says who its client is, for this request alone, and nothing that the client says of that', async () => {
    const session = await foreign();
    await post(session, {
      'x-forwarded-for': '198.51.100.9',
      'x-forwarded-host': 'evil',
      forwarded: 'for=198.51.100.9',
      'x-real-ip': '198.51.100.9',
    });
    const { headers } = only().request;
    const vouched = { method: 'POST', target: '/mcp/tested', sessionId: session };
    const header = String(headers['x-talos-forwarded']);
    const now = { nowMs: Date.now(), skewMs: 60_000 };
    expect(readVoucher(key, header, vouched, now)).toEqual({ address: '127.0.0.1', base: gateway.url });
    expect(readVoucher(key, header, { ...vouched, target: '/mcp/other' }, now)).toBeUndefined();
    expect(JSON.stringify(headers)).not.toContain('198.51.100.9');
    expect(headers['x-forwarded-host']).toBeUndefined();
  });

  it.each(['connection', 'te', 'x-mine'])('does not carry on what belongs to its connection: %s', async (name) => {
    const session = await foreign();
    const head = `DELETE /mcp/tested HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: ${session}\r\n`;
    await sendRaw(gateway.url, `${head}Connection: close, X-Mine\r\nTE: trailers\r\nX-Mine: 1\r\n\r\n`);
    expect([undefined, 'keep-alive']).toContain(only().request.headers[name]);
  });

  it.each(['GET', 'DELETE'])('is passed on with %s too', async (method) => {
    const session = await foreign();
    answer = (_, response) => response.writeHead(method === 'GET' ? 405 : 204, { allow: 'POST' }).end();
    const { status } = await gateway.send('/mcp/tested', { method, headers: { 'mcp-session-id': session } });
    expect([status, only().request.method]).toEqual([method === 'GET' ? 405 : 204, method]);
  });

  it('is passed on by the id in its query, as the transport before Streamable HTTP has it', async () => {
    const session = await foreign();
    await gateway.send(`/mcp/tested?session_id=${session}`, { json: list });
    expect(only().request.url).toBe(`/mcp/tested?session_id=${session}`);
  });

  it('is answered as the other gateway answers, less what each gateway says of itself', async () => {
    answer = (_, response) => {
      const own = {
        'set-cookie': 'a=b',
        server: 'x',
        'x-talos-region': 'elsewhere',
        'access-control-allow-origin': '*',
      };
      const told = {
        'mcp-session-id': 's',
        'x-talos-audit-ref': 'ref',
        'retry-after': '7',
        'content-type': 'application/json',
      };
      response.writeHead(429, { ...own, ...told }).end('{"code":"RATE_LIMITED"}');
    };
    const { status, headers, body } = await post(await foreign(), { origin: 'https://page.example' });
    expect([status, body]).toEqual([429, { code: 'RATE_LIMITED' }]);
    for (const [name, value] of [
      ['mcp-session-id', 's'],
      ['x-talos-audit-ref', 'ref'],
      ['retry-after', '7'],
      ['set-cookie', null],
      ['server', null],
      ['x-talos-region', 'local'],
      ['access-control-allow-origin', 'https://page.example'],
      ['x-content-type-options', 'nosniff'],
    ]) {
      expect([name, headers.get(String(name))]).toEqual([name, value]);
    }
  });

  it('is not passed on for a page of another site', async () => {
    const { status, body } = await post(await foreign(), { origin: 'https://evil.example' });
    expect([status, body['code'], reached]).toEqual([403, 'ORIGIN_NOT_ALLOWED', []]);
  });

  it('leaves no record, metric or line here that names the session', async () => {
    const session = await foreign();
    await post(session);
    expect(gateway.logText()).not.toContain(session);
    expect((await gateway.send('/metrics')).text).not.toContain(session);
  });
});

describe('a stream', () => {
  it('is open at once, and each part comes when it is written', async () => {
    let response: ServerResponse | undefined;
    answer = (_, opened) => {
      response = opened.writeHead(200, { 'content-type': 'text/event-stream' });
      response.flushHeaders();
    };
    const session = await foreign();
    const stream = await fetch(`${gateway.url}/mcp/tested`, { headers: { 'mcp-session-id': session } });
    expect([stream.status, stream.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
    const reader = (stream.body as ReadableStream<Uint8Array>).getReader();
    for (const part of ['data: 1\n\n', 'data: 2\n\n']) {
      response?.write(part);
      expect(new TextDecoder().decode((await reader.read()).value)).toBe(part);
    }
    response?.end();
    expect((await reader.read()).done).toBe(true);
  });

  it('ends there when the client leaves', async () => {
    const closed = new Promise((resolve) => {
      answer = (_, response) => {
        response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
        response.once('close', resolve);
      };
    });
    const leave = new AbortController();
    const session = await foreign();
    await fetch(`${gateway.url}/mcp/tested`, { headers: { 'mcp-session-id': session }, signal: leave.signal });
    leave.abort();
    await closed;
  });

  it('is cut off here when the other gateway is', async () => {
    answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).flushHeaders();
      response.write('data: 1\n\n', () => response.destroy());
    };
    const session = await foreign();
    const stream = await fetch(`${gateway.url}/mcp/tested`, { headers: { 'mcp-session-id': session } });
    await expect(stream.text()).rejects.toThrow();
  });

  it('is held back by a client that does not read', async () => {
    const part = Buffer.alloc(64 * 1024);
    const most = 256 * 1024 * 1024;
    let written = 0;
    answer = (_, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const write = () => {
        while (written < most) {
          written += part.length;
          if (!response.write(part)) return;
        }
        response.end();
      };
      response.on('drain', write);
      write();
    };
    const socket = await openRaw(gateway.url);
    socket.pause();
    socket.write(`GET /mcp/tested HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: ${await foreign()}\r\n\r\n`);
    let before = -1;
    const hasStopped = () => {
      const isSame = written > 0 && written === before;
      before = written;
      return isSame;
    };
    await expect.poll(hasStopped, { interval: 1_000, timeout: 60_000 }).toBe(true);
    expect(written).toBeLessThan(most);
    socket.destroy();
  });
});

describe('the body', () => {
  it('is passed on while it comes', async () => {
    let arrived = '';
    const early = createServer((request, response) => {
      request.on('data', (chunk) => {
        arrived += String(chunk);
      });
      request.once('end', () => response.end('{}'));
    }).listen(0, '127.0.0.1');
    await once(early, 'listening');
    const session = await foreign(`http://127.0.0.1:${(early.address() as AddressInfo).port}`);
    const socket = await openRaw(gateway.url);
    const head = `POST /mcp/tested HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: ${session}\r\nContent-Type: application/json\r\n`;
    socket.write(`${head}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n`);
    await expect.poll(() => arrived, { timeout: 20_000 }).toBe('abc');
    socket.write('3\r\ndef\r\n0\r\n\r\n');
    const [reply] = await once(socket, 'data');
    expect([String(reply).slice(0, 12), arrived]).toEqual(['HTTP/1.1 200', 'abcdef']);
    socket.destroy();
    early.closeAllConnections();
    early.close();
  });
});

describe('a gateway that is gone', () => {
  const rowsOf = async (gatewayUrl: string) =>
    (await pool.query('SELECT 1 FROM mcp_session WHERE gateway_url = $1', [gatewayUrl])).rowCount;

  it('takes its session with it', async () => {
    const dead = 'http://127.0.0.1:9';
    const { status, body } = await post(await foreign(dead));
    expect([status, body['code'] ?? JSON.stringify(body)]).toEqual([404, expect.stringContaining('SESSION_NOT_FOUND')]);
    await expect.poll(() => rowsOf(dead), { timeout: 20_000 }).toBe(0);
  });

  it('and never answers is not waited for', async () => {
    const mute = createTcpServer(() => undefined).listen(0, '127.0.0.1');
    await once(mute, 'listening');
    // It takes the connection, and says nothing to the handshake.
    const silent = `https://127.0.0.1:${(mute.address() as AddressInfo).port}`;
    expect((await post(await foreign(silent))).status).toBe(404);
    await expect.poll(() => rowsOf(silent), { timeout: 20_000 }).toBe(0);
    mute.close();
  });

  it('and followed by one whose certificate nobody vouches for is sent nothing', async () => {
    const sent: string[] = [];
    const stranger = createTlsServer(selfSigned('localhost'), (request, response) => {
      sent.push(String(request.url));
      response.end('{}');
    }).listen(0, '127.0.0.1');
    await once(stranger, 'listening');
    const { status } = await post(await foreign(`https://127.0.0.1:${(stranger.address() as AddressInfo).port}`));
    expect([status, sent]).toEqual([404, []]);
    stranger.close();
  });

  it('is not told of addresses that are never dialled', async () => {
    expect((await post(await foreign('http://169.254.169.254'))).status).toBe(404);
  });

  it('in the middle of a request leaves nobody to say what became of it', async () => {
    answer = (request) => request.socket.destroy();
    const { status, body, text: whole } = await post(await foreign());
    expect([status, body['code'], body['retryable']]).toEqual([502, 'SESSION_OWNER_LOST', false]);
    expect(whole).not.toContain('127.0.0.1');
  });
});

describe('a voucher', () => {
  const vouched = (session: string, address: string, ms = Date.now()) =>
    signVoucher(
      key,
      { address, base: 'https://gateway.example' },
      { method: 'POST', target: '/mcp/tested', sessionId: session },
      ms,
    );
  const unknown = () => mintSessionId(key);

  it('stops a request from being passed on again', async () => {
    const session = await foreign();
    const { status } = await post(session, { 'x-talos-forwarded': vouched(session, '203.0.113.7') });
    expect([status, reached]).toEqual([404, []]);
  });

  it.each<[string, (session: string) => string]>([
    ['forged', () => 'v1.203.0.113.7.abc'],
    ['empty', () => ''],
    ['old', (session) => vouched(session, '203.0.113.7', Date.now() - 120_000)],
    ['from the future', (session) => vouched(session, '203.0.113.7', Date.now() + 120_000)],
    ['of another session', () => vouched(unknown(), '203.0.113.7')],
    [
      'of another key',
      (session) =>
        signVoucher(
          Buffer.alloc(32),
          { address: '203.0.113.7', base: '' },
          { method: 'POST', target: '/mcp/tested', sessionId: session },
          Date.now(),
        ),
    ],
  ])('that is %s is refused, and the request goes nowhere', async (_, made) => {
    const session = await foreign();
    const { status, body } = await post(session, { 'x-talos-forwarded': made(session) });
    expect([status, body['code'], reached]).toEqual([400, 'INVALID_REQUEST', []]);
  });

  it('says whose address a record tells', async () => {
    const call = { jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'act', arguments: {} } };
    const voucher = signVoucher(
      key,
      { address: '203.0.113.7', base: gateway.url },
      { method: 'POST', target: '/mcp/tested', sessionId: '' },
      Date.now(),
    );
    const hashes = await Promise.all(
      [{ 'x-talos-forwarded': voucher }, {}].map(async (headers) => {
        const { record } = await recordOf(gateway, await gateway.send('/mcp/tested', { json: call, headers }));
        return (record['http'] as { client_ip_hash: string }).client_ip_hash;
      }),
    );
    expect(new Set(hashes).size).toBe(2);
    const direct = await gateway.send('/api/events', { json: { event_type: 'a', actor: 'b', action: 'c' } });
    const { record } = await recordOf(gateway, direct);
    expect((record['http'] as { client_ip_hash: string }).client_ip_hash).toBe(hashes[1]);
  });
});

describe('limits', () => {
  it('count the client of a request that was passed on, and not the gateway that passed it on', async () => {
    const limited = await startTestGateway({
      servers: { tested: upstream.url },
      env: { TALOS_RATE_LIMIT: 'true', TALOS_RATE_LIMIT_IP_RPS: '1', TALOS_RATE_LIMIT_IP_BURST: '2' },
    });
    const own = openReadPool({ url: limited.database.url });
    const ownKey = await readGatewayKey(own);
    const from = async (address: string) => {
      const asked = { method: 'POST', target: '/mcp/tested', sessionId: '' };
      const voucher = signVoucher(ownKey, { address, base: limited.url }, asked, Date.now());
      const { status } = await limited.send('/mcp/tested', { json: list, headers: { 'x-talos-forwarded': voucher } });
      return status;
    };
    const many = await Promise.all(Array.from({ length: 12 }, (_, n) => from(`203.0.113.${n}`)));
    expect(new Set(many)).toEqual(new Set([200]));
    const one = await Promise.all(Array.from({ length: 12 }, () => from('198.51.100.1')));
    expect(one.filter((status) => status === 429).length).toBeGreaterThan(0);
    await own.end();
    await limited.stop();
  });
});
