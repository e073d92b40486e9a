/**
 * The whole log at one moment, for whoever checks it: read-only, page by page, so that memory does not depend on how
 * much there is. Everything comes from one snapshot of the database, so a gateway may go on writing meanwhile.
 */
import type pg from 'pg';
import { type DatabaseAddress, endClient, openClient } from './db.ts';

export interface SnapshotHead {
  readonly nextSeq: number;
  readonly lastMs: number;
  readonly lastCounter: number;
  readonly tree: Buffer;
  readonly root: Buffer;
  readonly origin: string | null;
}

/** A row of `audit_event`, as it is stored. */
export interface SnapshotRecord {
  readonly seq: number;
  /** All columns that are a projection of the record, as PostgreSQL writes a row value of them. */
  readonly keys: string;
  readonly eventId: string;
  readonly leafHash: Buffer;
  readonly canon: string;
  readonly details: string | null;
}

export interface SnapshotTile {
  readonly index: number;
  readonly data: Buffer;
  readonly root: Buffer;
}

export interface SnapshotCounter {
  readonly spanSec: number;
  readonly startSec: number;
  readonly teamId: string;
  readonly counter: string;
  readonly value: number;
}

export interface SnapshotPartition {
  readonly firstSeq: number;
  readonly endSeq: number;
  readonly isPruned: boolean;
  /** Whether the table is there and is a part of the log. */
  readonly isAttached: boolean;
}

export interface LogSnapshot {
  /** Of each row that is there; a whole log has one. */
  readonly heads: () => Promise<SnapshotHead[]>;
  readonly partitions: () => Promise<SnapshotPartition[]>;
  /** In the order of the sequence, pages of up to `recordsAtOnce`; the last one has no records. */
  readonly records: () => AsyncGenerator<SnapshotPage, void, undefined>;
  /** Tiles of one level in the order of their index. */
  readonly tiles: (level: number) => AsyncGenerator<SnapshotTile, void, undefined>;
  /** How many tiles there are of levels other than the first `levels`. */
  readonly tilesOutside: (levels: number) => Promise<number>;
  readonly signers: () => Promise<string[]>;
  readonly checkpoints: () => Promise<{ size: number; root: Buffer; note: string }[]>;
  /** Counters that start in the period: Unix seconds, from inclusive, to exclusive; without `to`, all later ones. */
  readonly counters: (fromSec: number | undefined, toSec: number | undefined) => Promise<SnapshotCounter[]>;
  readonly openIntents: () => Promise<string[]>;
  readonly writers: () => Promise<{ writerId: string; firstSeq: number; size: number }[]>;
  readonly close: () => Promise<void>;
}

export interface SnapshotPage {
  readonly records: readonly SnapshotRecord[];
  /** What is kept for ids after the last one of the page before, up to the last one of this page. */
  readonly erasable: readonly SnapshotErasable[];
}

export interface SnapshotErasable {
  readonly eventId: string;
  readonly key: string;
  /** hex. */
  readonly salt: string;
  readonly value: string;
}

// About what fits into the buffer of a Unix socket: the server cannot get ahead of a reader by more than that.
const recordsAtOnce = 192;
const tilesAtOnce = 64;
// The smallest bigint, so that rows that should not be there are seen too.
const beforeAll = '-9223372036854775808';

/** Throws an `Error` with one sentence when the database holds no log of ours. */
export async function openLogSnapshot(address: DatabaseAddress): Promise<LogSnapshot> {
  const client = await openClient(address, 'talos-fsck');
  try {
    // The row values below are compared as text.
    await client.query("SET timezone = 'UTC'; SET datestyle = 'ISO'; SET bytea_output = 'hex'; SET jit = off");
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const { rows } = await client.query("SELECT to_regclass('log_head') IS NOT NULL AS is_log");
    if (rows[0]?.is_log !== true) throw new Error('This database holds no log of a gateway.');
    return snapshotOn(client);
  } catch (error) {
    await endClient(client);
    throw error;
  }
}

function snapshotOn(client: pg.Client): LogSnapshot {
  const rowsOf = async <Row extends pg.QueryResultRow>(text: string, values: readonly unknown[] = []) =>
    (await client.query<Row>(text, [...values])).rows;
  return {
    heads: () => heads(client),
    partitions: () => partitions(client),
    records: () => records(client),
    tiles: (level) => tiles(client, level),
    async tilesOutside(levels) {
      const [row] = await rowsOf<{ count: string }>(
        'SELECT count(*) FROM log_tile WHERE NOT level = ANY ($1::smallint[])',
        [Array.from({ length: levels }, (_, level) => level)],
      );
      return Number(row?.count);
    },
    async signers() {
      const rows = await rowsOf<{ verifier_key: string }>('SELECT verifier_key FROM log_signer ORDER BY added_at');
      return rows.map((row) => row.verifier_key);
    },
    async checkpoints() {
      const rows = await rowsOf<{ size: string; root: Buffer; note: string }>(
        'SELECT size, root, note FROM log_checkpoint ORDER BY size',
      );
      return rows.map((row) => ({ ...row, size: Number(row.size) }));
    },
    counters: (fromSec, toSec) => counters(client, fromSec, toSec),
    async openIntents() {
      const rows = await rowsOf<{ intent_id: string }>('SELECT intent_id FROM log_intent ORDER BY intent_id');
      return rows.map((row) => row.intent_id);
    },
    async writers() {
      const rows = await rowsOf<{ writer_id: string; first_seq: string; size: number }>('SELECT * FROM log_writer');
      return rows.map((row) => ({ writerId: row.writer_id, firstSeq: Number(row.first_seq), size: row.size }));
    },
    close: () => endClient(client),
  };
}

async function heads(client: pg.Client): Promise<SnapshotHead[]> {
  const { rows } = await client.query<{
    next_seq: string;
    last_ms: string;
    last_counter: number;
    tree: Buffer;
    root: Buffer;
    origin: string | null;
  }>('SELECT * FROM log_head');
  return rows.map((row) => ({
    nextSeq: Number(row.next_seq),
    lastMs: Number(row.last_ms),
    lastCounter: row.last_counter,
    tree: row.tree,
    root: row.root,
    origin: row.origin,
  }));
}

async function partitions(client: pg.Client): Promise<SnapshotPartition[]> {
  const { rows } = await client.query<{ first_seq: string; end_seq: string; is_pruned: boolean; attached: boolean }>(
    `SELECT first_seq, end_seq, pruned_at IS NOT NULL AS is_pruned,
            EXISTS (SELECT FROM pg_inherits
                     WHERE inhrelid = to_regclass('audit_event_' || first_seq) AND inhparent = 'audit_event'::regclass
                       AND NOT inhdetachpending) AS attached
       FROM log_partition ORDER BY first_seq`,
  );
  return rows.map((row) => ({
    firstSeq: Number(row.first_seq),
    endSeq: Number(row.end_seq),
    isPruned: row.is_pruned,
    isAttached: row.attached,
  }));
}

type RecordRow = [seq: string, keys: string, eventId: string, leafHash: Buffer, canon: string, details: string | null];

const keyColumns =
  'event_id, ts, outcome, surface_id, team_id, agent_id, session_id, correlation_id, event_type, server_id, tool, is_intent';

async function* records(client: pg.Client): AsyncGenerator<SnapshotPage, void, undefined> {
  let page = nextPage(client, undefined);
  for (;;) {
    const found = await page;
    const last = found.records.at(-1);
    // The server reads the next page while this one is looked at.
    if (last !== undefined) page = nextPage(client, last);
    // Whoever stops early does not wait for it.
    page.catch(() => undefined);
    yield found;
    if (last === undefined) return;
  }
}

async function nextPage(client: pg.Client, after: SnapshotRecord | undefined): Promise<SnapshotPage> {
  const found = await nextRecords(client, after?.seq);
  return { records: found, erasable: await erasable(client, after?.eventId, found.at(-1)?.eventId) };
}

async function nextRecords(client: pg.Client, after: number | undefined): Promise<SnapshotRecord[]> {
  const { rows } = await client.query<RecordRow>({
    name: 'fsck-records',
    rowMode: 'array',
    text: `SELECT seq, ROW(${keyColumns})::text, event_id, leaf_hash, canon, details FROM audit_event
            WHERE seq > $1 ORDER BY seq LIMIT ${recordsAtOnce}`,
    values: [after ?? beforeAll],
  });
  return rows.map(([seq, keys, eventId, leafHash, canon, details]) => ({
    seq: Number(seq),
    keys,
    eventId,
    leafHash,
    canon,
    details,
  }));
}

/** Without an id, there is no bound on that side. */
async function erasable(
  client: pg.Client,
  after: string | undefined,
  upTo: string | undefined,
): Promise<SnapshotErasable[]> {
  const { rows } = await client.query<{ event_id: string; key: string; salt: string; value: string }>({
    name: 'fsck-erasable',
    text: `SELECT event_id, key, encode(salt, 'hex') AS salt, value FROM log_erasable
            WHERE ($1::uuid IS NULL OR event_id > $1) AND ($2::uuid IS NULL OR event_id <= $2) ORDER BY event_id, key`,
    values: [after ?? null, upTo ?? null],
  });
  return rows.map(({ event_id, ...row }) => ({ eventId: event_id, ...row }));
}

async function* tiles(client: pg.Client, level: number): AsyncGenerator<SnapshotTile, void, undefined> {
  for (let after: number | undefined, isEnd = false; !isEnd; ) {
    const { rows } = await client.query<{ index: string; data: Buffer; root: Buffer }>(
      `SELECT index, data, root FROM log_tile WHERE level = $1 AND index > $2 ORDER BY index LIMIT ${tilesAtOnce}`,
      [level, after ?? beforeAll],
    );
    isEnd = rows.length < tilesAtOnce;
    for (const row of rows) {
      after = Number(row.index);
      yield { index: after, data: row.data, root: row.root };
    }
  }
}

async function counters(
  client: pg.Client,
  fromSec: number | undefined,
  toSec: number | undefined,
): Promise<SnapshotCounter[]> {
  const { rows } = await client.query<{
    span_sec: number;
    start_sec: string;
    team_id: string;
    counter: string;
    value: string;
  }>(
    `SELECT * FROM log_rollup WHERE start_sec >= coalesce($1, -9223372036854775808)
        AND start_sec < coalesce($2, 9223372036854775807)`,
    [fromSec ?? null, toSec ?? null],
  );
  return rows.map((row) => ({
    spanSec: row.span_sec,
    startSec: Number(row.start_sec),
    teamId: row.team_id,
    counter: row.counter,
    value: Number(row.value),
  }));
}
