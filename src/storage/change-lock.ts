/**
 * One administrative change at a time, whichever gateway makes it: what was read to judge a change is still so when the
 * record that carries it commits. The lock is a connection's, so it ends with whoever holds it.
 */
import type pg from 'pg';
import { describeError, TalosError } from '../core/errors.ts';

// An arbitrary number that names the lock; the same in every version.
const lockKey = 7_425_010;

export type ChangeLock = <T>(work: () => Promise<T>) => Promise<T>;

/** Runs the work while no other change runs. Throws `STORE_UNAVAILABLE` when the lock cannot be had. */
export function createChangeLock(pool: pg.Pool): ChangeLock {
  return async (work) => {
    const client = await lock(pool);
    try {
      return await work();
    } finally {
      // Nothing was written here: what the work wrote is committed with its record.
      await client.query('COMMIT').then(
        () => client.release(),
        () => client.release(true),
      );
    }
  };
}

async function lock(pool: pg.Pool): Promise<pg.PoolClient> {
  const client = await pool.connect().catch(unavailable);
  try {
    await client.query('BEGIN');
    await client.query('SELECT pg_advisory_xact_lock($1)', [lockKey]);
    return client;
  } catch (error) {
    client.release(true);
    return unavailable(error);
  }
}

function unavailable(error: unknown): never {
  throw new TalosError('STORE_UNAVAILABLE', { inside: describeError(error), cause: error });
}
