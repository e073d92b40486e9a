/**
 * Tokens of users at tool servers, and what is needed on the way to them, readable in this process only. An envelope opens
 * only for the user, the server and the purpose that it was made for, and the gateway's own registration only for its
 * authorization server and redirect address, so rows cannot be exchanged.
 */
import type { Envelope } from '../../core/envelope.ts';
import { TalosError } from '../../core/errors.ts';
import type { KeyRing } from '../../core/key-ring.ts';
import { openFor, sealFor } from '../../core/purpose-envelope.ts';
import type { ClientKey, SealedClient } from '../../core/upstream-client.ts';
import type { ConnectionKey, SealedConnection } from '../../core/upstream-connection.ts';
import type { OAuthClient } from '../../mcp/credentials/oauth-client.ts';
import type { AuthorizationServer } from '../../mcp/credentials/oauth-discovery.ts';

/** Tokens, and where they came from: a refresh token goes back there and nowhere else. */
export interface UserTokens {
  readonly accessToken: string;
  readonly refreshToken?: string;
  readonly server: Pick<AuthorizationServer, 'tokenUrl' | 'revocationUrl' | 'clientAuth' | 'resource'>;
  /** The client that they were given to; undefined for the one of the server's entry. */
  readonly client?: OwnClient;
}

/** The gateway as a client that nobody registered by hand. */
export interface OwnClient extends OAuthClient {
  /** Undefined for one that is named by the document that it publishes. */
  readonly registrationId?: string;
}

/** The authorization request (RFC 6749, section 4.1.1) of a user who has not come back yet. */
export interface AuthorizationRequest {
  readonly verifier: string;
  readonly redirectUri: string;
  readonly purpose: string;
  readonly scopes: string;
  readonly server: AuthorizationServer;
  /** Undefined for the one of the server's entry. */
  readonly client?: OwnClient;
}

/** All throw `SECRETS_UNREADABLE`. */
export interface ConnectionVault {
  readonly sealTokens: (of: ConnectionPurpose, tokens: UserTokens) => Promise<Envelope>;
  readonly openTokens: (connection: SealedConnection) => Promise<UserTokens>;
  /** The same under a key of its own and the key in use. */
  readonly renew: (connection: SealedConnection) => Promise<Envelope>;
  readonly sealRequest: (key: ConnectionKey, stateHash: Buffer, request: AuthorizationRequest) => Promise<Envelope>;
  readonly openRequest: (key: ConnectionKey, stateHash: Buffer, envelope: Envelope) => Promise<AuthorizationRequest>;
  readonly sealClient: (key: ClientKey, client: OAuthClient) => Promise<Envelope>;
  readonly openClient: (client: SealedClient) => Promise<OAuthClient>;
  readonly renewClient: (client: SealedClient) => Promise<Envelope>;
}

type ConnectionPurpose = ConnectionKey & Pick<SealedConnection, 'purpose'>;

/** @param readKeys The keys that secrets are kept under. Throws `SECRETS_UNREADABLE`. */
export function createConnectionVault(readKeys: () => Promise<KeyRing>): ConnectionVault {
  const seal = async (purpose: string, value: object) => sealFor(purpose, jsonBytes(value), await readKeys());
  const open = async (purpose: string, envelope: Envelope) => opened(purpose, envelope, await readKeys());
  const renew = async (purpose: string, envelope: Envelope) =>
    sealFor(purpose, Buffer.from(await open(purpose, envelope)), await readKeys());
  return {
    sealTokens: (of, tokens) => seal(ofTokens(of), tokens),
    openTokens: async (of) => JSON.parse(await open(ofTokens(of), of.envelope)) as UserTokens,
    renew: (of) => renew(ofTokens(of), of.envelope),
    sealRequest: (key, stateHash, request) => seal(ofRequest(key, stateHash), request),
    openRequest: async (key, stateHash, envelope) =>
      JSON.parse(await open(ofRequest(key, stateHash), envelope)) as AuthorizationRequest,
    sealClient: (key, client) => seal(ofClient(key), client),
    openClient: async (client) => JSON.parse(await open(ofClient(client), client.envelope)) as OAuthClient,
    renewClient: (client) => renew(ofClient(client), client.envelope),
  };
}

function jsonBytes(value: object): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function opened(purpose: string, envelope: Envelope, keys: KeyRing): string {
  const plain = openFor(purpose, envelope, keys);
  if (plain !== undefined) return plain.toString('utf8');
  throw new TalosError('SECRETS_UNREADABLE', {
    inside: `the tokens or the client of a connection do not open with the key ${envelope.kek_id.slice(0, 64)}`,
  });
}

function ofTokens({ serverId, principalId, teamId, purpose }: ConnectionPurpose): string {
  return `talos.upstream_connection.v1:${JSON.stringify([serverId, principalId, teamId, purpose])}`;
}

function ofRequest({ serverId, principalId, teamId }: ConnectionKey, stateHash: Buffer): string {
  return `talos.upstream_consent.v1:${JSON.stringify([serverId, principalId, teamId, stateHash.toString('hex')])}`;
}

function ofClient({ issuer, redirectUri }: ClientKey): string {
  return `talos.upstream_client.v1:${JSON.stringify([issuer, redirectUri])}`;
}
