/** `talos prune`: drops old records from the database, once, whatever the configured retention. */
import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { pruneBefore } from '../../src/audit/retention.ts';
import { systemClock } from '../../src/core/clock.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createPartitionStore } from '../../src/storage/partitions.ts';
import { createTileReader } from '../../src/storage/tiles.ts';
import { withDatabase } from '../open-database.ts';
import { openRecorder } from '../open-recorder.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

interface Options {
  readonly before: string;
}

export function pruneCommand(program: Command): void {
  const command = program
    .command('prune')
    .description(
      'Drop the records of before a day, whole partitions at a time; the log says so, and proofs of them still verify. With the embedded store the gateway must be stopped.',
    )
    .requiredOption('--before <day>', 'such as 2026-01-31 (UTC); a partition goes when all of it is older');
  command.action(reportingUsage(command, ({ before }: Options) => prune(before)));
}

async function prune(before: string): Promise<void> {
  const beforeMs = /^\d{4}-\d\d-\d\d$/.test(before) ? Date.parse(before) : Number.NaN;
  if (Number.isNaN(beforeMs)) throw new UsageError(`--before ${before} is not a day; write 2026-01-31.`);
  if (beforeMs > systemClock.now()) throw new UsageError(`--before ${before} lies in the future.`);
  await withDatabase(async (opened) => {
    const { database, onEnd } = opened;
    const pool = openReadPool(database);
    onEnd(() => pool.end());
    const recorder = openRecorder(opened);
    const pruned = await pruneBefore(beforeMs, `before ${before}`, {
      partitions: createPartitionStore(pool, database),
      nodes: createTileReader(pool).nodes,
      record: recorder.record,
      requestId: randomUUID,
    });
    console.log(
      pruned === undefined
        ? 'No partition is that old.'
        : `Dropped records ${pruned.fromSeq} to ${pruned.toSeq}; recorded as ${pruned.eventId}.`,
    );
  });
}
