/** The tokens that the gateway shows to tool servers: its own, those that are exchanged for callers', and users' own. */
import type { Recorder } from './audit/recorder.ts';
import { bounds } from './config/bounds.ts';
import type { Config } from './config/config.ts';
import type { Clock } from './core/clock.ts';
import { describeError } from './core/errors.ts';
import type { KeyRing } from './core/key-ring.ts';
import type { McpServerSpec } from './core/mcp-server.ts';
import {
  type ConnectServer,
  type ConnectServerOptions,
  createConnectServer,
} from './gateway/connections/connect-server.ts';
import { ConnectedCredential } from './gateway/connections/connected-credential.ts';
import { forgetClient } from './gateway/connections/own-client.ts';
import { lostConnectionDraft } from './gateway/connections/records.ts';
import { type ConnectionVault, createConnectionVault, type OwnClient } from './gateway/connections/vault.ts';
import type { UserCredentials } from './gateway/server-for.ts';
import { clientCredential, exchangedCredential } from './mcp/credentials/fetched-credential.ts';
import type { UpstreamCredential } from './mcp/credentials/upstream-credential.ts';
import type { SecretOf } from './mcp/credentials/upstream-secrets.ts';
import { createGuardedFetcher, type GuardedSend } from './mcp/network/guarded-fetch.ts';
import type { openReadPool } from './storage/db.ts';
import { type ClientStore, createClientStore } from './storage/upstream-clients.ts';
import { type ConnectionStore, createConnectionStore, type StoredConnection } from './storage/upstream-connections.ts';
import { createConsentStore } from './storage/upstream-consents.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface UpstreamTokensOptions {
  readonly pool: ReturnType<typeof openReadPool>;
  readonly secretOf: SecretOf;
  /** The keys that secrets are kept under. */
  readonly readKeys: () => Promise<KeyRing>;
  readonly recorder: Pick<Recorder, 'record'>;
  readonly gatewayKey: Buffer;
  readonly config: Pick<Config, 'publicUrl'>;
  readonly clock: Clock;
  readonly telemetry: Pick<Telemetry, 'log'>;
}

export interface UpstreamTokens {
  /** What the gateway itself shows to a server. */
  readonly credentialOf: (spec: McpServerSpec) => UpstreamCredential | undefined;
  readonly credentials: UserCredentials;
  readonly connections: ConnectionStore;
  /** The gateway's own registrations. */
  readonly clients: ClientStore;
  readonly vault: ConnectionVault;
  /** The corridor of users who connect, with what it needs of others. */
  readonly connectServer: (
    needs: Pick<ConnectServerOptions, 'registry' | 'connectionChanged' | 'policyMode' | 'take' | 'refuse'>,
  ) => ConnectServer;
  readonly close: () => Promise<void>;
}

export function openUpstreamTokens(options: UpstreamTokensOptions): UpstreamTokens {
  const { pool, secretOf, readKeys, recorder, gatewayKey, clock, telemetry } = options;
  const { publicUrl } = options.config;
  const { log } = telemetry;
  const limits = {
    timeoutMs: bounds.upstreamAuthTimeoutMs,
    bytesMax: bounds.upstreamAuthBytesMax,
    connectionsMax: bounds.upstreamAuthConnectionsMax,
  };
  const anywhere = createGuardedFetcher(limits);
  const inPublic = createGuardedFetcher({ ...limits, publicOnly: true });
  // Hosts that the entry names may be private where the server may; what only a server names leads into no network of ours.
  const sendFor = (spec: McpServerSpec): GuardedSend => {
    const named = spec.publicOnly === true ? new Set<string>() : namedHosts(spec);
    return (url, request) => (named.has(hostOf(url)) ? anywhere : inPublic).send(url, request);
  };
  const contextOf = (spec: McpServerSpec) => ({ send: sendFor(spec), secretOf, clock });
  const connections = createConnectionStore(pool);
  const clients = createClientStore(pool);
  const forget = (client: OwnClient) => forgetClient({ clients, log }, client);
  const vault = createConnectionVault(readKeys);

  function onLost(connection: StoredConnection, reason: string): void {
    recorder.record(lostConnectionDraft(connection, reason)).catch((error: unknown) => {
      log.error({ reason: describeError(error) }, 'a lost connection of a user is not on record');
    });
  }

  return {
    credentialOf: (spec) =>
      spec.auth?.type === 'client_credentials' ? clientCredential(spec, contextOf(spec)) : undefined,
    credentials: {
      connected: (spec, key) =>
        new ConnectedCredential({ ...contextOf(spec), store: connections, vault, forget, onLost, log }, spec, key),
      exchanged: (spec, token) => exchangedCredential(spec, contextOf(spec), token),
    },
    connections,
    clients,
    vault,
    connectServer: (needs) =>
      createConnectServer({
        ...needs,
        ...{ connections, clients, vault, sendFor, secretOf, recorder, gatewayKey, publicUrl, clock, log },
        consents: createConsentStore(pool),
      }),
    async close() {
      await Promise.all([anywhere.close(), inPublic.close()]);
    },
  };
}

function namedHosts({ url = '', auth }: McpServerSpec): Set<string> {
  const { tokenUrl = url, authorizationUrl = url, revocationUrl = url, issuer = url } = auth ?? {};
  return new Set([url, tokenUrl, authorizationUrl, revocationUrl, issuer].map(hostOf));
}

function hostOf(url: string): string {
  return URL.parse(url)?.hostname ?? '';
}
