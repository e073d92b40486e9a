/** What happens around the log as the configuration says: its watermarks, the policy for when it fails, and forwarding. */
import { randomUUID } from 'node:crypto';
import { recordWhileSound } from './audit/checkpointer-recorder.ts';
import type { EventSink } from './audit/event-sink.ts';
import { type Forwarder, startForwarder } from './audit/forwarder.ts';
import type { Recorder } from './audit/recorder.ts';
import { startWatermark } from './audit/watermark.ts';
import { bounds } from './config/bounds.ts';
import type { Config } from './config/config.ts';
import type { Clock } from './core/clock.ts';
import { openEventSink } from './open-event-sink.ts';
import type { openReadPool } from './storage/db.ts';
import { createForwardStore } from './storage/forward.ts';
import { createSpoolStore } from './storage/spool.ts';
import { measureStore } from './storage/store-size.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface DeliveryOptions {
  readonly config: Config;
  readonly pool: ReturnType<typeof openReadPool>;
  readonly recorder: Recorder;
  /** The store is in the data folder. */
  readonly isEmbedded: boolean;
  readonly fetch: typeof fetch;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

export interface Delivery {
  /** Throws `STORE_FULL` when nothing that needs a record may begin. */
  readonly assertRoom: () => void;
  /** The recorder for what has not begun: refuses by `STORE_FULL` too. */
  readonly recorder: Recorder;
  /** Where reported events go. */
  readonly submit: EventSink['submit'];
  /** To be called before the recorder is closed. */
  readonly close: () => Promise<void>;
}

export async function openDelivery(options: DeliveryOptions): Promise<Delivery> {
  const { config, pool, telemetry, clock } = options;
  const watermark = await startWatermark({
    measure: () => measureStore(pool, options.isEmbedded ? config.dataDir : undefined),
    limits: { ...bounds, usedWarnBytes: config.storeSizeWarn, usedStopBytes: config.storeSizeStop },
    intervalMs: bounds.storeMeasureIntervalMs,
    telemetry,
  });
  telemetry.retentionKnown({ isUnlimited: config.auditRetentionDays === undefined });
  const recorder = recordWhileSound(options.recorder, watermark.assertRoom);
  const store = createSpoolStore(pool);
  const sink = await openEventSink({ config, recorder, store, clock, telemetry });
  const forwarder = config.auditUrl === undefined ? undefined : openForwarder(options, config.auditUrl);
  return {
    assertRoom: watermark.assertRoom,
    recorder,
    submit: sink.submit,
    async close() {
      await forwarder?.close();
      await sink.close();
      await watermark.close();
    },
  };
}

function openForwarder({ pool, fetch, clock, telemetry }: DeliveryOptions, url: string): Forwarder {
  const owner = randomUUID();
  return startForwarder({
    store: createForwardStore(pool, { target: url, owner, leaseMs: bounds.forwardLeaseMs }),
    url,
    fetch,
    monotonic: clock.monotonic,
    bounds,
    telemetry,
  });
}
