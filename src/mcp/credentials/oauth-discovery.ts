/**
 * Finds the authorization server of a tool server: by what the server says of itself (RFC 9728), then by what that server
 * publishes (RFC 8414, OpenID Connect Discovery). Each document must name what it was asked about, or it is not believed.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.ts';
import type { ServerAuth } from '../../core/server-auth.ts';
import type { GuardedSend } from '../network/guarded-fetch.ts';
import type { ClientAuth } from './oauth-client.ts';

/** Where a user is sent, and where their tokens come from. */
export interface AuthorizationServer {
  /** Undefined when the entry names addresses and no issuer. */
  readonly issuer?: string;
  readonly authorizationUrl: string;
  readonly tokenUrl: string;
  readonly revocationUrl?: string;
  readonly clientAuth: ClientAuth;
  /** How the gateway becomes its client without being registered by hand. */
  readonly registration: RegistrationOffer;
  /** It names itself in its answers (RFC 9207), so one without its name is not its own. */
  readonly namesItself: boolean;
  /** What tokens are for (RFC 8707); undefined when that is not said. */
  readonly resource?: string;
  /** Undefined when nobody says. */
  readonly scopes?: readonly string[];
}

/** What an authorization server takes of clients that it does not know. */
export interface RegistrationOffer {
  /** Clients are named by the address of a document that they publish of themselves. */
  readonly takesDocuments: boolean;
  /** Where a client registers (RFC 7591). */
  readonly url?: string;
  /** How such a client shows itself: without a secret where that is taken, because a secret may end. */
  readonly clientAuth: ClientAuth | 'none';
}

const noOffer: RegistrationOffer = { takesDocuments: false, clientAuth: 'none' };

export interface DiscoveryTarget {
  readonly url: string;
  readonly auth: ServerAuth;
  /** Tokens must not cross the network in the clear. */
  readonly httpsOnly: boolean;
}

/** Rejects with an `Error` whose sentence is for administrators. */
export async function discoverAuthorization(send: GuardedSend, target: DiscoveryTarget): Promise<AuthorizationServer> {
  const { auth, httpsOnly } = target;
  const found = auth.tokenUrl === undefined ? await published(send, target) : configured(target);
  const registrationUrl = auth.clientId === undefined ? found.registration.url : undefined;
  for (const url of [found.authorizationUrl, found.tokenUrl, found.revocationUrl, registrationUrl]) {
    if (url !== undefined) assertEndpoint(url, httpsOnly);
  }
  return found;
}

/** What the entry itself says: nobody is asked. */
function configured({ url, auth }: DiscoveryTarget): AuthorizationServer {
  const { issuer, authorizationUrl = '', tokenUrl = '', revocationUrl, scopes, clientAuth } = auth;
  return {
    ...{ authorizationUrl, tokenUrl, namesItself: false, clientAuth: clientAuth ?? 'basic', registration: noOffer },
    ...resourceOf(auth, canonicalResource(url)),
    ...(issuer === undefined ? {} : { issuer }),
    ...(revocationUrl === undefined ? {} : { revocationUrl }),
    ...(scopes === undefined ? {} : { scopes }),
  };
}

async function published(send: GuardedSend, target: DiscoveryTarget): Promise<AuthorizationServer> {
  const { url, auth } = target;
  const about = auth.issuer === undefined ? await protectedResource(send, target) : undefined;
  const issuer = auth.issuer ?? about?.issuer ?? '';
  assertEndpoint(issuer, target.httpsOnly);
  const metadata = await serverMetadata(send, issuer);
  const scopes = auth.scopes ?? about?.scopes;
  const revocationUrl = auth.revocationUrl ?? textAt(metadata, 'revocation_endpoint');
  return {
    issuer,
    authorizationUrl: needed(metadata, 'authorization_endpoint'),
    tokenUrl: needed(metadata, 'token_endpoint'),
    ...(revocationUrl === undefined ? {} : { revocationUrl }),
    clientAuth: auth.clientAuth ?? clientAuthOf(metadata),
    registration: offerOf(metadata),
    namesItself: metadata['authorization_response_iss_parameter_supported'] === true,
    ...resourceOf(auth, about?.resource ?? canonicalResource(url)),
    ...(scopes === undefined ? {} : { scopes }),
  };
}

function resourceOf({ resource }: ServerAuth, found: string): Pick<AuthorizationServer, 'resource'> {
  return resource === false ? {} : { resource: resource ?? found };
}

// What the tool server says

interface AboutResource {
  readonly issuer: string;
  readonly resource: string;
  readonly scopes?: readonly string[];
}

async function protectedResource(send: GuardedSend, { url, httpsOnly }: DiscoveryTarget): Promise<AboutResource> {
  const challenge = await challengeOf(send, url);
  const places = challenge.metadataUrl === undefined ? wellKnownOf(url) : [challenge.metadataUrl];
  for (const place of places) assertEndpoint(place, httpsOnly);
  const metadata = await firstOf(send, places);
  if (metadata === undefined)
    throw new Error('the tool server does not say who its authorization server is (RFC 9728)');
  const resource = textAt(metadata, 'resource');
  if (resource === undefined || !covers(resource, url)) {
    throw new Error('the metadata of the tool server is about another resource');
  }
  const [issuer] = textsAt(metadata, 'authorization_servers') ?? [];
  if (issuer === undefined) throw new Error('the metadata of the tool server names no authorization server');
  const scopes = challenge.scopes ?? textsAt(metadata, 'scopes_supported')?.filter(isScope);
  return { issuer, resource, ...(scopes === undefined ? {} : { scopes }) };
}

/** What the server answers who comes without a token: where its metadata are, and which scopes it wants. */
async function challengeOf(send: GuardedSend, url: string) {
  const { status, headers } = await send(url, { method: 'GET', headers: { accept: 'text/event-stream' } }).catch(
    () => ({
      status: 0,
      headers: {} as Readonly<Record<string, undefined>>,
    }),
  );
  return status === 401 ? readChallenge(headers['www-authenticate']) : {};
}

/** The parameters of a `WWW-Authenticate: Bearer` header (RFC 6750, RFC 9728) that mean something here. */
export function readChallenge(header: string | string[] | undefined): {
  readonly error?: string;
  readonly metadataUrl?: string;
  readonly scopes?: readonly string[];
} {
  const text = (Array.isArray(header) ? header.join(', ') : (header ?? '')).slice(0, 8_192);
  if (!/\bbearer\b/i.test(text)) return {};
  const parameter = (name: string) => new RegExp(`\\b${name}="([^"\\\\]{1,2048})"`, 'i').exec(text)?.[1];
  const [error, metadataUrl, scope] = [parameter('error'), parameter('resource_metadata'), parameter('scope')];
  const scopes = scope?.split(' ').filter(isScope);
  return {
    ...(error === undefined ? {} : { error }),
    ...(metadataUrl === undefined ? {} : { metadataUrl }),
    ...(scopes === undefined || scopes.length === 0 ? {} : { scopes: scopes.slice(0, 64) }),
  };
}

/** A word of RFC 6749, section 3.3: they are joined by blanks, sent on and stored. */
function isScope(word: string): boolean {
  return /^[\x21\x23-\x5b\x5d-\x7e]{1,200}$/.test(word);
}

/** RFC 9728, section 3.1: before the path, then at the root. */
function wellKnownOf(url: string): string[] {
  const { origin, pathname } = new URL(url);
  const path = pathname === '/' ? '' : pathname;
  const root = `${origin}/.well-known/oauth-protected-resource`;
  return path === '' ? [root] : [root + path, root];
}

/** The resource is the server itself, or what it is below: another one's tokens would be usable there. */
function covers(resource: string, url: string): boolean {
  const [named, asked] = [URL.parse(resource), new URL(url)];
  if (named === null || named.origin !== asked.origin || named.hash !== '' || named.search !== '') return false;
  const below = named.pathname.endsWith('/') ? named.pathname : `${named.pathname}/`;
  return asked.pathname === named.pathname || `${asked.pathname}/`.startsWith(below);
}

/** RFC 8707: an absolute address without a fragment; a query is not the server's name. */
function canonicalResource(url: string): string {
  const { origin, pathname } = new URL(url);
  return pathname === '/' ? origin : origin + pathname;
}

// What the authorization server says

async function serverMetadata(send: GuardedSend, issuer: string): Promise<JsonObject> {
  const metadata = await firstOf(send, metadataPlaces(issuer));
  if (metadata === undefined) throw new Error('the authorization server publishes no metadata (RFC 8414)');
  // Section 3.3: else whoever can write a document somewhere could speak for any issuer.
  if (textAt(metadata, 'issuer') !== issuer) throw new Error('the metadata of the authorization server are of another');
  const methods = textsAt(metadata, 'code_challenge_methods_supported') ?? [];
  if (!methods.includes('S256')) throw new Error('the authorization server does not say that it knows PKCE with S256');
  return metadata;
}

/** As the MCP authorization specification orders them. */
function metadataPlaces(issuer: string): string[] {
  const { origin, pathname } = new URL(issuer);
  const path = pathname.replace(/\/$/, '');
  const places = [
    `${origin}/.well-known/oauth-authorization-server${path}`,
    `${origin}/.well-known/openid-configuration${path}`,
  ];
  return path === '' ? places : [...places, `${origin}${path}/.well-known/openid-configuration`];
}

function clientAuthOf(metadata: JsonObject): ClientAuth {
  const methods = authMethodsOf(metadata);
  return methods.includes('client_secret_basic') || !methods.includes('client_secret_post') ? 'basic' : 'post';
}

/** RFC 8414, section 2: whoever does not say it takes `client_secret_basic`. */
function authMethodsOf(metadata: JsonObject): string[] {
  return textsAt(metadata, 'token_endpoint_auth_methods_supported') ?? ['client_secret_basic'];
}

function offerOf(metadata: JsonObject): RegistrationOffer {
  const url = textAt(metadata, 'registration_endpoint');
  return {
    takesDocuments: metadata['client_id_metadata_document_supported'] === true,
    ...(url === undefined ? {} : { url }),
    clientAuth: authMethodsOf(metadata).includes('none') ? 'none' : clientAuthOf(metadata),
  };
}

function needed(metadata: JsonObject, name: string): string {
  const value = textAt(metadata, name);
  if (value === undefined) throw new Error(`the metadata of the authorization server lack ${name}`);
  return value;
}

// Documents

/** The first of these documents that is there. One place that fails does not keep the next one from being asked. */
async function firstOf(send: GuardedSend, places: readonly string[]): Promise<JsonObject | undefined> {
  let failure: unknown;
  for (const place of places) {
    try {
      const { status, body } = await send(place, { method: 'GET' });
      const document = status === 200 ? (JSON.parse(body.toString('utf8')) as JsonValue) : undefined;
      if (isJsonObject(document)) return document;
    } catch (error) {
      failure = error;
    }
  }
  if (failure !== undefined) throw new Error('the metadata cannot be read', { cause: failure });
  return undefined;
}

function textAt(document: JsonObject, name: string): string | undefined {
  const value = document[name];
  return typeof value === 'string' && value.length <= 2_048 ? value : undefined;
}

function textsAt(document: JsonObject, name: string): string[] | undefined {
  const value = document[name];
  if (!Array.isArray(value)) return undefined;
  return value.filter((each) => typeof each === 'string').slice(0, 64);
}

function assertEndpoint(url: string, httpsOnly: boolean): void {
  const parsed = /^[\x21-\x7e]+$/.test(url) ? URL.parse(url) : null;
  const isSound = parsed !== null && /^https?:$/.test(parsed.protocol) && parsed.username === '' && parsed.hash === '';
  if (!isSound) throw new Error('an address of the authorization server is not one of http(s)');
  if (httpsOnly && parsed.protocol !== 'https:') {
    throw new Error('an address of the authorization server does not start with https://');
  }
}
