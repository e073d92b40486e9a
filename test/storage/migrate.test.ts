import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { afterEach, describe, expect, inject, it } from 'vitest';
import { migrate } from '../../src/storage/migrate.ts';
import { checkLog } from '../support/log-checker.ts';
import { createTestDatabase, type TestDatabase } from '../support/postgres.ts';

const databases: TestDatabase[] = [];

afterEach(async () => {
  await Promise.all(databases.splice(0).map((database) => database.drop()));
});

async function freshDatabase(): Promise<{ url: string }> {
  const database = await createTestDatabase();
  databases.push(database);
  return { url: database.url };
}

async function query(url: string, text: string): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end();
  }
}

async function tablesOf(url: string): Promise<unknown[]> {
  const rows = await query(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename");
  return rows.map((row) => row['tablename']);
}

describe('migrate', () => {
  it('is safe with twenty at once: each migration runs once', async () => {
    const address = await freshDatabase();
    await Promise.all(Array.from({ length: 20 }, () => migrate(address)));
    expect(await tablesOf(address.url)).toContain('audit_event');
    const applied = await query(
      address.url,
      'SELECT version, count(*)::int AS count FROM schema_migration GROUP BY version',
    );
    expect(applied.length).toBeGreaterThan(0);
    expect(applied.every((row) => row['count'] === 1)).toBe(true);
    expect(await checkLog(address)).toEqual([]);
  });

  it('does nothing the second time', async () => {
    const address = await freshDatabase();
    await migrate(address);
    const before = await query(address.url, 'SELECT * FROM schema_migration ORDER BY version');
    await migrate(address);
    expect(await query(address.url, 'SELECT * FROM schema_migration ORDER BY version')).toEqual(before);
  });

  it('leaves the lock free for the next one', async () => {
    const address = await freshDatabase();
    await migrate(address);
    const locks = await query(address.url, "SELECT * FROM pg_locks WHERE locktype = 'advisory'");
    expect(locks).toEqual([]);
  });

  it('refuses a database that a newer gateway has migrated', async () => {
    const address = await freshDatabase();
    await migrate(address);
    await query(address.url, "INSERT INTO schema_migration (version, name, hash) VALUES (9999, '9999_later.sql', 'x')");
    await expect(migrate(address)).rejects.toThrow(
      /^The database is at version 9999, newer than this gateway \(\d+\): upgrade/,
    );
  });

  it('refuses a database whose history is another one', async () => {
    const address = await freshDatabase();
    await migrate(address);
    await query(address.url, "UPDATE schema_migration SET hash = 'x' WHERE version = 1");
    await expect(migrate(address)).rejects.toThrow(
      'Migration 0001_log.sql was applied to this database in another form: it belongs to a different build.',
    );
  });

  it('leaves nothing of a migration that fails, and succeeds once the reason is gone', async () => {
    const address = await freshDatabase();
    await query(address.url, 'CREATE TABLE audit_event (mine text)');
    await expect(migrate(address)).rejects.toThrow('Migration 0001_log.sql failed, nothing of it was applied');
    expect(await tablesOf(address.url)).toEqual(['audit_event', 'schema_migration']);
    expect(await query(address.url, 'SELECT * FROM schema_migration')).toEqual([]);
    await query(address.url, 'DROP TABLE audit_event');
    await migrate(address);
    expect(await checkLog(address)).toEqual([]);
  });

  it('names the cause of a failure', async () => {
    const address = await freshDatabase();
    await query(address.url, 'CREATE TABLE log_head (mine text)');
    const error = await migrate(address).catch((reason: unknown) => reason);
    expect((error as Error).cause).toMatchObject({ message: 'relation "log_head" already exists' });
  });

  it.each(['LATIN1', 'SQL_ASCII'])('refuses a database in %s', async (encoding) => {
    const server = inject('testPostgresUrl');
    const name = `test_${randomBytes(6).toString('hex')}`;
    const [provider] = await query(server, "SELECT current_setting('server_version_num')::int >= 150000 AS named");
    const libc = provider?.['named'] === true ? 'LOCALE_PROVIDER libc' : '';
    await query(server, `CREATE DATABASE ${name} TEMPLATE template0 ENCODING '${encoding}' LOCALE 'C' ${libc}`);
    databases.push({ url: '', drop: async () => void (await query(server, `DROP DATABASE ${name} WITH (FORCE)`)) });
    const url = server.replace(/\/[^/?]*(\?.*)?$/, `/${name}$1`);
    await expect(migrate({ url })).rejects.toThrow(`The database's encoding must be UTF8, not ${encoding}.`);
    expect(await tablesOf(url)).toEqual([]);
  });

  it('rejects when there is no such database', async () => {
    const url = inject('testPostgresUrl').replace(/\/[^/?]*(\?.*)?$/, '/no_such_database$1');
    await expect(migrate({ url })).rejects.toThrow('database "no_such_database" does not exist');
  });
});
