/**
 * Pins of tools. They change with the record that tells of it, which counts their version up; what changed since a version
 * is one query. Definitions, which may be large, are put beside the log before, under their hash.
 */
import type pg from 'pg';
import { bounds } from '../config/bounds.ts';
import type { PreparedEvent } from '../core/audit-event.ts';
import type { NamedDefinition, PinChange, ToolPin } from '../core/tool-pin.ts';
import { read } from './db.ts';
import { pruneRows } from './prune.ts';
import { countUpSql, readVersion, versionSql } from './state-version.ts';
import { sqlText } from './unwritable.ts';

/** What has changed since a version. */
export interface PinNews {
  readonly version: number;
  readonly pins: readonly KnownPin[];
  readonly forgotten: readonly { readonly serverId: string; readonly toolName: string }[];
}

export interface KnownPin extends ToolPin {
  /** The text of the approved definition, of a tool whose server gives another one. */
  readonly definition?: string;
}

/** All throw `STORE_UNAVAILABLE`. */
export interface ToolPinStore {
  readonly version: () => Promise<number>;
  /** All that changed since `version`, as it was at one moment. */
  readonly since: (version: number) => Promise<PinNews>;
  /** Puts down texts by their hashes, for the pins that will name them. */
  readonly keepDefinitions: (texts: ReadonlyMap<string, string>) => Promise<void>;
  /** The texts of those that are there, by hash. */
  readonly definitions: (hashes: readonly string[]) => Promise<ReadonlyMap<string, string>>;
}

// One statement, so that all of it is of one moment.
const sinceSql = `SELECT (${versionSql('tool_pins')}) AS version, d.definition,
    p.server_id, p.tool_name, p.definition_hash, p.pinned_at, p.held_hash, p.held_state, p.held_at
  FROM (SELECT 1) AS always LEFT JOIN tool_pin p ON p.version > $1
  LEFT JOIN tool_definition d ON p.held_hash IS NOT NULL AND d.definition_hash = p.definition_hash`;

interface PinRow {
  readonly version: string;
  readonly server_id: string | null;
  readonly tool_name: string;
  readonly definition_hash: string | null;
  readonly pinned_at: Date;
  readonly held_hash: string | null;
  readonly held_state: 'held' | 'rejected';
  readonly held_at: Date;
  readonly definition: string | null;
}

export function createToolPinStore(pool: pg.Pool): ToolPinStore {
  return {
    version: () => readVersion(pool, 'tool_pins'),
    async since(version) {
      const rows = await read<PinRow>(pool, sinceSql, [version]);
      const changed = rows.filter(({ server_id }) => server_id !== null);
      return {
        version: Number(rows[0]?.version),
        pins: changed.flatMap(pinOf),
        forgotten: changed
          .filter(({ definition_hash }) => definition_hash === null)
          .map(({ server_id, tool_name }) => ({ serverId: server_id ?? '', toolName: tool_name })),
      };
    },
    async keepDefinitions(texts) {
      await read(
        pool,
        `INSERT INTO tool_definition (definition_hash, definition) SELECT * FROM unnest($1::text[], $2::text[])
          ON CONFLICT (definition_hash) DO UPDATE SET kept_at = now()`,
        [[...texts.keys()], [...texts.values()]],
      );
    },
    async definitions(hashes) {
      const rows = await read<{ definition_hash: string; definition: string }>(
        pool,
        'SELECT definition_hash, definition FROM tool_definition WHERE definition_hash = ANY ($1)',
        [hashes],
      );
      return new Map(rows.map((row) => [row.definition_hash, row.definition]));
    },
  };
}

function pinOf(row: PinRow): KnownPin[] {
  const { server_id: serverId, tool_name: toolName, definition_hash: definitionHash, definition } = row;
  if (serverId === null || definitionHash === null) return [];
  const pin = { serverId, toolName, definitionHash, pinnedAt: row.pinned_at };
  if (row.held_hash === null) return [pin];
  const held = { definitionHash: row.held_hash, state: row.held_state, since: row.held_at };
  return [{ ...pin, held, ...(definition === null ? {} : { definition }) }];
}

/** SQL for the changes of a batch, for the transaction that appends it. */
export function changePins(events: readonly PreparedEvent[]): string {
  const changes = events.flatMap(({ companions }) => companions?.pins ?? []);
  if (changes.length === 0) return '';
  return `${countUpSql('tool_pins')};${changes.map(changeSql).join('')}`;
}

const current = `(${versionSql('tool_pins')})`;

// None of these statements may fail whatever the table holds: records of others commit with them.
function changeSql(change: PinChange): string {
  switch (change.kind) {
    case 'pin':
      return pinSql(change.serverId, change.tools);
    case 'hold':
      return `UPDATE tool_pin SET held_hash = ${sqlText(change.definitionHash)}, held_state = 'held', held_at = now(),
        version = ${current} WHERE ${isTool(change)} AND definition_hash <> ${sqlText(change.definitionHash)};`;
    case 'release':
      return `UPDATE tool_pin SET held_hash = NULL, held_state = NULL, held_at = NULL, version = ${current}
        WHERE ${isTool(change)} AND held_state = 'held' AND held_hash = ${sqlText(change.definitionHash)};`;
    case 'approve':
      return `UPDATE tool_pin SET definition_hash = ${sqlText(change.definitionHash)}, pinned_at = now(), held_hash = NULL,
        held_state = NULL, held_at = NULL, version = ${current} WHERE ${isTool(change)} AND definition_hash IS NOT NULL;`;
    case 'reject':
      return `UPDATE tool_pin SET held_state = 'rejected', version = ${current}
        WHERE ${isTool(change)} AND held_hash = ${sqlText(change.definitionHash)};`;
    case 'forget':
      return `UPDATE tool_pin SET definition_hash = NULL, held_hash = NULL, held_state = NULL, held_at = NULL,
        version = ${current} WHERE ${isTool(change)} AND definition_hash IS NOT NULL;`;
  }
}

/** What is pinned already stays as it is. */
function pinSql(serverId: string, tools: readonly NamedDefinition[]): string {
  const rows = new Map(
    tools.map(({ toolName, definitionHash }) => [
      toolName,
      `(${sqlText(serverId)}, ${sqlText(toolName)}, ${sqlText(definitionHash)}, ${current})`,
    ]),
  );
  if (rows.size === 0) return '';
  return `INSERT INTO tool_pin AS p (server_id, tool_name, definition_hash, version) VALUES ${[...rows.values()].join(', ')}
    ON CONFLICT (server_id, tool_name) DO UPDATE SET definition_hash = excluded.definition_hash, pinned_at = now(),
      version = excluded.version WHERE p.definition_hash IS NULL;`;
}

function isTool({ serverId, toolName }: { readonly serverId: string; readonly toolName?: string }): string {
  return `server_id = ${sqlText(serverId)}${toolName === undefined ? '' : ` AND tool_name = ${sqlText(toolName)}`}`;
}

/** Forgets definitions that no pin is of. Resolves with how many. */
export async function pruneToolDefinitions(pool: pg.Pool): Promise<number> {
  const isOver = `kept_at <= now() - make_interval(secs => $1)
    AND NOT EXISTS (SELECT FROM tool_pin p WHERE p.definition_hash = tool_definition.definition_hash)
    AND NOT EXISTS (SELECT FROM tool_pin p WHERE p.held_hash = tool_definition.definition_hash)`;
  return await pruneRows(pool, { table: 'tool_definition', key: 'definition_hash', isOver }, [
    bounds.toolDefinitionKeptSec,
  ]);
}
