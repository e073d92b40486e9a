/** Four gateways on one PostgreSQL, each reached by its own way, with a tool server behind them that counts its calls. */
import type { ChildProcess } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { systemClock } from '../../src/core/clock.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { type EmbeddedPostgres, startEmbeddedPostgres } from '../../src/storage/embedded/start.ts';
import { endProcess, later, openFolder, query } from '../support/embedded.ts';
import { runGateway, startGatewayProcess } from '../support/gateway-process.ts';
import { toolNamed } from '../support/mcp-scripted.ts';
import { socketUrl } from '../support/postgres.ts';
import { echo, startUpstream, type Upstream } from '../support/upstream.ts';
import { type Action, type Link, type Step, startWireProxy, type When, type WireProxy } from '../support/wire-proxy.ts';

/** What to do when a gateway's log writer is at a moment of its batch. */
export interface Trap {
  readonly step: Step;
  readonly when: When;
  readonly spring: (link: Link) => Action;
}

export interface Node {
  readonly name: string;
  readonly proxy: WireProxy;
  /** Undefined while it is not ready to be asked. */
  url: string | undefined;
  child: ChildProcess | undefined;
  trap: Trap | undefined;
  /** What each of its lives logged. */
  readonly logs: (() => string)[];
}

export interface Gateways {
  readonly nodes: readonly Node[];
  readonly upstream: Upstream;
  /** Starts the gateway again until it is ready. */
  readonly start: (node: Node) => Promise<void>;
}

export interface Cluster extends Gateways {
  readonly store: EmbeddedPostgres;
  /** What `pg_ctl stop -m immediate` does: the server ends at once and recovers from its log when it is started again. */
  readonly crashStore: () => Promise<void>;
}

export const toolServer = 'tested';

export async function startCluster(count = 4): Promise<Cluster> {
  const folder = await openFolder();
  const store = await startEmbeddedPostgres({
    dataDir: join(folder, 'store'),
    clock: systemClock,
    log: () => undefined,
  });
  later(() => store.stop());
  async function crashStore(): Promise<void> {
    const [row] = (await query(
      store.connection,
      "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int AS pid",
    )) as { pid: number }[];
    process.kill(row?.pid ?? 0, 'SIGQUIT');
  }

  return {
    ...(await startGateways({ folder, count, database: () => socketUrl(store.connection) })),
    store,
    crashStore,
  };
}

export interface GatewaysOptions {
  /** Where each gateway has its own folder. */
  readonly folder: string;
  readonly count: number;
  /** Where the database is just then; without it each gateway has an embedded store in its folder. */
  readonly database?: () => string;
  readonly env?: Readonly<Record<string, string>>;
}

export async function startGateways({ folder, count, database, env }: GatewaysOptions): Promise<Gateways> {
  const upstream = await startUpstream({
    tools: ['write', 'read'].map((name) => toolNamed(name) as JsonObject),
    calls: { write: echo, read: echo },
  });
  later(() => upstream.close());
  const common = { ...(await commonEnvironment(folder, upstream)), ...env };
  const nodes = await Promise.all(Array.from({ length: count }, (_, index) => makeNode(`gateway-${index + 1}`)));
  const storeOf = ({ proxy }: Node): Record<string, string> =>
    database === undefined ? {} : { DATABASE_URL: proxy.urlOf(database()) };

  async function start(node: Node): Promise<void> {
    const dataDir = join(folder, node.name);
    await mkdir(dataDir, { recursive: true });
    // The store may be down just then; whoever runs a gateway starts it again.
    for (;;) {
      const started = await startGatewayProcess({
        cwd: dataDir,
        env: { ...common, TALOS_DATA_DIR: dataDir, ...storeOf(node) },
      }).catch(() => {
        return undefined;
      });
      if (started === undefined) {
        await delay(200);
        continue;
      }
      node.child = started.child;
      node.url = started.url;
      node.logs.push(started.logText);
      later(() => endProcess(started.child, 'SIGKILL'));
      return;
    }
  }

  // One after the other: the first one makes the key of the log.
  for (const node of nodes) await start(node);
  return { nodes, upstream, start };
}

async function commonEnvironment(folder: string, upstream: Upstream): Promise<Record<string, string>> {
  const registry = join(folder, 'tools.json');
  const tools = ['write', 'read'].map((name) => ({ tool_server: toolServer, tool_name: name, tool_class: name }));
  // Synced, for a disk that loses power.
  await writeFile(registry, JSON.stringify({ tools }), { flush: true });
  // Starts are what the suite spends most of its time on. A process that is killed leaves no cache behind; one whose start
  // is refused has loaded everything and does.
  const cache = { NODE_COMPILE_CACHE: join(folder, 'compiled') };
  await runGateway({ cwd: folder, env: { ...cache, DATABASE_URL: 'nowhere' } });
  return {
    ...cache,
    DEV_MODE: 'true',
    TALOS_GATEWAY_PORT: '0',
    TALOS_BIND_HOST: '127.0.0.1',
    TALOS_LOG_KEY_FILE: join(folder, 'log.key'),
    TALOS_TOOL_REGISTRY: registry,
    [`MCP_SERVER_${toolServer.toUpperCase()}`]: upstream.url,
  };
}

async function makeNode(name: string): Promise<Node> {
  const proxy = await startWireProxy(({ step, when, link }) => {
    const { trap } = node;
    if (trap === undefined || link.name !== 'talos-log' || trap.step !== step || trap.when !== when) return 'pass';
    node.trap = undefined;
    return trap.spring(link);
  });
  const node: Node = { name, proxy, url: undefined, child: undefined, trap: undefined, logs: [] };
  later(() => proxy.close());
  return node;
}

/** Whether the gateway's writer has a transaction open, as far as the server has said. */
export function isInTransaction(node: Node): boolean {
  return node.proxy.links().some((link) => link.name === 'talos-log' && link.inTransaction);
}
