/** Connections to PostgreSQL: one pool for reads, dedicated clients for those that own theirs. SQL stays in this room. */
import pg from 'pg';
import { bounds } from '../config/bounds.ts';
import { describeError, TalosError } from '../core/errors.ts';

/** Where the database is: a URL, or the parts of a private Unix socket. */
export type DatabaseAddress =
  | { readonly url: string }
  | { readonly host: string; readonly port: number; readonly user: string; readonly database: string };

/** Opens a client of its own. The caller ends it. Throws an error that says where the database was looked for. */
export async function openClient(address: DatabaseAddress, name: string): Promise<pg.Client> {
  const client = createClient(address, name);
  try {
    await client.connect();
  } catch (error) {
    const { host, port } = client;
    const setting = 'url' in address ? ' of DATABASE_URL' : '';
    throw new Error(`the database${setting} at ${host}:${port} cannot be used`, { cause: error });
  }
  return client;
}

/** The same, not yet connected: for those who must be able to give up a connection that is being opened. */
export function createClient(address: DatabaseAddress, name: string): pg.Client {
  const client = new pg.Client(clientOptions(address, name));
  // A broken connection also fails the query in flight; without a listener the event would end the process.
  client.on('error', () => {});
  return client;
}

/** A pool for reads, each bounded by `storeReadTimeoutMs`. */
export function openReadPool(address: DatabaseAddress): pg.Pool {
  const pool = new pg.Pool({
    ...clientOptions(address, 'talos-read'),
    max: bounds.storeReadConnectionsMax,
    idleTimeoutMillis: 30_000,
    statement_timeout: bounds.storeReadTimeoutMs,
    query_timeout: bounds.storeReadTimeoutMs,
  });
  pool.on('error', () => {});
  // The pool listens to idle clients only: one that breaks while somebody holds it must not end the process either.
  pool.on('connect', (client) => client.on('error', () => {}));
  return pool;
}

function clientOptions(address: DatabaseAddress, name: string): pg.ClientConfig {
  const where = 'url' in address ? { connectionString: address.url } : address;
  return {
    ...where,
    application_name: name,
    connectionTimeoutMillis: bounds.storeConnectTimeoutMs,
    keepAlive: true,
  };
}

/** Runs a read; whatever goes wrong becomes `STORE_UNAVAILABLE`, never an empty answer. */
export async function read<Row extends pg.QueryResultRow>(
  pool: pg.Pool,
  text: string,
  values: readonly unknown[] = [],
): Promise<Row[]> {
  try {
    return (await pool.query<Row>(text, [...values])).rows;
  } catch (error) {
    throw new TalosError('STORE_UNAVAILABLE', { inside: describeError(error), cause: error });
  }
}

/** Says goodbye, but not for ever: whatever was acknowledged is durable already. */
export async function endClient(client: pg.Client): Promise<void> {
  const timer = setTimeout(
    () => destroyClient(client, new Error('the store did not say goodbye')),
    bounds.storeGoodbyeTimeoutMs,
  );
  try {
    await client.end();
  } finally {
    clearTimeout(timer);
  }
}

/** Drops a connection that is broken or in doubt, without saying goodbye; what is in flight fails for `reason`. */
export function destroyClient(client: pg.Client, reason?: Error): void {
  const { connection } = client as unknown as { connection: { stream: { destroy(reason?: Error): void } } };
  connection.stream.destroy(reason);
}
