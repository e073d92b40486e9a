/**
 * The gateway as a client that nobody registered by hand: what it says of itself, in the document that it publishes (Client
 * ID Metadata Document) and in a registration (RFC 7591), and what a registration may answer.
 */
import { bounds } from '../../config/bounds.ts';
import type { JsonValue } from '../../core/json.ts';
import type { GuardedSend } from '../network/guarded-fetch.ts';
import { faultOf, jsonOf, type OAuthClient, postTo, unavailable } from './oauth-client.ts';
import type { RegistrationOffer } from './oauth-discovery.ts';

export interface GrantedClient extends OAuthClient {
  /** When its secret ends, in Unix milliseconds; undefined when it does not. */
  readonly secretEndsAtMs?: number;
}

/** Where the client is, and where it wants users sent back to. */
export interface ClientPlace {
  readonly publicUrl: string;
  readonly redirectUri: string;
}

/** Members that both ways have, of RFC 7591, section 2. */
export function clientMetadata({ publicUrl, redirectUri }: ClientPlace) {
  return {
    client_name: 'Talos Gateway',
    client_uri: publicUrl,
    redirect_uris: [redirectUri],
    grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'],
    application_type: isLoopback(publicUrl) ? 'native' : 'web',
  };
}

/** OpenID Connect Registration tells clients apart by that: one of the web is never at a loopback address. */
export function isLoopback(url: string): boolean {
  return /(?:^|\.)localhost$|^127(?:\.\d+){3}$|^\[::1\]$/.test(new URL(url).hostname);
}

const methods = { none: 'none', basic: 'client_secret_basic', post: 'client_secret_post' } as const;
const ways = ['none', 'basic', 'post'] as const;

/** Registers a client that asks for these scopes. Throws `OAuthFault`. */
export async function registerClient(
  send: GuardedSend,
  { url = '', clientAuth }: RegistrationOffer,
  place: ClientPlace,
  scopes: readonly string[],
): Promise<GrantedClient> {
  const asked = {
    ...clientMetadata(place),
    token_endpoint_auth_method: methods[clientAuth],
    ...(scopes.length === 0 ? {} : { scope: scopes.join(' ') }),
  };
  const headers = { 'content-type': 'application/json' };
  const { status, body } = await postTo(send, url, { headers, body: JSON.stringify(asked) });
  const said = jsonOf(body);
  if (status !== 201 && status !== 200) throw faultOf(status, said);
  if (said === undefined) throw unavailable('the registration was not answered with JSON');
  return clientOf(said, place.redirectUri, asked.token_endpoint_auth_method);
}

type Said = Readonly<Record<string, JsonValue | undefined>>;

/** The server may have put something else in the place of what was asked for (RFC 7591, section 3.2.1). */
function clientOf(said: Said, redirectUri: string, askedMethod: string): GrantedClient {
  const { client_id: clientId, client_secret: secret = null, redirect_uris: uris = [redirectUri] } = said;
  if (!isText(clientId)) throw unavailable('the registration gave no client id that can be sent');
  if (!Array.isArray(uris) || !uris.includes(redirectUri)) throw unavailable('the registration is of another address');
  const method = said['token_endpoint_auth_method'] ?? defaultMethod(askedMethod, secret !== null);
  const way = ways.find((each) => methods[each] === method);
  if (way === undefined) throw unavailable('the registration is for another way to show a secret');
  // Many servers give no secret to whom they register, and do not say that they changed the method.
  if (way === 'none' || secret === null) return { clientId, clientAuth: 'basic' };
  if (!isText(secret)) throw unavailable('the registration gave no client secret that can be sent');
  const endsAt = said['client_secret_expires_at'];
  return {
    ...{ clientId, clientSecret: secret, clientAuth: way },
    ...(isTime(endsAt) ? { secretEndsAtMs: endsAt * 1000 } : {}),
  };
}

/** Whoever gives a secret unasked, and does not say how it is shown, means the default of RFC 7591, section 2. */
function defaultMethod(asked: string, hasSecret: boolean): string {
  return hasSecret && asked === methods.none ? methods.basic : asked;
}

/** RFC 6749, appendix A: both are visible ASCII and blanks. */
function isText(value: unknown): value is string {
  return typeof value === 'string' && value.length <= bounds.clientTextCharsMax && /^[\x20-\x7e]+$/.test(value);
}

// 0 means that it does not end.
function isTime(value: unknown): value is number {
  return typeof value === 'number' && value > 0 && value < 1e11;
}
