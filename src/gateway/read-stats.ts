/** Figures of the last hours for administrators, from the counters that are kept with the log; only what they may see. */
import { type LatencyCounts, latencyMeanMs, latencyPercentileMs } from '../core/latency.ts';
import { type SurfaceId, surfaceOf } from '../core/surfaces.ts';
import type { PolicyMode } from '../policy/decide.ts';
import type { HourCount, Statistics, StatisticsReader } from '../storage/rollups.ts';
import type { AuthorizeAction } from './authorize-action.ts';
import { type ReadRequest, teamFilter } from './read-events.ts';

/** Requests of one hour by what became of them. */
export interface HourVolume {
  /** The hour's start in Unix seconds. */
  readonly timeSec: number;
  readonly ok: number;
  readonly deny: number;
  readonly error: number;
}

export interface WindowStats {
  readonly requests: number;
  /** The share of requests that were not refused, 0 to 1; 1 when there were none. */
  readonly authSuccessRate: number;
  readonly denialReasons: Readonly<Record<string, number>>;
  /** Every hour that the window touches, oldest first. */
  readonly volume: readonly HourVolume[];
  /** Estimates, at most a quarter off (`core/latency.ts`); 0 when no call was made. */
  readonly latencyMs: { readonly mean: number; readonly p50: number; readonly p95: number; readonly p99: number };
}

export interface StatsRequest extends ReadRequest {
  readonly surfaceId: Extract<SurfaceId, `admin.${string}.stats`>;
  readonly windowHours: number;
}

export type ReadStats = (request: StatsRequest) => Promise<WindowStats>;

export interface ReadStatsOptions {
  readonly authorizeAction: AuthorizeAction;
  readonly policyMode: PolicyMode;
  readonly statistics: StatisticsReader;
}

/** Resolves with the figures of the teams that the caller may see (`visibleTeams`). Throws the denial. */
export function createReadStats({ authorizeAction, policyMode, statistics }: ReadStatsOptions): ReadStats {
  return async ({ surfaceId, caller, facts, windowHours }) => {
    await authorizeAction(surfaceId, caller, facts);
    const teams = teamFilter(surfaceOf(surfaceId).action ?? '', caller, policyMode);
    return windowStats(await statistics.lastHours(windowHours, teams));
  };
}

const hourSec = 3_600;

function windowStats({ fromSec, toSec, counts }: Statistics): WindowStats {
  const firstHour = Math.floor(fromSec / hourSec);
  const hours = Math.ceil(toSec / hourSec) - firstHour;
  const byHour = Map.groupBy(counts, (count) => count.hourSec);
  const volume = Array.from({ length: hours }, (_, n) => volumeOf((firstHour + n) * hourSec, byHour));
  const refused = sum(volume.map(({ deny }) => deny));
  const requests = refused + sum(volume.map(({ ok, error }) => ok + error));
  return {
    requests,
    authSuccessRate: requests === 0 ? 1 : (requests - refused) / requests,
    denialReasons: Object.fromEntries(totals(counts, 'denied.')),
    volume,
    latencyMs: latencyOf(counts),
  };
}

function volumeOf(timeSec: number, byHour: ReadonlyMap<number, readonly HourCount[]>): HourVolume {
  const ofHour = byHour.get(timeSec) ?? [];
  const requests = (outcome: string) =>
    sum(
      ofHour
        .filter(({ counter }) => counter === `record.${outcome}` || counter === `summarised.${outcome}`)
        .map(({ value }) => value),
    );
  return { timeSec, ok: requests('success'), deny: requests('denied'), error: requests('failure') };
}

function latencyOf(counts: readonly HourCount[]): WindowStats['latencyMs'] {
  const buckets: LatencyCounts = new Map(
    [...totals(counts, 'latency.')].map(([bucket, count]) => [Number(bucket), count]),
  );
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((q) => latencyPercentileMs(buckets, q)) as [number, number, number];
  return { mean: latencyMeanMs(buckets), p50, p95, p99 };
}

/** The counters whose names begin so, by the rest of their names, over all hours. */
function totals(counts: readonly HourCount[], prefix: string): Map<string, number> {
  const sums = new Map<string, number>();
  for (const { counter, value } of counts) {
    if (!counter.startsWith(prefix)) continue;
    const name = counter.slice(prefix.length);
    sums.set(name, (sums.get(name) ?? 0) + value);
  }
  return sums;
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
