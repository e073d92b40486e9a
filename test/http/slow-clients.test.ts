/** Clients that are slow on purpose. The limits are lowered on the real server, so that the test need not wait for them. */
import type { Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import type { App } from '../../src/http/fastify.ts';
import { createServer, listen, serverUrl } from '../../src/http/server.ts';
import { createTelemetry } from '../../src/telemetry/telemetry.ts';
import { selfSigned } from '../support/certificate.ts';
import { openRaw, parseAnswer, readToEnd } from '../support/http-raw.ts';

const options = {
  telemetry: createTelemetry({ level: 'silent' }),
  region: 'local',
  development: true,
  corsOrigins: [],
  trustedProxies: [],
  tls: undefined,
  isShuttingDown: () => false,
  failureOf: async (thrown: unknown) => thrown,
};

let app: App;
let url: string;

beforeAll(async () => {
  app = await createServer(options);
  app.get('/healthz', { config: { surface: 'health.healthz' } }, async () => ({ status: 'ok' }));
  app.post('/api/events', { config: { surface: 'events.submit' } }, async () => ({ status: 'ok' }));
  app.server.headersTimeout = 300;
  app.server.requestTimeout = 600;
  await listen(app, { port: 0, host: '127.0.0.1' });
  url = serverUrl(app.server, false);
});

afterAll(() => app.close());

async function answered(socket: Socket) {
  const answer = parseAnswer(await readToEnd(socket));
  return {
    status: answer.status,
    code: (JSON.parse(answer.body) as { code: string }).code,
    type: answer.headers['x-content-type-options'],
  };
}

const timedOut = { status: 408, code: 'REQUEST_TIMEOUT', type: 'nosniff' };

describe('a request', () => {
  it.concurrent.each([
    ['whose headers never end', 'GET /healthz HTTP/1.1\r\nHost: t\r\n'],
    ['of a single byte', 'G'],
    [
      'whose body never comes',
      'POST /api/events HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n',
    ],
    [
      'whose body stops in the middle',
      'POST /api/events HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{',
    ],
    [
      'whose chunks stop',
      'POST /api/events HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n',
    ],
  ])('%s is given up with 408', async (_, text) => {
    const socket = await openRaw(url);
    socket.write(text);
    expect(await answered(socket)).toEqual(timedOut);
  });

  it('that drips is given up as well', async () => {
    const socket = await openRaw(url);
    const end = answered(socket);
    socket.write('GET /healthz HTTP/1.1\r\n');
    const drip = setInterval(() => socket.write('X-A: b\r\n'), 50);
    expect(await end).toEqual(timedOut);
    clearInterval(drip);
  });

  it('that is complete is answered meanwhile', async () => {
    const hanging = await Promise.all(Array.from({ length: 50 }, () => openRaw(url)));
    for (const socket of hanging) socket.write('POST /api/events HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n{');
    const { status } = await fetch(`${url}/healthz`);
    expect(status).toBe(200);
    for (const socket of hanging) socket.destroy();
  });
});

describe('the limits', () => {
  it('are those of the table, over TCP and over TLS', async () => {
    const { cert, key } = selfSigned('first.talos.test');
    const tls = { cert: Buffer.from(cert), key: Buffer.from(key) };
    for (const each of [undefined, tls]) {
      const { server } = await createServer({ ...options, tls: each });
      expect(server).toMatchObject({
        headersTimeout: bounds.headersTimeoutMs,
        requestTimeout: bounds.requestTimeoutMs,
        keepAliveTimeout: bounds.keepAliveTimeoutMs,
      });
    }
    expect(bounds.headersTimeoutMs).toBeLessThan(bounds.requestTimeoutMs);
  });
});
