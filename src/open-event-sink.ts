/** Where reported events go when the log fails, as the configuration says. What an earlier run kept is recorded whatever it says now. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { createStrictSink, type EventSink } from './audit/event-sink.ts';
import { startLossySink } from './audit/gap.ts';
import type { Recorder } from './audit/recorder.ts';
import { startSpool } from './audit/spool.ts';
import { SpoolFolder } from './audit/spool-file.ts';
import { bounds } from './config/bounds.ts';
import type { Config } from './config/config.ts';
import type { Clock } from './core/clock.ts';
import { lockDataDir } from './storage/embedded/data-lock.ts';
import { makeFolder } from './storage/embedded/make-folder.ts';
import type { SpoolStore } from './storage/spool.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface EventSinkOptions {
  readonly config: Pick<Config, 'auditOnFailure' | 'auditSpoolDir' | 'auditSpoolSize' | 'dataDir'>;
  readonly recorder: Recorder;
  readonly store: SpoolStore;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

/** Throws with one sentence when another gateway uses the folder. */
export async function openEventSink(options: EventSinkOptions): Promise<EventSink> {
  const { config, recorder } = options;
  const folder = config.auditSpoolDir ?? join(config.dataDir, 'spool');
  const strict = createStrictSink(recorder);
  if (config.auditOnFailure === 'fail_operation' && !(await isKept(folder))) return strict;
  await makeFolder(folder, 0o700);
  const lock = await lockDataDir(folder, 'spool');
  try {
    const sinks = await openSinks(options, folder);
    return {
      submit: { fail_operation: strict, spool: sinks.spool, continue: sinks.lossy }[config.auditOnFailure].submit,
      async close() {
        await sinks.spool.close();
        await sinks.lossy.close();
        await lock.release();
      },
    };
  } catch (error) {
    await lock.release();
    throw error;
  }
}

/** Whether an earlier run left anything that is to be recorded. */
async function isKept(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return names.some((name) => name.endsWith('.spool') || name === 'gap.json');
}

async function openSinks(options: EventSinkOptions, path: string): Promise<{ spool: EventSink; lossy: EventSink }> {
  const { config, recorder, store, clock, telemetry } = options;
  const lossy = await startLossySink({
    recorder,
    clock,
    telemetry,
    file: join(path, 'gap.json'),
    deadlineMs: bounds.unrecordedDeadlineMs,
    retryMs: bounds.gapRetryMs,
  });
  const folder = await SpoolFolder.open({
    folder: path,
    bytesMax: config.auditSpoolSize,
    segmentBytesMax: bounds.spoolSegmentBytesMax,
  });
  const spool = startSpool({
    folder,
    store,
    recorder,
    clock,
    telemetry,
    retryMs: bounds.spoolRetryMs,
    pruneIntervalMs: bounds.spoolPruneIntervalMs,
  });
  return { spool, lossy };
}
