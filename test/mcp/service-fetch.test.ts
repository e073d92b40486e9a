/** The way to the services beside the gateway: as guarded as that to tool servers. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, describe, expect, it } from 'vitest';
import { createServiceFetch, type ServiceFetch } from '../../src/mcp/network/service-fetch.ts';

const services: ServiceFetch = createServiceFetch({ connectTimeoutMs: 2_000 });
afterAll(() => services.close());

describe('an address that nothing may lead to', () => {
  it.each([
    'http://169.254.169.254/latest/meta-data/',
    'http://[fe80::1]/',
    'http://[fd00:ec2::254]/',
    'http://100.100.100.200/',
    'http://[::ffff:169.254.169.254]/',
  ])('is not dialled: %s', async (url) => {
    const refusal = await services.fetch(url).then(
      () => undefined,
      (error: Error) => String(error.cause ?? error),
    );
    expect(refusal).toContain('link-local and metadata addresses are never dialled');
  });
});

it('reaches what the operator names, with its method and body, and follows no redirect where told so', async () => {
  const asked: string[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    asked.push(`${request.method} ${request.url} ${Buffer.concat(chunks)}`);
    if (request.url === '/away') response.writeHead(302, { location: '/elsewhere' });
    response.end('ok');
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    const answer = await services.fetch(new URL('/in', base), { method: 'POST', body: 'x', redirect: 'error' });
    expect([answer.status, await answer.text()]).toEqual([200, 'ok']);
    await expect(services.fetch(`${base}/away`, { redirect: 'error' })).rejects.toThrow();
    const signal = AbortSignal.abort();
    await expect(services.fetch(`${base}/never`, { signal })).rejects.toThrow();
    expect(asked).toEqual(['POST /in x', 'GET /away ']);
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
