/**
 * Retention: records older than the policy allows are dropped, whole partitions at a time, and the log says so before it
 * happens. What is left of them is their place in the tree, so receipts that somebody holds still verify.
 */
import type { EventDraft } from '../core/audit-event.ts';
import type { Clock } from '../core/clock.ts';
import { describeError } from '../core/errors.ts';
import { type NodeReader, rootOf } from '../core/merkle-proof.ts';
import { ownDraft } from '../core/own-draft.ts';
import { recur } from '../core/recur.ts';
import type { PartitionStore, PrunablePart } from '../storage/partitions.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import type { Recorder } from './recorder.ts';

export interface PruneOptions {
  readonly partitions: PartitionStore;
  readonly nodes: NodeReader;
  readonly record: Recorder['record'];
  /** Names the request that a record tells of. */
  readonly requestId: () => string;
}

export interface Pruned {
  readonly fromSeq: number;
  readonly toSeq: number;
  /** The record that says so. */
  readonly eventId: string;
}

/**
 * Drops the partitions whose records are all older than `beforeMs`. `policy` says in the record why. Returns what was
 * dropped, or undefined when nothing is that old; either way what an earlier call left undone is finished. Throws an
 * `Error` with one sentence, and with nothing recorded, when the database user may not drop partitions.
 */
export async function pruneBefore(
  beforeMs: number,
  policy: string,
  { partitions, nodes, record, requestId }: PruneOptions,
): Promise<Pruned | undefined> {
  if (!(await partitions.mayDrop())) {
    throw new Error('Only the owner of the database may drop records: run `talos prune` as the owner.');
  }
  await partitions.dropMarked();
  const part = await partitions.prunable(beforeMs);
  if (part === undefined) return undefined;
  const root = await rootOf(part.toSeq, nodes);
  const { eventId } = await record(pruneDraft(part, root.toString('hex'), policy, requestId()));
  // The log says it. A crash here leaves the records where they are, and the next call says it again.
  await partitions.markPruned(part);
  // They count as gone. A crash here leaves their tables, which the next call drops.
  await partitions.dropMarked();
  return { fromSeq: part.fromSeq, toSeq: part.toSeq, eventId };
}

const surfaceId = 'log.retention.prune';

function pruneDraft({ fromSeq, toSeq }: PrunablePart, root: string, policy: string, requestId: string): EventDraft {
  return {
    ...ownDraft(surfaceId, requestId),
    resource: { type: 'log', id: `${fromSeq}-${toSeq}` },
    meta: {
      event_type: 'retention_prune',
      pruned_from: fromSeq,
      pruned_to: toSeq,
      pruned_policy: policy,
      // Of all records before `pruned_to`: whoever kept them can show that they were these.
      pruned_root: root,
    },
  };
}

export interface MaintenanceOptions extends PruneOptions {
  /** Undefined keeps everything. */
  readonly retentionDays: number | undefined;
  readonly intervalMs: number;
  readonly pruneIntervalMs: number;
  readonly clock: Clock;
  readonly telemetry: Pick<Telemetry, 'log' | 'logKept'>;
}

export interface Maintenance {
  readonly run: () => Promise<void>;
  readonly close: () => Promise<void>;
}

const dayMs = 86_400_000;
const leftToOwner =
  'this database user does not own the tables, so old records stay: run `talos prune` as the owner, from a timer';

/** Makes partitions ahead of need and applies the policy, from now on and every so often. */
export function startMaintenance(options: MaintenanceOptions): Maintenance {
  const { partitions, retentionDays, clock, telemetry } = options;
  let prunedAtMs = Number.NEGATIVE_INFINITY;
  let lastFault = '';
  let hasTold = false;

  async function maintain(): Promise<void> {
    await partitions.extendAhead();
    if (retentionDays !== undefined && clock.monotonic() - prunedAtMs >= options.pruneIntervalMs) {
      await prune(retentionDays);
      prunedAtMs = clock.monotonic();
    }
    const { prunedUntil, nextSeq } = await partitions.extent();
    telemetry.logKept({ records: nextSeq - prunedUntil, retentionDays });
    lastFault = '';
  }

  async function prune(days: number): Promise<void> {
    if (!(await partitions.mayDrop())) {
      if (!hasTold) telemetry.log.warn(leftToOwner);
      hasTold = true;
      return;
    }
    const pruned = await pruneBefore(clock.now() - days * dayMs, `${days} days`, options);
    if (pruned !== undefined) telemetry.log.info(pruned, 'dropped records that the retention does not keep');
  }

  function tell(error: unknown): void {
    const fault = describeError(error);
    if (fault !== lastFault) telemetry.log.warn(`the log's partitions could not be maintained: ${fault}`);
    lastFault = fault;
  }

  const maintenance = recur(options.intervalMs, maintain, tell);
  void maintenance.now();
  return { run: maintenance.now, close: maintenance.stop };
}
