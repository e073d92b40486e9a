/** Encrypted secrets and the runs that renew them. Values are put and deleted with the record that tells of it. */
import type pg from 'pg';
import type { PreparedEvent } from '../core/audit-event.ts';
import type { Envelope } from '../core/envelope.ts';
import type { SealedSecret, SecretChange } from '../core/secret-change.ts';
import { read } from './db.ts';
import { countUpSql, readVersion } from './state-version.ts';
import { sqlText } from './unwritable.ts';

/** What may be shown of a secret. */
export interface SecretSummary {
  readonly secretId: string;
  readonly name: string;
  readonly kekId: string;
  readonly createdAt: Date;
  readonly updatedAt: Date;
}

export interface Rotation {
  readonly opId: string;
  readonly status: 'RUNNING' | 'COMPLETED' | 'FAILED';
  readonly targetKekId: string;
  readonly scanned: number;
  readonly rotated: number;
  readonly failed: number;
  readonly startedAt: Date;
  readonly completedAt: Date | null;
}

/** All throw `STORE_UNAVAILABLE`. */
export interface SecretStore {
  /** By name. */
  readonly list: () => Promise<SecretSummary[]>;
  readonly get: (name: string) => Promise<SealedSecret | undefined>;
  readonly version: () => Promise<number>;
  /** The secrets whose names come after `after`, at most `limit`. */
  readonly after: (after: string, limit: number) => Promise<SealedSecret[]>;
  /** Puts `renewed` in the place of the value `secretId`; false when that was changed or deleted meanwhile. */
  readonly renew: (secretId: string, renewed: SealedSecret) => Promise<boolean>;
  readonly rotation: (opId: string) => Promise<Rotation | undefined>;
  /** The newest run, if there was one. */
  readonly lastRotation: () => Promise<Rotation | undefined>;
  /** Notes how far a run has come, which also says that it lives. */
  readonly progress: (rotation: Pick<Rotation, 'opId' | 'status' | 'scanned' | 'rotated' | 'failed'>) => Promise<void>;
  /** Ends runs that nobody has worked on for `silentMs`. */
  readonly endSilentRotations: (silentMs: number) => Promise<void>;
}

interface SecretRow {
  readonly name: string;
  readonly secret_id: string;
  readonly wrapped_key: Envelope;
  readonly envelope: Envelope;
}

interface RotationRow {
  readonly op_id: string;
  readonly status: Rotation['status'];
  readonly target_kek_id: string;
  readonly scanned: number;
  readonly rotated: number;
  readonly failed: number;
  readonly started_at: Date;
  readonly completed_at: Date | null;
}

const sealedColumns = 'name, secret_id, wrapped_key, envelope';
const countUp = countUpSql('secrets');

export function createSecretStore(pool: pg.Pool): SecretStore {
  return {
    list: () => list(pool),
    async get(name) {
      const [row] = await read<SecretRow>(pool, `SELECT ${sealedColumns} FROM secret WHERE name = $1`, [name]);
      return row === undefined ? undefined : sealedOf(row);
    },
    version: () => readVersion(pool, 'secrets'),
    async after(after, limit) {
      const text = `SELECT ${sealedColumns} FROM secret WHERE name > $1 ORDER BY name LIMIT $2`;
      return (await read<SecretRow>(pool, text, [after, limit])).map(sealedOf);
    },
    renew: (secretId, renewed) => renew(pool, secretId, renewed),
    rotation: (opId) => rotation(pool, 'WHERE op_id = $1', [opId]),
    lastRotation: () => rotation(pool, 'ORDER BY started_at DESC LIMIT 1', []),
    async progress({ opId, status, scanned, rotated, failed }) {
      const text = `UPDATE secret_rotation SET status = $2, scanned = $3, rotated = $4, failed = $5, seen_at = now(),
        completed_at = CASE WHEN $2 = 'RUNNING' THEN NULL ELSE now() END WHERE op_id = $1`;
      await read(pool, text, [opId, status, scanned, rotated, failed]);
    },
    async endSilentRotations(silentMs) {
      const text = `UPDATE secret_rotation SET status = 'FAILED', completed_at = now()
        WHERE status = 'RUNNING' AND seen_at < now() - make_interval(secs => $1::float8 / 1000)`;
      await read(pool, text, [silentMs]);
    },
  };
}

async function list(pool: pg.Pool): Promise<SecretSummary[]> {
  const rows = await read<SecretRow & { kek_id: string; created_at: Date; updated_at: Date }>(
    pool,
    'SELECT secret_id, name, kek_id, created_at, updated_at FROM secret ORDER BY name COLLATE "C"',
  );
  return rows.map((row) => ({
    secretId: row.secret_id,
    name: row.name,
    kekId: row.kek_id,
    createdAt: row.created_at,
    updatedAt: row.updated_at,
  }));
}

async function renew(pool: pg.Pool, secretId: string, renewed: SealedSecret): Promise<boolean> {
  const { wrappedKey, envelope } = renewed;
  const rows = await read(
    pool,
    `WITH renewed AS (
       UPDATE secret SET secret_id = $2, kek_id = $3, wrapped_key = $4, envelope = $5 WHERE secret_id = $1 RETURNING 1
     ), counted AS (${countUp} AND EXISTS (SELECT FROM renewed)) SELECT FROM renewed`,
    [secretId, renewed.secretId, wrappedKey.kek_id, JSON.stringify(wrappedKey), JSON.stringify(envelope)],
  );
  return rows.length > 0;
}

async function rotation(pool: pg.Pool, which: string, values: readonly unknown[]): Promise<Rotation | undefined> {
  const [row] = await read<RotationRow>(pool, `SELECT * FROM secret_rotation ${which}`, values);
  if (row === undefined) return undefined;
  const { op_id: opId, status, target_kek_id: targetKekId, scanned, rotated, failed } = row;
  return {
    opId,
    status,
    targetKekId,
    scanned,
    rotated,
    failed,
    startedAt: row.started_at,
    completedAt: row.completed_at,
  };
}

function sealedOf({ name, secret_id, wrapped_key, envelope }: SecretRow): SealedSecret {
  return { name, secretId: secret_id, wrappedKey: wrapped_key, envelope };
}

/** SQL for the changes of a batch, for the transaction that appends it. */
export function changeSecrets(events: readonly PreparedEvent[]): string {
  const changes = events.flatMap(({ companions }) => companions?.secrets ?? []);
  if (changes.length === 0) return '';
  return `${changes.map(changeSql).join('')}${countUp};`;
}

// None of these statements may fail whatever the tables hold: records of others commit with them.
function changeSql(change: SecretChange): string {
  switch (change.kind) {
    case 'put':
      return put(change.secret);
    case 'delete':
      return `DELETE FROM secret WHERE name = ${sqlText(change.name)};`;
    case 'start_rotation':
      return `INSERT INTO secret_rotation (op_id, status, target_kek_id)
        VALUES (${sqlText(change.opId)}, 'RUNNING', ${sqlText(change.targetKekId)}) ON CONFLICT DO NOTHING;`;
  }
}

function put({ name, secretId, wrappedKey, envelope }: SealedSecret): string {
  const values = [name, secretId, wrappedKey.kek_id, JSON.stringify(wrappedKey), JSON.stringify(envelope)];
  return `INSERT INTO secret (name, secret_id, kek_id, wrapped_key, envelope)
    VALUES (${values.map(sqlText).join(', ')})
    ON CONFLICT (name) DO UPDATE SET secret_id = excluded.secret_id, kek_id = excluded.kek_id,
    wrapped_key = excluded.wrapped_key, envelope = excluded.envelope, updated_at = now();`;
}
