/** What the log has signed: its name, its keys and its newest checkpoints. */
import type pg from 'pg';
import { read } from './db.ts';

export interface StoredCheckpoint {
  readonly size: number;
  readonly root: Buffer;
  /** The signed note. */
  readonly note: string;
}

export interface TreeHead {
  readonly size: number;
  readonly root: Buffer;
}

export interface CheckpointStore {
  /** Size and root of what is committed. */
  readonly head: () => Promise<TreeHead>;
  /** The log's name: the one it has, else `proposed`, which it then keeps. */
  readonly origin: (proposed: string) => Promise<string>;
  readonly signers: () => Promise<string[]>;
  readonly addSigner: (verifierKey: string) => Promise<void>;
  /** The largest checkpoint, whichever gateway signed it. */
  readonly latest: () => Promise<StoredCheckpoint | undefined>;
  /** Keeps the checkpoint; one of the same size stays as it was. */
  readonly add: (checkpoint: StoredCheckpoint) => Promise<void>;
}

// Older checkpoints are implied by newer ones; a few are kept for whoever compares.
const keptCheckpoints = 1_000;

export function createCheckpointStore(pool: pg.Pool): CheckpointStore {
  return {
    head: () => head(pool),
    origin: (proposed) => origin(pool, proposed),
    async signers() {
      const rows = await read<{ verifier_key: string }>(pool, 'SELECT verifier_key FROM log_signer ORDER BY added_at');
      return rows.map((row) => row.verifier_key);
    },
    async addSigner(verifierKey) {
      await read(pool, 'INSERT INTO log_signer (verifier_key) VALUES ($1) ON CONFLICT DO NOTHING', [verifierKey]);
    },
    latest: () => latest(pool),
    add: (checkpoint) => add(pool, checkpoint),
  };
}

async function head(pool: pg.Pool): Promise<TreeHead> {
  const [row] = await read<{ next_seq: string; root: Buffer }>(pool, 'SELECT next_seq, root FROM log_head');
  if (row === undefined) throw new Error('The log has no head row.');
  return { size: Number(row.next_seq), root: row.root };
}

async function origin(pool: pg.Pool, proposed: string): Promise<string> {
  const [row] = await read<{ origin: string }>(
    pool,
    'UPDATE log_head SET origin = coalesce(origin, $1) RETURNING origin',
    [proposed],
  );
  return row?.origin ?? proposed;
}

async function latest(pool: pg.Pool): Promise<StoredCheckpoint | undefined> {
  const [row] = await read<{ size: string; root: Buffer; note: string }>(
    pool,
    'SELECT size, root, note FROM log_checkpoint ORDER BY size DESC LIMIT 1',
  );
  return row === undefined ? undefined : { size: Number(row.size), root: row.root, note: row.note };
}

async function add(pool: pg.Pool, { size, root, note }: StoredCheckpoint): Promise<void> {
  await read(
    pool,
    `WITH old AS (DELETE FROM log_checkpoint WHERE size < (
       SELECT size FROM log_checkpoint ORDER BY size DESC OFFSET ${keptCheckpoints} LIMIT 1))
     INSERT INTO log_checkpoint (size, root, note) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`,
    [size, root, note],
  );
}
