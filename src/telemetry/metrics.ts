/** Prometheus metrics of one process. Names are those that existing alert rules query; labels have low cardinality. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';

const secondsBuckets = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
const recordsBuckets = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024];

export type Metrics = ReturnType<typeof createMetrics>;

export function createMetrics() {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  return {
    registry,
    requests: new Counter({
      name: 'gateway_requests_total',
      help: 'Answered HTTP requests.',
      labelNames: ['method', 'endpoint', 'status'] as const,
      registers,
    }),
    requestSeconds: new Histogram({
      name: 'gateway_request_duration_seconds',
      help: 'Time from the request to its answer.',
      labelNames: ['method', 'endpoint'] as const,
      buckets: secondsBuckets,
      registers,
    }),
    capabilityChecks: new Counter({
      name: 'gateway_capability_checks_total',
      help: 'Decisions about what a caller may do, by result (allowed, denied).',
      labelNames: ['result'] as const,
      registers,
    }),
    denials: new Counter({
      name: 'gateway_denials_total',
      help: 'Denied requests by reason.',
      labelNames: ['reason'] as const,
      registers,
    }),
    toolCalls: new Counter({
      name: 'gateway_tool_calls_total',
      help: 'Tool calls that reached a tool server, by server and outcome.',
      labelNames: ['server', 'outcome'] as const,
      registers,
    }),
    toolCallSeconds: new Histogram({
      name: 'gateway_tool_call_duration_seconds',
      help: 'Time that tool servers took to answer calls.',
      labelNames: ['server'] as const,
      buckets: secondsBuckets,
      registers,
    }),
    records: new Counter({
      name: 'gateway_audit_records_total',
      help: 'Records committed to the audit log by this process.',
      registers,
    }),
    commitSeconds: new Histogram({
      name: 'gateway_audit_commit_duration_seconds',
      help: 'Time to commit one batch of records.',
      buckets: secondsBuckets,
      registers,
    }),
    batchRecords: new Histogram({
      name: 'gateway_audit_batch_records',
      help: 'Records in one committed batch.',
      buckets: recordsBuckets,
      registers,
    }),
    commitFailures: new Counter({
      name: 'gateway_audit_commit_failures_total',
      help: 'Batches that could not be committed; their callers were told so.',
      registers,
    }),
    checkpointSize: new Gauge({
      name: 'gateway_log_checkpoint_size',
      help: 'Records that the newest published checkpoint covers.',
      registers,
    }),
    checkpoints: new Counter({
      name: 'gateway_log_checkpoints_total',
      help: 'Published checkpoints, by what their witnesses did (none, reached, missed).',
      labelNames: ['quorum'] as const,
      registers,
    }),
    outsideCopyFailures: new Counter({
      name: 'gateway_log_outside_copy_failures_total',
      help: 'Witnesses and anchors that did not take a checkpoint.',
      labelNames: ['kind', 'name'] as const,
      registers,
    }),
    logForked: new Gauge({
      name: 'gateway_log_forked',
      help: '1 when the database no longer continues what was signed: nothing is signed or recorded any more.',
      registers,
    }),
    logRecordsKept: new Gauge({
      name: 'gateway_log_records_kept',
      help: 'Records in the log that have not been pruned.',
      registers,
    }),
    logRetentionDays: new Gauge({
      name: 'gateway_log_retention_days',
      help: 'How many days of records are kept; 0 when nothing is ever dropped.',
      registers,
    }),
    activeSessions: new Gauge({
      name: 'gateway_active_sessions',
      help: 'Sessions that are open now.',
      registers,
    }),
  };
}

interface BucketSample {
  readonly metricName?: string;
  readonly labels: Partial<Record<string, string | number>>;
  readonly value: number;
}

/**
 * A quantile of all observations of a histogram, over all its labels, in the histogram's unit: linear between the
 * bounds of the bucket it falls into, the last finite bound beyond them, 0 when nothing was observed.
 */
export async function quantile(histogram: Histogram, q: number): Promise<number> {
  const counts = cumulativeCounts((await histogram.get()).values);
  const total = counts.at(-1)?.count ?? 0;
  if (total === 0) return 0;
  const rank = q * total;
  let lower = { bound: 0, count: 0 };
  for (const bucket of counts) {
    if (bucket.bound === Number.POSITIVE_INFINITY) break;
    if (bucket.count >= rank) {
      const inBucket = bucket.count - lower.count;
      const share = inBucket === 0 ? 1 : (rank - lower.count) / inBucket;
      return lower.bound + (bucket.bound - lower.bound) * share;
    }
    lower = bucket;
  }
  return lower.bound;
}

function cumulativeCounts(samples: readonly BucketSample[]): { bound: number; count: number }[] {
  const counts = new Map<number, number>();
  for (const sample of samples) {
    if (sample.metricName?.endsWith('_bucket') !== true) continue;
    const le = sample.labels['le'];
    const bound = le === '+Inf' ? Number.POSITIVE_INFINITY : Number(le);
    counts.set(bound, (counts.get(bound) ?? 0) + sample.value);
  }
  return [...counts].map(([bound, count]) => ({ bound, count })).sort((a, b) => a.bound - b.bound);
}
