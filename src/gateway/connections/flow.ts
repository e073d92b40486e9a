/**
 * The steps of a user's way to an authorization server and back (authorization code with PKCE, RFC 7636; RFC 8707, RFC 9207)
 * and of the end of a connection (RFC 7009). What comes back is judged by what the user set out with.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { bounds } from '../../config/bounds.ts';
import { encodeBase64url } from '../../core/base64url.ts';
import { describeError, TalosError } from '../../core/errors.ts';
import { isMintedState, mintState } from '../../core/gateway-key.ts';
import { sha256 } from '../../core/hash.ts';
import type { McpServerSpec } from '../../core/mcp-server.ts';
import type { BearerPrincipal } from '../../core/principal.ts';
import { tokenPurpose } from '../../core/server-auth.ts';
import type { SealedConnection } from '../../core/upstream-connection.ts';
import { credentialFault } from '../../mcp/credentials/fetched-credential.ts';
import { type GrantedTokens, isUnknownClient, requestTokens, revokeToken } from '../../mcp/credentials/oauth-client.ts';
import { type AuthorizationServer, discoverAuthorization } from '../../mcp/credentials/oauth-discovery.ts';
import { credentialError } from '../../mcp/credentials/upstream-credential.ts';
import type { SecretOf } from '../../mcp/credentials/upstream-secrets.ts';
import type { Registry } from '../../mcp/registry.ts';
import type { StoredConnection } from '../../storage/upstream-connections.ts';
import type { Consent, ConsentStore } from '../../storage/upstream-consents.ts';
import { connectionKeyOf } from '../server-for.ts';
import { redirectUriOf } from './client-document.ts';
import { clientAt, expiryOf } from './connected-credential.ts';
import { forgetClient, type OwnClientOptions, ownClientFor } from './own-client.ts';
import type { AuthorizationRequest, ConnectionVault, UserTokens } from './vault.ts';

export interface ConnectionFlowOptions extends OwnClientOptions {
  readonly registry: Pick<Registry, 'get'>;
  readonly consents: Pick<ConsentStore, 'put'>;
  readonly vault: ConnectionVault;
  readonly secretOf: SecretOf;
  /** Which the gateways of this database share; states are tagged under it. */
  readonly gatewayKey: Buffer;
}

/** What a browser brings back from an authorization server (RFC 6749, section 4.1.2). */
export interface AuthorizationResponse {
  readonly serverId: string;
  readonly state: string | undefined;
  readonly code: string | undefined;
  /** The word of section 4.1.2.1. */
  readonly error: string | undefined;
  /** RFC 9207. */
  readonly iss: string | undefined;
}

function stateHashOf(state: string): Buffer {
  return sha256(`talos-connection-state:${state}`);
}

/** What a state is stored under. Throws `CONSENT_INVALID` for one that no gateway made: those cost the store nothing. */
export function storedStateOf({ gatewayKey }: ConnectionFlowOptions, { state }: AuthorizationResponse): Buffer {
  if (state === undefined || !isMintedState(gatewayKey, state)) throw invalid('no gateway made the state');
  return stateHashOf(state);
}

// Setting out

/** The address that the user has to go to. Throws `CREDENTIAL_UNAVAILABLE` when nobody says where that is. */
export async function beginAuthorization(
  options: ConnectionFlowOptions,
  spec: McpServerSpec,
  principal: BearerPrincipal,
  base: string,
): Promise<string> {
  const server = await found(options, spec);
  const { clientId, client, redirectUri } = await clientFor(options, spec, server, base);
  const [state, verifier] = [mintState(options.gatewayKey), encodeBase64url(randomBytes(32))];
  const key = connectionKeyOf(spec.id, principal);
  const stateHash = stateHashOf(state);
  const scopes = (server.scopes ?? []).join(' ');
  const request: AuthorizationRequest = {
    ...{ verifier, redirectUri, purpose: tokenPurpose(spec), scopes, server },
    ...(client === undefined ? {} : { client }),
  };
  const envelope = await options.vault.sealRequest(key, stateHash, request);
  await options.consents.put({ ...key, stateHash, envelope }, bounds.consentTtlSec, bounds.consentsPerUserMax);
  return authorizationUrl(server, {
    response_type: 'code',
    client_id: clientId,
    redirect_uri: redirectUri,
    state,
    code_challenge: encodeBase64url(sha256(verifier)),
    code_challenge_method: 'S256',
    ...(server.resource === undefined ? {} : { resource: server.resource }),
    ...(scopes === '' ? {} : { scope: scopes }),
  });
}

/** As which client the user sets out, and where to they come back. */
async function clientFor(
  options: ConnectionFlowOptions,
  spec: McpServerSpec,
  server: AuthorizationServer,
  base: string,
): Promise<Pick<AuthorizationRequest, 'client' | 'redirectUri'> & { readonly clientId: string }> {
  const clientId = spec.auth?.clientId;
  if (clientId !== undefined) return { clientId, redirectUri: redirectUriOf(base, spec.id) };
  const own = await ownClientFor(options, spec, server);
  return { clientId: own.client.clientId, ...own };
}

async function found({ sendFor }: ConnectionFlowOptions, spec: McpServerSpec): Promise<AuthorizationServer> {
  const { url = '', auth, publicOnly = false } = spec;
  if (auth === undefined) throw new TalosError('INTERNAL');
  try {
    return await discoverAuthorization(sendFor(spec), { url, auth, httpsOnly: publicOnly });
  } catch (error) {
    throw credentialError('CREDENTIAL_UNAVAILABLE', spec.id, describeError(error));
  }
}

function authorizationUrl(server: AuthorizationServer, parameters: Readonly<Record<string, string>>): string {
  const url = new URL(server.authorizationUrl);
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return url.href;
}

// Coming back

/** The connection that the code is good for. Throws `CONSENT_INVALID` and what the authorization server's answer means. */
export async function completeAuthorization(
  options: ConnectionFlowOptions,
  returned: AuthorizationResponse,
  consent: Consent,
): Promise<SealedConnection> {
  const request = await options.vault.openRequest(consent, consent.stateHash, consent.envelope);
  const spec = options.registry.get(consent.serverId)?.spec;
  assertOwnAnswer(request.server, returned.iss);
  if (returned.error !== undefined) {
    throw new TalosError('CREDENTIAL_REFUSED', { message: 'The account was not connected: it was not allowed there.' });
  }
  if (returned.code === undefined) throw invalid('it came back without a code');
  // A code is never shown to an authorization server that the user was not sent to.
  if (spec === undefined || tokenPurpose(spec) !== request.purpose)
    throw invalid('the entry of the server changed meanwhile');
  const granted = await exchanged(options, spec, request, returned.code);
  return await sealed(options, consent, request, granted);
}

function assertOwnAnswer({ issuer, namesItself }: AuthorizationServer, iss: string | undefined): void {
  const isAnothers = iss !== undefined && issuer !== undefined && iss !== issuer;
  if (isAnothers || (iss === undefined && namesItself))
    throw invalid('the answer is not of the authorization server asked');
}

async function exchanged(
  options: ConnectionFlowOptions,
  spec: McpServerSpec,
  { server, redirectUri, verifier, client }: AuthorizationRequest,
  code: string,
): Promise<GrantedTokens> {
  const send = options.sendFor(spec);
  try {
    const as = await clientAt(spec, { client, server }, { ...options, send });
    return await requestTokens(send, server.tokenUrl, as, {
      grant_type: 'authorization_code',
      code,
      redirect_uri: redirectUri,
      code_verifier: verifier,
      resource: server.resource,
    });
  } catch (error) {
    if (client !== undefined && isUnknownClient(error)) await forgetClient(options, client);
    throw credentialFault(error, spec.id);
  }
}

async function sealed(
  { vault, clock }: ConnectionFlowOptions,
  { serverId, principalId, teamId }: Consent,
  { purpose, scopes, server, client }: AuthorizationRequest,
  granted: GrantedTokens,
): Promise<SealedConnection> {
  const key = { serverId, principalId, teamId };
  const { tokenUrl, revocationUrl, clientAuth, resource } = server;
  const tokens: UserTokens = {
    accessToken: granted.accessToken,
    ...(granted.refreshToken === undefined ? {} : { refreshToken: granted.refreshToken }),
    server: {
      ...{ tokenUrl, clientAuth },
      ...(resource === undefined ? {} : { resource }),
      ...(revocationUrl === undefined ? {} : { revocationUrl }),
    },
    ...(client === undefined ? {} : { client }),
  };
  return {
    ...key,
    connectionId: randomUUID(),
    purpose,
    envelope: await vault.sealTokens({ ...key, purpose }, tokens),
    scopes: granted.scopes ?? scopes,
    isRenewable: granted.refreshToken !== undefined,
    ...expiryOf(granted, clock.now()),
  };
}

function invalid(inside: string): TalosError {
  return new TalosError('CONSENT_INVALID', { inside });
}

/** RFC 7009, as far as the authorization server has it. Never fails: who disconnects is disconnected here in any case. */
export async function revokeTokens(options: ConnectionFlowOptions, connection: StoredConnection): Promise<boolean> {
  const spec = options.registry.get(connection.serverId)?.spec;
  // Of an entry that changed neither the client nor its secret are those that the tokens were given to.
  if (spec === undefined || tokenPurpose(spec) !== connection.purpose) return false;
  try {
    const tokens = await options.vault.openTokens(connection);
    const { server, refreshToken, accessToken } = tokens;
    if (server.revocationUrl === undefined) return false;
    const send = options.sendFor(spec);
    const client = await clientAt(spec, tokens, { ...options, send });
    const hint = refreshToken === undefined ? 'access_token' : 'refresh_token';
    await revokeToken(send, server.revocationUrl, client, refreshToken ?? accessToken, hint);
    return true;
  } catch (error) {
    options.log.warn({ server: spec.id, reason: describeError(error) }, 'a user’s tokens could not be revoked');
    return false;
  }
}
