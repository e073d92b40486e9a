/**
 * Tool servers that are asked with the credential of one user or caller: a copy for each, with connections and a list of
 * tools of its own, so that nothing that one of them was told reaches another. Copies nobody uses are closed, and so are
 * those of a server that was changed; the bound on what is in flight is the server's own. Nobody's copy makes room for
 * another's while it is in use, and one account has some of them, never all.
 */
import type { Clock } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';
import type { Log } from '../../telemetry/telemetry.ts';
import type { McpBounds } from '../mcp-bounds.ts';
import type { McpServer } from '../server.ts';
import type { UpstreamCredential } from './upstream-credential.ts';

export interface CredentialedServersOptions {
  /** The server of this id as it is now. */
  readonly current: (serverId: string) => McpServer | undefined;
  readonly clock: Pick<Clock, 'monotonic'>;
  readonly log: Log;
  readonly bounds: Pick<
    McpBounds,
    'upstreamCopiesMax' | 'upstreamCopiesPerAccountMax' | 'upstreamCopyIdleMs' | 'upstreamCopySweepMs'
  >;
}

export interface CopyOwner {
  /** Whose credential it is. */
  readonly owner: string;
  /** Whom the copy is counted against: one account may have many credentials. */
  readonly account: string;
}

export interface CredentialedServer {
  readonly server: McpServer;
  readonly credential: UpstreamCredential;
}

interface Copy extends CredentialedServer {
  readonly account: string;
  readonly original: McpServer;
  usedAtMs: number;
}

export class CredentialedServers {
  readonly #options: CredentialedServersOptions;
  readonly #copies = new Map<string, Copy>();
  readonly #closing = new AbortController();
  readonly #retiring = new Set<Promise<void>>();
  readonly #sweeper: NodeJS.Timeout;

  constructor(options: CredentialedServersOptions) {
    this.#options = options;
    this.#sweeper = setInterval(() => this.#sweep(), options.bounds.upstreamCopySweepMs).unref();
  }

  get size(): number {
    return this.#copies.size;
  }

  /**
   * The copy of `original` for whoever `owner` names; made, with the credential of `create`, when there is none. Undefined
   * when there are as many as there may be, and all are in use.
   */
  of(
    original: McpServer,
    { owner, account }: CopyOwner,
    create: () => UpstreamCredential,
  ): CredentialedServer | undefined {
    const key = `${original.id} ${owner}`;
    const known = this.#copies.get(key);
    const usedAtMs = this.#options.clock.monotonic();
    if (known?.original === original) {
      known.usedAtMs = usedAtMs;
      return known;
    }
    if (known !== undefined) this.#retire(key, known);
    if (!this.#makeRoom(account)) return undefined;
    const credential = create();
    const copy: Copy = { original, account, credential, server: original.copy(credential), usedAtMs };
    this.#copies.set(key, copy);
    return copy;
  }

  /** Ends sessions and connections. Calls in flight fail. */
  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    this.#closing.abort();
    const servers = [...this.#copies.values()].map(({ server }) => server.close());
    this.#copies.clear();
    await Promise.all([...servers, ...this.#retiring]);
  }

  #sweep(): void {
    const { clock, bounds, current } = this.#options;
    const idleSinceMs = clock.monotonic() - bounds.upstreamCopyIdleMs;
    for (const [key, copy] of this.#copies) {
      const isIdle = copy.usedAtMs < idleSinceMs && !copy.server.isInUse;
      if (isIdle || current(copy.original.id) !== copy.original) this.#retire(key, copy);
    }
  }

  /** Whether there is room for one more: whoever has many makes room among their own. */
  #makeRoom(account: string): boolean {
    const { upstreamCopiesMax, upstreamCopiesPerAccountMax } = this.#options.bounds;
    const all = [...this.#copies];
    const own = all.filter(([, copy]) => copy.account === account);
    if (own.length >= upstreamCopiesPerAccountMax) return this.#retireOldest(own);
    return all.length < upstreamCopiesMax || this.#retireOldest(all);
  }

  /** Of those that nobody uses; false when there is none. */
  #retireOldest(among: readonly (readonly [string, Copy])[]): boolean {
    let oldest: readonly [string, Copy] | undefined;
    for (const entry of among) {
      if (entry[1].server.isInUse) continue;
      if (oldest === undefined || worth(entry[1]) < worth(oldest[1])) oldest = entry;
    }
    if (oldest !== undefined) this.#retire(...oldest);
    return oldest !== undefined;
  }

  /** What is in flight is finished. */
  #retire(key: string, { server }: Copy): void {
    this.#copies.delete(key);
    const { log } = this.#options;
    const retired = server
      .retire(this.#closing.signal)
      .catch((error: unknown) => log.warn({ server: server.id, reason: describeError(error) }, 'a copy does not close'))
      .finally(() => this.#retiring.delete(retired));
    this.#retiring.add(retired);
  }
}

/** What was used longest ago goes first; before that what never got an answer, so that whoever has no account costs nobody theirs. */
function worth({ server, usedAtMs }: Copy): number {
  return server.health.answeredAtMs === undefined ? usedAtMs - Number.MAX_SAFE_INTEGER : usedAtMs;
}
