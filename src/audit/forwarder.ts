/**
 * Delivers the log, record by record and in order, to an external audit service: at least once, from where the last
 * gateway left off. Nobody waits for it: while the service is down the position stands, and the log keeps the records.
 *
 * A record that the service refuses for what it is goes on a list and is passed by, so that one cannot stop the others;
 * but when it refuses several in a row the fault is not theirs, and forwarding waits.
 */
import { randomInt } from 'node:crypto';
import { describeError } from '../core/errors.ts';
import { sha256Hex } from '../core/hash.ts';
import type { ForwardedRecord, ForwardStore } from '../storage/forward.ts';
import type { DeliveryTelemetry } from '../telemetry/delivery.ts';
import { pausable } from './pausable.ts';

export interface ForwarderBounds {
  readonly forwardPageRecords: number;
  readonly forwardTimeoutMs: number;
  readonly forwardIdleMs: number;
  readonly forwardRenewMs: number;
  readonly forwardBackoffMinMs: number;
  readonly forwardBackoffMaxMs: number;
  readonly forwardRejectionsMax: number;
  readonly forwardRejectedRetriesMax: number;
}

export interface ForwarderOptions {
  readonly store: ForwardStore;
  /** The audit service, without `/api/events/ingest`. */
  readonly url: string;
  readonly fetch: typeof fetch;
  readonly monotonic: () => number;
  readonly bounds: ForwarderBounds;
  readonly telemetry: Pick<
    DeliveryTelemetry,
    'recordForwarded' | 'forwardingFailed' | 'forwardingRejected' | 'forwardingMissed' | 'forwardingLag'
  >;
}

export interface Forwarder {
  /** Gives up what is under way and lets another gateway go on. */
  readonly close: () => Promise<void>;
}

/** The record is delivered, or refused for what it is. Anything else is thrown. */
type Verdict = 'delivered' | { readonly rejected: number };

// What the record's bytes are to blame for, as far as the service says.
const rejections: ReadonlySet<number> = new Set([400, 413, 422]);

/** Forwards until it is closed. */
export function startForwarder(options: ForwarderOptions): Forwarder {
  const { store, bounds, telemetry } = options;
  const address = ingestAddress(options.url);
  const closing = new AbortController();
  const pause = pausable();
  let failures = 0;
  let rejectedInRow = 0;
  let hasRetriedRejected = false;

  async function run(): Promise<void> {
    while (!closing.signal.aborted) {
      try {
        const isMore = await forwardPage();
        failures = 0;
        if (!isMore) await pause.wait(bounds.forwardIdleMs);
      } catch (error) {
        if (closing.signal.aborted) return;
        telemetry.forwardingFailed(describeError(error));
        await pause.wait(backoffMs(failures++, bounds));
      }
    }
  }

  /** True when there may be more to do at once. */
  async function forwardPage(): Promise<boolean> {
    const next = await store.claim();
    if (next === undefined) {
      telemetry.forwardingLag(undefined);
      hasRetriedRejected = false;
      return false;
    }
    const records = await store.records(next, bounds.forwardPageRecords);
    telemetry.forwardingLag(Math.max(0, (await store.logSize()) - next));
    const first = records[0];
    if (first === undefined) return false;
    if (first.seq > next) {
      await store.advance(first.seq);
      telemetry.forwardingMissed({ fromSeq: next, count: first.seq - next });
    }
    await forwardAll(records);
    await retryRejected();
    return true;
  }

  /** Whatever ends it, the position is that of the first record which was not dealt with. */
  async function forwardAll(records: readonly ForwardedRecord[]): Promise<void> {
    let done: number | undefined;
    let renewedAtMs = options.monotonic();
    try {
      for (const record of records) {
        await forwardOne(record);
        done = record.seq + 1;
        if (options.monotonic() - renewedAtMs < bounds.forwardRenewMs) continue;
        if (!(await store.advance(done))) return;
        renewedAtMs = options.monotonic();
      }
    } finally {
      if (done !== undefined) await store.advance(done);
    }
  }

  async function forwardOne(record: ForwardedRecord): Promise<void> {
    const verdict = await deliver(record);
    if (verdict === 'delivered') {
      rejectedInRow = 0;
      telemetry.recordForwarded();
      return;
    }
    if (rejectedInRow >= bounds.forwardRejectionsMax) {
      throw new Error(`it refuses every record, last with ${verdict.rejected}`);
    }
    rejectedInRow++;
    await store.reject(record.seq, verdict.rejected);
    telemetry.forwardingRejected({ seq: record.seq, status: verdict.rejected });
  }

  /** Once, when this gateway has begun and the service takes records: perhaps it has been mended. */
  async function retryRejected(): Promise<void> {
    if (hasRetriedRejected || rejectedInRow > 0) return;
    hasRetriedRejected = true;
    for (const record of await store.rejected(bounds.forwardRejectedRetriesMax)) {
      if ((await deliver(record)) !== 'delivered') continue;
      await store.accept(record.seq);
      telemetry.recordForwarded();
    }
  }

  async function deliver({ canon }: ForwardedRecord): Promise<Verdict> {
    const response = await options.fetch(address, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: ingestBody(canon),
      redirect: 'error',
      signal: AbortSignal.any([closing.signal, AbortSignal.timeout(bounds.forwardTimeoutMs)]),
    });
    await response.body?.cancel();
    // It has the record already.
    if (response.ok || response.status === 409) return 'delivered';
    if (rejections.has(response.status)) return { rejected: response.status };
    throw new Error(`it answered ${response.status}`);
  }

  const running = run();

  return {
    async close() {
      closing.abort(new Error('the gateway is stopping'));
      pause.end();
      await running;
      await store.release().catch(() => undefined);
    },
  };
}

/** The address that records are posted to (contract 2.4). */
function ingestAddress(base: string): string {
  const url = new URL(base);
  url.pathname = `${url.pathname.replace(/\/+$/, '')}/api/events/ingest`;
  return url.href;
}

/** The strict record with its hash, which is over the same text without it. */
function ingestBody(canon: string): string {
  return `{"event_hash":"${sha256Hex(canon)}",${canon.slice(1)}`;
}

/** Doubles with each failure, by a random part of itself, so that gateways do not knock together. */
function backoffMs(failures: number, bounds: ForwarderBounds): number {
  const ms = Math.min(bounds.forwardBackoffMaxMs, bounds.forwardBackoffMinMs * 2 ** Math.min(failures, 30));
  return Math.round(ms / 2) + randomInt(Math.round(ms / 2) + 1);
}
