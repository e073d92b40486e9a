/** Reading the log: pages, single records, counts. Everything comes from `canon`; the other columns only find it. */
import type pg from 'pg';
import { bounds } from '../config/bounds.ts';
import { type Cursor, splitId } from '../core/cursor.ts';
import { uuidv7Floor } from '../core/uuidv7.ts';
import { read } from './db.ts';
import { projectedKey } from './projected-key.ts';
import { type PeriodPart, periodParts, recordsInSpans } from './rollups.ts';

/** A record as it is stored. */
export interface StoredEvent {
  readonly seq: number;
  readonly eventId: string;
  /** The canonical record without `event_hash`, byte for byte as hashed. */
  readonly canon: string;
  /** SHA-256(0x00 ‖ canon), as it entered the tree. */
  readonly leafHash: Buffer;
  readonly details: string | null;
  /** Canonical JSON by key of the values that the record only commits to and that are not erased. */
  readonly erasable?: Readonly<Record<string, string>>;
}

/** Conditions that all hold; a record that lacks a filtered key does not match. */
export interface EventFilter {
  readonly sessionId?: string;
  readonly correlationId?: string;
  readonly outcome?: 'success' | 'failure' | 'denied';
  readonly eventType?: string;
  readonly agentId?: string;
  readonly tool?: string;
  readonly serverId?: string;
  /** Only capital letters and underscores. Of what is found some may be of another reason and speak of this one. */
  readonly denialReason?: string;
  /** Records of any of these teams. */
  readonly teams?: readonly string[];
  /** Unix milliseconds, inclusive. */
  readonly fromMs?: number;
  /** Unix milliseconds, exclusive. */
  readonly toMs?: number;
}

export interface EventPage {
  readonly filter: EventFilter;
  readonly limit: number;
  /** Only events older than this. */
  readonly before?: Cursor;
  /** Only events newer than this, oldest first. Without it the newest come first. */
  readonly after?: Cursor;
}

/** The events that match from sequence number `firstSeq` on, those before `endSeq`. */
export interface LogPart {
  readonly filter: EventFilter;
  readonly firstSeq: number;
  readonly endSeq?: number;
  readonly limit: number;
  /** Of a page, which one record alone may pass; without it that of an export. */
  readonly bytesMax?: number;
}

export interface EventReader {
  /** At most `limit` events, and whether more match beyond them. */
  readonly list: (page: EventPage) => Promise<{ events: StoredEvent[]; hasMore: boolean }>;
  /** `undefined` also when the event belongs to another team than those of the filter. */
  readonly get: (eventId: string, filter: Pick<EventFilter, 'teams'>) => Promise<StoredEvent | undefined>;
  /** How many match, intents aside. Of a period alone it costs the same however many events lie in it. */
  readonly count: (filter: EventFilter) => Promise<number>;
  /** Whether an event with this id, if there ever was one, has been pruned. */
  readonly isPruned: (eventId: string) => Promise<boolean>;
  /** Events of a part of the log, oldest first: as many as fit the bounds of a page, and one at least if there is one. */
  readonly records: (part: LogPart) => Promise<StoredEvent[]>;
  /** The canonical records from sequence number `first` on, at most `count`. */
  readonly canons: (first: number, count: number) => Promise<string[]>;
}

export function createEventReader(pool: pg.Pool): EventReader {
  return {
    list: (page) => list(pool, page),
    get: (eventId, filter) => get(pool, eventId, filter),
    count: (filter) => count(pool, filter),
    async isPruned(eventId) {
      const text = 'SELECT FROM log_partition WHERE last_id >= $1 LIMIT 1';
      return (await read(pool, text, [eventId])).length > 0;
    },
    records: (part) => records(pool, part),
    canons: (first, size) => canons(pool, first, size),
  };
}

/** A record as the database gives it. */
export interface EventRow {
  readonly seq: string;
  readonly event_id: string;
  readonly canon: string;
  readonly leaf_hash: Buffer;
  readonly details: string | null;
  readonly erasable?: Readonly<Record<string, string>> | null;
}

export const eventColumns = 'seq, event_id, canon, leaf_hash, details';
const erasableColumn =
  '(SELECT json_object_agg(key, value) FROM log_erasable v WHERE v.event_id = audit_event.event_id) AS erasable';

async function list(pool: pg.Pool, page: EventPage): Promise<{ events: StoredEvent[]; hasMore: boolean }> {
  const values: unknown[] = [];
  const conditions = filterConditions(page.filter, values);
  if (page.before !== undefined) conditions.push(`seq < ${firstSeqFrom(splitId(page.before), '>=', values)}`);
  if (page.after !== undefined) conditions.push(`seq >= ${firstSeqFrom(splitId(page.after), '>', values)}`);
  values.push(page.limit + 1);
  const rows = await read<EventRow>(
    pool,
    `SELECT ${eventColumns}, ${erasableColumn} FROM audit_event ${where(conditions)}
      ORDER BY seq ${page.after === undefined ? 'DESC' : 'ASC'} LIMIT $${values.length}`,
    values,
  );
  return { events: rows.slice(0, page.limit).map(storedEvent), hasMore: rows.length > page.limit };
}

async function get(
  pool: pg.Pool,
  eventId: string,
  filter: Pick<EventFilter, 'teams'>,
): Promise<StoredEvent | undefined> {
  const values: unknown[] = [eventId];
  const conditions = ['event_id = $1', ...filterConditions(filter, values)];
  const rows = await read<EventRow>(
    pool,
    `SELECT ${eventColumns}, ${erasableColumn} FROM audit_event ${where(conditions)}`,
    values,
  );
  return rows[0] === undefined ? undefined : storedEvent(rows[0]);
}

// The first millisecond, in whole days, that no id can hold.
const timeEndMs = Math.ceil(2 ** 48 / 86_400_000) * 86_400_000;

async function count(pool: pg.Pool, filter: EventFilter): Promise<number> {
  const { fromMs = 0, toMs = timeEndMs, teams, ...others } = filter;
  const team = teams === undefined ? {} : { teams };
  const values: unknown[] = [];
  // Only periods and teams are known without looking at the records.
  const isByRows = Object.keys(others).length > 0;
  const parts = periodParts(Math.max(0, fromMs), Math.min(toMs, timeEndMs));
  const terms = isByRows ? [countRows(filter, values)] : parts.map((part) => countPart(part, team, values));
  if (terms.length === 0) return 0;
  const rows = await read<{ count: string }>(pool, `SELECT ${terms.join(' + ')} AS count`, values);
  return Number(rows[0]?.count);
}

function countPart({ fromMs, toMs, spanSec }: PeriodPart, team: Pick<EventFilter, 'teams'>, values: unknown[]): string {
  if (spanSec === undefined) return countRows({ ...team, fromMs, toMs }, values);
  return recordsInSpans({ fromMs, toMs, spanSec }, filterConditions(team, values).join(' AND '));
}

function countRows(filter: EventFilter, values: unknown[]): string {
  const conditions = ['NOT is_intent', ...filterConditions(filter, values)];
  return `(SELECT count(*) FROM audit_event ${where(conditions)})`;
}

async function records(pool: pg.Pool, part: LogPart): Promise<StoredEvent[]> {
  const { filter, firstSeq, endSeq, limit, bytesMax = bounds.recordsPageBytesMax } = part;
  const values: unknown[] = [firstSeq, endSeq ?? null, limit, bytesMax];
  const conditions = ['seq >= $1', '($2::bigint IS NULL OR seq < $2)', ...filterConditions(filter, values)];
  const rows = await read<EventRow>(
    pool,
    `SELECT ${eventColumns} FROM (
       SELECT ${eventColumns}, sum(bytes) OVER (ORDER BY seq) - bytes AS bytes_before FROM (
         SELECT ${eventColumns}, octet_length(canon) + coalesce(octet_length(details), 0) AS bytes FROM audit_event
          ${where(conditions)} ORDER BY seq LIMIT $3) AS page) AS measured
      WHERE bytes_before < $4 ORDER BY seq`,
    values,
  );
  return rows.map(storedEvent);
}

async function canons(pool: pg.Pool, first: number, size: number): Promise<string[]> {
  const rows = await read<{ canon: string }>(
    pool,
    'SELECT canon FROM audit_event WHERE seq >= $1 AND seq < $2 ORDER BY seq',
    [first, first + size],
  );
  return rows.map((row) => row.canon);
}

export function storedEvent(row: EventRow): StoredEvent {
  return {
    seq: Number(row.seq),
    eventId: row.event_id,
    canon: row.canon,
    leafHash: row.leaf_hash,
    details: row.details,
    ...(row.erasable === null || row.erasable === undefined ? {} : { erasable: row.erasable }),
  };
}

function where(conditions: readonly string[]): string {
  return conditions.length === 0 ? '' : `WHERE ${conditions.join(' AND ')}`;
}

function filterConditions(filter: EventFilter, values: unknown[]): string[] {
  const equalities: readonly (readonly [string, string | undefined])[] = [
    ['session_id', filter.sessionId],
    ['correlation_id', filter.correlationId],
    ['outcome', filter.outcome],
    ['event_type', filter.eventType],
    ['agent_id', filter.agentId],
    ['tool', filter.tool],
    ['server_id', filter.serverId],
  ];
  const conditions: string[] = [];
  for (const [column, value] of equalities) {
    if (value === undefined) continue;
    values.push(projectedKey(value));
    conditions.push(`${column} = $${values.length}`);
  }
  if (filter.denialReason !== undefined) {
    values.push(`%"denial_reason":"${filter.denialReason.replaceAll('_', '\\_')}"%`);
    conditions.push(`outcome = 'denied' AND canon LIKE $${values.length}`);
  }
  if (filter.teams !== undefined) conditions.push(teamCondition(filter.teams, values));
  // Time is part of the id, and ids are in the order of the log.
  if (filter.fromMs !== undefined) conditions.push(`seq >= ${firstSeqFrom(uuidv7Floor(filter.fromMs), '>=', values)}`);
  if (filter.toMs !== undefined) conditions.push(`seq < ${firstSeqFrom(uuidv7Floor(filter.toMs), '>=', values)}`);
  return conditions;
}

/** One team is compared as such, which lets the planner read the index in the order of the log. */
function teamCondition(teams: readonly string[], values: unknown[]): string {
  const keys = teams.map(projectedKey);
  const isOne = keys.length === 1;
  values.push(isOne ? keys[0] : keys);
  return isOne ? `team_id = $${values.length}` : `team_id = ANY($${values.length})`;
}

/** SQL for the sequence number of the first event whose id passes the comparison; past the end when there is none. */
function firstSeqFrom(eventId: string, comparison: '>' | '>=', values: unknown[]): string {
  values.push(eventId);
  const id = `$${values.length}`;
  return `coalesce((SELECT seq FROM audit_event WHERE event_id ${comparison} ${id}::uuid ORDER BY event_id LIMIT 1), 9223372036854775807)`;
}
