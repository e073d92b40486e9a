/** The log of one gateway: what reads it, what writes it, and the key that signs it. */
import { recordWhileSound } from './audit/checkpointer-recorder.ts';
import { createRecorder } from './audit/recorder.ts';
import type { Config } from './config/config.ts';
import type { Clock } from './core/clock.ts';
import { openCheckpointer } from './open-checkpointer.ts';
import { openStreams } from './open-streams.ts';
import { createCheckpointStore } from './storage/checkpoints.ts';
import { type DatabaseAddress, openReadPool } from './storage/db.ts';
import { createEventReader } from './storage/events.ts';
import { createLogWriter } from './storage/log.ts';
import { createTileReader } from './storage/tiles.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

/** Takes what is to be closed when the gateway stops; what was opened last is closed first. */
export type OnStop = (close: () => Promise<void> | void) => void;

export interface OpenLogOptions {
  readonly config: Config;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
}

export type OpenLog = Awaited<ReturnType<typeof openLog>>;

/** `onStop` takes what is to be closed, in the order of opening. Throws unless the log continues what was signed and takes a record. */
export async function openLog(options: OpenLogOptions, database: DatabaseAddress, onStop: OnStop) {
  const { telemetry, clock } = options;
  const readPool = openReadPool(database);
  onStop(() => readPool.end());
  const tiles = createTileReader(readPool);
  const checkpoints = createCheckpointStore(readPool);
  const checkpointer = await openCheckpointer({ ...options, store: checkpoints, tiles });
  onStop(() => checkpointer.close());
  const writer = createLogWriter(database, {
    onZombieEnded: () => telemetry.log.warn('ended the connection of a gateway that stood still while it held the log'),
  });
  const live = openStreams({ readPool, database, clock, telemetry });
  onStop(() => live.close());
  const onCommitted = () => {
    checkpointer.committed();
    live.streams.hint();
  };
  const recorder = recordWhileSound(
    createRecorder({ writer, clock, telemetry, onCommitted }),
    checkpointer.assertSound,
  );
  onStop(() => recorder.close());
  await recorder.ensureWritable();
  const { writerId } = writer;
  return {
    database,
    readPool,
    events: createEventReader(readPool),
    tiles,
    checkpoints,
    checkpointer,
    writerId,
    recorder,
    live,
  };
}
