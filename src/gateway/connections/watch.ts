/**
 * Accounts that users disconnect, or exchange for others: what was opened with one ends at once where that was done, and
 * at every other gateway as soon as it has asked the store, which it does while there is anything to end.
 */
import { bounds } from '../../config/bounds.ts';
import { describeError } from '../../core/errors.ts';
import { recur } from '../../core/recur.ts';
import type { ConnectionKey } from '../../core/upstream-connection.ts';
import type { CredentialedServers } from '../../mcp/credentials/credentialed-servers.ts';
import type { ConnectionStore } from '../../storage/upstream-connections.ts';
import type { Log } from '../../telemetry/telemetry.ts';

export interface ConnectionWatchOptions {
  readonly copies: Pick<CredentialedServers, 'connected' | 'endOf'>;
  readonly connections: Pick<ConnectionStore, 'standing'>;
  readonly log: Log;
}

export interface ConnectionWatch {
  /** An account was connected or disconnected here. */
  readonly changed: (key: ConnectionKey) => void;
  readonly close: () => Promise<void>;
}

export function watchConnections({ copies, connections, log }: ConnectionWatchOptions): ConnectionWatch {
  async function look(): Promise<void> {
    const connected = copies.connected();
    if (connected.length === 0) return;
    const standing = await connections.standing(connected.map(({ connectionId }) => connectionId));
    for (const { connectionId, end } of connected) if (!standing.has(connectionId)) end();
  }

  const looking = recur(bounds.connectionFreshMs, look, (error) =>
    log.debug({ reason: describeError(error) }, 'the accounts that users connected cannot be read'),
  );
  return { changed: (key) => copies.endOf(key), close: looking.stop };
}
