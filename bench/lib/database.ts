/** The PostgreSQL of a benchmark: a fresh database on the server of DATABASE_URL, or an embedded server of its own. */
import { randomBytes } from 'node:crypto';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { systemClock } from '../../src/core/clock.ts';
import { startEmbeddedPostgres } from '../../src/storage/embedded/start.ts';
import type { Later } from './cleanup.ts';
import { parentNamed } from './proc.ts';

export interface BenchDatabase {
  readonly url: string;
  /** Such as `18.4`. */
  readonly version: string;
  /** The server's first process, when the server runs on this machine. */
  readonly postmaster: number | undefined;
}

/** A database that is gone when the benchmark is over. */
export async function openDatabase(later: Later): Promise<BenchDatabase> {
  const given = process.env['DATABASE_URL'];
  const url = given === undefined ? await startEmbedded(later) : await createOn(given, later);
  return { url, ...(await inspect(url)) };
}

async function inspect(url: string): Promise<Omit<BenchDatabase, 'url'>> {
  return await withClient(url, async (client) => {
    const { rows } = await client.query<{ version: string; pid: number }>(
      "SELECT split_part(current_setting('server_version'), ' ', 1) AS version, pg_backend_pid() AS pid",
    );
    const [row] = rows;
    if (row === undefined) throw new Error('The database did not answer what it is.');
    // The server process of this connection is a child of the first one, and lives as long as the connection.
    return { version: row.version, postmaster: parentNamed(row.pid, 'postgres') };
  });
}

async function startEmbedded(later: Later): Promise<string> {
  const dataDir = await makeFolder('talos-bench-', later);
  const server = await startEmbeddedPostgres({ dataDir, clock: systemClock, log: () => {} });
  later(() => server.stop());
  const { host, port, user, database } = server.connection;
  return `postgresql://${user}@${encodeURIComponent(host)}:${port}/${database}`;
}

async function createOn(server: string, later: Later): Promise<string> {
  const name = `talos_bench_${randomBytes(6).toString('hex')}`;
  await query(server, `CREATE DATABASE ${name} TEMPLATE template0`);
  later(() => query(server, `DROP DATABASE IF EXISTS ${name} WITH (FORCE)`));
  const url = new URL(server);
  url.pathname = `/${name}`;
  return url.href;
}

/** A temporary folder that every user may pass through, as root's database server runs as another one. */
export async function makeFolder(prefix: string, later: Later): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), prefix));
  await chmod(folder, 0o711);
  later(() => rm(folder, { recursive: true, force: true, maxRetries: 10 }));
  return folder;
}

/** Runs one statement on a connection of its own. */
export async function query<Row extends object>(url: string, statement: string): Promise<Row[]> {
  return await withClient(url, async (client) => (await client.query(statement)).rows as Row[]);
}

async function withClient<T>(url: string, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await work(client);
  } finally {
    await client.end();
  }
}
