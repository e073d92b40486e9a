/** How much the store holds, and how much room is left on its volume where that can be seen. */
import { statfs } from 'node:fs/promises';
import type pg from 'pg';
import { read } from './db.ts';

export interface StoreSize {
  /** What the database occupies. */
  readonly usedBytes: number;
  /** The volume of the embedded store; undefined for a database elsewhere. */
  readonly volume: { readonly freeBytes: number; readonly totalBytes: number } | undefined;
}

/** `folder` is on the volume of the embedded store. Throws `STORE_UNAVAILABLE`. */
export async function measureStore(pool: pg.Pool, folder: string | undefined): Promise<StoreSize> {
  const [row] = await read<{ bytes: string }>(pool, 'SELECT pg_database_size(current_database()) AS bytes');
  const volume = folder === undefined ? undefined : await statfs(folder);
  return {
    usedBytes: Number(row?.bytes),
    // What an ordinary user may still take.
    volume: volume && { freeBytes: volume.bavail * volume.bsize, totalBytes: volume.blocks * volume.bsize },
  };
}
