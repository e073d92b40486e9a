/** The tool servers that this gateway is configured for. Connections are opened by use, not by existing. */
import type { Clock } from '../core/clock.ts';
import { describeError, TalosError } from '../core/errors.ts';
import { type McpServerSpec, specProblems } from '../core/mcp-server.ts';
import type { Log } from '../telemetry/telemetry.ts';
import { InputValidators } from './input-validator.ts';
import { type McpBounds, mcpBounds } from './mcp-bounds.ts';
import { McpServer, type McpServerOptions } from './server.ts';
import type { SecretOf } from './upstream-secrets.ts';

export type { CatalogTool } from './catalog.ts';
export type { McpServer, UpstreamAnswer } from './server.ts';

export interface ServerSummary {
  readonly id: string;
  readonly name: string;
  readonly transport: 'http' | 'stdio';
  readonly tags: readonly string[];
  /** Scheme, host and path of an HTTP server; never user, query or fragment, where credentials hide. */
  readonly upstream?: string;
}

export interface Registry {
  /** Enabled servers in configured order. */
  readonly servers: () => readonly ServerSummary[];
  readonly get: (id: string) => McpServer | undefined;
  /** Connects to every server and lists its tools, so that the first callers do not wait for that. Never fails. */
  readonly warmUp: (signal: AbortSignal) => Promise<void>;
  /** Ends sessions, connections and processes. Calls in flight fail. */
  readonly close: () => Promise<void>;
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
  /** Told how many requests a server works on, and how many wait for their turn. */
  readonly onLoad?: McpServerOptions['onLoad'];
}

/** Throws `INVALID_REQUEST` for a server that configuration should not have let through, and for an id used twice. */
export function createRegistry(specs: readonly McpServerSpec[], options: RegistryOptions): Registry {
  const bounds = { ...mcpBounds, ...options.bounds };
  const validators = new InputValidators(bounds);
  const { clock, log, onLoad = () => undefined } = options;
  const servers = new Map<string, McpServer>();
  for (const spec of specs.filter(({ enabled }) => enabled !== false)) {
    assertUsable(spec, servers);
    servers.set(spec.id, new McpServer({ spec, clock, log, bounds, validators, onLoad, secretOf: options.secretOf }));
  }
  const summaries = [...servers.values()].map(({ spec }) => summaryOf(spec));
  return {
    servers: () => summaries,
    get: (id) => servers.get(id),
    warmUp: async (signal) => {
      await Promise.all([...servers.values()].map((server) => warmUp(server, options.log, signal)));
    },
    close: async () => {
      await Promise.all([...servers.values()].map((server) => server.close()));
    },
  };
}

function assertUsable(spec: McpServerSpec, servers: ReadonlyMap<string, McpServer>): void {
  const [problem] = specProblems(spec);
  if (problem !== undefined)
    throw new TalosError('INVALID_REQUEST', { message: `Tool server '${spec.id.slice(0, 80)}': ${problem}.` });
  if (servers.has(spec.id))
    throw new TalosError('INVALID_REQUEST', { message: `Tool server '${spec.id}' is configured twice.` });
}

function summaryOf({ id, name, transport, tags, url }: McpServerSpec): ServerSummary {
  const summary = {
    id,
    name,
    transport: transport === 'stdio' ? ('stdio' as const) : ('http' as const),
    tags: tags ?? [],
  };
  if (transport === 'stdio' || url === undefined) return summary;
  const { origin, pathname } = new URL(url);
  return { ...summary, upstream: origin + pathname };
}

async function warmUp(server: McpServer, log: Log, signal: AbortSignal): Promise<void> {
  try {
    const tools = await server.listTools(signal);
    log.info({ server: server.id, tools: tools.length }, 'connected to a tool server');
  } catch (error) {
    log.warn({ server: server.id, reason: describeError(error) }, 'a tool server cannot be used yet');
  }
}
