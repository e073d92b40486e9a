/**
 * Tells which server's tools have changed, whichever way that was found out: the server said so, or it is another one
 * now, or gone. The servers that are known are looked through once in a while; each says the rest by itself.
 */
import { bounds } from '../../config/bounds.ts';
import type { McpServer, Registry } from '../../mcp/registry.ts';

type Listener = (serverId: string) => void;

interface Watched {
  readonly server: McpServer;
  readonly stop: () => void;
}

export class ToolChanges {
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

  close(): void {
    clearInterval(this.#timer);
    for (const { stop } of this.#watched.values()) stop();
  }

  #look(): void {
    for (const [id, { server, stop }] of [...this.#watched]) {
      if (this.#registry.get(id) === server) continue;
      stop();
      this.#watched.delete(id);
      if (this.#registry.get(id) === undefined) this.#tell(id);
    }
    for (const { id } of this.#registry.servers()) {
      if (this.#watched.has(id)) continue;
      this.#watch(id);
      this.#tell(id);
    }
  }

  #watch(id: string): void {
    const server = this.#registry.get(id);
    if (server === undefined) return;
    this.#watched.set(id, { server, stop: server.onToolsChanged(() => this.#tell(id)) });
  }

  #tell(serverId: string): void {
    for (const listener of [...this.#listeners]) listener(serverId);
  }
}
