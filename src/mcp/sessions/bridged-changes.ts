/**
 * What one client of the session era hears of changes on a server that is shared: its lists from the start, resources
 * as they are subscribed. One listening at a time; a new one stands before the old one is left, and one that the server
 * ends is begun again, not too soon.
 */
import type { Clock } from '../../core/clock.ts';
import type { JsonObject } from '../../core/json.ts';
import { OneAtATime } from '../../core/one-at-a-time.ts';
import type { McpBounds } from '../mcp-bounds.ts';
import type { ServerHello } from '../protocol/hello.ts';
import { Backoff } from '../resilience/backoff.ts';
import type { Listening, ListenOptions } from '../upstream-session.ts';
import { announcedLists } from './change-listeners.ts';

export interface BridgedChangesOptions {
  readonly server: { listen(options: ListenOptions): Promise<Listening> };
  readonly hello: ServerHello;
  readonly bounds: McpBounds;
  readonly clock: Clock;
  readonly onNotification: (method: string, params: JsonObject) => void;
}

export class BridgedChanges {
  readonly #options: BridgedChangesOptions;
  readonly #lists: JsonObject;
  readonly #uris = new Set<string>();
  readonly #backoff: Backoff;
  #current: AbortController | undefined;
  #startedAtMs = 0;
  readonly #changes = new OneAtATime();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(options: BridgedChangesOptions) {
    this.#options = options;
    const { clock, bounds } = options;
    this.#backoff = new Backoff({
      clock,
      minMs: bounds.upstreamStreamRetryMinMs,
      maxMs: bounds.upstreamStreamRetryMaxMs,
    });
    this.#lists = announcedLists(options.hello);
    void this.#changes.run(() => this.#listen());
  }

  /** Whether the server tells of changes of the resource from now on. */
  subscribe(uri: string): Promise<boolean> {
    return this.#changes.run(async () => {
      if (this.#uris.has(uri)) return true;
      if (this.#uris.size >= this.#options.bounds.upstreamSubscriptionsMax) return false;
      this.#uris.add(uri);
      const isHeard = await this.#listen(uri);
      if (!isHeard) this.#uris.delete(uri);
      return isHeard;
    });
  }

  unsubscribe(uri: string): Promise<boolean> {
    return this.#changes.run(async () => {
      if (this.#uris.delete(uri)) await this.#listen();
      return true;
    });
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#current?.abort();
  }

  /** Listens to what is wanted now in place of what was before. Whether that includes `uri`. Never rejects. */
  async #listen(uri?: string): Promise<boolean> {
    const filter = this.#filter();
    const before = this.#current;
    if (this.#isClosed) return false;
    if (Object.keys(filter).length === 0) {
      before?.abort();
      return uri === undefined;
    }
    const own = new AbortController();
    const { server, clock, onNotification } = this.#options;
    this.#startedAtMs = clock.monotonic();
    try {
      const onEnd = () => this.#ended(own);
      const { acknowledged } = await server.listen({ filter, onNotification, onEnd, signal: own.signal });
      if (uri !== undefined && !acknowledges(acknowledged, uri)) {
        own.abort();
        return false;
      }
      before?.abort();
      this.#current = own;
      if (this.#isClosed) own.abort();
      return true;
    } catch {
      if (uri === undefined) this.#listenLater();
      return false;
    }
  }

  #filter(): JsonObject {
    return this.#uris.size === 0 ? this.#lists : { ...this.#lists, resourceSubscriptions: [...this.#uris] };
  }

  #ended(which: AbortController): void {
    if (this.#current === which) this.#listenLater();
  }

  #listenLater(): void {
    if (this.#isClosed) return;
    clearTimeout(this.#timer);
    this.#backoff.failed(this.#options.clock.monotonic() - this.#startedAtMs);
    this.#timer = setTimeout(() => void this.#changes.run(() => this.#listen()), this.#backoff.waitMs).unref();
  }
}

function acknowledges({ resourceSubscriptions }: JsonObject, uri: string): boolean {
  return Array.isArray(resourceSubscriptions) && resourceSubscriptions.includes(uri);
}
