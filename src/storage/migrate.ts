/**
 * Numbered migrations under an advisory lock: any number of processes may start at once, each migration runs once and
 * wholly. A database newer than the code, or one whose history differs from ours, refuses the start.
 */
import { readdir, readFile } from 'node:fs/promises';
import type pg from 'pg';
import { sha256Hex } from '../core/hash.ts';
import { type DatabaseAddress, openClient } from './db.ts';

// Compiled code lives one folder deeper, in `dist/`.
const migrationsFolder = new URL(
  import.meta.url.endsWith('.js') ? '../../../migrations/' : '../../migrations/',
  import.meta.url,
);
// An arbitrary number that names the lock; the same in every version.
const lockKey = 7_425_001;
const versionMin = 140_000;

interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
  readonly hash: string;
}

/** Brings the database to the newest version. Throws an `Error` with one sentence for the operator. */
export async function migrate(address: DatabaseAddress): Promise<void> {
  const migrations = await loadMigrations();
  const client = await openClient(address, 'talos-migrate');
  try {
    await checkServer(client);
    await client.query('SELECT pg_advisory_lock($1)', [lockKey]);
    await applyAll(client, migrations);
  } finally {
    // Ending the session releases the lock.
    await client.end();
  }
}

async function loadMigrations(): Promise<Migration[]> {
  const names = (await readdir(migrationsFolder)).filter((name) => /^\d{4}_\w+\.sql$/.test(name)).sort();
  return await Promise.all(
    names.map(async (name) => {
      const sql = await readFile(new URL(name, migrationsFolder), 'utf8');
      return { version: Number(name.slice(0, 4)), name, sql, hash: sha256Hex(sql) };
    }),
  );
}

/** Refuses servers that are too old, not UTF-8, or that would lose acknowledged records. */
async function checkServer(client: pg.Client): Promise<void> {
  const { rows } = await client.query<{ version: number; encoding: string; fsync: string; pages: string }>(
    `SELECT current_setting('server_version_num')::int AS version, current_setting('server_encoding') AS encoding,
            current_setting('fsync') AS fsync, current_setting('full_page_writes') AS pages`,
  );
  const server = rows[0];
  if (server === undefined) throw new Error('The database did not answer what it is.');
  if (server.version < versionMin)
    throw new Error(`PostgreSQL 14 or newer is needed; this server is ${server.version}.`);
  if (server.encoding !== 'UTF8') throw new Error(`The database's encoding must be UTF8, not ${server.encoding}.`);
  if (server.fsync !== 'on' || server.pages !== 'on') {
    throw new Error(
      'The database runs with fsync or full_page_writes off and would lose acknowledged records: turn both on.',
    );
  }
}

async function applyAll(client: pg.Client, migrations: readonly Migration[]): Promise<void> {
  await client.query(
    `CREATE TABLE IF NOT EXISTS schema_migration (
       version integer PRIMARY KEY, name text NOT NULL, hash text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`,
  );
  const { rows } = await client.query<{ version: number; name: string; hash: string }>(
    'SELECT version, name, hash FROM schema_migration ORDER BY version',
  );
  const applied = new Map(rows.map((row) => [row.version, row]));
  const newest = migrations.at(-1)?.version ?? 0;
  for (const row of rows) {
    if (row.version > newest)
      throw new Error(
        `The database is at version ${row.version}, newer than this gateway (${newest}): upgrade the gateway.`,
      );
  }
  for (const migration of migrations) {
    const before = applied.get(migration.version);
    if (before === undefined) await apply(client, migration);
    else if (before.hash !== migration.hash) {
      throw new Error(
        `Migration ${before.name} was applied to this database in another form: it belongs to a different build.`,
      );
    }
  }
}

async function apply(client: pg.Client, migration: Migration): Promise<void> {
  await client.query('BEGIN');
  try {
    await client.query(migration.sql);
    await client.query('INSERT INTO schema_migration (version, name, hash) VALUES ($1, $2, $3)', [
      migration.version,
      migration.name,
      migration.hash,
    ]);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw new Error(`Migration ${migration.name} failed, nothing of it was applied`, { cause: error });
  }
}
