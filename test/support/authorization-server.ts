/**
 * An OAuth authorization server for tests, over real HTTP and strict: PKCE with S256, codes that are good once, refresh
 * tokens that rotate and whose second use ends the whole grant, token exchange, client credentials, revocation, and clients
 * that register (RFC 7591) or publish a document of themselves. What it says can be bent, and what it was asked is counted.
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
  broken: Broken | undefined;
  /** The same for the endpoints of registration and revocation. */
  brokenRegistration: Broken | undefined;
  brokenRevocation: Broken | undefined;
  /** Members in place of those that a registration is answered with; undefined takes one away. */
  registered: Record<string, unknown>;
  /** What it does to a registration before it answers. */
  beforeRegistration: (() => Promise<void>) | undefined;
  /** What `iss` says when it sends users back; undefined says nothing. */
  iss: string | undefined;
  /** What it does to a refresh before it answers. */
  beforeRefresh: (() => Promise<void>) | undefined;
  /** Every request to the token endpoint, in order. */
  readonly tokenRequests: Record<string, string>[];
  /** How often its metadata were read. */
  metadataReads: number;
  /** Every registration that was asked for, in order. */
  readonly registrations: Record<string, unknown>[];
  readonly revoked: string[];
  /** The grant that an access token is of, if it counts. */
  readonly grantOf: (accessToken: string) => Grant | undefined;
  /** Access tokens that count no more; their refresh tokens do. */
  readonly expireAccess: () => void;
  /** As a browser of this user: allows what `authorizationUrl` asks for. The address that it is sent back to. */
  readonly allow: (authorizationUrl: string, user: string) => string;
  /** The same for a client that is named by a document, which is asked for at `at`, where `url` leads. */
  readonly allowDocument: (authorizationUrl: string, user: string, at: (url: string) => string) => Promise<string>;
  /** Clients that registered are known no more. */
  readonly forgetClients: () => void;
  readonly close: () => Promise<void>;
}

export interface Broken {
  readonly status?: number;
  readonly body?: string;
  readonly location?: string;
  readonly hang?: boolean;
}

/** A client that made itself known. */
interface KnownClient {
  readonly secret: string | undefined;
  readonly method: string;
  readonly redirectUris: readonly string[];
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
  const clients = new Map<string, KnownClient>();

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

  function byCode(form: Record<string, string>, asker: string): object {
    const grant = codes.get(form['code'] ?? '');
    codes.delete(form['code'] ?? '');
    const challenge = createHash('sha256')
      .update(form['code_verifier'] ?? '')
      .digest('base64url');
    if (grant === undefined || grant.challenge !== challenge) throw new Refusal('invalid_grant');
    if (grant.redirectUri !== form['redirect_uri'] || grant.resource !== (form['resource'] ?? ''))
      throw new Refusal('invalid_grant');
    if (grant.clientId !== asker) throw new Refusal('invalid_grant');
    return issue(grant, true);
  }

  async function byRefresh(form: Record<string, string>, asker: string): Promise<object> {
    await self.beforeRefresh?.();
    const known = refresh.get(form['refresh_token'] ?? '');
    if (known === undefined || known.grant.isRevoked || known.grant.clientId !== asker)
      throw new Refusal('invalid_grant');
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
    if (isBroken(response, self.broken)) return;
    const asker = clientOf(request, form, clients);
    if (asker === undefined) return refuse(response, 401, 'invalid_client');
    try {
      json(response, 200, await tokensFor(form, asker));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      refuse(response, 400, error.message);
    }
  }

  async function tokensFor(form: Record<string, string>, asker: string): Promise<object> {
    switch (form['grant_type']) {
      case 'authorization_code':
        return byCode(form, asker);
      case 'refresh_token':
        return await byRefresh(form, asker);
      case 'urn:ietf:params:oauth:grant-type:token-exchange':
        return byExchange(form);
      case 'client_credentials':
        return issue(grantFor('the gateway', form['resource'] ?? '', form['scope'] ?? ''), false);
      default:
        throw new Refusal('unsupported_grant_type');
    }
  }

  async function revoke(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const form = await formOf(request);
    const { token: given = '' } = form;
    if (isBroken(response, self.brokenRevocation)) return;
    if (clientOf(request, form, clients) === undefined) return refuse(response, 401, 'invalid_client');
    const grant = refresh.get(given)?.grant ?? access.get(given);
    if (grant !== undefined) grant.isRevoked = true;
    self.revoked.push(given);
    response.writeHead(200).end();
  }

  async function register(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const asked = JSON.parse(await textOf(request)) as Record<string, unknown>;
    self.registrations.push(asked);
    await self.beforeRegistration?.();
    if (isBroken(response, self.brokenRegistration)) return;
    const method = String(asked['token_endpoint_auth_method'] ?? 'client_secret_basic');
    const secret = method === 'none' ? {} : { client_secret: `secret-${text()}`, client_secret_expires_at: 0 };
    const answer: Record<string, unknown> = { ...asked, client_id: `client-${text()}`, ...secret, ...self.registered };
    clients.set(String(answer['client_id']), {
      secret: answer['client_secret'] as string | undefined,
      method: String(answer['token_endpoint_auth_method'] ?? 'client_secret_basic'),
      redirectUris: asked['redirect_uris'] as string[],
    });
    json(response, 201, answer);
  }

  const server = createServer((request, response) => {
    response.on('error', () => undefined);
    const path = (request.url ?? '').split('?', 1)[0];
    if (path === '/.well-known/oauth-authorization-server') json(response, 200, metadataOf());
    else if (path === '/token') void token(request, response);
    else if (path === '/revoke') void revoke(request, response);
    else if (path === '/register') void register(request, response);
    else response.writeHead(404).end();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  function metadataOf(): object {
    self.metadataReads++;
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
    brokenRegistration: undefined,
    brokenRevocation: undefined,
    registered: {},
    beforeRegistration: undefined,
    tokenRequests: [],
    metadataReads: 0,
    registrations: [],
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
      const own = clients.get(get('client_id'));
      const isKnown =
        own?.redirectUris.includes(get('redirect_uri')) ?? [clientId, publicClientId].includes(get('client_id'));
      if (!isKnown) throw new Error(`an unknown client: ${get('client_id')}`);
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
    async allowDocument(authorizationUrl, user, at) {
      const id = new URL(authorizationUrl).searchParams.get('client_id') ?? '';
      const document = (await (await fetch(at(id))).json()) as Record<string, unknown>;
      if (document['client_id'] !== id || document['token_endpoint_auth_method'] !== 'none')
        throw new Error('no document');
      clients.set(id, { secret: undefined, method: 'none', redirectUris: document['redirect_uris'] as string[] });
      return self.allow(authorizationUrl, user);
    },
    forgetClients: () => clients.clear(),
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

/** Whether it answered, or never will. */
function isBroken(response: ServerResponse, broken: Broken | undefined): boolean {
  if (broken?.hang) return true;
  if (broken?.status === undefined) return false;
  response.writeHead(broken.status, broken.location === undefined ? {} : { location: broken.location });
  response.end(broken.body ?? '');
  return true;
}

/** The client that asks, if it showed itself as it has to. */
function clientOf(
  request: IncomingMessage,
  form: Record<string, string>,
  clients: ReadonlyMap<string, KnownClient>,
): string | undefined {
  const { authorization } = request.headers;
  const [id, secret] =
    authorization === undefined ? [form['client_id'], form['client_secret']] : basicOf(authorization);
  const own = clients.get(id ?? '');
  const method = authorization === undefined ? 'client_secret_post' : 'client_secret_basic';
  if (own !== undefined) {
    const isShown = own.method === 'none' ? secret === undefined : own.method === method && secret === own.secret;
    return isShown ? id : undefined;
  }
  if (id === publicClientId) return secret === undefined ? id : undefined;
  return id === clientId && secret === clientSecret ? id : undefined;
}

function basicOf(authorization: string): (string | undefined)[] {
  const [, encoded = ''] = authorization.split(' ');
  return Buffer.from(encoded, 'base64')
    .toString()
    .split(':')
    .map((part) => new URLSearchParams(`v=${part}`).get('v') ?? undefined);
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

async function formOf(request: IncomingMessage): Promise<Record<string, string>> {
  return Object.fromEntries(new URLSearchParams(await textOf(request)));
}

function json(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function refuse(response: ServerResponse, status: number, error: string): void {
  json(response, status, { error });
}
