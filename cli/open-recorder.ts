/** The log, for commands that write to it themselves and not through a gateway. */
import { createRecorder, type Recorder } from '../src/audit/recorder.ts';
import { systemClock } from '../src/core/clock.ts';
import { createLogWriter } from '../src/storage/log.ts';
import { createTelemetry } from '../src/telemetry/telemetry.ts';
import type { OpenedDatabase } from './open-database.ts';

/** Is closed with the database. What goes wrong meanwhile is told on stderr. */
export function openRecorder({ database, onEnd }: OpenedDatabase): Recorder {
  const telemetry = createTelemetry({ level: 'warn', destination: process.stderr });
  const recorder = createRecorder({ writer: createLogWriter(database), clock: systemClock, telemetry });
  onEnd(() => recorder.close());
  return recorder;
}
