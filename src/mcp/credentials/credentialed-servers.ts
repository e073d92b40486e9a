/**
 * Tool servers that are asked with the credential of one user or caller: a copy for each, with connections and a list of
 * tools of its own, so that nothing that one of them was told reaches another. Copies nobody uses are closed, and so are
 * those of a server that was changed; the bound on what is in flight is the server's own. Nobody's copy makes room for
 * another's while it is in use, and one account has some of them, never all. What a user disconnects is ended at once.
 */
import type { Clock } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';
import { type ConnectionKey, isSameConnection } from '../../core/upstream-connection.ts';
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
  /** What its credential is of, where that can be disconnected. */
  readonly connection?: ConnectionKey | undefined;
}

export interface CredentialedServer {
  readonly server: McpServer;
  readonly credential: UpstreamCredential;
}

/** A copy by an account that a user connected. */
export interface ConnectedCopy {
  readonly connectionId: string;
  /** Ends it: sessions are lost, and calls in flight fail. */
  readonly end: () => void;
}

interface Copy extends CredentialedServer, Omit<CopyOwner, 'owner'> {
  readonly key: string;
  readonly original: McpServer;
  /** Aborted when nothing of it is to go on. */
  readonly life: AbortController;
  usedAtMs: number;
}

export class CredentialedServers {
  readonly #options: CredentialedServersOptions;
  readonly #copies = new Map<string, Copy>();
  readonly #closing = new AbortController();
  readonly #retiring = new Map<Copy, Promise<void>>();
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
    { owner, ...whose }: CopyOwner,
    create: () => UpstreamCredential,
  ): CredentialedServer | undefined {
    const key = `${original.id} ${owner}`;
    const known = this.#copies.get(key);
    const usedAtMs = this.#options.clock.monotonic();
    if (known?.original === original) {
      known.usedAtMs = usedAtMs;
      return known;
    }
    if (known !== undefined) this.#retire(known);
    if (!this.#makeRoom(whose.account)) return undefined;
    const credential = create();
    const server = original.copy(credential);
    const copy: Copy = { ...whose, key, original, credential, server, life: new AbortController(), usedAtMs };
    this.#copies.set(key, copy);
    return copy;
  }

  /** Those by accounts of users, as far as anything was opened with them. */
  connected(): ConnectedCopy[] {
    return this.#all().flatMap((copy) => {
      const { connectionId } = copy.credential;
      return connectionId === undefined ? [] : [{ connectionId, end: () => this.#end(copy) }];
    });
  }

  /** Ends what a user has there by their account. */
  endOf(key: ConnectionKey): void {
    for (const copy of this.#all()) {
      if (copy.connection !== undefined && isSameConnection(copy.connection, key)) this.#end(copy);
    }
  }

  /** Ends sessions and connections. Calls in flight fail. */
  async close(): Promise<void> {
    clearInterval(this.#sweeper);
    this.#closing.abort();
    const servers = [...this.#copies.values()].map(({ server }) => server.close());
    this.#copies.clear();
    await Promise.all([...servers, ...this.#retiring.values()]);
  }

  /** With those that are leaving. */
  #all(): Copy[] {
    return [...this.#copies.values(), ...this.#retiring.keys()];
  }

  #end(copy: Copy): void {
    copy.life.abort();
    this.#retire(copy);
  }

  #sweep(): void {
    const { clock, bounds, current } = this.#options;
    const idleSinceMs = clock.monotonic() - bounds.upstreamCopyIdleMs;
    for (const copy of [...this.#copies.values()]) {
      const isIdle = copy.usedAtMs < idleSinceMs && !copy.server.isInUse;
      if (isIdle || current(copy.original.id) !== copy.original) this.#retire(copy);
    }
  }

  /** Whether there is room for one more: whoever has many makes room among their own. */
  #makeRoom(account: string): boolean {
    const { upstreamCopiesMax, upstreamCopiesPerAccountMax } = this.#options.bounds;
    const all = [...this.#copies.values()];
    const own = all.filter((copy) => copy.account === account);
    if (own.length >= upstreamCopiesPerAccountMax) return this.#retireOldest(own);
    return all.length < upstreamCopiesMax || this.#retireOldest(all);
  }

  /** Of those that nobody uses; false when there is none. */
  #retireOldest(among: readonly Copy[]): boolean {
    let oldest: Copy | undefined;
    for (const copy of among) {
      if (copy.server.isInUse) continue;
      if (oldest === undefined || worth(copy) < worth(oldest)) oldest = copy;
    }
    if (oldest !== undefined) this.#retire(oldest);
    return oldest !== undefined;
  }

  /** What is in flight is finished, while its life lasts. */
  #retire(copy: Copy): void {
    if (this.#retiring.has(copy)) return;
    this.#copies.delete(copy.key);
    const { log } = this.#options;
    const { server, life } = copy;
    const retired = server
      .retire(AbortSignal.any([this.#closing.signal, life.signal]))
      .catch((error: unknown) => log.warn({ server: server.id, reason: describeError(error) }, 'a copy does not close'))
      .finally(() => this.#retiring.delete(copy));
    this.#retiring.set(copy, retired);
  }
}

/**
 * What was used longest ago goes first; before that what never got an answer, so that whoever has no account costs nobody
 * theirs, and last what is at work.
 */
function worth({ server, usedAtMs }: Copy): number {
  if (server.isAtWork) return Number.MAX_VALUE;
  return server.health.answeredAtMs === undefined ? usedAtMs - Number.MAX_SAFE_INTEGER : usedAtMs;
}
