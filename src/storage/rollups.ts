/**
 * Counters of the statistics, by span of time and team. They are added to in the transaction that appends the records,
 * under the head's lock, so they are exactly what the records say; a window is read from few rows, however many events
 * lie in it.
 */
import type pg from 'pg';
import type { CommittedEvent, PreparedEvent } from '../core/audit-event.ts';
import { recordCounters } from '../core/counters.ts';
import { read } from './db.ts';
import { projectedKey } from './projected-key.ts';
import { sqlText } from './unwritable.ts';

const minuteSec = 60;
const hourSec = 3_600;
const daySec = 86_400;

/** A part of a period: whole spans, or without `spanSec` what no span covers. From inclusive, to exclusive. */
export interface PeriodPart {
  readonly fromMs: number;
  readonly toMs: number;
  readonly spanSec?: number;
}

/** The period cut into the longest whole spans, and at its ends into ever shorter ones. */
export function periodParts(fromMs: number, toMs: number, spansSec: readonly number[] = recordSpans): PeriodPart[] {
  if (fromMs >= toMs) return [];
  const [spanSec, ...shorter] = spansSec;
  if (spanSec === undefined) return [{ fromMs, toMs }];
  const spanMs = spanSec * 1000;
  const firstMs = Math.ceil(fromMs / spanMs) * spanMs;
  const lastMs = Math.floor(toMs / spanMs) * spanMs;
  if (firstMs >= lastMs) return periodParts(fromMs, toMs, shorter);
  return [
    ...periodParts(fromMs, firstMs, shorter),
    { fromMs: firstMs, toMs: lastMs, spanSec },
    ...periodParts(lastMs, toMs, shorter),
  ];
}

// Longest first. Records are counted over any period; what else there is, over hours and days.
const recordSpans = [daySec, hourSec, minuteSec];
const otherSpans = [hourSec, minuteSec];

/** SQL that adds a batch to the counters, for the transaction that appends it. */
export function addToRollups(events: readonly PreparedEvent[], committed: readonly CommittedEvent[]): string {
  const minutes = new Map<string, Row>();
  for (const [index, { counts, keys }] of events.entries()) {
    const startSec = Math.floor((committed[index] as CommittedEvent).timeMs / 60_000) * minuteSec;
    for (const { counter, value } of counts) add(minutes, { startSec, team: keys.teamId ?? '', counter, value });
  }
  return upsert([...minutes.values()]);
}

interface Row {
  readonly startSec: number;
  readonly team: string;
  readonly counter: string;
  value: number;
}

function add(rows: Map<string, Row>, row: Row): void {
  const key = `${row.startSec} ${row.counter} ${row.team}`;
  const known = rows.get(key);
  if (known === undefined) rows.set(key, row);
  else known.value += row.value;
}

function upsert(minutes: readonly Row[]): string {
  if (minutes.length === 0) return '';
  const values = recordSpans.flatMap((spanSec) => inSpans(minutes, spanSec).map((row) => rowSql(spanSec, row)));
  return `INSERT INTO log_rollup AS r (span_sec, start_sec, team_id, counter, value) VALUES ${values.join(', ')}
    ON CONFLICT (span_sec, start_sec, team_id, counter) DO UPDATE SET value = r.value + excluded.value;`;
}

/** The same counts by longer spans: a batch may lie in two minutes of one hour. */
function inSpans(minutes: readonly Row[], spanSec: number): Row[] {
  const rows = new Map<string, Row>();
  for (const row of minutes) {
    if (spanSec === daySec && !row.counter.startsWith(recordCounters)) continue;
    add(rows, { ...row, startSec: row.startSec - (row.startSec % spanSec) });
  }
  return [...rows.values()];
}

function rowSql(spanSec: number, { startSec, team, counter, value }: Row): string {
  return `(${spanSec}, ${startSec}, ${sqlText(projectedKey(team))}, ${sqlText(counter)}, ${value})`;
}

/** SQL for the number of records in whole spans. `team` is the condition on the team, or empty. */
export function recordsInSpans(part: PeriodPart & { readonly spanSec: number }, team: string): string {
  return `(SELECT coalesce(sum(value), 0) FROM log_rollup
    WHERE ${inPart(part)} AND counter LIKE '${recordCounters}%'${team === '' ? '' : ` AND ${team}`})`;
}

// Numbers of our own making: whole, and within what a bigint holds.
function inPart({ spanSec, fromMs, toMs }: PeriodPart): string {
  return `span_sec = ${spanSec} AND start_sec >= ${fromMs / 1000} AND start_sec < ${toMs / 1000}`;
}

/** What the counters say of the last hours. */
export interface Statistics {
  /** Unix time in seconds, inclusive; a whole minute. */
  readonly fromSec: number;
  /** Exclusive: the end of the minute that is running. */
  readonly toSec: number;
  readonly counts: readonly HourCount[];
}

export interface HourCount {
  /** The hour's start, which may lie before the window. */
  readonly hourSec: number;
  readonly counter: string;
  readonly value: number;
}

export interface StatisticsReader {
  /** The last `hours` hours by the database's clock, the running minute included; of these teams when they are named. */
  readonly lastHours: (hours: number, filter: { readonly teams?: readonly string[] }) => Promise<Statistics>;
}

export function createStatisticsReader(pool: pg.Pool): StatisticsReader {
  return { lastHours: (hours, { teams }) => lastHours(pool, hours, teams) };
}

async function lastHours(pool: pg.Pool, hours: number, teams: readonly string[] | undefined): Promise<Statistics> {
  const [clock] = await read<{ sec: string }>(pool, 'SELECT floor(extract(epoch FROM now()))::bigint AS sec');
  const toSec = (Math.floor(Number(clock?.sec) / minuteSec) + 1) * minuteSec;
  const fromSec = toSec - hours * hourSec;
  const parts = periodParts(fromSec * 1000, toSec * 1000, otherSpans).map(inPart);
  const rows = await read<{ hour: string; counter: string; value: string }>(
    pool,
    `SELECT start_sec - start_sec % ${hourSec} AS hour, counter, sum(value) AS value FROM log_rollup
      WHERE (${parts.join(' OR ')}) AND ($1::text[] IS NULL OR team_id = ANY($1)) GROUP BY hour, counter`,
    [teams?.map(projectedKey) ?? null],
  );
  const counts = rows.map(({ hour, counter, value }) => ({ hourSec: Number(hour), counter, value: Number(value) }));
  return { fromSec, toSec, counts };
}
