/**
 * No room left on the volume of the store, of the spool, and of the checkpoint that is kept outside: what was acknowledged
 * stays, what cannot be kept is refused and says so, and when there is room again the gateway goes on by itself.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, type TestContext } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { startEmbeddedPostgres } from '../../src/storage/embedded/start.ts';
import { type Answer, eventually, type Send, startTestGateway } from '../support/gateway.ts';
import { startGatewayProcess } from '../support/gateway-process.ts';
import { type CheckedRecord, checkLog } from '../support/log-checker.ts';
import { describeOnSmallVolume, mountSmallVolume, type SmallVolume } from '../support/small-volume.ts';
import { startStoreProxy } from '../support/store-proxy.ts';

const recoveryMs = 60_000;
const note = 'x'.repeat(30_000);

async function volume({ onTestFinished }: TestContext, kib: number): Promise<SmallVolume> {
  const mounted = await mountSmallVolume(kib);
  onTestFinished(() => mounted.unmount());
  return mounted;
}

/** Sends numbered events, each once, and keeps what was said of them. */
class Client {
  readonly accepted = new Map<number, Answer>();
  readonly refused = new Map<number, Answer>();
  readonly #send: Send;
  #next = 0;

  constructor(send: Send) {
    this.#send = send;
  }

  async submit(): Promise<Answer> {
    const n = this.#next++;
    // Each of its own, so that nothing of it can be compressed away.
    const json = { event_type: 'deploy', actor: 'ci', action: 'start', metadata: { n, note: `${n}${note}` } };
    const answer = await this.#send('/api/events', { json });
    (answer.status < 300 ? this.accepted : this.refused).set(n, answer);
    return answer;
  }

  /** Until one answer has this status; all others must have been `meanwhile`. */
  async submitUntil(status: number, meanwhile: readonly number[], deadlineMs = recoveryMs): Promise<Answer> {
    return await eventually(async () => {
      const answer = await this.submit();
      if (answer.status === status) return answer;
      expect(meanwhile, answer.text).toContain(answer.status);
      return undefined;
    }, deadlineMs);
  }

  /** Of the numbers in the log, each is there once; all that were accepted are; the rest was said to be in doubt. */
  expectIn(records: readonly CheckedRecord[]): void {
    const stored = records
      .filter(({ record }) => record['meta']?.['event_type'] === 'deploy')
      .map(({ record }) => Number(record['meta']?.['n']));
    expect(new Set(stored).size).toBe(stored.length);
    expect([...this.accepted.keys()].filter((n) => !stored.includes(n))).toEqual([]);
    expect(stored.filter((n) => !this.accepted.has(n) && !this.refused.has(n))).toEqual([]);
  }
}

function expectRefusals(answers: Iterable<Answer>): void {
  for (const { status, body, headers, text } of answers) {
    expect(status, text).toBe(503);
    expect(body).toMatchObject({ retryable: true });
    expect(body['code']).toMatch(/^(?:AUDIT_UNAVAILABLE|STORE_FULL|STORE_UNAVAILABLE)$/);
    expect(headers.get('retry-after')).not.toBeNull();
    expect(text).not.toMatch(/ENOSPC|no space|could not|\/tmp\//i);
  }
}

const isReady = async (send: Send) => (await send('/readyz')).status === 200;

describeOnSmallVolume('a volume without room', () => {
  it('of the embedded store', { timeout: 240_000 }, async (context) => {
    const { folder, fill, free, unmount } = await volume(context, 192 * 1024);
    const env = { DEV_MODE: 'true', TALOS_DATA_DIR: folder, TALOS_GATEWAY_PORT: '0', TALOS_BIND_HOST: '127.0.0.1' };
    const { child, send, ended } = await startGatewayProcess({ cwd: folder, env });
    context.onTestFinished(async () => {
      child.kill('SIGKILL');
      await ended();
      // Ends a server that the killed gateway left.
      await free();
      await (await startEmbeddedPostgres({ dataDir: folder, clock: systemClock, log: () => undefined })).stop();
      await unmount();
    });
    const client = new Client(send);
    for (let n = 0; n < 10; n++) expect((await client.submit()).status).toBe(200);

    await fill();
    await client.submitUntil(503, [200]);
    for (let n = 0; n < 3; n++) await client.submit();
    await eventually(async () => !(await isReady(send)), recoveryMs);
    expect((await send('/healthz')).status).toBe(200);
    expectRefusals(client.refused.values());

    await free();
    await eventually(() => isReady(send), 3 * recoveryMs);
    await client.submitUntil(200, [503]);
    child.kill('SIGTERM');
    expect((await ended()).code).toBe(0);
    const store = await startEmbeddedPostgres({ dataDir: folder, clock: systemClock, log: () => undefined });
    try {
      client.expectIn(await checkLog(store.connection));
    } finally {
      await store.stop();
    }
  });

  it('of the spool', { timeout: 120_000 }, async (context) => {
    const { folder, fill, free } = await volume(context, 1024);
    const store = await startStoreProxy();
    const env = { TALOS_AUDIT_ON_FAILURE: 'spool', TALOS_AUDIT_SPOOL_DIR: folder };
    const gateway = await startTestGateway({ databaseUrl: store.urlOf, env });
    context.onTestFinished(async () => {
      await store.restore();
      await gateway.stop();
      await store.close();
    });
    const client = new Client(gateway.send);
    expect((await client.submit()).status).toBe(200);
    await store.cut();
    expect((await client.submit()).status).toBe(202);
    // Half of a group fits.
    await client.submitUntil(503, [202]);
    await fill();
    for (let n = 0; n < 3; n++) expect((await client.submit()).status).toBe(503);
    expectRefusals(client.refused.values());

    // What is not the spool's goes, and it takes more.
    await free();
    await store.restore();
    await client.submitUntil(200, [202, 503]);
    await eventually(async () => (await readdir(folder)).every((name) => !name.endsWith('.spool')), recoveryMs);
    client.expectIn(await checkLog(gateway.database));
    expect([...client.accepted.values()].filter(({ status }) => status === 202).length).toBeGreaterThan(1);
  });

  it('of the checkpoint that is kept outside', { timeout: 120_000 }, async (context) => {
    const { folder, fill, free } = await volume(context, 1024);
    const anchor = join(folder, 'anchor');
    const env = { TALOS_DATA_DIR: folder, TALOS_LOG_ANCHOR_FILES: anchor, TALOS_LOG_ANCHOR_INTERVAL_SECONDS: '0' };
    const gateway = await startTestGateway({ env });
    context.onTestFinished(() => gateway.stop());
    const { send } = gateway;
    const client = new Client(send);
    const sizeOf = (text: string) => Number(text.split('\n')[1]);
    const signedSize = async () => sizeOf((await send('/log/checkpoint')).text);
    const receiptOf = async ({ body }: Answer) => await send(`/api/events/${String(body['event_id'])}/proof`);
    const first = await client.submit();
    expect((await receiptOf(first)).status).toBe(200);
    const before = await signedSize();

    await fill();
    const second = await client.submit();
    // The record is in the log; that it was signed cannot be said yet.
    expect(second.status).toBe(200);
    expectRefusals([await receiptOf(second)]);
    expect((await receiptOf(first)).status).toBe(200);
    expect(await signedSize()).toBe(before);
    expect(sizeOf(await readFile(join(folder, 'log.checkpoint'), 'utf8'))).toBe(before);
    expect(gateway.logText()).not.toContain('forked');

    await free();
    await eventually(async () => (await receiptOf(second)).status === 200, recoveryMs);
    const after = await signedSize();
    expect(after).toBeGreaterThan(before);
    expect(sizeOf(await readFile(join(folder, 'log.checkpoint'), 'utf8'))).toBeGreaterThanOrEqual(after);
    // Lines of JSON, in which the note has its line ends escaped.
    const anchored = async () => (await readFile(anchor, 'utf8').catch(() => '')).matchAll(/\\n(\d+)\\n/g);
    await eventually(async () => [...(await anchored())].some(([, size]) => Number(size) >= after), recoveryMs);
    expect((await readdir(folder)).filter((name) => name.endsWith('.next'))).toEqual([]);
    client.expectIn(await checkLog(gateway.database));
  });
});
