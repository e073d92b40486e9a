/**
 * Tells which list of which server has changed, whichever way that was found out: the server said so, or it is another one
 * now, or gone. The servers that are known are looked through once in a while; each says the rest by itself.
 */
import { bounds } from '../../config/bounds.ts';
import type { McpServer, Registry } from '../../mcp/registry.ts';

export const toolsChanged = 'notifications/tools/list_changed';
export const promptsChanged = 'notifications/prompts/list_changed';
export const resourcesChanged = 'notifications/resources/list_changed';

export interface ListChange {
  readonly serverId: string;
  /** Of the notification, one of these. */
  readonly method: string;
  /** The server that said so itself, to whoever is connected to it. */
  readonly saidBy?: McpServer;
}

type Listener = (change: ListChange) => void;

interface Watched {
  readonly server: McpServer;
  readonly stop: () => void;
}

export class ListChanges {
  readonly #registry: Registry;
  readonly #watched = new Map<string, Watched>();
  readonly #listeners = new Set<Listener>();
  readonly #timer: NodeJS.Timeout;

  constructor(registry: Registry) {
    this.#registry = registry;
    for (const { id } of registry.servers()) this.#watch(id);
    this.#timer = setInterval(() => this.#look(), bounds.streamSweepMs).unref();
  }

  /** Calls back until the returned function is called. */
  on(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** What is shown of a server's tools is something else now, whatever the server says of them. */
  tellTools(serverId: string): void {
    this.#tell({ serverId, method: toolsChanged });
  }

  close(): void {
    clearInterval(this.#timer);
    for (const { stop } of this.#watched.values()) stop();
  }

  #look(): void {
    for (const [id, { server, stop }] of [...this.#watched]) {
      if (this.#registry.get(id) === server) continue;
      stop();
      this.#watched.delete(id);
      if (this.#registry.get(id) === undefined) this.#tellAll(id);
    }
    for (const { id } of this.#registry.servers()) {
      if (this.#watched.has(id)) continue;
      this.#watch(id);
      this.#tellAll(id);
    }
  }

  #watch(id: string): void {
    const server = this.#registry.get(id);
    if (server === undefined) return;
    const stop = server.onListsChanged((method) => this.#tell({ serverId: id, method, saidBy: server }));
    this.#watched.set(id, { server, stop });
  }

  #tellAll(serverId: string): void {
    for (const method of [toolsChanged, promptsChanged, resourcesChanged]) this.#tell({ serverId, method });
  }

  #tell(change: ListChange): void {
    for (const listener of [...this.#listeners]) listener(change);
  }
}
