/**
 * Every query of a batch fails once, before the server hears of it and after it has done it: the connection is lost, the
 * process ends, or nothing is heard beyond the deadline. The list is complete, not drawn. After each the log is whole,
 * holds what was acknowledged, and can be written.
 */
import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { CommitPool } from '../../src/audit/pool.ts';
import { bounds } from '../../src/config/bounds.ts';
import type { CommittedEvent, PreparedEvent } from '../../src/core/audit-event.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { TalosError } from '../../src/core/errors.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { numbered } from '../support/drafts.ts';
import { checkAcknowledged, cleanUp, freshLog, numbersOf } from '../support/log-fixture.ts';
import { startWriterProcess } from '../support/log-writer.ts';
import { type Action, type Step, startWireProxy, type When, writerSteps } from '../support/wire-proxy.ts';

afterEach(cleanUp);

interface FailPoint {
  readonly step: Step;
  readonly when: 'before' | 'after';
}

const failPoints: readonly FailPoint[] = writerSteps.flatMap((step) => [
  { step, when: 'before' },
  { step, when: 'after' },
]);

// The batch completes a tile that another writer began, so that the edge of the tree must be read.
const before = 250;
const batch = 20;
const batchNumbers = Array.from({ length: batch }, (_, n) => 1_000 + n);

/** What a fail point opens is closed with it: a server has only so many connections. */
type Later = (close: () => Promise<unknown>) => void;

/** A log with a beginning, and a way to it on which one step of one batch goes wrong. */
async function faulty({ step, when }: FailPoint, later: Later, fault: () => Action) {
  const address = await freshLog();
  const earlier = await appendOnce(address, numbered(before));
  const done: string[] = [];
  // A batch is read back only when its answer was lost.
  const traps: [Step, When, () => Action][] = [[step, when, fault]];
  if (step === 'read' || step === 'release') traps.unshift(['commit', 'after', () => 'cut']);
  const proxy = await startWireProxy((moment) => {
    const trap = traps[0];
    if (trap === undefined || moment.step !== trap[0] || moment.when !== trap[1]) return 'pass';
    traps.shift();
    done.push(`${moment.step} ${moment.when}`);
    return trap[2]();
  });
  later(() => proxy.close());
  const hasFailed = () => done.at(-1) === `${step} ${when}`;
  const assertFailed = () => expect(done.at(-1)).toBe(`${step} ${when}`);
  return { address, earlier, way: { url: proxy.urlOf(address.url) }, hasFailed, assertFailed };
}

/** What the server has committed by then, whoever knows it. */
function isCommitted({ step, when }: FailPoint): boolean {
  return step === 'read' || step === 'release' || (step === 'commit' && when === 'after');
}

async function appendOnce(address: { url: string }, events: PreparedEvent[]): Promise<CommittedEvent[]> {
  const writer = createLogWriter(address);
  try {
    return await writer.append(randomUUID(), events);
  } finally {
    await writer.close();
  }
}

/** The log is whole, and holds the batch once or not at all. */
async function expectLog(
  address: { url: string },
  acknowledged: readonly CommittedEvent[],
  hasBatch: boolean,
): Promise<void> {
  const next = await appendOnce(address, numbered(1, 9_999));
  const records = await checkAcknowledged(address, [...acknowledged, ...next]);
  const rest = numbersOf(records).slice(before);
  expect(rest).toEqual(hasBatch ? [...batchNumbers, 9_999] : [9_999]);
}

/** All fail points, a few at a time. A failure names its own. */
async function atEachFailPoint(check: (point: FailPoint, later: Later) => Promise<void>): Promise<void> {
  const left = [...failPoints];
  const worker = async () => {
    for (let point = left.shift(); point !== undefined; point = left.shift()) {
      const { step, when } = point;
      const closers: (() => Promise<unknown>)[] = [];
      try {
        await check(point, (close) => closers.unshift(close));
      } catch (cause) {
        throw new Error(`${when} ${step}: ${String(cause)}`, { cause });
      } finally {
        for (const close of closers) await close();
      }
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
}

function poolOn(way: { url: string }, later: Later, deadline: { commitDeadlineMs?: number } = {}): CommitPool {
  const writer = createLogWriter(way);
  later(() => writer.close());
  return new CommitPool({
    writer,
    clock: systemClock,
    bounds: { ...bounds, ...deadline },
    onCommit: () => undefined,
    onFailure: () => undefined,
  });
}

/** A step that is never answered. A machine that is busy may need longer to come to it than a short deadline. */
async function heardNothing(point: FailPoint, later: Later) {
  for (const commitDeadlineMs of [500, 2_000]) {
    const attempt = await silenced(point, later, commitDeadlineMs);
    if (attempt.hasFailed()) return attempt;
  }
  return await silenced(point, later, 10_000);
}

async function silenced(point: FailPoint, later: Later, commitDeadlineMs: number) {
  const staged = await faulty(point, later, () => 'hold');
  const pool = poolOn(staged.way, later, { commitDeadlineMs });
  const told = await pool.add(numbered(batch, 1_000)).catch((error: unknown) => error);
  return { ...staged, told };
}

describe('a batch whose every step fails once', { timeout: 120_000 }, () => {
  it('is there once when the connection is lost', async () => {
    await atEachFailPoint(async (point, later) => {
      const { address, earlier, way, assertFailed } = await faulty(point, later, () => 'cut');
      const committed = await poolOn(way, later).add(numbered(batch, 1_000));
      assertFailed();
      await expectLog(address, [...earlier, ...committed], true);
    });
  });

  it('is there once or not at all when the process ends', async () => {
    await atEachFailPoint(async (point, later) => {
      const { address, earlier, way, assertFailed } = await faulty(point, later, () => {
        writer.child.kill('SIGKILL');
        return 'cut';
      });
      const writer = await startWriterProcess(way.url);
      later(() => writer.kill());
      await expect(writer.add(batch, 1_000)).rejects.toThrow('the writer ended');
      assertFailed();
      await expectLog(address, earlier, isCommitted(point));
    });
  });

  it('is there once or not at all, as its caller is told, when nothing is heard beyond the deadline', async () => {
    await atEachFailPoint(async (point, later) => {
      const { address, earlier, told, assertFailed } = await heardNothing(point, later);
      assertFailed();
      const committed = Array.isArray(told) ? (told as CommittedEvent[]) : [];
      if (committed.length === 0) expect((told as TalosError).code).toBe('AUDIT_UNAVAILABLE');
      expect(committed.length).toBe(isCommitted(point) ? batch : 0);
      await expectLog(address, [...earlier, ...committed], isCommitted(point));
    });
  });
});
