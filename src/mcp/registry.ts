/**
 * The tool servers that this gateway knows now. They may be replaced at any time: a server that stays as it is keeps its
 * connections, one that changed or went serves what is in flight to its end. Connections are opened by use, not by existing.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Clock } from '../core/clock.ts';
import { describeError, TalosError } from '../core/errors.ts';
import { type McpServerSpec, specProblems, withoutCredentials } from '../core/mcp-server.ts';
import { type AuthType, needsUser } from '../core/server-auth.ts';
import type { Log } from '../telemetry/telemetry.ts';
import { sharedCredential, type UpstreamCredential } from './credentials/upstream-credential.ts';
import type { SecretOf } from './credentials/upstream-secrets.ts';
import { type McpBounds, mcpBounds } from './mcp-bounds.ts';
import type { HealthState } from './resilience/circuit.ts';
import { McpServer, type McpServerOptions } from './server.ts';
import { type ServerTest, testServer } from './server-test.ts';
import type { CatalogTool } from './tools/catalog-tool.ts';
import { InputValidators } from './tools/input-validator.ts';

export type { McpServer } from './server.ts';
export type { CatalogTool } from './tools/catalog-tool.ts';
export type { UpstreamAnswer } from './upstream-call.ts';

export interface ServerSummary {
  readonly id: string;
  readonly name: string;
  readonly transport: 'http' | 'stdio';
  readonly tags: readonly string[];
  /** Scheme, host and path of an HTTP server; never user, query or fragment, where credentials hide. */
  readonly upstream?: string;
  readonly health: HealthState;
  /** How it is told who asks, where the gateway has tokens for that. */
  readonly auth?: AuthType;
}

export interface Registry {
  /** Enabled servers in configured order. */
  readonly servers: () => readonly ServerSummary[];
  readonly get: (id: string) => McpServer | undefined;
  /** Connects to every server and lists its tools, so that the first callers do not wait for that. Never fails. */
  readonly warmUp: (signal: AbortSignal) => Promise<void>;
  /** These are the servers from now on. Throws `INVALID_REQUEST` as `createRegistry` does; nothing is changed then. */
  readonly replace: (specs: readonly McpServerSpec[]) => RegistryChange;
  /** Connects anew, apart from the server's own connections, and says what happened. Never fails. */
  readonly test: (spec: McpServerSpec, signal: AbortSignal, credential?: UpstreamCredential) => Promise<ServerTest>;
  /** Ends sessions, connections and processes. Calls in flight fail. */
  readonly close: () => Promise<void>;
}

/** Ids of servers. */
export interface RegistryChange {
  readonly added: readonly string[];
  readonly changed: readonly string[];
  readonly removed: readonly string[];
}

/** The error for an id that `get` does not know. */
export function serverNotFound(id: string): TalosError {
  return new TalosError('SERVER_NOT_FOUND', { message: `Server '${id}' not found in gateway registry` });
}

export interface RegistryOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly bounds?: Partial<McpBounds>;
  /** Gives the secrets that servers refer to by name. */
  readonly secretOf?: SecretOf;
  /** Gives what the gateway itself shows to a server; undefined where there is nothing of that kind. */
  readonly credentialOf?: (spec: McpServerSpec) => UpstreamCredential | undefined;
  /** Told how many requests a server works on, and how many wait for their turn. */
  readonly onLoad?: McpServerOptions['onLoad'];
  readonly onHealth?: McpServerOptions['onHealth'];
  /** Told of the tools of a server that was just connected to. */
  readonly onListed?: OnListed;
  /** Told of a server that is known no more. */
  readonly onGone?: (serverId: string) => void;
}

type OnListed = (server: McpServer, tools: readonly CatalogTool[]) => void;

/** Throws `INVALID_REQUEST` for a server that configuration should not have let through, and for an id used twice. */
export function createRegistry(specs: readonly McpServerSpec[], options: RegistryOptions): Registry {
  const { log, onGone = ignore, onListed = ignore } = options;
  const shared = sharedOptions(options);
  const closing = new AbortController();
  const retiring = new Set<Promise<void>>();
  let servers: ReadonlyMap<string, McpServer> = new Map();

  function retire(server: McpServer): void {
    const retired = server
      .retire(closing.signal)
      .catch((error: unknown) =>
        log.warn({ server: server.id, reason: describeError(error) }, 'a tool server does not close'),
      )
      .finally(() => retiring.delete(retired));
    retiring.add(retired);
  }

  /** Of a server that stays as it is, the one that is there; of any other a new one. */
  function replace(wanted: readonly McpServerSpec[]): RegistryChange & { readonly fresh: readonly McpServer[] } {
    const enabled = wanted.filter(({ enabled }) => enabled !== false);
    assertUsable(enabled);
    const before = servers;
    servers = new Map(enabled.map((spec) => [spec.id, kept(before.get(spec.id), spec) ?? create(spec)]));
    const fresh = [...servers.values()].filter((server) => before.get(server.id) !== server);
    for (const server of before.values()) {
      if (servers.get(server.id) !== server) retire(server);
      if (!servers.has(server.id)) onGone(server.id);
    }
    return {
      added: fresh.map(({ id }) => id).filter((id) => !before.has(id)),
      changed: fresh.map(({ id }) => id).filter((id) => before.has(id)),
      removed: [...before.keys()].filter((id) => !servers.has(id)),
      fresh,
    };
  }

  // What one that was replaced still does is not what its successor does.
  function create(spec: McpServerSpec): McpServer {
    const isCurrent = () => servers.get(spec.id) === server;
    const server: McpServer = new McpServer({
      ...shared,
      spec,
      credential: sharedCredential(spec, options.credentialOf),
      onLoad: (load) => isCurrent() && shared.onLoad(load),
      onHealth: (health) => isCurrent() && shared.onHealth(health),
    });
    return server;
  }

  replace(specs);
  return {
    servers: () => [...servers.values()].map(summaryOf),
    get: (id) => servers.get(id),
    warmUp: async (signal) => {
      await Promise.all([...servers.values()].map((server) => warmUp(server, { log, onListed }, signal)));
    },
    replace(wanted) {
      const { fresh, ...change } = replace(wanted);
      for (const server of fresh) void warmUp(server, { log, onListed }, closing.signal);
      return change;
    },
    test(spec, signal, credential = sharedCredential(spec, options.credentialOf)) {
      return testServer(new McpServer({ ...shared, spec, credential, onLoad: ignore, onHealth: ignore }), signal);
    },
    close: async () => {
      closing.abort();
      await Promise.all([...retiring, ...[...servers.values()].map((server) => server.close())]);
    },
  };
}

function sharedOptions(options: RegistryOptions): Omit<McpServerOptions, 'spec'> {
  const bounds = { ...mcpBounds, ...options.bounds };
  const { clock, log, secretOf, onLoad = ignore, onHealth = ignore } = options;
  return { clock, log, bounds, validators: new InputValidators(bounds), secretOf, onLoad, onHealth };
}

function ignore(): void {}

function kept(server: McpServer | undefined, spec: McpServerSpec): McpServer | undefined {
  return server !== undefined && isDeepStrictEqual(server.spec, spec) ? server : undefined;
}

function assertUsable(specs: readonly McpServerSpec[]): void {
  const ids = new Set<string>();
  for (const spec of specs) {
    const [problem] = specProblems(spec);
    if (problem !== undefined)
      throw new TalosError('INVALID_REQUEST', { message: `Tool server '${spec.id.slice(0, 80)}': ${problem}.` });
    if (ids.has(spec.id))
      throw new TalosError('INVALID_REQUEST', { message: `Tool server '${spec.id}' is configured twice.` });
    ids.add(spec.id);
  }
}

function summaryOf({ spec, health }: McpServer): ServerSummary {
  const { id, name, transport, tags = [], url, auth } = spec;
  const common = { id, name, tags, health: health.state, ...(auth === undefined ? {} : { auth: auth.type }) };
  if (transport === 'stdio') return { ...common, transport: 'stdio' };
  return { ...common, transport: 'http', ...(url === undefined ? {} : { upstream: withoutCredentials(url) }) };
}

async function warmUp(
  server: McpServer,
  { log, onListed }: { readonly log: Log; readonly onListed: OnListed },
  signal: AbortSignal,
): Promise<void> {
  if (needsUser(server.spec)) return;
  try {
    const tools = await server.catalogTools(signal);
    onListed(server, tools);
    log.info({ server: server.id, tools: tools.length }, 'connected to a tool server');
  } catch (error) {
    log.warn({ server: server.id, reason: describeError(error) }, 'a tool server cannot be used yet');
  }
}
