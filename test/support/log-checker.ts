/**
 * Reads a whole log back from its database and checks every promise of it with nothing but the stored bytes: sequence
 * without a hole, leaves, root, ids and times in order, keys and counters that say what the records say. Its tree is
 * written apart from the one under test.
 */
import { createHash } from 'node:crypto';
import pg from 'pg';
import { canonicalize } from '../../src/core/canonical-json.ts';
import type { JsonObject } from '../../src/core/json.ts';
import type { DatabaseAddress } from '../../src/storage/db.ts';
import { checkRollups, type RollupRow } from './rollup-checker.ts';

export interface CheckedRecord {
  readonly seq: number;
  readonly eventId: string;
  readonly canon: string;
  readonly record: Readonly<Record<string, JsonObject>>;
  readonly details: JsonObject | undefined;
}

interface Row {
  readonly seq: string;
  readonly event_id: string;
  readonly ts: Date;
  readonly leaf_hash: Buffer;
  readonly canon: string;
  readonly details: string | null;
  readonly [key: string]: unknown;
}

interface HeadRow {
  readonly next_seq: string;
  readonly last_ms: string;
  readonly root: Buffer;
  readonly tree: Buffer;
}

interface TileRow {
  readonly level: number;
  readonly index: string;
  readonly data: Buffer;
  readonly root: Buffer;
}

/** All records of the log in order. Throws an error that names the first fault. */
export async function checkLog(address: DatabaseAddress): Promise<CheckedRecord[]> {
  const { head, rows, tiles, rollups } = await readAll(address);
  const subtrees: Subtree[] = [];
  let lastId = '';
  const records = rows.map((row, index) => {
    ensure(Number(row.seq) === index, `record ${index} has the sequence number ${row.seq}`);
    ensure(row.event_id > lastId, `the id of record ${index} is not after the one before it`);
    lastId = row.event_id;
    const record = checkRecord(row);
    push(subtrees, row.leaf_hash);
    return { seq: index, eventId: row.event_id, canon: row.canon, record, details: detailsOf(row) };
  });
  ensure(Number(head.next_seq) === rows.length, `the head counts ${head.next_seq} records, there are ${rows.length}`);
  checkTiles(
    tiles,
    rows.map((row) => row.leaf_hash),
  );
  ensure(rootOf(subtrees).equals(head.root), 'the root of the head is not the root of the records');
  ensure(Buffer.concat(subtrees.map(({ hash }) => hash)).equals(head.tree), 'the tree of the head is another one');
  ensure(
    rows.length === 0 || Number(head.last_ms) === idMs(lastId),
    'the head is at another time than the last record',
  );
  checkRollups(
    rollups,
    records.map(({ record }, index) => ({ record, ...placeOf(rows[index] as Row) })),
  );
  return records;
}

function placeOf(row: Row): { ts: Date; team: string } {
  return { ts: row.ts, team: typeof row['team_id'] === 'string' ? row['team_id'] : '' };
}

interface StoredLog {
  readonly head: HeadRow;
  readonly rows: Row[];
  readonly tiles: TileRow[];
  readonly rollups: RollupRow[];
}

async function readAll(address: DatabaseAddress): Promise<StoredLog> {
  const client = new pg.Client('url' in address ? { connectionString: address.url } : address);
  await client.connect();
  try {
    await client.query('BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY');
    const heads = (await client.query<HeadRow>('SELECT * FROM log_head')).rows;
    const { rows } = await client.query<Row>('SELECT * FROM audit_event ORDER BY seq');
    ensure(heads.length === 1, `there are ${heads.length} heads`);
    const tiles = (await client.query<TileRow>('SELECT * FROM log_tile ORDER BY level, index')).rows;
    const rollups = (await client.query<RollupRow>('SELECT * FROM log_rollup')).rows;
    return { head: heads[0] as HeadRow, rows, tiles, rollups };
  } finally {
    await client.end();
  }
}

function checkRecord(row: Row): CheckedRecord['record'] {
  const { seq, canon } = row;
  ensure(sha256([0], canon).equals(row.leaf_hash), `the leaf of record ${seq} is not the hash of its bytes`);
  const record = JSON.parse(canon) as Record<string, JsonObject>;
  ensure(canonicalize(record) === canon, `record ${seq} is not canonical`);
  ensure(Buffer.byteLength(canon) <= 65_535, `record ${seq} is too large`);
  ensure(String(record['event_id']) === row.event_id, `record ${seq} names another id than its row`);
  const time = new Date(idMs(row.event_id)).toISOString();
  ensure(String(record['ts']) === time, `the time of record ${seq} is not that of its id`);
  ensure(row.ts.toISOString() === time, `the row of record ${seq} has another time`);
  checkKeys(row, record);
  const detailsHash = record['meta']?.['details_hash'];
  const expected = row.details === null ? undefined : sha256([], row.details).toString('hex');
  ensure(detailsHash === expected, `the details of record ${seq} are not the ones that it is bound to`);
  return record;
}

function checkKeys(row: Row, record: CheckedRecord['record']): void {
  const { meta, principal } = record;
  const projection: Record<string, unknown> = {
    outcome: record['outcome'],
    surface_id: record['surface_id'],
    team_id: principal?.['team_id'],
    agent_id: principal?.['auth_mode'] === 'anonymous' ? undefined : principal?.['principal_id'],
    session_id: meta?.['session_id'],
    correlation_id: typeof meta?.['correlation_id'] === 'string' ? meta['correlation_id'] : record['request_id'],
    event_type: meta?.['event_type'],
    server_id: meta?.['server_id'],
    tool: meta?.['tool_name'],
  };
  for (const [column, value] of Object.entries(projection)) {
    const expected = typeof value === 'string' ? stored(value) : null;
    ensure(row[column] === expected, `${column} of record ${row.seq} is not what the record says`);
  }
  ensure(
    row['is_intent'] === ['intent', 'late', 'note'].includes(String(meta?.['phase'])),
    `is_intent of record ${row.seq} is not what the record says`,
  );
}

/** Long keys and keys with a NUL are stored as a readable head and their hash. */
function stored(key: string): string {
  if (key.length <= 256 && !key.includes('\0')) return key;
  // A pair that the cut went through is stored as U+FFFD.
  const head = key.slice(0, 191).replaceAll('\0', '\ufffd').toWellFormed();
  return `${head}#${sha256([], key).toString('hex')}`;
}

/** Every full tile of every level is there, with the hashes of its level, and none beside. */
function checkTiles(tiles: readonly TileRow[], leaves: readonly Buffer[]): void {
  let rest = tiles;
  let entries = leaves;
  for (let level = 0; entries.length >= 256; level++) {
    const count = Math.floor(entries.length / 256);
    const own = rest.slice(0, count);
    rest = rest.slice(count);
    entries = own.map((tile, index) => checkTile(tile, level, index, entries.slice(index * 256, (index + 1) * 256)));
    ensure(own.length === count, `there are ${own.length} tiles of level ${level}, not ${count}`);
  }
  ensure(rest.length === 0, `there are ${rest.length} tiles too many`);
}

function checkTile(tile: TileRow, level: number, index: number, hashes: readonly Buffer[]): Buffer {
  ensure(tile.level === level && Number(tile.index) === index, `tile ${level}/${index} is missing`);
  ensure(tile.data.equals(Buffer.concat(hashes)), `tile ${level}/${index} holds other hashes than its level`);
  const subtrees: Subtree[] = [];
  for (const hash of hashes) push(subtrees, hash);
  ensure(tile.root.equals(rootOf(subtrees)), `tile ${level}/${index} has another root`);
  return tile.root;
}

interface Subtree {
  readonly size: number;
  readonly hash: Buffer;
}

/** The roots that the tree of these records had at some of its sizes. */
export function rootsAt(records: readonly CheckedRecord[], sizes: ReadonlySet<number>): Map<number, Buffer> {
  const subtrees: Subtree[] = [];
  const roots = new Map<number, Buffer>([[0, rootOf([])]]);
  for (const { seq, canon } of records) {
    push(subtrees, sha256([0], canon));
    if (sizes.has(seq + 1)) roots.set(seq + 1, rootOf(subtrees));
  }
  return roots;
}

/** Appends a leaf to a forest of perfect trees by merging equals, the definition of an RFC 6962 tree from the left. */
function push(subtrees: Subtree[], leaf: Buffer): void {
  let added: Subtree = { size: 1, hash: leaf };
  for (let last = subtrees.at(-1); last?.size === added.size; last = subtrees.at(-1)) {
    subtrees.pop();
    added = { size: added.size * 2, hash: sha256([1], last.hash, added.hash) };
  }
  subtrees.push(added);
}

function rootOf(subtrees: readonly Subtree[]): Buffer {
  const hashes = subtrees.map(({ hash }) => hash);
  return hashes.length === 0 ? sha256([]) : hashes.reduceRight((right, left) => sha256([1], left, right));
}

function sha256(prefix: readonly number[], ...data: readonly (string | Buffer)[]): Buffer {
  const hash = createHash('sha256').update(Buffer.from(prefix));
  for (const part of data) hash.update(part);
  return hash.digest();
}

function idMs(id: string): number {
  return Number.parseInt(id.replaceAll('-', '').slice(0, 12), 16);
}

function detailsOf(row: Row): JsonObject | undefined {
  return row.details === null ? undefined : (JSON.parse(row.details) as JsonObject);
}

function ensure(condition: boolean, fault: string): asserts condition {
  if (!condition) throw new Error(`The log is broken: ${fault}.`);
}
