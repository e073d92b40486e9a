/**
 * What all gateways on one database know for a time: nonces and tickets, of which each may be used once, whichever gateway
 * sees it first, and sessions that were opened at another gateway.
 */
import type pg from 'pg';
import { read } from './db.ts';
import { pruneRows } from './prune.ts';

export interface SingleUseStore {
  /** True for whoever is first; false when `hash` (hex SHA-256) was spent before and is still remembered. */
  readonly spend: (hash: string, keptSec: number) => Promise<boolean>;
  /** Keeps something to be found, or to be taken once. */
  readonly put: (hash: string, sealed: Buffer, keptSec: number) => Promise<void>;
  /** What was put there, which stays; undefined when it is not there or too old. */
  readonly find: (hash: string) => Promise<Buffer | undefined>;
  /** Takes it; undefined when it is not there, was taken, or is too old. */
  readonly take: (hash: string) => Promise<Buffer | undefined>;
  /** Forgets what is too old. */
  readonly prune: () => Promise<number>;
}

/** Every function throws `STORE_UNAVAILABLE`: what could not be looked up was not used, nor may it be. */
export function createSingleUseStore(pool: pg.Pool): SingleUseStore {
  return {
    async spend(hash, keptSec) {
      const rows = await read(
        pool,
        `INSERT INTO stream_once (hash, expires_at) VALUES (decode($1, 'hex'), now() + make_interval(secs => $2))
         ON CONFLICT (hash) DO NOTHING RETURNING 1`,
        [hash, keptSec],
      );
      return rows.length === 1;
    },
    async put(hash, sealed, keptSec) {
      await read(
        pool,
        `INSERT INTO stream_once (hash, expires_at, sealed)
         VALUES (decode($1, 'hex'), now() + make_interval(secs => $2), $3)`,
        [hash, keptSec, sealed],
      );
    },
    async find(hash) {
      const rows = await read<{ sealed: Buffer }>(
        pool,
        `SELECT sealed FROM stream_once WHERE hash = decode($1, 'hex') AND sealed IS NOT NULL AND expires_at >= now()`,
        [hash],
      );
      return rows[0]?.sealed;
    },
    async take(hash) {
      const rows = await read<{ sealed: Buffer; is_fresh: boolean }>(
        pool,
        `DELETE FROM stream_once WHERE hash = decode($1, 'hex') AND sealed IS NOT NULL
         RETURNING sealed, expires_at >= now() AS is_fresh`,
        [hash],
      );
      return rows[0]?.is_fresh === true ? rows[0].sealed : undefined;
    },
    prune: () => pruneRows(pool, { table: 'stream_once', key: 'hash', isOver: 'expires_at < now()' }),
  };
}
