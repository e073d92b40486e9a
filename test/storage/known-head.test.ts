/** A writer that was alone guesses where its batch goes: one round trip when it is right, and nothing lost when it is not. */
import { randomUUID } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import type { CommittedEvent, PreparedEvent } from '../../src/core/audit-event.ts';
import { CompactRange } from '../../src/core/merkle.ts';
import { KnownHead } from '../../src/storage/known-head.ts';
import { createLogWriter, type LogWriter } from '../../src/storage/log.ts';
import { numbered, prepared } from '../support/drafts.ts';
import { checkAcknowledged, cleanUp, freshLog, later, numbersOf, query, writerOn } from '../support/log-fixture.ts';
import { startWriterProcess } from '../support/log-writer.ts';
import { type Action, type Step, startWireProxy, type When } from '../support/wire-proxy.ts';

afterEach(cleanUp);

// More batches of one writer after another than it takes for it to guess.
const alone = 6;

async function appendTo(writer: LogWriter, events: readonly PreparedEvent[]): Promise<CommittedEvent[]> {
  return await writer.append(randomUUID(), events);
}

/** A writer that guesses, what it has written until then, and the steps of its connection since. */
async function guessing() {
  const address = await freshLog();
  const steps: Step[] = [];
  let trap: { step: Step; when: When; spring: () => Action } | undefined;
  const proxy = await startWireProxy(({ step, when }) => {
    if (when === 'before') steps.push(step);
    if (trap?.step !== step || trap.when !== when) return 'pass';
    const { spring } = trap;
    trap = undefined;
    return spring();
  });
  later(() => proxy.close());
  const writer = createLogWriter({ url: proxy.urlOf(address.url) });
  later(() => writer.close());
  const acknowledged: CommittedEvent[] = [];
  for (let n = 0; n < alone; n++) acknowledged.push(...(await appendTo(writer, numbered(1, n))));
  steps.length = 0;
  const at = (step: Step, when: When, spring: () => Action) => {
    trap = { step, when, spring };
  };
  return { address, writer, acknowledged, steps, at };
}

describe('a writer that was alone', () => {
  it('needs one round trip for each batch, also for those that complete a tile', async () => {
    const { address, writer, acknowledged, steps } = await guessing();
    for (let n = 0; n < 4; n++) acknowledged.push(...(await appendTo(writer, numbered(10, 100 + n * 10))));
    expect(steps).toEqual(['commit', 'commit', 'commit', 'commit']);

    // The edge of the tree is read once, with the head held, and known from then on.
    for (let n = 0; n < 8; n++) acknowledged.push(...(await appendTo(writer, numbered(200, 1_000 + n * 200))));
    expect(steps.filter((step) => step === 'lock')).toHaveLength(1);
    expect(steps.filter((step) => step === 'edge').length).toBeGreaterThan(0);
    await checkAcknowledged(address, acknowledged);
  });

  it('loses no connection over a batch that can never be written, whichever way it takes', async () => {
    const { address, writer, acknowledged, steps } = await guessing();
    const withNul = [prepared({ companions: { revokes: { kind: 'id', value: 'a\0b' } } })];
    const tooLong = [prepared({ companions: { revokes: { kind: 'id', value: 'x'.repeat(201) } } })];
    for (const guilty of [withNul, tooLong, tooLong, withNul]) {
      await expect(appendTo(writer, [...numbered(1, 99), ...guilty])).rejects.toThrow();
      expect(writer.isConnected()).toBe(true);
    }
    acknowledged.push(...(await appendTo(writer, numbered(3, 100))));
    expect(steps).not.toContain('connect');
    await checkAcknowledged(address, acknowledged);
  });

  it('gives its records the time of the database', async () => {
    const { address, writer } = await guessing();
    const before = Number(
      (await query(address.url, 'SELECT extract(epoch FROM clock_timestamp()) * 1000 AS ms'))[0]?.['ms'],
    );
    const [record] = await appendTo(writer, numbered(1));
    const after = Number(
      (await query(address.url, 'SELECT extract(epoch FROM clock_timestamp()) * 1000 AS ms'))[0]?.['ms'],
    );
    expect(record?.timeMs).toBeGreaterThanOrEqual(Math.floor(before) - 5);
    expect(record?.timeMs).toBeLessThanOrEqual(after);
  });

  it('finds out that another one wrote, and goes on behind it', async () => {
    const { address, writer, acknowledged, steps } = await guessing();
    acknowledged.push(...(await appendTo(writerOn(address), numbered(3, 50))));
    acknowledged.push(...(await appendTo(writer, numbered(2, 60))));
    expect(steps).toEqual(['commit', 'release', 'lock', 'commit']);
    // Whoever was wrong asks for a while.
    steps.length = 0;
    acknowledged.push(...(await appendTo(writer, numbered(1, 70))));
    expect(steps).toEqual(['lock', 'commit']);
    const records = await checkAcknowledged(address, acknowledged);
    expect(numbersOf(records).slice(alone)).toEqual([50, 51, 52, 60, 61, 70]);
  });

  it('waits for one that is writing, and goes on behind it', async () => {
    const { address, writer, acknowledged, at } = await guessing();
    const other = writerOn(address);
    await appendTo(other, []);
    let held: Promise<CommittedEvent[]> | undefined;
    at('commit', 'before', () => {
      held = appendTo(other, numbered(40, 500));
      return 'pass';
    });
    acknowledged.push(...(await appendTo(writer, numbered(1, 90))));
    acknowledged.push(...((await held) ?? []));
    expect(await checkAcknowledged(address, acknowledged)).toHaveLength(alone + 41);
  });

  it.each<[string, string]>([
    ['the time of the last record', 'last_ms = last_ms + 60000'],
    ['its count', 'last_counter = last_counter + 1'],
    ['the tree', "tree = tree || '\\x00'"],
  ])('does not put back %s that somebody has changed', async (_, change) => {
    const { address, writer } = await guessing();
    await query(address.url, `UPDATE log_head SET ${change}`);
    const before = await query(address.url, 'SELECT * FROM log_head');
    const outcome = await appendTo(writer, numbered(1)).catch((error: unknown) => error);
    const [head] = await query(address.url, 'SELECT * FROM log_head');
    if (outcome instanceof Error) expect([head]).toEqual(before);
    else expect(Number(head?.['last_ms'])).toBeGreaterThanOrEqual(Number(before[0]?.['last_ms']));
  });

  it('is late with the outcome of an intent that something else has closed', async () => {
    const { address, writer } = await guessing();
    const intent = () => prepared({ meta: { phase: 'intent' }, companions: { opensIntent: true } });
    const [first] = await appendTo(writer, [intent()]);
    const [second] = await appendTo(writer, [intent()]);
    const outcome = (intentId = '') =>
      prepared({ meta: { intent_id: intentId }, companions: { closesIntent: intentId } });
    const open = () => query(address.url, 'SELECT intent_id FROM log_intent');

    await appendTo(writer, [outcome(first?.eventId)]);
    expect(await open()).toEqual([{ intent_id: second?.eventId }]);
    await query(address.url, 'DELETE FROM log_intent');
    const late = { ...outcome(second?.eventId), late: () => prepared({ meta: { came: 'late' } }) };
    await appendTo(writer, [late, prepared()]);
    const records = await checkAcknowledged(address, []);
    expect(records.slice(-2).map(({ record }) => record['meta'])).toEqual([{ came: 'late' }, {}]);
  });

  it.each<[string, When, Action, boolean]>([
    ['before it was sent', 'before', 'cut', false],
    ['in the middle of it', 'midway', 'cut', false],
    ['when the server has done it', 'after', 'cut', true],
  ])('writes a batch once when its connection is lost %s', async (_, when, action, wasWritten) => {
    const { address, writer, acknowledged, at } = await guessing();
    at('commit', when, () => action);
    const batchId = randomUUID();
    const events = numbered(3, 700);
    await expect(writer.append(batchId, events)).rejects.toThrow();
    expect(await checkAcknowledged(address, acknowledged)).toHaveLength(alone + (wasWritten ? 3 : 0));
    expect((await writer.find(batchId, events))?.length).toBe(wasWritten ? 3 : undefined);
    acknowledged.push(...(await writer.append(batchId, events)));
    expect(await checkAcknowledged(address, acknowledged)).toHaveLength(alone + 3);
  });

  it('holds up nobody when it is stopped in the middle of a guess', { retry: 2 }, async () => {
    const address = await freshLog();
    let sprung: (() => void) | undefined;
    const proxy = await startWireProxy(({ step, when }) => {
      if (sprung === undefined || step !== 'commit' || when !== 'midway') return 'pass';
      sprung();
      sprung = undefined;
      writer.child.kill('SIGSTOP');
      return 'half';
    });
    later(() => proxy.close());
    const writer = await startWriterProcess(proxy.urlOf(address.url));
    later(() => writer.kill());
    const first: CommittedEvent[] = [];
    for (let n = 0; n < alone; n++) first.push(...(await writer.add(1, n)));
    const stopped = new Promise<void>((resolve) => {
      sprung = resolve;
    });
    const held = writer.add(200, 100);
    await stopped;

    const ended: number[] = [];
    const other = createLogWriter(address, { onZombieEnded: (backend) => ended.push(backend) });
    later(() => other.close());
    const between = await appendTo(other, numbered(2, 10));
    expect(ended).toHaveLength(1);
    for (const link of proxy.links()) link.release();
    writer.child.kill('SIGCONT');
    expect(await checkAcknowledged(address, [...first, ...between, ...(await held)])).toHaveLength(alone + 202);
  });
});

describe('the time of a guess', () => {
  const head = { nextSeq: 5, tick: { ms: 1_000, counter: 0 }, tree: CompactRange.empty(), nowMs: 1_000 };

  function left() {
    const time = { wall: 70_000, monotonic: 10 };
    const known = new KnownHead({ now: () => time.wall, monotonic: () => time.monotonic });
    for (let n = 0; n < alone; n++) {
      known.found(head.nextSeq);
      known.left(head);
    }
    return { time, known };
  }

  it('goes on as time does', () => {
    const { time, known } = left();
    time.wall += 2_500;
    time.monotonic += 2_500.7;
    expect(known.take()?.nowMs).toBe(3_500);
    expect(known.take()).toBeUndefined();
  });

  it.each([
    ['the machine slept', 3_600_000, 1],
    ['the clock was set back', -3_600_000, 1],
  ])('is asked for again after %s', (_, wall, monotonic) => {
    const { time, known } = left();
    time.wall += wall;
    time.monotonic += monotonic;
    expect(known.take()).toBeUndefined();
  });
});

describe('many writers at once', () => {
  it('that all guess now and then leave one whole log', async () => {
    const address = await freshLog();
    const writers = Array.from({ length: 3 }, () => writerOn(address));
    const acknowledged: CommittedEvent[] = [];
    const turns = async (writer: LogWriter, from: number) => {
      for (let n = 0; n < 60; n++) acknowledged.push(...(await appendTo(writer, numbered(1 + (n % 7), from + n * 10))));
    };
    for (const [index, writer] of writers.entries()) {
      for (let n = 0; n < alone; n++) acknowledged.push(...(await appendTo(writer, numbered(1, index * 100 + n))));
    }
    await Promise.all(writers.map((writer, index) => turns(writer, 10_000 * (index + 1))));
    expect(await checkAcknowledged(address, acknowledged)).toHaveLength(acknowledged.length);
  });
});
