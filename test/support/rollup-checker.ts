/**
 * The counters of the statistics, derived once more from the stored records alone and compared with those that the log
 * keeps. The rules are written down here apart from the code under test.
 */
import type { JsonObject } from '../../src/core/json.ts';

export interface RollupRow {
  readonly span_sec: number;
  readonly start_sec: string;
  readonly team_id: string;
  readonly counter: string;
  readonly value: string;
}

export interface CountedRecord {
  readonly ts: Date;
  readonly team: string;
  readonly record: Readonly<Record<string, JsonObject>>;
}

/** Throws an error that names the first counter that the records do not bear out, or that is missing. */
export function checkRollups(rows: readonly RollupRow[], records: readonly CountedRecord[]): void {
  const expected = new Map<string, number>();
  for (const counted of records) {
    for (const [counter, value] of countersOf(counted.record)) {
      for (const span of counter.startsWith('record.') ? [60, 3600, 86400] : [60, 3600]) {
        const start = Math.floor(counted.ts.getTime() / 1000 / span) * span;
        const key = [span, start, counted.team, counter].join('|');
        expected.set(key, (expected.get(key) ?? 0) + value);
      }
    }
  }
  for (const row of rows) {
    const key = [row.span_sec, row.start_sec, row.team_id, row.counter].join('|');
    const value = expected.get(key);
    if (value !== Number(row.value)) throw new Error(`The log is broken: ${key} is ${row.value}, not ${value ?? 0}.`);
    expected.delete(key);
  }
  const [missing] = expected.keys();
  if (missing !== undefined) throw new Error(`The log is broken: the counter ${missing} is missing.`);
}

function countersOf(record: CountedRecord['record']): [string, number][] {
  const meta: JsonObject = record['meta'] ?? {};
  if (['intent', 'late', 'note'].includes(String(meta['phase']))) return [];
  const outcome = String(record['outcome']);
  const requests = requestsOf(String(record['surface_id']), meta);
  const counters: [string, number][] = [[requests === undefined ? `record.${outcome}` : 'record.summary', 1]];
  const value = requests ?? 1;
  if (requests !== undefined && value > 0) counters.push([`summarised.${outcome}`, value]);
  if (typeof meta['denial_reason'] === 'string' && outcome === 'denied') {
    counters.push([`denied.${meta['denial_reason']}`, value]);
  }
  const latency = meta['latency_ms'];
  if (typeof latency === 'number' && outcome !== 'denied') counters.push([`latency.${bucketOf(latency)}`, 1]);
  return counters;
}

/** How many requests a record that sums up stands for; undefined for one of its own. */
function requestsOf(surface: string, meta: JsonObject): number | undefined {
  if (surface === 'gateway.summary') return 0;
  return surface === 'gateway.refusals' ? Number(meta['summarised_count']) : undefined;
}

/** By going through the buckets: eight of one millisecond, then four to each doubling. */
function bucketOf(ms: number): number {
  let bucket = 0;
  for (let from = 0, width = 1; from + width <= ms; bucket++) {
    from += width;
    if (from >= 16 && Math.log2(from) % 1 === 0) width = from / 4;
    else if (from === 8) width = 2;
  }
  return bucket;
}
