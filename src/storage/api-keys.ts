/** API keys by the HMAC of the key. They change with the record that tells of it, and every change counts their version up. */
import type pg from 'pg';
import type { ApiKey, ApiKeyChange } from '../core/api-key.ts';
import type { PreparedEvent } from '../core/audit-event.ts';
import { read } from './db.ts';
import { sqlText } from './unwritable.ts';

/** What was found, and the version of the keys at that very moment. */
export interface FoundApiKey {
  readonly apiKey: ApiKey | undefined;
  readonly version: number;
}

/** All throw `STORE_UNAVAILABLE`. */
export interface ApiKeyStore {
  /** By the hex HMAC of the key. */
  readonly find: (hash: string) => Promise<FoundApiKey>;
  readonly get: (id: string) => Promise<ApiKey | undefined>;
  /** Newest first. */
  readonly list: (range: { readonly limit: number; readonly offset: number }) => Promise<readonly ApiKey[]>;
  readonly count: () => Promise<number>;
  readonly version: () => Promise<number>;
  /** Notes that the keys were used just now. */
  readonly touch: (ids: readonly string[]) => Promise<void>;
  /** How many keys in force were made under another pepper. */
  readonly countOfOtherPeppers: (pepperId: string) => Promise<number>;
}

interface Row {
  readonly id: string;
  readonly name: string;
  readonly principal_id: string;
  readonly team_id: string;
  readonly permissions: readonly string[];
  readonly hint: string;
  readonly created_at: Date;
  readonly created_by: string;
  readonly expires_at: Date | null;
  readonly revoked_at: Date | null;
  readonly replaces: string | null;
  readonly last_used_at: Date | null;
}

const columns = `id, name, principal_id, team_id, permissions, hint, created_at, created_by, expires_at, revoked_at,
  replaces, last_used_at`;

const findSql = `SELECT v.version, ${columns} FROM api_key_version v LEFT JOIN api_key ON hash = decode($1, 'hex')`;
const listSql = `SELECT ${columns} FROM api_key ORDER BY created_at DESC, id DESC LIMIT $1 OFFSET $2`;
const otherPeppersSql = `SELECT count(*) AS n FROM api_key
  WHERE pepper_id <> $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())`;

export function createApiKeyStore(pool: pg.Pool): ApiKeyStore {
  const number = async (text: string, values: readonly unknown[] = []): Promise<number> => {
    const [row] = await read<{ n: string }>(pool, text, values);
    return Number(row?.n);
  };
  return {
    async find(hash) {
      const [row] = await read<Omit<Row, 'id'> & { id: string | null; version: string }>(pool, findSql, [hash]);
      if (row === undefined) throw new Error('The keys have no version.');
      const { id, version, ...rest } = row;
      return { apiKey: id === null ? undefined : apiKeyOf({ id, ...rest }), version: Number(version) };
    },
    async get(id) {
      const [row] = await read<Row>(pool, `SELECT ${columns} FROM api_key WHERE id = $1`, [id]);
      return row === undefined ? undefined : apiKeyOf(row);
    },
    async list({ limit, offset }) {
      return (await read<Row>(pool, listSql, [limit, offset])).map(apiKeyOf);
    },
    count: () => number('SELECT count(*) AS n FROM api_key'),
    version: () => number('SELECT version AS n FROM api_key_version'),
    async touch(ids) {
      await read(pool, 'UPDATE api_key SET last_used_at = now() WHERE id = ANY($1::uuid[])', [ids]);
    },
    countOfOtherPeppers: (pepperId) => number(otherPeppersSql, [pepperId]),
  };
}

function apiKeyOf(row: Row): ApiKey {
  return {
    id: row.id,
    name: row.name,
    principalId: row.principal_id,
    teamId: row.team_id,
    permissions: row.permissions,
    hint: row.hint,
    createdAtMs: row.created_at.getTime(),
    createdBy: row.created_by,
    expiresAtMs: row.expires_at?.getTime(),
    revokedAtMs: row.revoked_at?.getTime(),
    replaces: row.replaces ?? undefined,
    lastUsedAtMs: row.last_used_at?.getTime(),
  };
}

/** SQL for the changes of a batch, for the transaction that appends it. */
export function changeApiKeys(events: readonly PreparedEvent[]): string {
  const changes = events.flatMap(({ companions }) => companions?.apiKeys ?? []);
  if (changes.length === 0) return '';
  return `${changes.map(changeSql).join('')}UPDATE api_key_version SET version = version + 1;`;
}

// None of these statements may fail whatever the table holds: records of others commit with them.
function changeSql(change: ApiKeyChange): string {
  switch (change.kind) {
    case 'add':
      return insertKey(change);
    case 'revoke':
      return `UPDATE api_key SET revoked_at = coalesce(revoked_at, ${time(change.atMs)}) WHERE id = ${sqlText(change.id)};`;
    case 'expire':
      return `UPDATE api_key SET expires_at = least(expires_at, ${time(change.atMs)}) WHERE id = ${sqlText(change.id)};`;
  }
}

function insertKey({ apiKey, digest }: ApiKeyChange & { readonly kind: 'add' }): string {
  const { id, name, principalId, teamId, permissions, hint, createdAtMs, createdBy, expiresAtMs, replaces } = apiKey;
  const values = [
    ...[id, `\\x${digest.hash}`, digest.pepperId, name, principalId, teamId, hint, createdBy].map(sqlText),
    permissions.length === 0 ? "'{}'" : `ARRAY[${permissions.map(sqlText).join(', ')}]`,
    time(createdAtMs),
    expiresAtMs === undefined ? 'NULL' : time(expiresAtMs),
    replaces === undefined ? 'NULL' : sqlText(replaces),
  ];
  return `INSERT INTO api_key (id, hash, pepper_id, name, principal_id, team_id, hint, created_by, permissions, created_at,
    expires_at, replaces) VALUES (${values.join(', ')}) ON CONFLICT DO NOTHING;`;
}

function time(ms: number): string {
  return `to_timestamp(${Math.floor(ms)} / 1000.0)`;
}
