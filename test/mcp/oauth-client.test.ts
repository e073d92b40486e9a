/** What authorization servers may say, and what of it is believed. */

import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OAuthFault, requestTokens, revokeToken } from '../../src/mcp/credentials/oauth-client.ts';
import { readChallenge } from '../../src/mcp/credentials/oauth-discovery.ts';
import { createGuardedFetcher, type GuardedFetcher } from '../../src/mcp/network/guarded-fetch.ts';

let respond: (response: ServerResponse, body: string, authorization: string | undefined) => void;
let url: string;
let fetcher: GuardedFetcher;
const server = createServer(async (request, response) => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  response.on('error', () => undefined);
  respond(response, Buffer.concat(chunks).toString(), request.headers.authorization);
});

beforeAll(async () => {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`;
  fetcher = createGuardedFetcher({ timeoutMs: 500, bytesMax: 10_000 });
});

afterAll(async () => {
  await fetcher.close();
  server.closeAllConnections();
  server.close();
});

const client = { clientId: 'a client', clientSecret: 's:é+ret', clientAuth: 'basic' } as const;
const ask = (parameters = {}, as: Parameters<typeof requestTokens>[2] = client) =>
  requestTokens(fetcher.send, url, as, { grant_type: 'x', ...parameters });
const answer = (status: number, body: unknown) => {
  respond = (response) => void response.writeHead(status).end(typeof body === 'string' ? body : JSON.stringify(body));
};
const fault = (asked: Promise<unknown>) => asked.then(() => undefined).catch((error: unknown) => error as OAuthFault);

describe('a token request', () => {
  it('shows the client as it is told to, and sends no parameter that is not there', async () => {
    const seen: (readonly [string, string | undefined])[] = [];
    respond = (response, body, authorization) => {
      seen.push([body, authorization]);
      response.end('{"access_token":"a","token_type":"bearer","expires_in":"60","scope":"r w"}');
    };
    expect(await ask({ scope: undefined, resource: 'https://h' })).toEqual({
      accessToken: 'a',
      expiresInSec: 60,
      scopes: 'r w',
    });
    await ask({}, { ...client, clientAuth: 'post' });
    await ask({}, { clientId: 'public', clientAuth: 'basic' });
    const basic = Buffer.from('a+client:s%3A%C3%A9%2Bret').toString('base64');
    expect(seen).toEqual([
      ['grant_type=x&resource=https%3A%2F%2Fh', `Basic ${basic}`],
      ['grant_type=x&client_id=a+client&client_secret=s%3A%C3%A9%2Bret', undefined],
      ['grant_type=x&client_id=public', undefined],
    ]);
  });

  it.each([
    ['invalid_grant', 400, { error: 'invalid_grant', error_description: 'canary' }, 'refused'],
    ['access_denied', 403, { error: 'access_denied' }, 'refused'],
    ['invalid_client', 401, { error: 'invalid_client' }, 'unavailable'],
    ['an error of its own', 500, { error: 'invalid_grant' }, 'unavailable'],
    ['too many requests', 429, { error: 'slow_down' }, 'unavailable'],
    ['a word that is none', 400, { error: '<b>canary</b>' }, 'unavailable'],
    ['a redirect', 302, '', 'unavailable'],
    ['no JSON', 200, '<html>canary</html>', 'unavailable'],
    ['a list', 200, [], 'unavailable'],
    ['no token', 200, { token_type: 'Bearer' }, 'unavailable'],
    ['a token with a blank', 200, { access_token: 'a b', token_type: 'Bearer' }, 'unavailable'],
    ['a token that ends the line', 200, { access_token: 'a\r\nx: y', token_type: 'Bearer' }, 'unavailable'],
    ['a token that is too long', 200, { access_token: 'a'.repeat(20_000), token_type: 'Bearer' }, 'unavailable'],
    ['a token of no kind', 200, { access_token: 'a' }, 'unavailable'],
    ['a token bound to a key', 200, { access_token: 'a', token_type: 'DPoP' }, 'unavailable'],
    ['a refresh token that is none', 200, { access_token: 'a', token_type: 'Bearer', refresh_token: 5 }, 'unavailable'],
  ])('that is answered with %s fails as it should, and quotes nothing', async (_, status, body, kind) => {
    answer(status, body);
    const error = await fault(ask());
    expect(error?.kind).toBe(kind);
    expect(String(error)).not.toContain('canary');
  });

  it.each([
    ['a time without end', { expires_in: 1e12 }],
    ['a time that is over', { expires_in: 0 }],
    ['no time', { expires_in: null }],
    ['scopes that are none', { scope: ['a'] }],
    ['scopes that end the line', { scope: 'a\nb' }],
  ])('ignores %s', async (_, members) => {
    answer(200, { access_token: 'a', token_type: 'Bearer', ...members });
    expect(await ask()).toEqual({ accessToken: 'a' });
  });

  it('ends when nothing comes, when too much comes, and when only a part comes', async () => {
    respond = () => undefined;
    expect((await fault(ask()))?.kind).toBe('unavailable');
    answer(200, 'x'.repeat(50_000));
    expect((await fault(ask()))?.kind).toBe('unavailable');
    respond = (response) => void response.writeHead(200, { 'content-length': '100' }).write('{"access');
    expect((await fault(ask()))?.kind).toBe('unavailable');
  });

  it.each(['http://169.254.169.254/token', 'http://[fe80::1]/token', 'http://metadata.invalid/'])(
    'goes not to %s',
    async (place) => {
      const error = await fault(requestTokens(fetcher.send, place, client, {}));
      expect(error?.kind).toBe('unavailable');
    },
  );

  it('goes to no private address where only public ones may be dialled', async () => {
    const inPublic = createGuardedFetcher({ timeoutMs: 500, bytesMax: 10_000, publicOnly: true });
    let asked = 0;
    respond = (response) => {
      asked++;
      response.end();
    };
    const error = await fault(requestTokens(inPublic.send, url, client, {}));
    await inPublic.close();
    expect([error?.kind, asked]).toEqual(['unavailable', 0]);
  });
});

describe('a revocation', () => {
  it('is taken or not', async () => {
    answer(200, '');
    await revokeToken(fetcher.send, url, client, 'a token', 'refresh_token');
    answer(503, '');
    expect((await fault(revokeToken(fetcher.send, url, client, 'canary', 'access_token')))?.kind).toBe('unavailable');
  });
});

describe('a challenge', () => {
  it.each([
    ['Bearer error="insufficient_scope", scope="a b"', { error: 'insufficient_scope', scopes: ['a', 'b'] }],
    ['Basic realm="x", bearer resource_metadata="https://h/m"', { metadataUrl: 'https://h/m' }],
    ['Basic realm="x", scope="a"', {}],
    ['Bearer scope=""', {}],
    ['Bearer scope="a \u0001 b"', { scopes: ['a', 'b'] }],
    [undefined, {}],
  ])('%s', (header, expected) => {
    expect(readChallenge(header)).toEqual(expected);
  });
});
