/** `talos erase`: deletes values that the log holds only commitments to. The log itself stays what it is. */
import { randomUUID } from 'node:crypto';
import type { Command } from 'commander';
import { eraseValues } from '../../src/audit/erasure.ts';
import { isUuidv7 } from '../../src/core/uuidv7.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createErasableStore, type ErasureTarget } from '../../src/storage/erasable.ts';
import { withDatabase } from '../open-database.ts';
import { openRecorder } from '../open-recorder.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

interface Options {
  readonly event?: string;
  readonly agent?: string;
  readonly key?: string;
}

export function eraseCommand(program: Command): void {
  const command = program
    .command('erase')
    .description(
      'Delete erasable values of one event or of all events of an agent; the log says so, and every proof still holds. With the embedded store the gateway must be stopped.',
    )
    .option('--event <id>', 'the event')
    .option('--agent <id>', 'the agent')
    .option('--key <name>', 'only the values of this key');
  command.action(reportingUsage(command, (options: Options) => erase(targetOf(options))));
}

function targetOf({ event, agent, key }: Options): ErasureTarget {
  if ((event === undefined) === (agent === undefined)) throw new UsageError('Give either --event or --agent.');
  if (event !== undefined && !isUuidv7(event)) throw new UsageError(`--event ${event} is not the id of an event.`);
  return {
    ...(event === undefined ? {} : { eventId: event }),
    ...(agent === undefined ? {} : { agentId: agent }),
    ...(key === undefined ? {} : { key }),
  };
}

async function erase(target: ErasureTarget): Promise<void> {
  await withDatabase(async (opened) => {
    const { database, onEnd } = opened;
    const pool = openReadPool(database);
    onEnd(() => pool.end());
    const recorder = openRecorder(opened);
    const store = createErasableStore(pool);
    const erased = await eraseValues(target, { store, record: recorder.record, requestId: randomUUID() });
    console.log(
      erased === undefined
        ? 'There is nothing to erase.'
        : `Erased ${erased.values} values; recorded as ${erased.eventId}. Backups and replicas have to follow.`,
    );
  });
}
