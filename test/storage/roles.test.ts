/** What each of the three roles can do in the database, and above all what not. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { eraseValues } from '../../src/audit/erasure.ts';
import { pruneBefore } from '../../src/audit/retention.ts';
import { createCheckpointStore } from '../../src/storage/checkpoints.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createErasableStore } from '../../src/storage/erasable.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { createPartitionStore } from '../../src/storage/partitions.ts';
import { createRevocationStore } from '../../src/storage/revocations.ts';
import { functionRights, tableRights } from '../../src/storage/rights.ts';
import { createTileReader } from '../../src/storage/tiles.ts';
import { numbered } from '../support/drafts.ts';
import { checkLog } from '../support/log-checker.ts';
import { query } from '../support/log-fixture.ts';
import { createRoledDatabase, type RoledDatabase } from '../support/roles.ts';

let database: RoledDatabase;

beforeAll(async () => {
  database = await createRoledDatabase();
  const writer = createLogWriter({ url: database.writer });
  await writer.append(randomUUID(), numbered(600));
  await writer.close();
});

afterAll(() => database.drop());

let client: pg.Client;

/** Everything that these tests try is undone, also where it succeeds. */
async function begin(url: string): Promise<pg.Client> {
  const opened = new pg.Client({ connectionString: url });
  await opened.connect();
  await opened.query('BEGIN');
  return opened;
}

describe('the list of rights', () => {
  beforeEach(async () => {
    client = await begin(database.admin);
  });
  afterEach(() => client.end());

  it('names every table that the migrations make, so that nobody forgets to say who may do what with it', async () => {
    const { rows } = await client.query<{ name: string }>(
      `SELECT relname AS name FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S') AND NOT relispartition
          AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'i' AND relkind = 'S')`,
    );
    const names = rows.map(({ name }) => name);
    const unnamed = names.filter((name) => !Object.hasOwn(tableRights, name));
    expect(unnamed, 'give these an entry in src/storage/rights.ts').toEqual([]);
    expect(Object.keys(tableRights).filter((name) => !names.includes(name))).toEqual([]);
  });

  it('names every function that somebody can call', async () => {
    const { rows } = await client.query<{ name: string }>(
      `SELECT replace(oid::regprocedure::text, ',', ', ') AS name FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND prorettype <> 'trigger'::regtype`,
    );
    expect(rows.map(({ name }) => name).sort(), 'compare with src/storage/rights.ts').toEqual(
      Object.keys(functionRights).sort(),
    );
  });

  it('is what the database says, and PUBLIC has nothing', async () => {
    const { rows } = await client.query<{ name: string; writer: string[]; reader: string[]; public: string[] }>(
      `SELECT relname AS name, ${['writer', 'reader', 'public']
        .map(
          (
            role,
          ) => `ARRAY(SELECT right_name FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES',
            'TRIGGER']) AS right_name WHERE has_table_privilege('${role === 'public' ? role : `${database.prefix}_${role}`}', oid, right_name)) AS ${role}`,
        )
        .join(', ')}
         FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')`,
    );
    for (const { name, writer, reader, public: all } of rows) {
      const rights = tableRights[name] ?? { writer: [], reader: [] };
      expect([name, ...writer]).toEqual([name, ...rights.writer.filter((right) => !right.includes('('))]);
      expect([name, ...reader]).toEqual([name, ...rights.reader]);
      expect([name, ...all]).toEqual([name]);
    }
    expect(rows.length).toBeGreaterThan(Object.keys(tableRights).length);
  });

  it('has no function that PUBLIC may call, nor one with its owner’s rights that looks names up elsewhere', async () => {
    const { rows } = await client.query(
      `SELECT oid::regprocedure::text AS name FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace
          AND (has_function_privilege('public', oid, 'EXECUTE')
               OR prosecdef AND NOT coalesce('search_path=public, pg_temp' = ANY (proconfig), false))`,
    );
    expect(rows).toEqual([]);
  });

  it('gives everything to the owner', async () => {
    const { rows } = await client.query(
      `SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relowner <> '${database.prefix}_owner'::regrole
       UNION ALL SELECT proname FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proowner <> '${database.prefix}_owner'::regrole`,
    );
    expect(rows).toEqual([]);
  });
});

const denied = /permission denied|must be owner|must be able to SET ROLE|must be member/;
const proof = ['audit_event', 'audit_event_0', 'log_tile', 'log_checkpoint', 'log_head', 'log_partition', 'log_signer'];
const changing = (table: string): string[] => [
  `DELETE FROM ${table}`,
  `TRUNCATE ${table} CASCADE`,
  `DROP TABLE ${table} CASCADE`,
  `ALTER TABLE ${table} ADD COLUMN added text`,
  `ALTER TABLE ${table} DISABLE TRIGGER ALL`,
  `CREATE TRIGGER added BEFORE INSERT ON ${table} FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
  `CREATE RULE added AS ON INSERT TO ${table} DO INSTEAD NOTHING`,
];

describe('the writer', () => {
  beforeEach(async () => {
    client = await begin(database.writer);
  });
  afterEach(() => client.end());

  it.each(proof.flatMap(changing))('cannot %s', async (statement) => {
    await expect(client.query(statement)).rejects.toThrow(denied);
  });

  it.each([
    ...['outcome', 'canon', 'leaf_hash', 'details', 'seq'].map((column) => `UPDATE audit_event SET ${column} = NULL`),
    'UPDATE audit_event_0 SET canon = canon',
    'UPDATE log_tile SET data = data',
    'UPDATE log_checkpoint SET note = note',
    'UPDATE log_signer SET added_at = now()',
    'UPDATE log_partition SET pruned_at = now()',
    'UPDATE schema_migration SET version = 9999',
    ...['next_seq', 'last_ms', 'last_counter', 'tree', 'root', 'origin'].map(
      (column) => `UPDATE log_head SET ${column} = ${column}`,
    ),
    "INSERT INTO log_head VALUES (1, 0, 0, 0, '', '')",
    "INSERT INTO log_checkpoint (size, root, note) VALUES (1, '', '')",
    'INSERT INTO log_partition (first_seq, end_seq) VALUES (65536, 131072)',
    'INSERT INTO audit_event_0 SELECT * FROM audit_event',
    'INSERT INTO audit_event SELECT * FROM audit_event ON CONFLICT (seq) DO UPDATE SET canon = excluded.canon',
    'DELETE FROM log_erasable',
    'DELETE FROM schema_migration',
    'SELECT log_extend_to(1000000000)',
    'CREATE TABLE added ()',
    'CREATE FUNCTION added() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$',
    'CREATE SCHEMA added',
    'CREATE EVENT TRIGGER added ON ddl_command_start EXECUTE FUNCTION log_move_head()',
    'ALTER FUNCTION log_move_head() RESET search_path',
    'DROP FUNCTION log_name(text)',
    "SET session_replication_role = 'replica'",
    'SET SESSION AUTHORIZATION postgres',
    'CREATE ROLE added',
    'CREATE EXTENSION plperlu',
    "COPY audit_event TO PROGRAM 'true'",
    'SELECT pg_read_file($$/etc/passwd$$)',
  ])('cannot %s', async (statement) => {
    await expect(client.query(statement)).rejects.toThrow(
      /permission denied|must be owner|must be superuser|does not exist|is not available/,
    );
  });

  it('cannot pass on what it has, nor give itself more', async () => {
    // PostgreSQL only warns that nothing was granted.
    await client.query(`GRANT ALL ON audit_event TO PUBLIC, ${database.prefix}_w`);
    const { rows } = await client.query(
      `SELECT has_table_privilege('public', 'audit_event', 'SELECT') AS everybody,
              has_table_privilege('audit_event', 'UPDATE') AS itself`,
    );
    expect(rows).toEqual([{ everybody: false, itself: false }]);
  });

  it('can become neither owner nor reader', async () => {
    await expect(client.query(`SET ROLE ${database.prefix}_owner`)).rejects.toThrow('permission denied to set role');
    await client.query('ROLLBACK');
    await expect(client.query(`SET ROLE ${database.prefix}_reader`)).rejects.toThrow('permission denied to set role');
    await client.query('ROLLBACK');
    await expect(client.query(`GRANT ${database.prefix}_owner TO ${database.prefix}_w`)).rejects.toThrow(
      /must have admin option|permission denied/,
    );
  });

  it('locks the head by a column that can hold one value', async () => {
    await client.query('SELECT 1 FROM log_head FOR UPDATE');
    await expect(client.query('UPDATE log_head SET log_id = 2')).rejects.toThrow('violates check constraint');
  });

  it('cannot have tables made without end', async () => {
    await expect(client.query('SELECT log_extend(1000000000000)')).rejects.toThrow('the log is far from 1000000000000');
  });

  it('cannot give the log another name', async () => {
    const first = await client.query('SELECT log_name($1) AS name', ['a.example/log']);
    const second = await client.query('SELECT log_name($1) AS name', ['b.example/log']);
    expect([first.rows, second.rows]).toEqual([[{ name: 'a.example/log' }], [{ name: 'a.example/log' }]]);
  });
});

/** Inserts copies of the last record at `seqs`, after saying that the head goes where `told` says. */
async function forge(seqs: readonly number[], told: string | undefined): Promise<void> {
  if (told !== undefined) await client.query("SELECT set_config('talos.head', $1, true)", [told]);
  const columns =
    'outcome, surface_id, team_id, agent_id, session_id, correlation_id, event_type, server_id, tool, is_intent';
  await client.query(
    `INSERT INTO audit_event (seq, event_id, ts, ${columns}, leaf_hash, canon)
     SELECT s, gen_random_uuid(), ts, ${columns}, leaf_hash, canon FROM audit_event, unnest($1::bigint[]) s WHERE seq = 599`,
    [seqs],
  );
}

describe('the head, for a writer that says where it goes,', () => {
  let base: { ms: number; counter: number };
  beforeEach(async () => {
    client = await begin(database.writer);
    const { rows } = await client.query<{ ms: string; counter: number }>(
      'SELECT last_ms AS ms, last_counter AS counter FROM log_head',
    );
    base = { ms: Number(rows[0]?.ms), counter: rows[0]?.counter ?? 0 };
  });
  afterEach(() => client.end());

  const hash = `\\x${'00'.repeat(32)}`;
  /** 601 and 602 have five ones, 603 six. */
  const tree = (nodes: number) => `\\x${'00'.repeat(32 * nodes)}`;
  const told = (next: number | string, { ms = 1, counter = 0, edge = tree(5), root = hash } = {}) =>
    `${next} ${base.ms + ms} ${counter} ${edge} ${root}`;

  it('moves by exactly the records that were inserted', async () => {
    await forge([600, 601], told(602, { edge: tree(5) }));
    expect((await client.query('SELECT next_seq FROM log_head')).rows).toEqual([{ next_seq: '602' }]);
  });

  it.each<[string, number[], () => string | undefined]>([
    ['nowhere, without a word', [600], () => undefined],
    ['nowhere', [600], () => told(600)],
    ['nowhere, with an empty word', [600], () => ''],
    ['too far', [600], () => told(602)],
    ['not far enough', [600, 601], () => told(601)],
    ['back', [600], () => told(10)],
    ['over a gap', [600, 602], () => told(602)],
    ['over a longer gap', [600, 602], () => told(603)],
    ['over records that leave out the first', [601], () => told(601)],
    ['along with records far behind the end', [600, 60_000], () => told(601)],
    ['without records', [], () => told(601)],
    ['by less than nothing', [600], () => told(-1)],
  ])('does not move %s', async (_, seqs, word) => {
    await expect(forge(seqs, word())).rejects.toThrow(/do not lead to one at/);
  });

  it('does not move twice for one word', async () => {
    await forge([600], told(601));
    await expect(forge([601], undefined)).rejects.toThrow('do not lead to one at');
  });

  it('takes no record in the place of another', async () => {
    await expect(forge([5], told(600))).rejects.toThrow('duplicate key');
  });

  it.each<[string, () => string]>([
    ['stands still', () => told(601, { ms: 0, counter: base.counter })],
    ['runs backwards', () => told(601, { ms: -1 })],
    ['is far in the future', () => told(601, { ms: 3_600_000 })],
    ['counts too far', () => told(601, { counter: 4096 })],
    ['counts below nothing', () => told(601, { counter: -1 })],
  ])('does not move with a clock that %s', async (_, word) => {
    await expect(forge([600], word())).rejects.toThrow('ids cannot go on at');
  });

  it.each<[string, () => string]>([
    ['too few nodes', () => told(601, { edge: tree(4) })],
    ['too many nodes', () => told(601, { edge: tree(6) })],
    ['no nodes', () => `601 ${base.ms + 1} 0`],
    ['half a root', () => told(601, { root: '\\x0000' })],
    ['no root', () => told(601).slice(0, -hash.length - 1)],
  ])('does not move to a tree with %s', async (_, word) => {
    await expect(forge([600], word())).rejects.toThrow('this cannot be the tree of 601 records');
  });

  it.each(['x', '601 x 0 \\x \\x', '601;DROP 1 0 \\x \\x', "601' 1 0 \\x \\x"])(
    'does not move by the word %s',
    async (word) => {
      await expect(forge([600], word)).rejects.toThrow('invalid input syntax');
    },
  );

  it('is found by its own name, whatever else is called so', async () => {
    await client.query(
      `CREATE TEMP TABLE log_head AS SELECT * FROM log_head;
       UPDATE pg_temp.log_head SET next_seq = 0;
       CREATE TEMP TABLE audit_event AS SELECT * FROM public.audit_event WHERE false;
       SET LOCAL search_path = pg_temp, public`,
    );
    await client.query("SELECT set_config('talos.head', $1, true)", [told(601)]);
    await expect(
      client.query('INSERT INTO public.audit_event SELECT * FROM public.audit_event WHERE false'),
    ).rejects.toThrow('the records after the head at 600 do not lead to one at 601');
  });

  it('calls no operator or function of the caller', async () => {
    await client.query(
      `CREATE FUNCTION pg_temp.length(bytea) RETURNS integer LANGUAGE sql AS 'SELECT 160';
       SET LOCAL search_path = pg_temp, public`,
    );
    await client.query("SELECT set_config('talos.head', $1, true)", [told(601, { edge: tree(1) })]);
    await expect(forge([600], undefined)).rejects.toThrow('this cannot be the tree');
  });
});

describe('checkpoints of a writer', () => {
  beforeEach(async () => {
    client = await begin(database.writer);
  });
  afterEach(() => client.end());

  const keep = (size: number, root: string, note: string) =>
    client.query('SELECT log_keep_checkpoint($1, $2, $3)', [size, root, note]);
  const note = (...lines: readonly string[]) =>
    `log.example\n600\nroot\n\n${lines.map((line) => `— ${line}\n`).join('')}`;
  const stored = async () => (await client.query('SELECT size, note FROM log_checkpoint ORDER BY size')).rows;

  it.each([
    ['more records than there are', 601],
    ['less than none', -1],
    ['another root', 600],
  ])('are not kept of %s', async (_, size) => {
    await expect(keep(size, '\\x00', note('a 1'))).rejects.toThrow(`the log never had ${size} records with that root`);
  });

  it('stay as they are when one of the same size comes', async () => {
    await keep(500, '\\x00', note('a 1'));
    await keep(500, '\\x01', note('b 2'));
    expect(await stored()).toEqual([{ size: '500', note: note('a 1') }]);
  });

  it('gain signatures and lose none', async () => {
    await keep(500, '\\x00', note('a 1'));
    const cosign = (root: string, signed: string) => client.query('SELECT log_cosign(500, $1, $2)', [root, signed]);
    await cosign('\\x00', note('w 3'));
    await cosign('\\x01', note('a 1', 'w 2'));
    await cosign('\\x00', note('a 1', 'w 2').replace('root', 'other'));
    await cosign('\\x00', note('a 1', 'w 2').replace('root', 'root\n\nmore'));
    expect(await stored()).toEqual([{ size: '500', note: note('a 1') }]);
    await cosign('\\x00', note('a 1', 'w 2'));
    expect(await stored()).toEqual([{ size: '500', note: note('a 1', 'w 2') }]);
  });

  it('are the newest thousand', async () => {
    await client.end();
    client = await begin(database.admin);
    await client.query(
      `INSERT INTO log_checkpoint SELECT n, '', 'x' FROM generate_series(-1100, -1) n;
       SELECT log_keep_checkpoint(1, '', 'x')`,
    );
    expect((await client.query('SELECT count(*)::int AS count FROM log_checkpoint')).rows).toEqual([{ count: 1002 }]);
  });
});

describe('the reader', () => {
  beforeEach(async () => {
    client = await begin(database.reader);
  });
  afterEach(() => client.end());

  it.each(
    Object.keys(tableRights).flatMap((table) => [
      `INSERT INTO ${table} DEFAULT VALUES`,
      `DELETE FROM ${table}`,
      `TRUNCATE ${table} CASCADE`,
      `SELECT 1 FROM ${table} FOR UPDATE`,
      `ALTER TABLE ${table} ADD COLUMN added text`,
    ]),
  )('cannot %s', async (statement) => {
    await expect(client.query(statement)).rejects.toThrow(denied);
  });

  it.each(Object.keys(functionRights))('cannot call %s', async (name) => {
    const args = name
      .slice(name.indexOf('(') + 1, -1)
      .split(', ')
      .filter((type) => type !== '')
      .map((type) => `NULL::${type}`);
    await expect(client.query(`SELECT ${name.slice(0, name.indexOf('('))}(${args})`)).rejects.toThrow(
      'permission denied for function',
    );
  });

  it.each(['secret', 'api_key', 'stream_once', 'mcp_session', 'gateway_key'])('cannot read %s', async (table) => {
    await expect(client.query(`SELECT 1 FROM ${table}`)).rejects.toThrow('permission denied for table');
  });

  it('reads the log', async () => {
    expect((await client.query('SELECT count(*)::int AS count FROM audit_event')).rows).toEqual([{ count: 600 }]);
  });
});

describe('what is the owner’s', () => {
  const never = () => Promise.reject(new Error('it was recorded'));

  it('is refused to the writer before it is recorded', async () => {
    const address = { url: database.writer };
    const pool = openReadPool(address);
    try {
      const partitions = createPartitionStore(pool, address);
      const options = { partitions, nodes: createTileReader(pool).nodes, record: never, requestId: randomUUID };
      await expect(pruneBefore(Number.MAX_SAFE_INTEGER, 'all', options)).rejects.toThrow(
        'Only the owner of the database may drop records: run `talos prune` as the owner.',
      );
      await query(
        database.admin,
        "INSERT INTO log_erasable SELECT event_id, 'email', '', '1' FROM audit_event WHERE seq = 1",
      );
      const store = createErasableStore(pool);
      await expect(eraseValues({ agentId: 'agent-1' }, { store, record: never, requestId: 'r' })).rejects.toThrow(
        'Only the owner of the database may erase: run this as the owner.',
      );
    } finally {
      await pool.end();
      await query(database.admin, 'DELETE FROM log_erasable');
    }
  });

  it('is allowed to members of the owner', async () => {
    const pool = openReadPool({ url: database.owner });
    try {
      expect(await createPartitionStore(pool, { url: database.owner }).mayDrop()).toBe(true);
      expect(await createErasableStore(pool).mayErase()).toBe(true);
      await createErasableStore(pool).scrub();
    } finally {
      await pool.end();
    }
  });
});

it('leaves a whole log after all of this', async () => {
  const pool = openReadPool({ url: database.reader });
  try {
    expect(await createCheckpointStore(pool).head()).toMatchObject({ size: 600, origin: undefined });
    expect(await checkLog({ url: database.reader })).toHaveLength(600);
  } finally {
    await pool.end();
  }
});

describe('revocations', () => {
  it('are forgotten by the writer a day after what they revoke has ended, and no others', async () => {
    const pool = openReadPool({ url: database.writer });
    const insert = (name: string, ends: string) =>
      pool.query(`INSERT INTO capability_revocation (kind, value, event_id, ends_at) VALUES ('id', $1, $2, ${ends})`, [
        name,
        randomUUID(),
      ]);
    try {
      await insert('over', "now() - interval '25 hours'");
      await insert('just over', "now() - interval '23 hours'");
      await insert('in force', "now() + interval '1 hour'");
      await insert('without an end', 'NULL');
      const store = createRevocationStore(pool);
      expect(await store.prune()).toBe(1);
      expect(await store.prune()).toBe(0);
      const left = (await store.list({ limit: 10 })).map(({ value }) => value);
      expect(left).toEqual(['without an end', 'in force', 'just over']);
      await expect(pool.query("DELETE FROM capability_revocation WHERE value = 'in force'")).rejects.toThrow(
        'permission denied',
      );
      await expect(pool.query('UPDATE capability_revocation SET ends_at = now()')).rejects.toThrow('permission denied');
    } finally {
      await pool.end();
    }
  });
});
