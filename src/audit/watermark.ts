/**
 * Two watermarks: at the first the operator is warned, at the second the gateway stops accepting work that needs a
 * record, long before the store itself fails. What has begun is still recorded: there is room for that between the two.
 */
import { describeError, TalosError } from '../core/errors.ts';
import { recur } from '../core/recur.ts';
import type { StoreSize } from '../storage/store-size.ts';
import type { DeliveryTelemetry } from '../telemetry/delivery.ts';
import type { Log } from '../telemetry/telemetry.ts';

export interface WatermarkLimits {
  /** What the database may occupy; undefined is without limit. */
  readonly usedWarnBytes: number | undefined;
  readonly usedStopBytes: number | undefined;
  /** What must be left on the volume of the embedded store, or this share of the whole volume when that is less. */
  readonly storeFreeWarnBytes: number;
  readonly storeFreeStopBytes: number;
  readonly storeFreeWarnShare: number;
  readonly storeFreeStopShare: number;
}

export interface WatermarkOptions {
  readonly measure: () => Promise<StoreSize>;
  readonly limits: WatermarkLimits;
  readonly intervalMs: number;
  readonly telemetry: Pick<DeliveryTelemetry, 'storeMeasured' | 'storeJudged'> & { readonly log: Log };
}

export interface Watermark {
  /** Throws `STORE_FULL` at the second watermark. */
  readonly assertRoom: () => void;
  /** Measures now. */
  readonly check: () => Promise<void>;
  readonly close: () => Promise<void>;
}

export interface Verdict {
  readonly state: 'room' | 'low' | 'full';
  readonly reason: string;
}

/** Measures once, and then every `intervalMs` until it is closed. A measurement that fails changes nothing. */
export async function startWatermark(options: WatermarkOptions): Promise<Watermark> {
  const { measure, limits, telemetry } = options;
  let verdict: Verdict = { state: 'room', reason: '' };

  async function check(): Promise<void> {
    const size = await measure();
    verdict = judge(size, limits);
    telemetry.storeMeasured({ usedBytes: size.usedBytes, freeBytes: size.volume?.freeBytes });
    telemetry.storeJudged(verdict.state, verdict.reason);
  }

  const checks = recur(options.intervalMs, check, (error) =>
    telemetry.log.debug(`the store cannot be measured: ${describeError(error)}`),
  );
  await checks.now();

  return {
    assertRoom() {
      if (verdict.state === 'full') throw new TalosError('STORE_FULL', { inside: verdict.reason });
    },
    check: checks.now,
    close: checks.stop,
  };
}

/** What the store's size means. */
export function judge({ usedBytes, volume }: StoreSize, limits: WatermarkLimits): Verdict {
  const freeBytes = volume?.freeBytes ?? Number.POSITIVE_INFINITY;
  const floorOf = (bytes: number, share: number) => Math.min(bytes, (volume?.totalBytes ?? 0) * share);
  const used = `the database occupies ${usedBytes} bytes`;
  const free = `${freeBytes} bytes are left on its volume`;
  if (usedBytes >= (limits.usedStopBytes ?? Number.POSITIVE_INFINITY)) return { state: 'full', reason: used };
  if (freeBytes < floorOf(limits.storeFreeStopBytes, limits.storeFreeStopShare)) return { state: 'full', reason: free };
  if (usedBytes >= (limits.usedWarnBytes ?? Number.POSITIVE_INFINITY)) return { state: 'low', reason: used };
  if (freeBytes < floorOf(limits.storeFreeWarnBytes, limits.storeFreeWarnShare)) return { state: 'low', reason: free };
  return { state: 'room', reason: '' };
}
