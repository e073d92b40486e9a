/**
 * The three roles of a database: its owner, the writer and the reader. They are groups that nobody logs in as; an operator
 * makes login roles their members. The rights of writer and reader are compared with `rights.ts` after every migration, so
 * that those of new tables follow, and nothing is granted where the roles were not asked for.
 */
import type pg from 'pg';
import { read } from './db.ts';
import { functionRights, tableRights } from './rights.ts';

export interface Roles {
  readonly owner: string;
  readonly writer: string;
  readonly reader: string;
}

/** Roles have the names `<prefix>_owner`, `<prefix>_writer`, `<prefix>_reader`. */
export function rolesOf(prefix: string): Roles {
  if (!isPrefix(prefix)) {
    throw new Error(`${prefix} cannot begin the names of roles: write small letters, digits and _, 48 at most.`);
  }
  return { owner: `${prefix}_owner`, writer: `${prefix}_writer`, reader: `${prefix}_reader` };
}

/**
 * Makes the roles that are not there, makes the owner able to own what this database holds and gives it what was made
 * before. Whoever is connected becomes a member of the owner. Throws an `Error` with one sentence.
 */
export async function createRoles(client: pg.Client, roles: Roles): Promise<void> {
  const me = await currentUser(client);
  try {
    // Several databases of one server may be prepared at once: whoever comes second finds the role made.
    for (const role of Object.values(roles)) {
      await client.query(
        `DO $$ BEGIN IF to_regrole('${role}') IS NULL THEN CREATE ROLE ${role} NOLOGIN; END IF;
         EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$`,
      );
    }
    await client.query('BEGIN');
    // A gateway that is at work is waited for, but must not wait for us behind somebody who reads for hours.
    await client.query("SET LOCAL lock_timeout = '10s'");
    if (!me.isSuperuser) await client.query(`GRANT ${roles.owner} TO ${me.quoted}`);
    await openSchema(client, roles);
    await handOver(client, roles.owner);
    await client.query('COMMIT');
  } catch (error) {
    await client.query('ROLLBACK');
    throw new Error(`The user ${me.quoted} could not make the roles, and nothing was granted`, { cause: error });
  }
}

interface User {
  /** As it stands in statements. */
  readonly quoted: string;
  readonly isSuperuser: boolean;
}

async function currentUser(client: pg.Client): Promise<User> {
  const { rows } = await client.query<{ quoted: string; is_superuser: boolean }>(
    'SELECT quote_ident(rolname) AS quoted, rolsuper AS is_superuser FROM pg_roles WHERE rolname = current_user',
  );
  return { quoted: rows[0]?.quoted ?? '', isSuperuser: rows[0]?.is_superuser === true };
}

/** Who may make a function or an operator in the schema could have its owner's functions call it. */
async function openSchema(client: pg.Client, { owner, writer, reader }: Roles): Promise<void> {
  const { rows } = await client.query<{ schema: string }>('SELECT quote_ident(current_schema()) AS schema');
  const schema = rows[0]?.schema;
  await client.query(
    `GRANT USAGE, CREATE ON SCHEMA ${schema} TO ${owner};
     REVOKE CREATE ON SCHEMA ${schema} FROM PUBLIC, ${writer}, ${reader};
     GRANT USAGE ON SCHEMA ${schema} TO ${writer}, ${reader}`,
  );
  // Who does not own the schema is told by a mere warning that nothing was done.
  const { rows: found } = await client.query<{ is_right: boolean }>(
    `SELECT has_schema_privilege('${owner}', current_schema(), 'CREATE')
        AND NOT has_schema_privilege('${writer}', current_schema(), 'CREATE') AS is_right`,
  );
  if (found[0]?.is_right !== true) throw new Error(`the schema ${schema} belongs to somebody else`);
}

/** Gives our tables and functions to the owner; others may share the schema. */
async function handOver(client: pg.Client, owner: string): Promise<void> {
  const { rows } = await client.query<{ statement: string }>(
    `SELECT format('ALTER TABLE %s OWNER TO ${owner}', oid::regclass) AS statement FROM pg_class
      WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND relowner <> '${owner}'::regrole
        AND (relname = ANY ($1) OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('audit_event')))
     UNION ALL
     SELECT format('ALTER FUNCTION %s OWNER TO ${owner}', oid::regprocedure) FROM pg_proc
      WHERE pronamespace = current_schema()::regnamespace AND proowner <> '${owner}'::regrole
        AND (oid::regprocedure::text = ANY ($2)
             OR oid IN (SELECT tgfoid FROM pg_trigger WHERE tgrelid::regclass::text = ANY ($1)))`,
    [Object.keys(tableRights), functionNames()],
  );
  for (const { statement } of rows) await client.query(statement);
}

// As PostgreSQL writes them.
function functionNames(): string[] {
  return Object.keys(functionRights).map((name) => name.replaceAll(', ', ','));
}

/** The roles that belong to an owner of this name, when they are there. */
export async function rolesOfOwner(client: pg.Client, owner: string): Promise<Roles | undefined> {
  const prefix = /^(.+)_owner$/.exec(owner)?.[1];
  if (prefix === undefined || !isPrefix(prefix)) return undefined;
  const roles = rolesOf(prefix);
  const { rows } = await client.query<{ are_there: boolean }>(
    'SELECT to_regrole($1) IS NOT NULL AND to_regrole($2) IS NOT NULL AS are_there',
    [roles.writer, roles.reader],
  );
  return rows[0]?.are_there === true ? roles : undefined;
}

// It becomes part of statements, and of names of at most 63 bytes.
function isPrefix(prefix: string): boolean {
  return /^[a-z][a-z0-9_]{0,47}$/.test(prefix);
}

interface Thing {
  /** Such as `TABLE log_tile`. */
  readonly name: string;
  /** Those of writer, reader and PUBLIC, such as `talos_reader SELECT`. */
  readonly rights: readonly string[];
}

/** Gives writer and reader the rights of `rights.ts` and takes all others from them and from PUBLIC. */
export async function applyRights(client: pg.Client, roles: Roles): Promise<void> {
  const statements: string[] = [];
  for (const { name, rights } of await thingsIn(client, roles)) {
    const wanted = wantedRights(name, roles);
    // What is as it should be is left alone: gateways at work may be changing the same rows of the catalog.
    if (wanted.toSorted().join() === rights.toSorted().join()) continue;
    statements.push(`REVOKE ALL ON ${name} FROM PUBLIC, ${roles.writer}, ${roles.reader}`);
    statements.push(...wanted.map((right) => grant(name, right)));
  }
  // One message is one transaction: nobody is without a right in between.
  if (statements.length > 0) await client.query(statements.join(';\n'));
}

function wantedRights(name: string, { writer, reader }: Roles): string[] {
  const [kind = '', thing = ''] = split(name);
  if (kind === 'FUNCTION') return functionRights[thing.replaceAll(',', ', ')] === true ? [`${writer} EXECUTE`] : [];
  const rights = Object.hasOwn(tableRights, thing) ? tableRights[thing] : undefined;
  return [
    ...(rights?.writer ?? []).map((right) => `${writer} ${right}`),
    ...(rights?.reader ?? []).map((right) => `${reader} ${right}`),
  ];
}

function grant(name: string, roleAndRight: string): string {
  const [role, right] = split(roleAndRight);
  return `GRANT ${right} ON ${name} TO ${role}`;
}

function split(text: string): [string, string] {
  const at = text.indexOf(' ');
  return [text.slice(0, at), text.slice(at + 1)];
}

/** Our tables, their partitions aside, and our functions, each with the rights that it gives now. */
async function thingsIn(client: pg.Client, { writer, reader }: Roles): Promise<Thing[]> {
  const { rows } = await client.query<Thing>(
    `WITH grantee (id, name) AS (VALUES (0::oid, 'PUBLIC'), ('${writer}'::regrole, '${writer}'), ('${reader}'::regrole, '${reader}')),
     thing (name, acl, column_name) AS (
       SELECT 'TABLE ' || oid::regclass, coalesce(relacl, acldefault('r', relowner)), NULL FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relname = ANY ($1) AND relkind IN ('r', 'p')
       UNION ALL
       SELECT 'TABLE ' || attrelid::regclass, attacl, attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
        WHERE relnamespace = current_schema()::regnamespace AND relname = ANY ($1) AND attacl IS NOT NULL
       UNION ALL
       SELECT 'FUNCTION ' || oid::regprocedure, coalesce(proacl, acldefault('f', proowner)), NULL FROM pg_proc
        WHERE pronamespace = current_schema()::regnamespace AND oid::regprocedure::text = ANY ($2))
     SELECT thing.name, coalesce(array_agg(grantee.name || ' ' || privilege_type || coalesce(' (' || column_name || ')', ''))
              FILTER (WHERE grantee.name IS NOT NULL), '{}') AS rights
       FROM thing CROSS JOIN LATERAL aclexplode(acl) LEFT JOIN grantee ON grantee.id = aclexplode.grantee
      GROUP BY thing.name ORDER BY thing.name`,
    [Object.keys(tableRights), functionNames()],
  );
  return rows;
}

/** Whether the connected user has the rights of who owns the records: dropping and erasing are the owner's. */
export async function hasOwnersRights(pool: pg.Pool): Promise<boolean> {
  const [row] = await read<{ has: boolean }>(
    pool,
    "SELECT pg_has_role(relowner, 'USAGE') AS has FROM pg_class WHERE oid = 'audit_event'::regclass",
  );
  return row?.has === true;
}
