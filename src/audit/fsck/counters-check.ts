/**
 * The counters of the statistics, derived again from the records as they pass by in the order of their time, and
 * compared with the stored ones a day at a time.
 */
import { isCountedPhase } from '../../core/audit-event.ts';
import { type Countable, countsOf, recordCounters } from '../../core/counters.ts';
import type { JsonObject, JsonValue } from '../../core/json.ts';
import type { SnapshotCounter } from '../../storage/log-snapshot.ts';
import { projectedKey } from '../../storage/projected-key.ts';
import type { Findings } from './findings.ts';
import { objectAt } from './record-check.ts';

const daySec = 86_400;
const recordSpansSec = [60, 3_600, daySec];
const otherSpansSec = [60, 3_600];

export type ReadCounters = (fromSec: number | undefined, toSec: number | undefined) => Promise<SnapshotCounter[]>;

export class CountersCheck {
  readonly #read: ReadCounters;
  readonly #findings: Findings;
  /** Up to here the stored counters have been compared; undefined before the first record. */
  #comparedSec: number | undefined;
  /** Spans that start before this are not judged: some of their records are pruned. */
  #floorSec = Number.NEGATIVE_INFINITY;
  #daySec: number | undefined;
  #expected = new Map<string, number>();
  /** The minute that is being counted: counts by name and team. */
  #minute = { startSec: 0, counts: new Map<string, number>() };
  #compared = 0;

  constructor(read: ReadCounters, findings: Findings) {
    this.#read = read;
    this.#findings = findings;
  }

  get compared(): number {
    return this.#compared;
  }

  /** Records before this moment are pruned, so nothing is known of spans that began before it. */
  startAt(timeMs: number): void {
    this.#floorSec = timeMs / 1000;
    this.#comparedSec = Math.floor(this.#floorSec / daySec) * daySec;
  }

  /** Takes the next record. Resolves only when a day was completed by it. */
  add(record: JsonObject, timeMs: number): Promise<void> | undefined {
    const day = Math.floor(timeMs / 1000 / daySec) * daySec;
    const completed = this.#daySec !== undefined && day > this.#daySec ? this.#compare(day) : undefined;
    this.#daySec = day;
    const counted = countable(record);
    if (counted === undefined) return completed;
    if (completed !== undefined) return completed.then(() => this.#count(counted, record, timeMs));
    this.#count(counted, record, timeMs);
    return undefined;
  }

  async end(): Promise<void> {
    await this.#compare(undefined);
  }

  #count(counted: Countable, record: JsonObject, timeMs: number): void {
    const startSec = Math.floor(timeMs / 60_000) * 60;
    if (this.#minute.startSec !== startSec) this.#leaveMinute(startSec);
    const { counts } = this.#minute;
    const team = objectAt(record, 'principal')['team_id'];
    const teamKey = typeof team === 'string' ? projectedKey(team).toWellFormed() : '';
    for (const { counter, value } of countsOf(counted)) {
      const name = `${counter}|${teamKey}`;
      counts.set(name, (counts.get(name) ?? 0) + value);
    }
  }

  /** Adds what was counted to its minute, its hour and its day. */
  #leaveMinute(next: number): void {
    const { startSec, counts } = this.#minute;
    this.#minute = { startSec: next, counts: new Map() };
    for (const [counter, value] of counts) {
      for (const spanSec of counter.startsWith(recordCounters) ? recordSpansSec : otherSpansSec) {
        const name = `${spanSec}|${startSec - (startSec % spanSec)}|${counter}`;
        this.#expected.set(name, (this.#expected.get(name) ?? 0) + value);
      }
    }
  }

  /** Compares everything that starts before `untilSec` and was not compared yet. */
  async #compare(untilSec: number | undefined): Promise<void> {
    this.#leaveMinute(0);
    const expected = this.#expected;
    this.#expected = new Map();
    const fromSec = this.#comparedSec;
    this.#comparedSec = untilSec;
    for (const { spanSec, startSec, teamId, counter, value } of await this.#read(fromSec, untilSec)) {
      const name = `${spanSec}|${startSec}|${counter}|${teamId}`;
      const known = expected.get(name) ?? 0;
      expected.delete(name);
      if (startSec < this.#floorSec) continue;
      this.#compared++;
      this.#findings.expect(value === known && value !== 0, 'counters', () =>
        sentence(spanSec, startSec, counter, value, known),
      );
    }
    for (const [name, known] of expected) {
      const [spanSec = '', startSec = '', counter = ''] = name.split('|', 3);
      if (Number(startSec) < this.#floorSec) continue;
      this.#findings.fault('counters', sentence(Number(spanSec), Number(startSec), counter, 0, known));
    }
  }
}

function sentence(spanSec: number, startSec: number, counter: string, value: number, known: number): string {
  const start = new Date(startSec * 1000);
  const from = Number.isNaN(start.getTime()) ? `second ${startSec}` : start.toISOString();
  return `The counter ${counter} of the ${spanSec} seconds from ${from} is ${value}; the records say ${known}.`;
}

/** What the statistics know of a record; undefined for one that they do not count. */
function countable(record: JsonObject): Countable | undefined {
  const meta = objectAt(record, 'meta');
  if (!isCountedPhase(meta['phase'])) return undefined;
  const { denial_reason: reason, latency_ms: latency } = meta;
  return {
    outcome: record['outcome'] as Countable['outcome'],
    requests: requestsOf(record['surface_id'], meta['summarised_count']),
    denialReason: typeof reason === 'string' ? reason : null,
    latencyMs: typeof latency === 'number' ? latency : null,
  };
}

/** How many requests a record that sums up stands for. Reads are summed up too, but not counted as requests. */
function requestsOf(surfaceId: JsonValue | undefined, count: JsonValue | undefined): number | undefined {
  if (surfaceId === 'gateway.summary') return 0;
  return surfaceId === 'gateway.refusals' && typeof count === 'number' ? count : undefined;
}
