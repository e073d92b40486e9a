/** A database with the three roles and a login role of each, under names that no other test has. */
import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { migrate } from '../../src/storage/migrate.ts';
import { createEmptyDatabase, testServerUrl } from './postgres.ts';

export interface RoledDatabase {
  /** URLs for the superuser that made it, and for a member of each role. */
  readonly admin: string;
  readonly owner: string;
  readonly writer: string;
  readonly reader: string;
  /** Begins the names of the roles; those of the login roles go on with `_o`, `_w`, `_r`. */
  readonly prefix: string;
  readonly drop: () => Promise<void>;
}

/** Migrated, with the roles, unless `isEmpty`. */
export async function createRoledDatabase({ isEmpty = false } = {}): Promise<RoledDatabase> {
  const prefix = `t_${randomBytes(6).toString('hex')}`;
  const database = await createEmptyDatabase();
  const server = testServerUrl();
  if (!isEmpty) await migrate({ url: database.url }, { rolePrefix: prefix });
  for (const role of ['owner', 'writer', 'reader']) {
    if (isEmpty) await execute(server, `CREATE ROLE ${prefix}_${role}`);
    await execute(server, `CREATE ROLE ${prefix}_${role[0]} LOGIN PASSWORD 'x' IN ROLE ${prefix}_${role}`);
  }
  return {
    admin: database.url,
    owner: as(database.url, `${prefix}_o`),
    writer: as(database.url, `${prefix}_w`),
    reader: as(database.url, `${prefix}_r`),
    prefix,
    async drop() {
      await database.drop();
      const names = ['o', 'w', 'r', 'owner', 'writer', 'reader'].map((end) => `${prefix}_${end}`);
      await execute(server, `DROP ROLE ${names.join(', ')}`);
    },
  };
}

/** The same database as another user, whose password, where one is asked for, is `x`. */
export function as(url: string, user: string): string {
  return url.replace(/^postgres(?:ql)?:\/\/[^@/]*@/, `postgresql://${user}:x@`);
}

async function execute(url: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
