/**
 * Numbered migrations under an advisory lock: any number of processes may start at once, each migration runs once and
 * wholly. A database newer than the code, or one whose history differs from ours, refuses the start. Whoever owns the
 * tables migrates; whoever does not is told when somebody has to.
 */
import { readdir, readFile } from 'node:fs/promises';
import pg from 'pg';
import { sha256Hex } from '../core/hash.ts';
import { type DatabaseAddress, openClient } from './db.ts';
import { applyRights, createRoles, rolesOf, rolesOfOwner } from './roles.ts';

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

export interface MigrateOptions {
  /** Makes the roles whose names begin so, see `roles.ts`, and gives the database to their owner. */
  readonly rolePrefix?: string;
}

export interface Migrated {
  readonly version: number;
  /** The role that owns the tables. */
  readonly owner: string;
}

/** Brings the database to the newest version, as its owner. Throws an `Error` with one sentence for the operator. */
export async function migrate(address: DatabaseAddress, { rolePrefix }: MigrateOptions = {}): Promise<Migrated> {
  const roles = rolePrefix === undefined ? undefined : rolesOf(rolePrefix);
  return await underLock(address, async (client, migrations) => {
    if (roles !== undefined) await createRoles(client, roles);
    const owner = roles?.owner ?? (await ownership(client)).owner;
    return await migrateAs(client, owner, migrations);
  });
}

/**
 * The same for whoever may not be the owner: migrates as the owner, and as somebody else makes sure that there is nothing
 * to migrate. To `write` takes the rights of the writer.
 */
export async function migrateOrCheck(address: DatabaseAddress, use: 'write' | 'read'): Promise<void> {
  await underLock(address, async (client, migrations) => {
    const { owner, isOurs } = await ownership(client);
    if (isOurs) await migrateAs(client, owner, migrations);
    else await check(client, migrations, use);
  });
}

async function underLock<T>(
  address: DatabaseAddress,
  work: (client: pg.Client, migrations: readonly Migration[]) => Promise<T>,
): Promise<T> {
  const migrations = await loadMigrations();
  const client = await openClient(address, 'talos-migrate');
  try {
    await checkServer(client);
    await client.query('SELECT pg_advisory_lock($1)', [lockKey]);
    return await work(client, migrations);
  } finally {
    // Ending the session releases the lock.
    await client.end();
  }
}

interface Ownership {
  /** Who owns the tables, or will when they are made. */
  readonly owner: string;
  /** Whether the connected user may act as the owner. */
  readonly isOurs: boolean;
}

async function ownership(client: pg.Client): Promise<Ownership> {
  const { rows } = await client.query<{ owner: string; is_ours: boolean }>(
    `SELECT coalesce(rolname, current_user) AS owner, coalesce(pg_has_role(relowner, 'MEMBER'), true) AS is_ours
       FROM (SELECT to_regclass('schema_migration') AS known) AS t
       LEFT JOIN pg_class ON pg_class.oid = known LEFT JOIN pg_roles ON pg_roles.oid = relowner`,
  );
  const row = rows[0];
  if (row === undefined) throw new Error('The database did not answer who owns it.');
  return { owner: row.owner, isOurs: row.is_ours };
}

async function migrateAs(client: pg.Client, owner: string, migrations: readonly Migration[]): Promise<Migrated> {
  // What a member of the owner makes is to be the owner's.
  await client.query(`SET ROLE ${client.escapeIdentifier(owner)}`);
  await applyAll(client, migrations);
  const roles = await rolesOfOwner(client, owner);
  if (roles !== undefined) await applyRights(client, roles);
  return { version: newestOf(migrations), owner };
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
  await makeHistory(client);
  for (const migration of await missing(client, migrations)) await apply(client, migration);
}

async function makeHistory(client: pg.Client): Promise<void> {
  try {
    await client.query(
      `CREATE TABLE IF NOT EXISTS schema_migration (
         version integer PRIMARY KEY, name text NOT NULL, hash text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())`,
    );
  } catch (error) {
    // 42501: insufficient privilege; 3F000: no schema that this user may use.
    if (!(error instanceof pg.DatabaseError && ['42501', '3F000'].includes(error.code ?? ''))) throw error;
    throw new Error('This user sees no log in the database and may not make one: run `talos migrate` as the owner', {
      cause: error,
    });
  }
}

/** Refuses what the owner alone can put right. */
async function check(client: pg.Client, migrations: readonly Migration[], use: 'write' | 'read'): Promise<void> {
  const { rows } = await client.query<{ may_read: boolean; may_write: boolean | null }>(
    `SELECT has_table_privilege('schema_migration', 'SELECT') AS may_read,
            has_table_privilege(to_regclass('audit_event'), 'INSERT') AS may_write`,
  );
  const [may] = rows;
  if (may?.may_read !== true) throw new Error('This user may not use the database: make it a member of a role of it.');
  const [first] = await missing(client, migrations);
  if (first !== undefined) {
    throw new Error(
      `The database is at version ${first.version - 1} and this gateway needs ${newestOf(migrations)}: run \`talos migrate\` as the owner.`,
    );
  }
  if (use === 'write' && may.may_write !== true) {
    throw new Error('This user may only read the log: the gateway needs a member of the writer.');
  }
}

/** The migrations that are still to be applied, oldest first. */
async function missing(client: pg.Client, migrations: readonly Migration[]): Promise<Migration[]> {
  const { rows } = await client.query<{ version: number; name: string; hash: string }>(
    'SELECT version, name, hash FROM schema_migration ORDER BY version',
  );
  const newest = newestOf(migrations);
  const newer = rows.find(({ version }) => version > newest);
  if (newer !== undefined) {
    throw new Error(
      `The database is at version ${newer.version}, newer than this gateway (${newest}): upgrade the gateway.`,
    );
  }
  const applied = new Map(rows.map((row) => [row.version, row]));
  return migrations.filter(({ version, hash }) => {
    const before = applied.get(version);
    if (before === undefined || before.hash === hash) return before === undefined;
    throw new Error(
      `Migration ${before.name} was applied to this database in another form: it belongs to a different build.`,
    );
  });
}

function newestOf(migrations: readonly Migration[]): number {
  return migrations.at(-1)?.version ?? 0;
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
