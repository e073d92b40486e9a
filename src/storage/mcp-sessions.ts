/** MCP sessions of all gateways on one database, by the hash of their ids: who opened each, and which gateway has it. */
import type pg from 'pg';
import { sha256 } from '../core/hash.ts';
import { read } from './db.ts';
import { pruneRows } from './prune.ts';

export interface McpSessionRow {
  readonly id: string;
  readonly principalId: string;
  readonly teamId: string;
  /** Absent at the address of all servers. */
  readonly serverId?: string;
  readonly capabilityHash?: string;
  readonly gatewayId: string;
  /** Where other gateways reach its own; absent when they cannot. */
  readonly gatewayUrl?: string;
}

export interface SessionOwner {
  readonly gatewayId: string;
  readonly gatewayUrl: string | undefined;
}

/** Every function throws `STORE_UNAVAILABLE`. */
export interface McpSessionStore {
  readonly add: (session: McpSessionRow, keptSec: number) => Promise<void>;
  /** The gateway that has the session; undefined when nobody has said so for longer than it is kept. */
  readonly ownerOf: (id: string) => Promise<SessionOwner | undefined>;
  /** Says that they are still open; none is added. */
  readonly keep: (ids: readonly string[], keptSec: number) => Promise<void>;
  readonly remove: (ids: readonly string[]) => Promise<void>;
  /** Removes the sessions of a run of a gateway. */
  readonly removeAllOf: (gatewayId: string) => Promise<void>;
  /** Removes those of earlier runs at this address. */
  readonly removeEarlierAt: (gateway: { readonly gatewayId: string; readonly gatewayUrl: string }) => Promise<void>;
  /** Forgets those whose gateway has fallen silent. */
  readonly prune: () => Promise<number>;
}

const addSql = `INSERT INTO mcp_session
  (id_hash, principal_id, team_id, server_id, capability_hash, gateway_id, gateway_url, expires_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, now() + make_interval(secs => $8))`;
const ownerSql = 'SELECT gateway_id, gateway_url FROM mcp_session WHERE id_hash = $1 AND expires_at > now()';
const keepSql = `UPDATE mcp_session SET seen_at = now(), expires_at = now() + make_interval(secs => $2)
  WHERE id_hash = ANY ($1::bytea[])`;

export function createMcpSessionStore(pool: pg.Pool): McpSessionStore {
  const run = async (text: string, values: readonly unknown[]) => void (await read(pool, text, values));
  return {
    async add(session, keptSec) {
      const { id, principalId, teamId, serverId, capabilityHash, gatewayId, gatewayUrl } = session;
      await run(addSql, [sha256(id), principalId, teamId, serverId, capabilityHash, gatewayId, gatewayUrl, keptSec]);
    },
    async ownerOf(id) {
      const [row] = await read<{ gateway_id: string; gateway_url: string | null }>(pool, ownerSql, [sha256(id)]);
      return row && { gatewayId: row.gateway_id, gatewayUrl: row.gateway_url ?? undefined };
    },
    keep: (ids, keptSec) => run(keepSql, [ids.map(sha256), keptSec]),
    remove: (ids) => run('DELETE FROM mcp_session WHERE id_hash = ANY ($1::bytea[])', [ids.map(sha256)]),
    removeAllOf: (gatewayId) => run('DELETE FROM mcp_session WHERE gateway_id = $1', [gatewayId]),
    removeEarlierAt: ({ gatewayId, gatewayUrl }) =>
      run('DELETE FROM mcp_session WHERE gateway_url = $1 AND gateway_id <> $2', [gatewayUrl, gatewayId]),
    prune: () => pruneRows(pool, { table: 'mcp_session', key: 'id_hash', isOver: 'expires_at < now()' }),
  };
}
