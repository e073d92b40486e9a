/** The tool servers: those of the configuration and those that administrators added, in one registry. */
import { bounds } from './config/bounds.ts';
import type { Config } from './config/config.ts';
import type { Clock } from './core/clock.ts';
import { type ConnectionWatch, watchConnections } from './gateway/connections/watch.ts';
import { createServerFor, type ServerFor } from './gateway/server-for.ts';
import { CredentialedServers } from './mcp/credentials/credentialed-servers.ts';
import type { SecretOf } from './mcp/credentials/upstream-secrets.ts';
import { createRegistry, type Registry, type RegistryOptions } from './mcp/registry.ts';
import { followToolServers, type ToolServers } from './mcp/stored-servers.ts';
import type { UpstreamTokens } from './open-upstream-tokens.ts';
import type { openReadPool } from './storage/db.ts';
import { createToolServerStore } from './storage/tool-servers.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface OpenToolServersOptions {
  readonly config: Pick<Config, 'servers' | 'managedStdioServers'>;
  readonly pool: ReturnType<typeof openReadPool>;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly secretOf: SecretOf;
  readonly tokens: Pick<UpstreamTokens, 'credentialOf' | 'credentials' | 'connections'>;
  readonly onListed: NonNullable<RegistryOptions['onListed']>;
}

export interface OpenToolServers {
  readonly registry: Registry;
  readonly toolServers: ToolServers;
  readonly serverFor: ServerFor;
  /** Told when a user's account was connected or disconnected. */
  readonly connectionChanged: ConnectionWatch['changed'];
  readonly close: () => Promise<void>;
}

/** Throws `STORE_UNAVAILABLE` when the servers that were added cannot be read. */
export async function openToolServers(options: OpenToolServersOptions): Promise<OpenToolServers> {
  const { config, pool, clock, telemetry, secretOf, tokens, onListed } = options;
  const { log } = telemetry;
  const registry = createRegistry(config.servers, {
    clock,
    log,
    secretOf,
    credentialOf: tokens.credentialOf,
    onListed,
    onLoad: telemetry.upstreamLoad,
    onHealth: telemetry.upstreamHealth,
    onGone: telemetry.upstreamGone,
  });
  const copies = new CredentialedServers({ current: registry.get, clock, log, bounds });
  const serverFor = createServerFor({ registry, copies, credentials: tokens.credentials });
  const watch = watchConnections({ copies, connections: tokens.connections, log });
  try {
    const toolServers = await followToolServers({
      configured: config.servers,
      store: createToolServerStore(pool),
      stdioAllowed: config.managedStdioServers,
      pollMs: bounds.toolServersPollMs,
      registry,
      clock,
      log,
    });
    const close = async () => {
      await toolServers.close();
      await watch.close();
      await copies.close();
      await registry.close();
    };
    return { registry, toolServers, serverFor, connectionChanged: watch.changed, close };
  } catch (error) {
    await watch.close();
    await copies.close();
    await registry.close();
    throw error;
  }
}
