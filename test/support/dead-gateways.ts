/** What the other gateways do some time after one has died: its calls are closed as of unknown outcome. */
import { expect } from 'vitest';
import { startReconciler } from '../../src/audit/reconciler.ts';
import { createRecorder } from '../../src/audit/recorder.ts';
import { systemClock } from '../../src/core/clock.ts';
import { openReadPool } from '../../src/storage/db.ts';
import { createIntentStore } from '../../src/storage/intents.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { createTelemetry } from '../../src/telemetry/telemetry.ts';

// As long as a writer may be silent here; in a gateway it is a minute.
const silentMs = 500;

/** Resolves when as many intents are closed. */
export async function closeIntents(database: { readonly url: string }, count: number): Promise<void> {
  const pool = openReadPool(database);
  const writer = createLogWriter(database);
  const telemetry = createTelemetry({ level: 'silent' });
  const recorder = createRecorder({ writer, clock: systemClock, telemetry });
  const options = { intents: createIntentStore(pool), writerId: writer.writerId, recorder, log: telemetry.log };
  const reconciler = startReconciler({ ...options, intervalMs: 3_600_000, silentMs });
  let closed = 0;
  await expect
    .poll(
      async () => {
        closed += await reconciler.reconcile(silentMs);
        return closed;
      },
      { timeout: 20_000 },
    )
    .toBe(count);
  await reconciler.close();
  await recorder.close();
  await pool.end();
}
