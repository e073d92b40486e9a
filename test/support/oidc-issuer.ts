/** An OpenID Connect issuer for tests: discovery and keys over real HTTP, which can be changed, broken and counted. */
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

export interface OidcIssuer {
  readonly url: string;
  /** What the issuer publishes, by key id. */
  keys: Record<string, KeyObject>;
  /** What the discovery document says; `{}` is what it should. */
  discovery: object;
  /** Answers every request in place of the issuer. */
  broken: { status: number; body?: string; location?: string } | undefined;
  /** Paths that were asked for. */
  readonly asked: string[];
  readonly close: () => Promise<void>;
}

export function rsaKey(): { privateKey: KeyObject; publicKey: KeyObject } {
  return generateKeyPairSync('rsa', { modulusLength: 2048 });
}

export async function startOidcIssuer(): Promise<OidcIssuer> {
  const server = createServer((request, response) => {
    issuer.asked.push(request.url ?? '');
    const { broken } = issuer;
    if (broken !== undefined) {
      const headers = broken.location === undefined ? {} : { location: broken.location };
      response.writeHead(broken.status, headers).end(broken.body ?? '');
      return;
    }
    response.setHeader('content-type', 'application/json');
    if (request.url === '/.well-known/openid-configuration') {
      response.end(JSON.stringify({ issuer: issuer.url, jwks_uri: `${issuer.url}/keys`, ...issuer.discovery }));
    } else {
      response.end(JSON.stringify({ keys: Object.entries(issuer.keys).map(([kid, key]) => jwk(kid, key)) }));
    }
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const issuer: OidcIssuer = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    keys: {},
    discovery: {},
    broken: undefined,
    asked: [],
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return issuer;
}

function jwk(kid: string, key: KeyObject): object {
  return { ...key.export({ format: 'jwk' }), kid, use: 'sig' };
}
