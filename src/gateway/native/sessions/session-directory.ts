/**
 * Which gateway has which MCP session. Every session belongs to the gateway that opened it, for as long as that process
 * lives; the directory tells the others where to find it, and its id to nobody.
 */
import { bounds } from '../../../config/bounds.ts';
import type { Clock } from '../../../core/clock.ts';
import { describeError } from '../../../core/errors.ts';
import { isMintedSessionId, mintSessionId } from '../../../core/gateway-key.ts';
import { LruMap } from '../../../core/lru-map.ts';
import { recur } from '../../../core/recur.ts';
import { SingleFlight } from '../../../core/single-flight.ts';
import type { McpSessionRow, McpSessionStore } from '../../../storage/mcp-sessions.ts';
import type { Log } from '../../../telemetry/telemetry.ts';

export type OpenedSession = Omit<McpSessionRow, 'gatewayId' | 'gatewayUrl'>;

/** Another gateway, which has a session. */
export interface Owner {
  readonly gatewayId: string;
  readonly gatewayUrl: string;
}

export interface SessionDirectory {
  /** An id for a session that is about to be opened. */
  readonly newId: () => string;
  /** Enters a session of this gateway. Throws `STORE_UNAVAILABLE`: what others cannot find is not opened. */
  readonly opened: (session: OpenedSession) => Promise<void>;
  /** Takes it out, soon. */
  readonly ended: (id: string) => void;
  /**
   * The other gateway that has the session; undefined when this one has it, when nobody has, or when that gateway cannot
   * be reached by others. Throws `STORE_UNAVAILABLE`.
   */
  readonly ownerOf: (id: string) => Promise<Owner | undefined>;
  /** The gateway that had it is gone. */
  readonly lost: (id: string) => void;
  /** Where other gateways reach this one, from now on; what earlier runs have left there is taken out. */
  readonly reachedAt: (gatewayUrl: string) => Promise<void>;
  /** Takes out what is left of this gateway's, if the store can be reached. Never fails. */
  readonly close: () => Promise<void>;
}

export interface SessionDirectoryOptions {
  readonly store: McpSessionStore;
  readonly key: Buffer;
  /** Of this run of the gateway. */
  readonly gatewayId: string;
  readonly clock: Clock;
  readonly log: Log;
}

export function createSessionDirectory(options: SessionDirectoryOptions): SessionDirectory {
  const { store, key, gatewayId, log } = options;
  const own = new Set<string>();
  const nobodys = createNobodys(options.clock);
  const removals = createRemovals(store, log);
  const keeper = startKeeper(own, store, log);
  let gatewayUrl: string | undefined;

  return {
    newId: () => mintSessionId(key),
    async opened(session) {
      const where = gatewayUrl === undefined ? {} : { gatewayUrl };
      await store.add({ ...session, gatewayId, ...where }, bounds.mcpSessionKeptSec);
      own.add(session.id);
    },
    ended(id) {
      if (own.delete(id)) removals.add(id);
    },
    async ownerOf(id) {
      // Whatever strangers think up costs the store nothing.
      if (own.has(id) || !isMintedSessionId(key, id) || nobodys.has(id)) return undefined;
      const owner = await store.ownerOf(id);
      const url = owner?.gatewayId === gatewayId ? undefined : owner?.gatewayUrl;
      if (owner !== undefined && url !== undefined) return { ...owner, gatewayUrl: url };
      nobodys.add(id);
      return undefined;
    },
    lost: (id) => removals.add(id),
    async reachedAt(url) {
      gatewayUrl = url;
      await store.removeEarlierAt({ gatewayId, gatewayUrl });
    },
    async close() {
      await Promise.all([keeper.stop(), removals.close()]);
      // What cannot be taken out now is forgotten when nobody says any more that it is open.
      await store
        .removeAllOf(gatewayId)
        .catch((error: unknown) => log.warn(`MCP sessions could not be taken out: ${describeError(error)}`));
    },
  };
}

/** Ids that were looked up lately, and are nobody's. */
function createNobodys(clock: Clock) {
  const sinceMs = new LruMap<number>(bounds.unknownSessionsMax);
  return {
    has: (id: string): boolean =>
      clock.monotonic() - (sinceMs.get(id) ?? Number.NEGATIVE_INFINITY) < bounds.unknownSessionMs,
    add: (id: string): void => sinceMs.set(id, clock.monotonic()),
  };
}

/** Says now and then that the sessions are still open. */
function startKeeper(own: ReadonlySet<string>, store: McpSessionStore, log: Log) {
  async function keep(): Promise<void> {
    const ids = [...own];
    for (let from = 0; from < ids.length; from += bounds.mcpSessionRowsMax) {
      await store.keep(ids.slice(from, from + bounds.mcpSessionRowsMax), bounds.mcpSessionKeptSec);
    }
  }

  return recur(bounds.mcpSessionKeepMs, keep, (error) =>
    log.warn(`MCP sessions could not be kept: ${describeError(error)}`),
  );
}

/** Removes what it is given, many at a time when many come. What cannot be removed is forgotten when its time is over. */
function createRemovals(store: McpSessionStore, log: Log) {
  let due = new Set<string>();
  const removing = new SingleFlight<void>();

  async function removeDue(): Promise<void> {
    while (due.size > 0) {
      const ids = [...due];
      due = new Set();
      await store.remove(ids).catch((error: unknown) => {
        log.warn(`MCP sessions that have ended could not be taken out: ${describeError(error)}`);
      });
    }
  }

  return {
    add(id: string): void {
      due.add(id);
      void removing.run(removeDue);
    },
    close: () => removing.settled(),
  };
}
