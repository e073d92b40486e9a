/** Tool servers that administrators added. They change with the record that tells of it, which counts their version up. */
import type pg from 'pg';
import type { PreparedEvent } from '../core/audit-event.ts';
import type { JsonObject } from '../core/json.ts';
import type { ServerBook, ServerChange, StoredServer } from '../core/tool-server.ts';
import { read } from './db.ts';
import { countUpSql, readVersion, versionSql } from './state-version.ts';
import { sqlText } from './unwritable.ts';

/** Both throw `STORE_UNAVAILABLE`. */
export interface ToolServerStore {
  readonly version: () => Promise<number>;
  /** Everything, as it was at one moment, ordered by id. */
  readonly load: () => Promise<ServerBook>;
}

// One statement, so that all of it is of one moment.
const loadSql = `SELECT (${versionSql('tool_servers')}) AS version,
  (SELECT coalesce(json_agg(s ORDER BY s.server_id COLLATE "C"), '[]') FROM tool_server s) AS servers`;

interface ServerRow {
  readonly server_id: string;
  readonly fields: string;
  readonly version: number;
  readonly created_at: string;
  readonly updated_at: string;
}

export function createToolServerStore(pool: pg.Pool): ToolServerStore {
  return {
    version: () => readVersion(pool, 'tool_servers'),
    async load() {
      const [row] = await read<{ version: string; servers: ServerRow[] }>(pool, loadSql);
      if (row === undefined) throw new Error('The store gave no tool servers.');
      return { version: Number(row.version), servers: row.servers.map(serverOf) };
    },
  };
}

function serverOf({ server_id, fields, version, created_at, updated_at }: ServerRow): StoredServer {
  return {
    serverId: server_id,
    fields: JSON.parse(fields) as JsonObject,
    version,
    createdAt: new Date(created_at),
    updatedAt: new Date(updated_at),
  };
}

/** SQL for the changes of a batch, for the transaction that appends it. */
export function changeToolServers(events: readonly PreparedEvent[]): string {
  const changes = events.flatMap(({ companions }) => companions?.toolServers ?? []);
  if (changes.length === 0) return '';
  return `${changes.map(changeSql).join('')}${countUpSql('tool_servers')};`;
}

// None of these statements may fail whatever the table holds: records of others commit with them.
function changeSql(change: ServerChange): string {
  const id = sqlText(change.serverId);
  if (change.kind === 'delete') return `DELETE FROM tool_server WHERE server_id = ${id};`;
  const fields = sqlText(JSON.stringify(change.fields));
  return `INSERT INTO tool_server AS s (server_id, fields, version) VALUES (${id}, ${fields}, 1)
    ON CONFLICT (server_id) DO UPDATE SET fields = excluded.fields, version = s.version + 1, updated_at = now();`;
}
