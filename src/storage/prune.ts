/** Deleting what is too old, a bounded part of it with each statement, so that none holds locks for long. */
import type pg from 'pg';
import { read } from './db.ts';

const rowsMax = 5_000;

/**
 * Deletes the rows of `table` for which `isOver` holds, SQL with `values` for its parameters; `key` is its primary key.
 * Rows that somebody else deletes at the moment are left to them. Resolves with how many were deleted.
 */
export async function pruneRows(
  pool: pg.Pool,
  { table, key, isOver }: { readonly table: string; readonly key: string; readonly isOver: string },
  values: readonly unknown[] = [],
): Promise<number> {
  const statement = `DELETE FROM ${table} WHERE ${key} IN (
    SELECT ${key} FROM ${table} WHERE ${isOver} LIMIT ${rowsMax} FOR UPDATE SKIP LOCKED) RETURNING 1`;
  let pruned = 0;
  for (let count = rowsMax; count === rowsMax; pruned += count) count = (await read(pool, statement, values)).length;
  return pruned;
}
