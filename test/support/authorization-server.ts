/**
 * An OAuth authorization server for tests, over real HTTP and strict: PKCE with S256, codes that are good once, refresh
 * tokens that rotate and whose second use ends the whole grant, token exchange, client credentials, revocation. What it
 * says can be bent, and what it was asked is counted.
 */
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** What a token stands for. */
export interface Grant {
  readonly user: string;
  readonly resource: string;
  readonly scope: string;
  readonly clientId: string;
  readonly challenge: string;
  readonly redirectUri: string;
  /** Set by revocation, and by a second use of a refresh token. */
  isRevoked: boolean;
}

export interface AuthorizationServer {
  readonly url: string;
  /** Members in place of those of the metadata; undefined takes one away. */
  metadata: Record<string, unknown>;
  /** Seconds that access tokens are said to last. */
  expiresIn: number | undefined;
  /** Answers every request to the token endpoint in its place. */
  broken: { status?: number; body?: string; location?: string; hang?: boolean } | undefined;
  /** What `iss` says when it sends users back; undefined says nothing. */
  iss: string | undefined;
  /** What it does to a refresh before it answers. */
  beforeRefresh: (() => Promise<void>) | undefined;
  /** Every request to the token endpoint, in order. */
  readonly tokenRequests: Record<string, string>[];
  readonly revoked: string[];
  /** The grant that an access token is of, if it counts. */
  readonly grantOf: (accessToken: string) => Grant | undefined;
  /** Access tokens that count no more; their refresh tokens do. */
  readonly expireAccess: () => void;
  /** As a browser of this user: allows what `authorizationUrl` asks for. The address that it is sent back to. */
  readonly allow: (authorizationUrl: string, user: string) => string;
  readonly close: () => Promise<void>;
}

export const clientId = 'talos';
/** Of a client that has no secret. */
export const publicClientId = 'talos-public';
export const clientSecret = 'the client secret that only this test knows';

const text = () => randomBytes(18).toString('base64url');

export async function startAuthorizationServer(): Promise<AuthorizationServer> {
  const codes = new Map<string, Grant>();
  const access = new Map<string, Grant>();
  const refresh = new Map<string, { grant: Grant; isSpent: boolean }>();

  function issue(grant: Grant, isRenewable: boolean): object {
    const tokens = { access_token: `access-${text()}`, refresh_token: `refresh-${text()}` };
    access.set(tokens.access_token, grant);
    if (isRenewable) refresh.set(tokens.refresh_token, { grant, isSpent: false });
    return {
      access_token: tokens.access_token,
      token_type: 'Bearer',
      scope: grant.scope,
      ...(isRenewable ? { refresh_token: tokens.refresh_token } : {}),
      ...(self.expiresIn === undefined ? {} : { expires_in: self.expiresIn }),
    };
  }

  function byCode(form: Record<string, string>): object {
    const grant = codes.get(form['code'] ?? '');
    codes.delete(form['code'] ?? '');
    const challenge = createHash('sha256')
      .update(form['code_verifier'] ?? '')
      .digest('base64url');
    if (grant === undefined || grant.challenge !== challenge) throw new Refusal('invalid_grant');
    if (grant.redirectUri !== form['redirect_uri'] || grant.resource !== form['resource'])
      throw new Refusal('invalid_grant');
    return issue(grant, true);
  }

  async function byRefresh(form: Record<string, string>): Promise<object> {
    await self.beforeRefresh?.();
    const known = refresh.get(form['refresh_token'] ?? '');
    if (known === undefined || known.grant.isRevoked) throw new Refusal('invalid_grant');
    if (known.isSpent) {
      known.grant.isRevoked = true;
      throw new Refusal('invalid_grant');
    }
    known.isSpent = true;
    return issue(known.grant, true);
  }

  function byExchange(form: Record<string, string>): object {
    const [, payload = ''] = (form['subject_token'] ?? '').split('.');
    const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>;
    if (claims['sub'] === 'mallory') throw new Refusal('access_denied');
    const about = form['resource'] ?? form['audience'] ?? '';
    return {
      ...issue(grantFor(String(claims['sub']), about, form['scope'] ?? ''), false),
      issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
    };
  }

  async function token(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const form = await formOf(request);
    self.tokenRequests.push(form);
    const { broken } = self;
    if (broken?.hang) return;
    if (broken?.status !== undefined) {
      response.writeHead(broken.status, broken.location === undefined ? {} : { location: broken.location });
      response.end(broken.body ?? '');
      return;
    }
    if (!isClient(request, form)) return refuse(response, 401, 'invalid_client');
    try {
      json(response, 200, await tokensFor(form));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      refuse(response, 400, error.message);
    }
  }

  async function tokensFor(form: Record<string, string>): Promise<object> {
    switch (form['grant_type']) {
      case 'authorization_code':
        return byCode(form);
      case 'refresh_token':
        return await byRefresh(form);
      case 'urn:ietf:params:oauth:grant-type:token-exchange':
        return byExchange(form);
      case 'client_credentials':
        return issue(grantFor('the gateway', form['resource'] ?? '', form['scope'] ?? ''), false);
      default:
        throw new Refusal('unsupported_grant_type');
    }
  }

  async function revoke(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { token: given = '' } = await formOf(request);
    const grant = refresh.get(given)?.grant ?? access.get(given);
    if (grant !== undefined) grant.isRevoked = true;
    self.revoked.push(given);
    response.writeHead(200).end();
  }

  const server = createServer((request, response) => {
    response.on('error', () => undefined);
    const path = (request.url ?? '').split('?', 1)[0];
    if (path === '/.well-known/oauth-authorization-server') json(response, 200, metadataOf());
    else if (path === '/token') void token(request, response);
    else if (path === '/revoke') void revoke(request, response);
    else response.writeHead(404).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  function metadataOf(): object {
    return {
      issuer: url,
      authorization_endpoint: `${url}/authorize?tenant=one`,
      token_endpoint: `${url}/token`,
      revocation_endpoint: `${url}/revoke`,
      code_challenge_methods_supported: ['S256'],
      authorization_response_iss_parameter_supported: self.iss !== undefined,
      ...self.metadata,
    };
  }

  const self: AuthorizationServer = {
    url,
    metadata: {},
    expiresIn: 3_600,
    broken: undefined,
    iss: url,
    beforeRefresh: undefined,
    tokenRequests: [],
    revoked: [],
    grantOf(accessToken) {
      const grant = access.get(accessToken);
      return grant?.isRevoked ? undefined : grant;
    },
    expireAccess: () => access.clear(),
    allow(authorizationUrl, user) {
      const { searchParams: asked } = new URL(authorizationUrl);
      const get = (name: string) => asked.get(name) ?? '';
      if (get('response_type') !== 'code' || get('code_challenge_method') !== 'S256' || get('tenant') !== 'one') {
        throw new Error(`not what an authorization server takes: ${authorizationUrl}`);
      }
      const code = `code-${text()}`;
      codes.set(code, {
        ...grantFor(user, get('resource'), get('scope')),
        clientId: get('client_id'),
        challenge: get('code_challenge'),
        redirectUri: get('redirect_uri'),
      });
      const back = new URL(get('redirect_uri'));
      back.searchParams.set('code', code);
      back.searchParams.set('state', get('state'));
      if (self.iss !== undefined) back.searchParams.set('iss', self.iss);
      return back.href;
    },
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return self;
}

class Refusal extends Error {}

function grantFor(user: string, resource: string, scope: string): Grant {
  return { user, resource, scope, clientId, challenge: '', redirectUri: '', isRevoked: false };
}

function isClient(request: IncomingMessage, form: Record<string, string>): boolean {
  const encoded = new URLSearchParams({ v: clientSecret }).toString().slice(2);
  const basic = `Basic ${Buffer.from(`${clientId}:${encoded}`).toString('base64')}`;
  if (request.headers.authorization !== undefined) return request.headers.authorization === basic;
  if (form['client_id'] === publicClientId) return form['client_secret'] === undefined;
  return form['client_id'] === clientId && form['client_secret'] === clientSecret;
}

async function formOf(request: IncomingMessage): Promise<Record<string, string>> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Object.fromEntries(new URLSearchParams(Buffer.concat(chunks).toString()));
}

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function refuse(response: ServerResponse, status: number, error: string): void {
  json(response, status, { error });
}
