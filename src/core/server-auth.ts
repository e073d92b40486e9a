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

export interface ServerAuth {
  readonly type: AuthType;
  readonly clientId: string;
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
  /** What the token is for (RFC 8707); absent means the server's own address. */
  readonly resource?: string;
  readonly audience?: string;
  readonly subjectTokenType?: (typeof subjectTokenTypes)[number];
}

type AuthKey = Exclude<keyof ServerAuth, 'type' | 'clientId' | 'secrets' | 'clientAuth' | 'scopes' | 'resource'>;

const keysOfType: Readonly<Record<AuthType, readonly AuthKey[]>> = {
  oauth: ['tokenUrl', 'authorizationUrl', 'revocationUrl', 'issuer'],
  token_exchange: ['tokenUrl', 'audience', 'subjectTokenType'],
  client_credentials: ['tokenUrl', 'audience'],
};

const shownKeys: Readonly<Record<AuthKey, string>> = {
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
  const { type, secrets, tokenUrl, authorizationUrl, issuer } = auth;
  const allowed = keysOfType[type];
  const foreign = (Object.keys(shownKeys) as AuthKey[]).filter(
    (key) => auth[key] !== undefined && !allowed.includes(key),
  );
  const problems = foreign.map((key) => `auth.${shownKeys[key]} does not go with the type "${type}"`);
  if (type !== 'oauth' && tokenUrl === undefined) problems.push(`auth of the type "${type}" needs a token_url`);
  if (type === 'client_credentials' && secrets === undefined) problems.push('auth needs a client_secret');
  if (type === 'oauth' && (tokenUrl === undefined) !== (authorizationUrl === undefined)) {
    problems.push('auth.authorization_url and auth.token_url go together');
  }
  // Else the tool server names whoever it likes, and the gateway would show the secret there.
  if (secrets !== undefined && issuer === undefined && tokenUrl === undefined && type === 'oauth') {
    problems.push('auth with a client_secret needs an issuer, or authorization_url and token_url');
  }
  if (issuer !== undefined && URL.parse(issuer)?.search !== '') problems.push('auth.issuer must not have a query');
  if (secrets !== undefined && !areReferencesSound(secrets.client_secret)) {
    problems.push('auth.client_secret names a secret by what cannot be its name');
  }
  return problems;
}

/**
 * hex sha256 of what a user's tokens are for: this address, by way of this client. Tokens of another one are never sent,
 * so whoever changes the address of a server does not get its users' tokens.
 */
export function tokenPurpose({ url = '', auth }: { readonly url?: string; readonly auth?: ServerAuth }): string {
  const { secrets: _, scopes: __, clientAuth: ___, ...about } = auth ?? {};
  return sha256Hex(canonicalize({ url, ...about } as unknown as JsonObject));
}
