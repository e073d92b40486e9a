/**
 * What a record adds to the statistics, as counters by name. They are added up by minute, team and name, so a counter
 * must mean the same whichever records it comes from.
 *
 * `record.<outcome>` counts records of one request or event, `record.summary` those that sum up many;
 * `summarised.<outcome>` counts the requests that these stand for. `denied.<reason>` and `latency.<bucket>` count
 * requests too.
 */
import { latencyBucket } from './latency.ts';

export interface Countable {
  readonly outcome: 'success' | 'failure' | 'denied';
  /** How many requests a record that sums up stands for in the statistics; undefined for a record of its own. */
  readonly requests: number | undefined;
  readonly denialReason: string | null;
  /** How long the request took, in whole milliseconds. */
  readonly latencyMs: number | null;
}

export interface Count {
  readonly counter: string;
  readonly value: number;
}

/** Counters that start with it count records; their sum is the number of records. */
export const recordCounters = 'record.';

export function countsOf(record: Countable): Count[] {
  const { outcome, requests = 1, denialReason, latencyMs } = record;
  const counts: Count[] = [recordCount(record)];
  if (record.requests !== undefined && requests > 0) {
    counts.push({ counter: `summarised.${outcome}`, value: requests });
  }
  if (outcome === 'denied' && denialReason !== null && requests > 0) {
    counts.push({ counter: `denied.${denialReason}`, value: requests });
  }
  // How quickly the gateway refuses says nothing of how long its answers take.
  if (outcome !== 'denied' && latencyMs !== null) {
    counts.push({ counter: `latency.${latencyBucket(latencyMs)}`, value: 1 });
  }
  return counts;
}

function recordCount({ outcome, requests }: Countable): Count {
  return { counter: `${recordCounters}${requests === undefined ? outcome : 'summary'}`, value: 1 };
}
