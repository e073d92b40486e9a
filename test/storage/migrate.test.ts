import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { migrate, migrateOrCheck } from '../../src/storage/migrate.ts';
import { checkLog } from '../support/log-checker.ts';
import { createEmptyDatabase, type TestDatabase, testServerUrl } from '../support/postgres.ts';
import { as, createRoledDatabase, type RoledDatabase } from '../support/roles.ts';

const databases: TestDatabase[] = [];

afterEach(async () => {
  await Promise.all(databases.splice(0).map((database) => database.drop()));
});

async function freshDatabase(): Promise<{ url: string }> {
  const database = await createEmptyDatabase();
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
    const server = testServerUrl();
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
    const url = testServerUrl().replace(/\/[^/?]*(\?.*)?$/, '/no_such_database$1');
    await expect(migrate({ url })).rejects.toMatchObject({
      message: expect.stringMatching(/^the database of DATABASE_URL at \S+ cannot be used$/),
      cause: { message: 'database "no_such_database" does not exist' },
    });
  });
});

describe('migrate with roles', () => {
  const roled: RoledDatabase[] = [];
  afterEach(async () => {
    for (const database of roled.splice(0)) await database.drop();
  });

  async function empty(): Promise<RoledDatabase> {
    const database = await createRoledDatabase({ isEmpty: true });
    roled.push(database);
    return database;
  }

  const ownersOf = (url: string) =>
    query(
      url,
      `SELECT DISTINCT relowner::regrole::text AS owner FROM pg_class WHERE relnamespace = 'public'::regnamespace
       UNION SELECT proowner::regrole::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace`,
    );
  const rightsIn = (url: string) =>
    query(url, "SELECT relname, relacl::text FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1");

  it('hands over a database that was migrated without, and changes nothing the second time', async () => {
    const { admin, prefix } = await empty();
    await migrate({ url: admin });
    await migrate({ url: admin }, { rolePrefix: prefix });
    expect(await ownersOf(admin)).toEqual([{ owner: `${prefix}_owner` }]);
    const before = await rightsIn(admin);
    expect(await migrate({ url: admin }, { rolePrefix: prefix })).toMatchObject({ owner: `${prefix}_owner` });
    expect(await rightsIn(admin)).toEqual(before);
    expect(await checkLog({ url: admin })).toEqual([]);
  });

  it('puts back rights that were changed by hand, for every member of the owner', async () => {
    const { admin, owner, prefix } = await empty();
    await migrate({ url: admin }, { rolePrefix: prefix });
    const before = await rightsIn(admin);
    await query(
      admin,
      `GRANT UPDATE (next_seq) ON log_head TO ${prefix}_writer; GRANT ALL ON audit_event TO PUBLIC;
       REVOKE ALL ON log_writer FROM ${prefix}_writer; GRANT EXECUTE ON FUNCTION log_extend_to TO PUBLIC`,
    );
    await migrateOrCheck({ url: owner }, 'write');
    expect(await rightsIn(admin)).toEqual(before);
    expect(
      await query(
        admin,
        `SELECT has_column_privilege('${prefix}_writer', 'log_head', 'next_seq', 'UPDATE') AS head,
                has_function_privilege('${prefix}_reader', 'log_extend_to(bigint)', 'EXECUTE') AS extend`,
      ),
    ).toEqual([{ head: false, extend: false }]);
  });

  it('lets a member of the owner make the database, which then belongs to the owner', async () => {
    const { admin, owner, writer, prefix } = await empty();
    await expect(migrateOrCheck({ url: owner }, 'write')).rejects.toThrow('run `talos migrate` as the owner');
    await query(admin, `GRANT CREATE ON SCHEMA public TO ${prefix}_owner`);
    await migrateOrCheck({ url: owner }, 'write');
    expect(await ownersOf(admin)).toEqual([{ owner: `${prefix}_o` }]);
    // Nobody asked for the roles in this database.
    await expect(migrateOrCheck({ url: writer }, 'write')).rejects.toThrow('This user may not use the database');
    await migrate({ url: admin }, { rolePrefix: prefix });
    expect(await ownersOf(admin)).toEqual([{ owner: `${prefix}_owner` }]);
    await migrateOrCheck({ url: writer }, 'write');
  });

  it('needs no superuser, only one who may make roles and owns the schema', async () => {
    const { admin, prefix } = await empty();
    const chief = `${prefix}_o`;
    await query(admin, `ALTER ROLE ${chief} CREATEROLE; ALTER SCHEMA public OWNER TO ${chief}`);
    const made = `${prefix}_made`;
    try {
      await migrate({ url: as(admin, chief) }, { rolePrefix: made });
      expect(await ownersOf(admin)).toEqual([{ owner: `${made}_owner` }]);
      expect(await migrate({ url: as(admin, chief) })).toMatchObject({ owner: `${made}_owner` });
    } finally {
      await query(
        admin,
        `ALTER SCHEMA public OWNER TO CURRENT_USER; DROP OWNED BY ${made}_owner, ${made}_writer, ${made}_reader CASCADE`,
      );
      await query(admin, `DROP ROLE ${made}_owner, ${made}_writer, ${made}_reader`);
    }
  });

  it('says so when the user may not make roles, and leaves the database as it was', async () => {
    const { admin, writer, prefix } = await empty();
    await migrate({ url: admin });
    const before = await rightsIn(admin);
    await expect(migrate({ url: writer }, { rolePrefix: prefix })).rejects.toThrow(
      `The user ${prefix}_w could not make the roles, and nothing was granted`,
    );
    expect(await rightsIn(admin)).toEqual(before);
  });

  it('takes no rights from another database of the server, and gives none to its roles', async () => {
    const [one, other] = [await empty(), await empty()];
    await migrate({ url: one.admin }, { rolePrefix: one.prefix });
    await migrate({ url: other.admin }, { rolePrefix: other.prefix });
    const guest = as(other.admin, `${one.prefix}_w`);
    await expect(migrateOrCheck({ url: guest }, 'write')).rejects.toThrow('This user may not use the database');
  });

  it.each(['', 'A', 'a-b', '1a', 'a"b', 'pg;', 'a'.repeat(49)])('refuses the prefix "%s"', async (rolePrefix) => {
    const { admin } = await empty();
    await expect(migrate({ url: admin }, { rolePrefix })).rejects.toThrow('cannot begin the names of roles');
    expect(await tablesOf(admin)).toEqual([]);
  });
});
