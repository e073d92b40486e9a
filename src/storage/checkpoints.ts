/** What the log has signed: its name, its keys and its newest checkpoints. */
import pg from 'pg';
import { describeError, TalosError } from '../core/errors.ts';
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
  /** Size and root of what is committed, and the log's name when it has one. */
  readonly head: () => Promise<TreeHead & { readonly origin: string | undefined }>;
  /** The log's name: the one it has, else `proposed`, which it then keeps. */
  readonly origin: (proposed: string) => Promise<string>;
  /** The keys that have signed the log, oldest first. */
  readonly signers: () => Promise<string[]>;
  /** Makes the key one of the log's. */
  readonly addSigner: (verifierKey: string) => Promise<void>;
  /** True when the key is one of the log's, or has just become the first. */
  readonly claimSigner: (verifierKey: string) => Promise<boolean>;
  /** The largest checkpoint, whichever gateway signed it. */
  readonly latest: () => Promise<StoredCheckpoint | undefined>;
  /** Keeps the checkpoint; one of the same size stays as it was. A thousand are kept for whoever compares. */
  readonly add: (checkpoint: StoredCheckpoint) => Promise<void>;
  /** The same checkpoint with more signatures. */
  readonly replaceNote: (checkpoint: StoredCheckpoint) => Promise<void>;
}

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
    claimSigner: (verifierKey) => claimSigner(pool, verifierKey),
    latest: () => latest(pool),
    async add({ size, root, note }) {
      await read(pool, 'SELECT log_keep_checkpoint($1, $2, $3)', [size, root, note]);
    },
    async replaceNote({ size, root, note }) {
      await read(pool, 'SELECT log_cosign($1, $2, $3)', [size, root, note]);
    },
  };
}

async function head(pool: pg.Pool): ReturnType<CheckpointStore['head']> {
  const [row] = await read<{ next_seq: string; root: Buffer; origin: string | null }>(
    pool,
    'SELECT next_seq, root, origin FROM log_head',
  );
  if (row === undefined) throw new Error('The log has no head row.');
  return { size: Number(row.next_seq), root: row.root, origin: row.origin ?? undefined };
}

async function origin(pool: pg.Pool, proposed: string): Promise<string> {
  // Who only asks must not wait in line for the head.
  const known = (await head(pool)).origin;
  if (known !== undefined) return known;
  const [row] = await read<{ origin: string }>(pool, 'SELECT log_name($1) AS origin', [proposed]);
  return row?.origin ?? proposed;
}

// Any number that nothing else locks by.
const signerLock = 7_031_402;

async function claimSigner(pool: pg.Pool, verifierKey: string): Promise<boolean> {
  const key = pg.escapeLiteral(verifierKey);
  // One message is one transaction, and each statement sees what was committed before it began: the second sees the
  // key of whoever held the lock before.
  const text = `SELECT pg_advisory_xact_lock(${signerLock});
    INSERT INTO log_signer (verifier_key) SELECT ${key} WHERE NOT EXISTS (SELECT 1 FROM log_signer);
    SELECT 1 FROM log_signer WHERE verifier_key = ${key}`;
  try {
    const results = (await pool.query(text)) as unknown as pg.QueryResult[];
    return results.at(-1)?.rowCount === 1;
  } catch (error) {
    throw new TalosError('STORE_UNAVAILABLE', { inside: describeError(error), cause: error });
  }
}

async function latest(pool: pg.Pool): Promise<StoredCheckpoint | undefined> {
  const [row] = await read<{ size: string; root: Buffer; note: string }>(
    pool,
    'SELECT size, root, note FROM log_checkpoint ORDER BY size DESC LIMIT 1',
  );
  return row === undefined ? undefined : { size: Number(row.size), root: row.root, note: row.note };
}
