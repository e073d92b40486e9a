import { Writable } from 'node:stream';
import { afterEach, describe, expect, it } from 'vitest';
import { createRecorder, type Recorder } from '../../src/audit/recorder.ts';
import { bounds } from '../../src/config/bounds.ts';
import { systemClock } from '../../src/core/clock.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { createTelemetry, type Telemetry } from '../../src/telemetry/telemetry.ts';
import { draft } from '../support/drafts.ts';
import { checkLog } from '../support/log-checker.ts';
import { checkAcknowledged, cleanUp, freshLog, later, numbersOf, query } from '../support/log-fixture.ts';
import { startStoreProxy } from '../support/store-proxy.ts';

afterEach(cleanUp);

function recorderOn(address: { url: string }): { recorder: Recorder; telemetry: Telemetry; logged: () => string } {
  let text = '';
  const destination = new Writable({
    write(chunk, _encoding, done) {
      text += String(chunk);
      done();
    },
  });
  const telemetry = createTelemetry({ level: 'info', destination });
  const recorder = createRecorder({ writer: createLogWriter(address), clock: systemClock, telemetry });
  later(() => recorder.close());
  return { recorder, telemetry, logged: () => text };
}

describe('the recorder', () => {
  it('records what it is given, durable when it answers', async () => {
    const address = await freshLog();
    const { recorder } = recorderOn(address);
    const one = await recorder.record(draft({ meta: { n: 1 } }));
    expect(numbersOf(await checkAcknowledged(address, [one]))).toEqual([1]);
    const more = await recorder.recordAll([draft({ meta: { n: 2 } }), draft({ meta: { n: 3 } })]);
    expect(numbersOf(await checkAcknowledged(address, [one, ...more]))).toEqual([1, 2, 3]);
  });

  it.each([
    ['is too large', { meta: { x: 'y'.repeat(bounds.recordBytesMax) } }, 'RECORD_TOO_LARGE'],
    ['has too large details', { details: { x: 'y'.repeat(bounds.detailsBytesMax) } }, 'RECORD_TOO_LARGE'],
    ['is not I-JSON', { requestId: String.fromCharCode(0xd800) }, 'INVALID_JSON'],
  ])('records nothing of a group of which one %s', async (_, wrong, code) => {
    const address = await freshLog();
    const { recorder } = recorderOn(address);
    const group = [draft({ meta: { n: 1 } }), draft(wrong), draft({ meta: { n: 3 } })];
    await expect(recorder.recordAll(group)).rejects.toMatchObject({ code });
    await expect(recorder.record(draft(wrong))).rejects.toMatchObject({ code });
    expect(await checkLog(address)).toEqual([]);
  });

  it('drops meta keys that the surface does not list, before the record is hashed', async () => {
    const address = await freshLog();
    const { recorder } = recorderOn(address);
    await recorder.record(draft({ surfaceId: 'mcp.tools.call', meta: { tool_name: 't', argument: 'hunter2' } }));
    const [record] = await checkLog(address);
    expect(record?.record['meta']).toEqual({
      tool_name: 't',
      meta_redaction_applied: true,
      meta_redacted_keys: 'argument',
    });
    expect(JSON.stringify(await query(address.url, 'SELECT * FROM audit_event'))).not.toContain('hunter2');
  });

  it('commits what it accepted before it closes', async () => {
    const address = await freshLog();
    const { recorder } = recorderOn(address);
    const recorded = Array.from({ length: 200 }, (_, n) => recorder.record(draft({ meta: { n } })));
    // Draft by draft enters the queue in the turn in which it was handed over.
    await recorder.close();
    const committed = await Promise.all(recorded);
    expect(numbersOf(await checkAcknowledged(address, committed))).toEqual(recorded.map((_, n) => n));
  });

  it('counts what it committed, and says once that it cannot and once that it can again', async () => {
    const address = await freshLog();
    const proxy = await startStoreProxy();
    later(() => proxy.close());
    const { recorder, telemetry, logged } = recorderOn({ url: proxy.urlOf(address.url) });
    await recorder.recordAll([draft(), draft()]);
    await proxy.cut();
    expect(telemetry.isLogFailing()).toBe(false);
    const lost = Array.from({ length: 3 }, () => recorder.record(draft()));
    for (const each of lost) await expect(each).rejects.toMatchObject({ code: 'AUDIT_UNAVAILABLE', status: 503 });
    expect(telemetry.isLogFailing()).toBe(true);
    await proxy.restore();
    await recorder.ensureWritable();
    expect(telemetry.isLogFailing()).toBe(false);
    expect(logged().match(/the audit log cannot be written/g)).toHaveLength(1);
    expect(logged().match(/the audit log accepts records again/g)).toHaveLength(1);
    const { text } = await telemetry.exposition();
    expect(text).toContain('gateway_audit_records_total 2\n');
    expect(text).toContain('gateway_audit_commit_failures_total 1\n');
  });
});
