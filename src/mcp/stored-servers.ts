/**
 * The tool servers of the configuration together with those of the store, kept in the registry as they change. Whether the
 * store's changed is asked all the time, in one row; when nobody can say, what is known stays. The configuration wins.
 */
import { type ManagedServerRules, readManagedServer } from '../config/managed-server.ts';
import type { Clock } from '../core/clock.ts';
import type { McpServerSpec } from '../core/mcp-server.ts';
import type { ServerBook } from '../core/tool-server.ts';
import { Poller } from '../shared-state/poller.ts';
import type { ToolServerStore } from '../storage/tool-servers.ts';
import type { Log } from '../telemetry/telemetry.ts';
import type { Registry, RegistryChange } from './registry.ts';

export interface ToolServers {
  /** Those of file and environment, disabled ones included. */
  readonly configured: () => readonly McpServerSpec[];
  /** Those of the store, as far as they are known. */
  readonly stored: () => ServerBook;
  /** Asks at once, so that a change that was just made is seen. Throws `STORE_UNAVAILABLE`. */
  readonly refresh: () => Promise<void>;
  /** These are the servers of file and environment from now on. */
  readonly reconfigure: (configured: readonly McpServerSpec[]) => RegistryChange;
  readonly close: () => Promise<void>;
}

export interface ToolServersOptions extends ManagedServerRules {
  readonly configured: readonly McpServerSpec[];
  readonly store: ToolServerStore;
  readonly registry: Pick<Registry, 'replace'>;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly log: Log;
  readonly pollMs: number;
}

/** Resolves when the store was read once; throws `STORE_UNAVAILABLE` when it cannot be. */
export async function followToolServers(options: ToolServersOptions): Promise<ToolServers> {
  const { store, registry, log } = options;
  let { configured } = options;
  let book: ServerBook = { version: -1, servers: [] };
  let isClosed = false;

  function apply(): RegistryChange {
    const change = registry.replace([...configured, ...specsOf(book, configured, options)]);
    if (Object.values(change).some((ids) => ids.length > 0)) log.info(change, 'the tool servers changed');
    return change;
  }

  async function ask(): Promise<void> {
    if (isClosed || (await store.version()) === book.version) return;
    book = await store.load();
    if (!isClosed) apply();
  }

  const poller = new Poller({ ...options, subject: 'tool servers', ask });
  await poller.ask();
  poller.start();
  return {
    configured: () => configured,
    stored: () => book,
    refresh: () => poller.refresh(),
    reconfigure(wanted) {
      configured = wanted;
      return apply();
    },
    async close() {
      isClosed = true;
      await poller.close();
    },
  };
}

/** Those that can be used. The rules may be stricter than when they were added. */
function specsOf(
  { servers }: ServerBook,
  configured: readonly McpServerSpec[],
  { stdioAllowed, log }: ToolServersOptions,
): McpServerSpec[] {
  const taken = new Set(configured.map(({ id }) => id));
  return servers.flatMap(({ serverId, fields }) => {
    const { spec, problems = ['the configuration has a server of this id'] } = taken.has(serverId)
      ? {}
      : readManagedServer(serverId, fields, { stdioAllowed });
    if (spec !== undefined) return [spec];
    log.warn({ server: serverId, problems }, 'a tool server of the store is not used');
    return [];
  });
}
