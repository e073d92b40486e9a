/** Revoked capabilities: rows that commit with the records that say so, read in the order of the log. */
import type pg from 'pg';
import { bounds } from '../config/bounds.ts';
import type { CommittedEvent, PreparedEvent } from '../core/audit-event.ts';
import { isJsonObject, type JsonObject } from '../core/json.ts';
import type { Revocation } from '../core/revocation.ts';
import { createClient, type DatabaseAddress, destroyClient, endClient, read } from './db.ts';
import { sqlText } from './unwritable.ts';

/** Whoever listens on it is told that there may be more; nobody relies on it. */
const channel = 'talos_revocation';

export interface StoredRevocation extends Revocation {
  /** Grows with every revocation, in the order of the log. */
  readonly revocationId: number;
  /** The record that says so. */
  readonly eventId: string;
  readonly revokedAtSec: number;
}

/** With what its record says, as long as there is one. */
export interface ToldRevocation extends StoredRevocation {
  readonly by?: string;
  readonly because?: string;
}

/** SQL that keeps the revocations, for the transaction that appends the records. What is revoked already stays so. */
export function keepRevocations(events: readonly PreparedEvent[], committed: readonly CommittedEvent[]): string {
  const rows = events.flatMap(({ companions }, index) => {
    const { eventId } = committed[index] as CommittedEvent;
    const { revokes } = companions ?? {};
    if (revokes === undefined) return [];
    const { kind, value, endsAtSec } = revokes;
    const endsAt = endsAtSec === undefined ? 'NULL' : `to_timestamp(${Number(endsAtSec)})`;
    return [`('${kind}', ${sqlText(value)}, '${eventId}', ${endsAt})`];
  });
  if (rows.length === 0) return '';
  return `INSERT INTO capability_revocation (kind, value, event_id, ends_at) VALUES ${rows.join(', ')}
    ON CONFLICT (kind, value) DO NOTHING; NOTIFY ${channel};`;
}

interface Row {
  readonly revocation_id: string;
  readonly kind: Revocation['kind'];
  readonly value: string;
  readonly event_id: string;
  readonly revoked_at_sec: string;
  readonly ends_at_sec: string | null;
}

const columns = `revocation_id, kind, value, event_id, floor(extract(epoch FROM revoked_at))::bigint AS revoked_at_sec,
  floor(extract(epoch FROM ends_at))::bigint AS ends_at_sec`;

interface ToldRow extends Row {
  readonly canon: string | null;
}

const toldSql = `SELECT ${columns}, record.canon FROM capability_revocation r
  LEFT JOIN LATERAL (SELECT canon FROM audit_event e WHERE e.event_id = r.event_id) AS record ON true`;

function told({ canon, ...row }: ToldRow): ToldRevocation {
  const { principal, meta } = (canon === null ? {} : JSON.parse(canon)) as JsonObject;
  const by = isJsonObject(principal) ? principal['principal_id'] : undefined;
  const because = isJsonObject(meta) ? meta['revoked_because'] : undefined;
  return {
    ...stored(row),
    ...(typeof by === 'string' ? { by } : {}),
    ...(typeof because === 'string' ? { because } : {}),
  };
}

function stored(row: Row): StoredRevocation {
  return {
    revocationId: Number(row.revocation_id),
    kind: row.kind,
    value: row.value,
    eventId: row.event_id,
    revokedAtSec: Number(row.revoked_at_sec),
    ...(row.ends_at_sec === null ? {} : { endsAtSec: Number(row.ends_at_sec) }),
  };
}

export interface RevocationPage {
  /** Only those before this one. */
  readonly before?: number;
  readonly limit: number;
}

/** By what a capability can be revoked. */
export interface Revocable {
  readonly hash: string;
  readonly id: string | undefined;
}

export interface RevocationStore {
  /** Newest first. */
  readonly list: (page: RevocationPage) => Promise<ToldRevocation[]>;
  /** What is revoked of these capabilities. */
  readonly find: (capabilities: readonly Revocable[]) => Promise<ToldRevocation[]>;
  /** Forgets those of tokens that ended long ago. Resolves with how many. */
  readonly prune: () => Promise<number>;
}

export function createRevocationStore(pool: pg.Pool): RevocationStore {
  return {
    async list({ before = Number.MAX_SAFE_INTEGER, limit }) {
      const text = `${toldSql} WHERE revocation_id < $1 ORDER BY revocation_id DESC LIMIT $2`;
      return (await read<ToldRow>(pool, text, [before, limit])).map(told);
    },
    async find(capabilities) {
      const hashes = capabilities.map(({ hash }) => hash);
      // What has NUL in it is no name that was ever revoked.
      const ids = capabilities.flatMap(({ id }) => (id === undefined || id.includes('\0') ? [] : [id]));
      const text = `${toldSql} WHERE (kind = 'hash' AND value = ANY ($1)) OR (kind = 'id' AND value = ANY ($2))`;
      return (await read<ToldRow>(pool, text, [hashes, ids])).map(told);
    },
    async prune() {
      let pruned = 0;
      for (let count = -1; count !== 0; pruned += count) {
        const rows = await read<{ count: string }>(pool, 'SELECT capability_forget_revoked() AS count');
        count = Number(rows[0]?.count ?? 0);
      }
      return pruned;
    },
  };
}

/** Follows the table on a connection of its own, so that no other work can delay what it sees. */
export interface RevocationReader {
  /** The next revocations after this one, oldest first, at most `revocationPageRows`. Rejects when the store is away. */
  readonly after: (revocationId: number) => Promise<StoredRevocation[]>;
  readonly close: () => Promise<void>;
}

/** `onHint` is called when there may be more. */
export function createRevocationReader(address: DatabaseAddress, onHint: () => void): RevocationReader {
  let client: pg.Client | undefined;

  function drop(broken: pg.Client): void {
    if (client === broken) client = undefined;
    destroyClient(broken);
  }

  async function connected(opened: pg.Client): Promise<void> {
    opened.on('notification', onHint);
    opened.once('end', () => {
      if (client === opened) client = undefined;
    });
    await opened.connect();
    await opened.query(`LISTEN ${channel}`);
  }

  async function after(revocationId: number): Promise<StoredRevocation[]> {
    const isNew = client === undefined;
    const used = client ?? createClient(address, 'talos-revocation');
    client = used;
    // A store that is silent is a store that is away.
    const timer = setTimeout(() => drop(used), bounds.revocationQueryTimeoutMs);
    try {
      if (isNew) await connected(used);
      const text = `SELECT ${columns} FROM capability_revocation WHERE revocation_id > $1
                     ORDER BY revocation_id LIMIT ${bounds.revocationPageRows}`;
      return (await used.query<Row>(text, [revocationId])).rows.map(stored);
    } catch (error) {
      drop(used);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  return {
    after,
    async close() {
      const open = client;
      client = undefined;
      if (open !== undefined) await endClient(open);
    },
  };
}
