/**
 * A client of authorization servers: asks for tokens (RFC 6749, section 5, and RFC 8693) and gives them back (RFC 7009).
 * Whatever an authorization server says is bounded, and no sentence of a fault holds a token or a secret.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.ts';
import type { GuardedAnswer, GuardedRequest, GuardedSend } from '../network/guarded-fetch.ts';

/** How a client shows its secret. */
export type ClientAuth = 'basic' | 'post';

/** As whom a client asks. */
export interface OAuthClient {
  readonly clientId: string;
  readonly clientSecret?: string;
  readonly clientAuth: ClientAuth;
}

export interface GrantedTokens {
  readonly accessToken: string;
  readonly refreshToken?: string;
  /** Undefined when the server did not say. */
  readonly expiresInSec?: number;
  /** Undefined when they are those that were asked for. */
  readonly scopes?: string;
}

/** `refused`: what was shown is no good, and asking again will not help. `unavailable`: nobody can say now. */
export class OAuthFault extends Error {
  override readonly name = 'OAuthFault';
  readonly kind: 'refused' | 'unavailable';
  /** The word of RFC 6749, section 5.2, where the server said one. */
  readonly code: string | undefined;

  constructor(
    kind: OAuthFault['kind'],
    sentence: string,
    options: { readonly code?: string; readonly cause?: unknown } = {},
  ) {
    super(sentence, options.cause === undefined ? {} : { cause: options.cause });
    this.kind = kind;
    this.code = options.code;
  }
}

/** Whether the authorization server says that it does not know who asked (RFC 6749, section 5.2). */
export function isUnknownClient(error: unknown): boolean {
  return error instanceof OAuthFault && error.code === 'invalid_client';
}

export type GrantParameters = Readonly<Record<string, string | undefined>>;

/** Throws `OAuthFault`. */
export async function requestTokens(
  send: GuardedSend,
  tokenUrl: string,
  client: OAuthClient,
  parameters: GrantParameters,
): Promise<GrantedTokens> {
  const answer = await post(send, tokenUrl, client, parameters);
  const said = jsonOf(answer.body);
  if (answer.status !== 200) throw faultOf(answer.status, said);
  if (said === undefined) throw unavailable('the token endpoint did not answer with JSON');
  return tokensOf(said);
}

/** Says that a token is needed no more. Throws `OAuthFault` when the server does not take that. */
export async function revokeToken(
  send: GuardedSend,
  revocationUrl: string,
  client: OAuthClient,
  token: string,
  hint: 'refresh_token' | 'access_token',
): Promise<void> {
  const { status } = await post(send, revocationUrl, client, { token, token_type_hint: hint });
  if (status !== 200) throw unavailable(`the revocation endpoint answered HTTP ${status}`);
}

async function post(
  send: GuardedSend,
  url: string,
  { clientId, clientSecret, clientAuth }: OAuthClient,
  parameters: GrantParameters,
): Promise<GuardedAnswer> {
  const isBasic = clientSecret !== undefined && clientAuth === 'basic';
  const own = isBasic ? {} : { client_id: clientId, client_secret: clientSecret };
  const body = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...parameters, ...own })) {
    if (value !== undefined) body.append(name, value);
  }
  const headers = {
    'content-type': 'application/x-www-form-urlencoded',
    ...(isBasic ? { authorization: basic(clientId, clientSecret) } : {}),
  };
  return await postTo(send, url, { headers, body: body.toString() });
}

/** Throws `OAuthFault` when nobody answers. */
export async function postTo(
  send: GuardedSend,
  url: string,
  request: Pick<GuardedRequest, 'headers' | 'body'>,
): Promise<GuardedAnswer> {
  try {
    return await send(url, { method: 'POST', ...request });
  } catch (cause) {
    throw new OAuthFault('unavailable', 'the authorization server cannot be asked', { cause });
  }
}

/** RFC 6749, section 2.3.1: both parts are form-encoded first. */
function basic(clientId: string, clientSecret: string): string {
  const encoded = (text: string) => new URLSearchParams({ v: text }).toString().slice(2);
  return `Basic ${Buffer.from(`${encoded(clientId)}:${encoded(clientSecret)}`).toString('base64')}`;
}

/** The object that a body is; undefined for anything else. */
export function jsonOf(body: Buffer): JsonObject | undefined {
  try {
    const value = JSON.parse(body.toString('utf8')) as JsonValue;
    return isJsonObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

// What says that the grant itself is no good. Anything else may be the fault of how the client is set up.
const refusals = new Set(['invalid_grant', 'invalid_target', 'invalid_scope', 'access_denied', 'interaction_required']);

/** What an answer means that is none of success. */
export function faultOf(status: number, said: JsonObject | undefined): OAuthFault {
  const error = said?.['error'];
  const code = typeof error === 'string' && /^[a-z0-9_.-]{1,64}$/i.test(error) ? error : undefined;
  const sentence = `the authorization server answered HTTP ${status}${code === undefined ? '' : ` ${code}`}`;
  const isRefusal = status >= 400 && status < 500 && code !== undefined && refusals.has(code);
  return new OAuthFault(isRefusal ? 'refused' : 'unavailable', sentence, code === undefined ? {} : { code });
}

function tokensOf(said: JsonObject): GrantedTokens {
  const {
    access_token: access,
    refresh_token: refresh,
    expires_in: seconds,
    scope,
    token_type: type,
  } = said as {
    readonly [key: string]: JsonValue | undefined;
  };
  if (!isToken(access)) throw unavailable('the token endpoint gave no access token that can be sent');
  if (typeof type !== 'string' || type.toLowerCase() !== 'bearer') throw unavailable('the token is no bearer token');
  if (refresh !== undefined && refresh !== null && !isToken(refresh))
    throw unavailable('the refresh token is not valid');
  return {
    accessToken: access,
    ...(isToken(refresh) ? { refreshToken: refresh } : {}),
    ...(isSeconds(seconds) ? { expiresInSec: Number(seconds) } : {}),
    ...(typeof scope === 'string' && isScopes(scope) ? { scopes: scope } : {}),
  };
}

const tokenCharsMax = 16_384;

function isToken(value: unknown): value is string {
  return typeof value === 'string' && value.length <= tokenCharsMax && /^[\x21-\x7e]+$/.test(value);
}

// Some servers write the number as text.
function isSeconds(value: unknown): boolean {
  return value !== null && value !== '' && typeof value !== 'object' && Number(value) > 0 && Number(value) < 1e10;
}

function isScopes(text: string): boolean {
  return text.length <= 4_096 && /^[\x20-\x7e]*$/.test(text);
}

export function unavailable(sentence: string): OAuthFault {
  return new OAuthFault('unavailable', sentence);
}
