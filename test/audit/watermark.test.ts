/** What the size of the store and the room on its volume mean. */
import { Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { judge, startWatermark, type WatermarkLimits } from '../../src/audit/watermark.ts';
import { bounds } from '../../src/config/bounds.ts';
import type { StoreSize } from '../../src/storage/store-size.ts';
import { createTelemetry } from '../../src/telemetry/telemetry.ts';

const GiB = 2 ** 30;
const MiB = 2 ** 20;
const unlimited: WatermarkLimits = { ...bounds, usedWarnBytes: undefined, usedStopBytes: undefined };
const limited: WatermarkLimits = { ...bounds, usedWarnBytes: 80, usedStopBytes: 100 };

describe('the size of the database', () => {
  it.each([
    [0, 'room'],
    [79, 'room'],
    [80, 'low'],
    [99, 'low'],
    [100, 'full'],
    [1e15, 'full'],
  ])('of %d bytes', (usedBytes, state) => {
    expect(judge({ usedBytes, volume: undefined }, limited).state).toBe(state);
  });

  it('has no limit unless one is set', () => {
    expect(judge({ usedBytes: 1e15, volume: undefined }, unlimited).state).toBe('room');
  });
});

describe('the volume of the embedded store', () => {
  it.each([
    [500 * GiB, 3 * GiB, 'room'],
    [500 * GiB, 1.9 * GiB, 'low'],
    [500 * GiB, 600 * MiB, 'low'],
    [500 * GiB, 500 * MiB, 'full'],
    [500 * GiB, 0, 'full'],
    // Of a small volume a share is enough.
    [1 * GiB, 200 * MiB, 'room'],
    [1 * GiB, 100 * MiB, 'low'],
    [1 * GiB, 40 * MiB, 'full'],
  ])('of %d bytes with %d left', (totalBytes, freeBytes, state) => {
    expect(judge({ usedBytes: 1, volume: { totalBytes, freeBytes } }, unlimited).state).toBe(state);
  });

  it('counts beside the limit of the database: the worse of the two', () => {
    const full = { totalBytes: 500 * GiB, freeBytes: 0 };
    expect(judge({ usedBytes: 80, volume: full }, limited).state).toBe('full');
    expect(judge({ usedBytes: 100, volume: { ...full, freeBytes: 400 * GiB } }, limited).state).toBe('full');
  });
});

describe('the watermark', () => {
  it('refuses while the store is full, says so once, and is not moved by a measurement that fails', async () => {
    let text = '';
    const destination = new Writable({
      write(chunk, _encoding, done) {
        text += String(chunk);
        done();
      },
    });
    const telemetry = createTelemetry({ level: 'info', destination });
    let size: StoreSize | undefined = { usedBytes: 1, volume: undefined };
    const measure = async () => {
      if (size === undefined) throw new Error('the store is gone');
      return size;
    };
    const watermark = await startWatermark({ measure, limits: limited, intervalMs: 1e9, telemetry });
    expect(watermark.assertRoom).not.toThrow();
    for (const state of [{ usedBytes: 85, volume: undefined }, { usedBytes: 120, volume: undefined }, undefined]) {
      size = state;
      await watermark.check();
    }
    expect(watermark.assertRoom).toThrow(expect.objectContaining({ code: 'STORE_FULL', status: 503, retryable: true }));
    expect((await telemetry.exposition()).text).toContain('gateway_store_watermark 2\n');
    expect((await telemetry.exposition()).text).toContain('gateway_store_bytes 120\n');
    size = { usedBytes: 2, volume: undefined };
    await watermark.check();
    expect(watermark.assertRoom).not.toThrow();
    await watermark.close();
    expect(text.match(/THE STORE IS FULL/g)).toHaveLength(1);
    expect(text.match(/runs low/g)).toHaveLength(1);
    expect(text).toContain('has room again');
  });
});
