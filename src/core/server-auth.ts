/**
 * How the gateway gets the token that it shows to a tool server: by exchanging the caller's own (RFC 8693), from each user
 * who connected their account (authorization code with PKCE), or for itself (client credentials).
 */
import { canonicalize } from './canonical-json.ts';
import { sha256Hex } from './hash.ts';
import type { JsonObject } from './json.ts';
import { areReferencesSound } from './secret-reference.ts';

export const authTypes = ['oauth', 'token_exchange', 'client_credentials'] as const;
export type AuthType = (typeof authTypes)[number];

export const subjectTokenTypes = ['access_token', 'id_token', 'jwt'] as const;

/** How the gateway becomes a client by itself: by the document that it publishes of itself, or by RFC 7591. */
export const registrationWays = ['document', 'dynamic'] as const;
export type RegistrationWay = (typeof registrationWays)[number];

export interface ServerAuth {
  readonly type: AuthType;
  /** Absent where the gateway makes itself known to the authorization server: for `oauth` alone. */
  readonly clientId?: string;
  /** The one way there is then; absent means the first that the authorization server takes. */
  readonly registration?: RegistrationWay;
  /** The client secret under its name, which may refer to a secret of the store; absent for a public client. */
  readonly secrets?: Readonly<Record<'client_secret', string>>;
  /** How the client shows its secret; absent means `basic`, or what the metadata of the authorization server says. */
  readonly clientAuth?: 'basic' | 'post';
  readonly tokenUrl?: string;
  readonly authorizationUrl?: string;
  readonly revocationUrl?: string;
  /** Of the authorization server; what it publishes says the rest. */
  readonly issuer?: string;
  /** Absent means what the server's metadata asks for. */
  readonly scopes?: readonly string[];
  /** What the token is for (RFC 8707); absent means the server's own address, and false that it is not said. */
  readonly resource?: string | false;
  readonly audience?: string;
  readonly subjectTokenType?: (typeof subjectTokenTypes)[number];
}

type AuthKey = Exclude<keyof ServerAuth, 'type' | 'clientId' | 'secrets' | 'clientAuth' | 'scopes' | 'resource'>;

const keysOfType: Readonly<Record<AuthType, readonly AuthKey[]>> = {
  oauth: ['registration', 'tokenUrl', 'authorizationUrl', 'revocationUrl', 'issuer'],
  token_exchange: ['tokenUrl', 'audience', 'subjectTokenType'],
  client_credentials: ['tokenUrl', 'audience'],
};

const shownKeys: Readonly<Record<AuthKey, string>> = {
  registration: 'registration',
  tokenUrl: 'token_url',
  authorizationUrl: 'authorization_url',
  revocationUrl: 'revocation_url',
  issuer: 'issuer',
  audience: 'audience',
  subjectTokenType: 'subject_token_type',
};

/** Whether each user has a credential of their own, so that nobody can ask the server without being somebody. */
export function needsUser({ auth }: { readonly auth?: ServerAuth }): boolean {
  return auth !== undefined && auth.type !== 'client_credentials';
}

/** What is wrong, one sentence each; empty when nothing is. */
export function authProblems(auth: ServerAuth): string[] {
  const { type, secrets, tokenUrl, authorizationUrl, issuer, resource } = auth;
  const allowed = keysOfType[type];
  const foreign = (Object.keys(shownKeys) as AuthKey[]).filter(
    (key) => auth[key] !== undefined && !allowed.includes(key),
  );
  const problems = foreign.map((key) => `auth.${shownKeys[key]} does not go with the type "${type}"`);
  problems.push(...clientProblems(auth));
  if (type !== 'oauth' && tokenUrl === undefined) problems.push(`auth of the type "${type}" needs a token_url`);
  if (type === 'client_credentials' && secrets === undefined) problems.push('auth needs a client_secret');
  if (type === 'oauth' && (tokenUrl === undefined) !== (authorizationUrl === undefined)) {
    problems.push('auth.authorization_url and auth.token_url go together');
  }
  // Else the tool server names whoever it likes, and the gateway would show the secret there.
  if (secrets !== undefined && issuer === undefined && tokenUrl === undefined && type === 'oauth') {
    problems.push('auth with a client_secret needs an issuer, or authorization_url and token_url');
  }
  // A token for nothing in particular is good elsewhere too, so the tool server must not choose where it is from.
  if (resource === false && issuer === undefined && tokenUrl === undefined) {
    problems.push('auth.resource may be false only with an issuer or a token_url');
  }
  if (issuer !== undefined && URL.parse(issuer)?.search !== '') problems.push('auth.issuer must not have a query');
  if (secrets !== undefined && !areReferencesSound(secrets.client_secret)) {
    problems.push('auth.client_secret names a secret by what cannot be its name');
  }
  return problems;
}

/** A client that is registered by hand has an id; whoever registers by itself takes what it is given. */
function clientProblems({ type, clientId, registration, secrets, clientAuth, tokenUrl }: ServerAuth): string[] {
  if (type !== 'oauth') return clientId === undefined ? [`auth of the type "${type}" needs a client_id`] : [];
  if (clientId !== undefined)
    return registration === undefined ? [] : ['auth.registration does not go with a client_id'];
  const own = [secrets && 'client_secret', clientAuth && 'client_auth', tokenUrl && 'token_url'];
  return own.filter((key) => key !== undefined).map((key) => `auth.${key} needs a client_id`);
}

/**
 * hex sha256 of what a user's tokens are for: this address, by way of this client. Tokens of another one are never sent,
 * so whoever changes the address of a server does not get its users' tokens.
 */
export function tokenPurpose({ url = '', auth }: { readonly url?: string; readonly auth?: ServerAuth }): string {
  const { secrets: _, scopes: __, clientAuth: ___, ...about } = auth ?? {};
  return sha256Hex(canonicalize({ url, ...about } as unknown as JsonObject));
}
