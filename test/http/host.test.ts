/** Names under which the gateway answers: a page that points its own name at this machine must not reach its tools. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { productionEnv, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { sendRaw } from '../support/http-raw.ts';

let development: TestGateway;
let production: TestGateway;

beforeAll(async () => {
  [development, production] = await Promise.all([
    startTestGateway(),
    startTestGateway({ servers: { tested: 'http://127.0.0.1:9/' }, env: productionEnv }),
  ]);
});

afterAll(async () => {
  await Promise.all([development.stop(), production.stop()]);
});

const get = async (gateway: TestGateway, host: string) =>
  (await sendRaw(gateway.url, `GET /api/events HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`)).status;

describe('in development', () => {
  it.each(['evil.example', 'evil.example:8000', 'EVIL.Example.', 'localhost.evil.example', '127.0.0.1.evil.example'])(
    '%s is refused',
    async (host) => {
      expect(await get(development, host)).toBe(421);
    },
  );

  it.each(['localhost:8000', '127.0.0.1', '[::1]:8000', 'gateway', 'app.localhost'])('%s is answered', async (host) => {
    expect(await get(development, host)).toBe(200);
  });
});

describe('in production', () => {
  it('every name is answered: what counts is the credential', async () => {
    expect(await get(production, 'gateway.example.com')).toBe(403);
  });
});
