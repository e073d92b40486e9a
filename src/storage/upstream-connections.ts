/**
 * Accounts of users at tool servers, with sealed tokens. Users connect and disconnect with the record that tells of it. A
 * refresh is leased: of all gateways on the database one alone spends the refresh token, and puts the new one down.
 */
import type pg from 'pg';
import type { PreparedEvent } from '../core/audit-event.ts';
import type { Envelope } from '../core/envelope.ts';
import type { ConnectionChange, ConnectionKey, SealedConnection } from '../core/upstream-connection.ts';
import { read } from './db.ts';
import { sqlText } from './unwritable.ts';

export interface StoredConnection extends SealedConnection {
  /** Counts the refreshes. */
  readonly version: number;
  readonly lostBecause?: string;
  readonly connectedAt: Date;
}

/** Fresh tokens in the place of others. */
export type RefreshedTokens = Pick<SealedConnection, 'envelope' | 'scopes' | 'expiresAtMs' | 'isRenewable'>;

/** All throw `STORE_UNAVAILABLE`. */
export interface ConnectionStore {
  readonly find: (key: ConnectionKey) => Promise<StoredConnection | undefined>;
  /** The ids of those of these connections that there are. */
  readonly standing: (connectionIds: readonly string[]) => Promise<ReadonlySet<string>>;
  /** Whether the refresh is ours to do: nobody else is at it, and the tokens are still those of `version`. */
  readonly lease: (connectionId: string, version: number, leaseId: string, leaseMs: number) => Promise<boolean>;
  /** Puts fresh tokens down and ends the lease; false when the user disconnected or connected anew meanwhile. */
  readonly refreshed: (connectionId: string, leaseId: string, tokens: RefreshedTokens) => Promise<boolean>;
  /** Ends the lease without fresh tokens; with a reason the tokens there are no good any more. */
  readonly release: (connectionId: string, leaseId: string, lostBecause?: string) => Promise<boolean>;
  /** The connections whose ids come after `after`, at most `limit`. */
  readonly after: (after: string, limit: number) => Promise<StoredConnection[]>;
  /** Puts the same tokens under another key; false when they changed meanwhile. */
  readonly reseal: (connection: StoredConnection, envelope: Envelope) => Promise<boolean>;
  /** How many connections are under each key. */
  readonly countByKey: () => Promise<ReadonlyMap<string, number>>;
}

interface ConnectionRow {
  readonly connection_id: string;
  readonly server_id: string;
  readonly principal_id: string;
  readonly team_id: string;
  readonly purpose: string;
  readonly envelope: Envelope;
  readonly version: string;
  readonly scopes: string;
  readonly expires_at: Date | null;
  readonly is_renewable: boolean;
  readonly lost_because: string | null;
  readonly connected_at: Date;
}

export function createConnectionStore(pool: pg.Pool): ConnectionStore {
  const isDone = async (text: string, values: readonly unknown[]) => (await read(pool, text, values)).length > 0;
  return {
    async find({ serverId, principalId, teamId }) {
      const [row] = await read<ConnectionRow>(
        pool,
        'SELECT * FROM upstream_connection WHERE server_id = $1 AND principal_id = $2 AND team_id = $3',
        [serverId, principalId, teamId],
      );
      return row && connectionOf(row);
    },
    async standing(connectionIds) {
      const text = 'SELECT connection_id FROM upstream_connection WHERE connection_id = ANY ($1)';
      const rows = await read<{ connection_id: string }>(pool, text, [connectionIds]);
      return new Set(rows.map((row) => row.connection_id));
    },
    lease: (connectionId, version, leaseId, leaseMs) =>
      isDone(
        `UPDATE upstream_connection SET lease_id = $3, lease_until = now() + make_interval(secs => $4::float8 / 1000)
         WHERE connection_id = $1 AND version = $2 AND (lease_until IS NULL OR lease_until < now()) RETURNING 1`,
        [connectionId, version, leaseId, leaseMs],
      ),
    refreshed: (connectionId, leaseId, { envelope, scopes, expiresAtMs, isRenewable }) =>
      isDone(
        `UPDATE upstream_connection SET kek_id = $3, envelope = $4, scopes = $5, expires_at = to_timestamp($6::float8 / 1000),
           is_renewable = $7, version = version + 1, refreshed_at = now(), lease_id = NULL, lease_until = NULL
         WHERE connection_id = $1 AND lease_id = $2 RETURNING 1`,
        [connectionId, leaseId, envelope.kek_id, JSON.stringify(envelope), scopes, expiresAtMs ?? null, isRenewable],
      ),
    release: (connectionId, leaseId, lostBecause) =>
      isDone(
        `UPDATE upstream_connection SET lost_because = coalesce($3, lost_because), lease_id = NULL, lease_until = NULL
         WHERE connection_id = $1 AND lease_id = $2 RETURNING 1`,
        [connectionId, leaseId, lostBecause ?? null],
      ),
    async after(after, limit) {
      const text = 'SELECT * FROM upstream_connection WHERE connection_id > $1 ORDER BY connection_id LIMIT $2';
      return (await read<ConnectionRow>(pool, text, [after, limit])).map(connectionOf);
    },
    reseal: ({ connectionId, version }, envelope) =>
      isDone(
        'UPDATE upstream_connection SET kek_id = $3, envelope = $4 WHERE connection_id = $1 AND version = $2 RETURNING 1',
        [connectionId, version, envelope.kek_id, JSON.stringify(envelope)],
      ),
    async countByKey() {
      const text = 'SELECT kek_id, count(*)::int AS count FROM upstream_connection GROUP BY kek_id';
      const rows = await read<{ kek_id: string; count: number }>(pool, text);
      return new Map(rows.map(({ kek_id, count }) => [kek_id, count]));
    },
  };
}

function connectionOf(row: ConnectionRow): StoredConnection {
  return {
    connectionId: row.connection_id,
    serverId: row.server_id,
    principalId: row.principal_id,
    teamId: row.team_id,
    purpose: row.purpose,
    envelope: row.envelope,
    version: Number(row.version),
    scopes: row.scopes,
    ...(row.expires_at === null ? {} : { expiresAtMs: row.expires_at.getTime() }),
    isRenewable: row.is_renewable,
    ...(row.lost_because === null ? {} : { lostBecause: row.lost_because }),
    connectedAt: row.connected_at,
  };
}

/** SQL for the changes of a batch, for the transaction that appends it. */
export function changeConnections(events: readonly PreparedEvent[]): string {
  return events
    .flatMap(({ companions }) => companions?.connections ?? [])
    .map(changeSql)
    .join('');
}

// None of these statements may fail whatever the table holds: records of others commit with them.
function changeSql(change: ConnectionChange): string {
  return change.kind === 'delete' ? deleteSql(change.key) : putSql(change.connection);
}

function deleteSql({ serverId, principalId, teamId }: ConnectionKey): string {
  const [server, principal, team] = [serverId, principalId, teamId].map(sqlText);
  return `DELETE FROM upstream_connection WHERE server_id = ${server} AND principal_id = ${principal} AND team_id = ${team};`;
}

function putSql(connection: SealedConnection): string {
  const { connectionId, serverId, principalId, teamId, purpose, envelope, scopes, expiresAtMs, isRenewable } =
    connection;
  const texts = [
    connectionId,
    serverId,
    principalId,
    teamId,
    purpose,
    envelope.kek_id,
    JSON.stringify(envelope),
    scopes,
  ];
  const expiry = expiresAtMs === undefined ? 'NULL' : `to_timestamp(${Number(expiresAtMs)}::float8 / 1000)`;
  return `INSERT INTO upstream_connection
      (connection_id, server_id, principal_id, team_id, purpose, kek_id, envelope, scopes, expires_at, is_renewable)
    VALUES (${texts.map(sqlText).join(', ')}, ${expiry}, ${isRenewable})
    ON CONFLICT (server_id, principal_id, team_id) DO UPDATE SET
      connection_id = excluded.connection_id, purpose = excluded.purpose, kek_id = excluded.kek_id,
      envelope = excluded.envelope, version = 1, scopes = excluded.scopes, expires_at = excluded.expires_at,
      is_renewable = excluded.is_renewable, lost_because = NULL, lease_id = NULL, lease_until = NULL,
      connected_at = now(), refreshed_at = NULL;`;
}
