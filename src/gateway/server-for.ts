/**
 * The tool server as it is asked for one caller: the one that everybody shares, or where the server wants to know who asks,
 * a copy with this caller's credential alone. Whose copy it is, is said by who they are and never by what they ask.
 */
import { TalosError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import type { JsonObject } from '../core/json.ts';
import type { McpServerSpec } from '../core/mcp-server.ts';
import type { BearerPrincipal } from '../core/principal.ts';
import { needsUser } from '../core/server-auth.ts';
import type { ConnectionKey } from '../core/upstream-connection.ts';
import type { CredentialedServers } from '../mcp/credentials/credentialed-servers.ts';
import { type CallerToken, credentialError, type UpstreamCredential } from '../mcp/credentials/upstream-credential.ts';
import { type McpServer, type Registry, serverNotFound } from '../mcp/registry.ts';
import { accountKey, type Caller, ownerKey } from './caller.ts';

/** The server, or why this caller has none: `SERVER_NOT_FOUND`, `AUTH_MISSING`, `CALLER_TOKEN_REQUIRED`, `UPSTREAM_BUSY`. */
export type ServerFor = (serverId: string, caller: Caller) => McpServer | TalosError;

/** Throws why this caller has none. */
export function foundServer(serverFor: ServerFor, serverId: string, caller: Caller): McpServer {
  const server = serverFor(serverId, caller);
  if (server instanceof TalosError) throw server;
  return server;
}

export interface UserCredentials {
  /** Of the account that a user connected. */
  readonly connected: (spec: McpServerSpec, key: ConnectionKey) => UpstreamCredential;
  /** In exchange for the caller's own token. */
  readonly exchanged: (spec: McpServerSpec, token: CallerToken) => UpstreamCredential;
}

export interface ServerForOptions {
  readonly registry: Pick<Registry, 'get'>;
  readonly copies: Pick<CredentialedServers, 'of'>;
  readonly credentials: UserCredentials;
}

/** Whose credential it is, and how to get it. */
interface Ownership {
  readonly owner: string;
  readonly connection?: ConnectionKey;
  readonly create: () => UpstreamCredential;
  readonly token?: CallerToken;
}

export function createServerFor({ registry, copies, credentials }: ServerForOptions): ServerFor {
  return (serverId, caller) => {
    const server = registry.get(serverId);
    if (server === undefined) return serverNotFound(serverId);
    if (!needsUser(server.spec)) return server;
    const ownership = ownershipOf(credentials, server.spec, caller);
    if (ownership instanceof TalosError) return ownership;
    const { owner, connection, create } = ownership;
    const copy = copies.of(server, { owner, account: accountKey(caller), connection }, create);
    if (copy === undefined) return new TalosError('UPSTREAM_BUSY', { message: noRoom });
    if (ownership.token !== undefined) copy.credential.offer?.(ownership.token);
    return copy.server;
  };
}

const noRoom = 'Too many users of tool servers are at work now.';

/** The caller's own credential for a server that needs one, apart from every copy: for a try of the server. */
export function credentialFor(
  credentials: UserCredentials,
  spec: McpServerSpec,
  caller: Caller,
): UpstreamCredential | undefined {
  if (!needsUser(spec)) return undefined;
  const ownership = ownershipOf(credentials, spec, caller);
  return ownership instanceof TalosError ? undefined : ownership.create();
}

/** Whose connection to a server the caller's is. */
export function connectionKeyOf(serverId: string, { id, teamId }: BearerPrincipal): ConnectionKey {
  return { serverId, principalId: id, teamId };
}

function ownershipOf(
  { connected, exchanged }: UserCredentials,
  spec: McpServerSpec,
  { principal, token, expiresAtMs }: Caller,
): Ownership | TalosError {
  if (principal.authMode === 'anonymous') return new TalosError('AUTH_MISSING');
  if (spec.auth?.type === 'oauth') {
    const key = connectionKeyOf(spec.id, principal);
    return { owner: ownerKey({ principal }), connection: key, create: () => connected(spec, key) };
  }
  if (token === undefined || expiresAtMs === undefined) return credentialError('CALLER_TOKEN_REQUIRED', spec.id);
  const own = { reveal: token.reveal.bind(token), expiresAtMs };
  return { owner: tokenOwner(own, principal), create: () => exchanged(spec, own), token: own };
}

// What differs between two tokens that say the same of the same user.
const passing: readonly string[] = ['exp', 'iat', 'nbf', 'jti'];

/**
 * A name for all tokens that say the same: a renewed token is served by the same copy, and one with other rights, or of
 * another login, never.
 */
function tokenOwner(token: CallerToken, { id, teamId }: BearerPrincipal): string {
  const [header, payload = ''] = token.reveal().split('.');
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as JsonObject;
  const lasting = Object.entries(claims).filter(([name]) => !passing.includes(name));
  // With the header, because under another algorithm it is another issuer who says so.
  return sha256Hex(JSON.stringify([id, teamId, header, lasting]));
}
