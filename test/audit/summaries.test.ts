/** What is not recorded one by one is summed up: exactly, in bounded space, and without anybody waiting for it. */
import { Writable } from 'node:stream';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterEach, describe, expect, it } from 'vitest';
import { createRecorder } from '../../src/audit/recorder.ts';
import { type Summaries, type SummaryBounds, startSummaries } from '../../src/audit/summaries.ts';
import { bounds } from '../../src/config/bounds.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { anonymous, type Principal } from '../../src/core/principal.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { createTelemetry } from '../../src/telemetry/telemetry.ts';
import { standingClock } from '../support/authority.ts';
import { type CheckedRecord, checkLog } from '../support/log-checker.ts';
import { cleanUp, freshLog, later } from '../support/log-fixture.ts';
import { startStoreProxy } from '../support/store-proxy.ts';
import { describeVectors, vector } from '../support/vectors.ts';

afterEach(cleanUp);

const agent = (id: string, teamId = 'red'): Principal => ({ authMode: 'bearer', id, teamId });
const read = (principal: Principal, failed = false) => ({ surfaceId: 'events.list' as const, principal, failed });
const refusal = (client: string, code = 'AUTH_MISSING') => ({
  code,
  isDenial: true,
  clientIp: { hash: client, keyId: 'key-1' },
});

async function start(given: Partial<SummaryBounds> = {}, url?: string) {
  const address = url === undefined ? await freshLog() : { url };
  let logged = '';
  const destination = new Writable({
    write(chunk, _encoding, done) {
      logged += String(chunk);
      done();
    },
  });
  const telemetry = createTelemetry({ level: 'info', destination });
  const clock = standingClock();
  const recorder = createRecorder({ writer: createLogWriter(address), clock: systemClock, telemetry });
  later(() => recorder.close());
  const summaries = startSummaries({ recorder, clock, bounds: { ...bounds, ...given }, log: telemetry.log });
  later(() => summaries.close());
  return { address, clock, summaries, logged: () => logged };
}

const metaOf = ({ record }: CheckedRecord): JsonObject => record['meta'] ?? {};
const sumOf = (records: readonly CheckedRecord[]) =>
  records.reduce((sum, record) => sum + Number(metaOf(record)['summarised_count']), 0);

function times(count: number, action: (n: number) => void): void {
  for (let n = 0; n < count; n++) action(n);
}

describe('reads', () => {
  it('make one record for each principal and surface, of the time since the last', async () => {
    const { address, clock, summaries } = await start();
    times(3, () => summaries.countRead(read(agent('a'))));
    clock.nowSec += 10;
    summaries.countRead(read(agent('a'), true));
    summaries.countRead(read(agent('b')));
    summaries.countRead(read(agent('a', 'blue')));
    times(2, () => summaries.countRead({ ...read(anonymous), surfaceId: 'health.live' as const }));
    clock.nowSec += 50;
    await summaries.flush();
    const records = await checkLog(address);
    expect(records).toHaveLength(4);
    expect(records[0]?.record).toMatchObject({
      surface_id: 'gateway.summary',
      outcome: 'success',
      principal: { auth_mode: 'bearer', principal_id: 'gateway', team_id: 'red' },
      http: { method: 'POST', path: '/internal/gateway.summary', status_code: 200 },
      resource: { resource_type: 'surface', resource_id: 'events.list' },
      meta: {
        event_type: 'read_summary',
        summarised_surface: 'events.list',
        summarised_principal: 'a',
        summarised_count: 4,
        summarised_errors: 1,
        summarised_from: '2023-11-14T22:15:00.000Z',
        summarised_to: '2023-11-14T22:16:00.000Z',
      },
    });
    expect(records.map((record) => metaOf(record)['summarised_principal'])).toEqual(['a', 'b', 'a', 'anonymous']);
    expect(records.map(({ record }) => record['principal']?.['team_id'])).toEqual(['red', 'red', 'blue', 'default']);
    expect(new Set(records.map(({ record }) => record['request_id'])).size).toBe(1);
  });

  it('are counted anew after each record, and nothing is recorded of a quiet minute', async () => {
    const { address, summaries } = await start();
    summaries.countRead(read(agent('a')));
    await summaries.flush();
    await summaries.flush();
    summaries.countRead(read(agent('a')));
    summaries.countRead(read(agent('a')));
    await summaries.flush();
    await summaries.flush();
    expect((await checkLog(address)).map((record) => metaOf(record)['summarised_count'])).toEqual([1, 2]);
  });

  it('of more principals than there is room for share one record', async () => {
    const { address, summaries } = await start({ summaryKeysMax: 10 });
    times(500, (n) => summaries.countRead(read(agent(`agent-${n % 50}`), n % 50 === 49)));
    await summaries.flush();
    const records = await checkLog(address);
    expect(records).toHaveLength(11);
    expect(sumOf(records)).toBe(500);
    expect(metaOf(records.at(-1) as CheckedRecord)).toMatchObject({
      summarised_surface: 'others',
      summarised_principal: 'others',
      summarised_count: 400,
      summarised_errors: 10,
    });
  });

  it('make more records than one batch may have', async () => {
    const { address, summaries } = await start({ batchEventsMax: 7 });
    times(20, (n) => summaries.countRead(read(agent(`agent-${n}`))));
    await summaries.flush();
    expect(await checkLog(address)).toHaveLength(20);
  });
});

describe('refusals of strangers', () => {
  it('make one record for each reason and client, and count as what they stand for', async () => {
    const { address, summaries } = await start();
    times(5, () => summaries.countRefusal(refusal('aa')));
    summaries.countRefusal(refusal('bb'));
    summaries.countRefusal({ ...refusal('aa', 'AUTH_INVALID'), denialReason: 'EXPIRED' });
    summaries.countRefusal({ code: 'TALOS_DENIED', isDenial: true, denialReason: 'NO_CAPABILITY' });
    summaries.countRefusal({ code: 'RATE_LIMITED', isDenial: false });
    await summaries.flush();
    const records = await checkLog(address);
    expect(records[0]?.record).toMatchObject({
      surface_id: 'gateway.refusals',
      outcome: 'denied',
      principal: { auth_mode: 'bearer', principal_id: 'gateway', team_id: 'default' },
      http: {
        path: '/internal/gateway.refusals',
        status_code: 200,
        client_ip_hash: 'aa',
        client_ip_hash_key_id: 'key-1',
      },
      meta: {
        event_type: 'refusal_summary',
        error: 'AUTH_MISSING',
        denial_reason: 'NO_CAPABILITY',
        summarised_count: 5,
      },
    });
    expect(records.map(({ record }) => [record['outcome'], record['meta']?.['denial_reason']])).toEqual([
      ['denied', 'NO_CAPABILITY'],
      ['denied', 'NO_CAPABILITY'],
      ['denied', 'EXPIRED'],
      ['denied', 'NO_CAPABILITY'],
      ['failure', undefined],
    ]);
    expect(records[3]?.record['http']).not.toHaveProperty('client_ip_hash');
  });

  it('from ten thousand addresses make a bounded number of records', async () => {
    const { address, summaries } = await start();
    times(10_000, (n) => summaries.countRefusal(refusal(`client-${n}`, n % 2 === 0 ? 'AUTH_MISSING' : 'AUTH_INVALID')));
    await summaries.flush();
    const records = await checkLog(address);
    expect(records).toHaveLength(bounds.refusalKeysMax + 2);
    expect(sumOf(records)).toBe(10_000);
    expect(records.at(-1)?.record['http']).not.toHaveProperty('client_ip_hash');
  });
});

describe('when the log cannot be written', () => {
  it('nobody is told, and what was counted is recorded once it can', { timeout: 30_000 }, async () => {
    const { url } = await freshLog();
    const proxy = await startStoreProxy();
    later(() => proxy.close());
    const { summaries, logged } = await start({ summaryKeysMax: 3 }, proxy.urlOf(url));
    times(4, (n) => summaries.countRead(read(agent(`agent-${n % 2}`))));
    summaries.countRefusal(refusal('aa'));
    await proxy.cut();
    const flushed = summaries.flush();
    times(4, (n) => summaries.countRead(read(agent(`late-${n % 2}`))));
    // A second flush joins the one that runs.
    await Promise.all([flushed, summaries.flush()]);
    expect(logged()).toContain('summaries could not be recorded');
    await proxy.restore();
    await summaries.flush();
    const records = await checkLog({ url });
    expect(sumOf(records)).toBe(9);
    // Two that came meanwhile, one that was put back, and the others.
    expect(records).toHaveLength(5);
  });

  it('what it will never take does not stand in the way of the rest', async () => {
    const { address, summaries, logged } = await start({ batchEventsMax: 1 });
    summaries.countRead(read(agent('a')));
    summaries.countRead(read(agent(`b${String.fromCharCode(0xd800)}`)));
    summaries.countRead(read(agent('c')));
    await summaries.flush();
    expect((await checkLog(address)).map((record) => metaOf(record)['summarised_principal'])).toEqual(['a', 'c']);
    expect(logged()).toContain('summaries could not be recorded');
    await summaries.flush();
    expect(await checkLog(address)).toHaveLength(2);
  });
});

describe('time', () => {
  it('alone makes the records, again and again', async () => {
    const { address, summaries } = await start({ summaryIntervalMs: 20 });
    const counted = async () => sumOf(await checkLog(address));
    await eventuallyCounts(summaries, counted);
  });

  async function eventuallyCounts(summaries: Summaries, counted: () => Promise<number>) {
    for (let n = 1; n <= 3; n++) {
      summaries.countRead(read(agent('a')));
      await expect.poll(counted, { timeout: 10_000 }).toBe(n);
    }
  }

  it('that is over leaves nothing uncounted', async () => {
    const { address, summaries } = await start();
    summaries.countRead(read(agent('a')));
    summaries.countRefusal(refusal('aa'));
    await summaries.close();
    expect(sumOf(await checkLog(address))).toBe(2);
  });
});

describeVectors('the public schema', () => {
  it('accepts every record', async () => {
    const { address, summaries } = await start({ summaryKeysMax: 1, refusalKeysMax: 1 });
    times(3, (n) => summaries.countRead(read(agent(`a${n}`))));
    summaries.countRead(read(anonymous));
    times(3, (n) => summaries.countRefusal(refusal(`${n}`.repeat(64))));
    summaries.countRefusal({ code: 'RATE_LIMITED', isDenial: false });
    await summaries.flush();
    const validate = new Ajv2020({ strict: false }).compile(vector<object>('schemas/audit/audit_event.schema.json'));
    for (const { canon } of await checkLog(address)) {
      validate({ ...JSON.parse(canon), event_hash: '0'.repeat(64) });
      expect(validate.errors ?? []).toEqual([]);
    }
  });
});
