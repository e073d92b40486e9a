/** A writer that is stopped while it holds the log's head stops nobody else, and knows what it did when it wakes. */
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterEach, describe, expect, it } from 'vitest';
import { bounds } from '../../src/config/bounds.ts';
import type { CommittedEvent } from '../../src/core/audit-event.ts';
import { createLogWriter } from '../../src/storage/log.ts';
import { numbered } from '../support/drafts.ts';
import { checkAcknowledged, cleanUp, freshLog, later, numbersOf, query, writerOn } from '../support/log-fixture.ts';
import { startWriterProcess, type WriterProcess } from '../support/log-writer.ts';
import { type Action, type Link, type Step, startWireProxy, type When } from '../support/wire-proxy.ts';

afterEach(cleanUp);

// A machine that stands still for a second makes a zombie of anybody, rightly; three times in a row is no accident.
const onQuietMachine = { retry: 2 };

interface Sleeper {
  readonly writer: WriterProcess;
  readonly address: { url: string };
  /** Stops the process the next time that it is at this step. Resolves when it stands still. */
  readonly stopAt: (step: Step, when: When, action?: Action) => Promise<Link>;
  readonly wake: () => void;
}

async function sleeper(): Promise<Sleeper> {
  const address = await freshLog();
  let trap: { step: Step; when: When; action: Action; sprung: (link: Link) => void } | undefined;
  const proxy = await startWireProxy(({ step, when, link }) => {
    if (trap === undefined || trap.step !== step || trap.when !== when) return 'pass';
    const { action, sprung } = trap;
    trap = undefined;
    writer.child.kill('SIGSTOP');
    sprung(link);
    return action;
  });
  later(() => proxy.close());
  const writer = await startWriterProcess(proxy.urlOf(address.url));
  later(() => writer.kill());
  return {
    writer,
    address,
    stopAt: (step, when, action = 'pass') =>
      new Promise((sprung) => {
        trap = { step, when, action, sprung };
      }),
    wake: () => void writer.child.kill('SIGCONT'),
  };
}

describe('a writer that is stopped', () => {
  it.each<[string, Step, When, Action]>([
    ['when it has just been given the head', 'lock', 'after', 'pass'],
    ['in the middle of COPY, where no time-out of the server reaches', 'commit', 'midway', 'half'],
  ])('%s, is ended by who waits, and writes its batch when it wakes', onQuietMachine, async (_, step, when, action) => {
    const { writer, address, stopAt, wake } = await sleeper();
    const first = await writer.add(3, 0);
    const stopped = stopAt(step, when, action);
    const held = writer.add(200, 100);
    const link = await stopped;
    expect(link.inTransaction).toBe(true);

    const ended: number[] = [];
    const other = createLogWriter(address, { onZombieEnded: (backend) => ended.push(backend) });
    later(() => other.close());
    const startedAt = performance.now();
    const between = await other.append(randomUUID(), numbered(2, 10));
    const waitedMs = performance.now() - startedAt;
    expect(waitedMs).toBeGreaterThanOrEqual(bounds.headWaitMs - 50);
    // The server's own time-out is longer, so it was not that.
    await expect.poll(() => ended.length).toBe(1);

    link.release();
    wake();
    const records = await checkAcknowledged(address, [...first, ...between, ...(await held)]);
    expect(numbersOf(records).slice(0, 6)).toEqual([0, 1, 2, 10, 11, 100]);
    expect(records).toHaveLength(205);
  });

  it('holds up nobody when the first in line is not one that looks', onQuietMachine, async () => {
    const { writer, address, stopAt, wake } = await sleeper();
    const stopped = stopAt('commit', 'midway', 'half');
    const held = writer.add(50, 1_000);
    const link = await stopped;
    // Such as a gateway that starts, or a writer that is stopped in its turn.
    const first = query(address.url, 'UPDATE log_head SET origin = origin');
    await expect
      .poll(() => query(address.url, "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))
      .toHaveLength(1);
    // The zombie sleeps on: it is not its waking that lets them through.
    const committed = await writerOn(address).append(randomUUID(), numbered(1));
    await first;
    link.release();
    wake();
    await checkAcknowledged(address, [...committed, ...(await held)]);
  });

  it('holds up none of many, and costs them no connection', onQuietMachine, async () => {
    const { writer, address, stopAt, wake } = await sleeper();
    const stopped = stopAt('commit', 'midway', 'half');
    const held = writer.add(50, 1_000);
    const link = await stopped;
    const others = Array.from({ length: 6 }, () => writerOn(address));
    // A connection that was ended for nothing would reject.
    const committed = await Promise.all(others.map((other, n) => other.append(randomUUID(), numbered(2, n * 10))));
    link.release();
    wake();
    await checkAcknowledged(address, [...committed.flat(), ...(await held)]);
  });

  it('after its commit was sent finds its batch when it wakes, long after its deadline', onQuietMachine, async () => {
    const { writer, address, stopAt, wake } = await sleeper();
    await writer.add(1, 0);
    const stopped = stopAt('commit', 'after', 'hold');
    const held = writer.add(5, 1);
    const link = await stopped;
    // The others go on at once: the server has committed and given the head back.
    const between = await writerOn(address).append(randomUUID(), numbered(1, 10));
    await expect
      .poll(() => performance.now() - startedAtOf(link), { timeout: 10_000 })
      .toBeGreaterThan(bounds.commitDeadlineMs);
    wake();
    const records = await checkAcknowledged(address, [...(await held), ...between]);
    expect(numbersOf(records)).toEqual([0, 1, 2, 3, 4, 5, 10]);
  });

  it('past its deadline writes nothing more, and says so', onQuietMachine, async () => {
    const { writer, address, stopAt, wake } = await sleeper();
    await writer.add(1, 0);
    const stopped = stopAt('commit', 'midway', 'half');
    const held = expect(writer.add(5, 1)).rejects.toThrow('nothing was done');
    const link = await stopped;
    await writerOn(address).append(randomUUID(), numbered(1, 10));
    await expect
      .poll(() => performance.now() - startedAtOf(link), { timeout: 10_000 })
      .toBeGreaterThan(bounds.commitDeadlineMs);
    link.release();
    wake();
    await held;
    expect(numbersOf(await checkAcknowledged(address, await writer.add(1, 20)))).toEqual([0, 10, 20]);
  });
});

const stoppedAt = new WeakMap<Link, number>();

/** When the test first asked about the connection. */
function startedAtOf(link: Link): number {
  const at = stoppedAt.get(link) ?? performance.now();
  stoppedAt.set(link, at);
  return at;
}

describe('who blocks the head and is no zombie', () => {
  /** A connection of this name that has locked the head. */
  async function holder(address: { url: string }, name: string): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: address.url, application_name: name });
    client.on('error', () => undefined);
    await client.connect();
    later(() => client.end().catch(() => undefined));
    await client.query('BEGIN; SELECT 1 FROM log_head FOR UPDATE');
    return client;
  }

  async function appendWhile(address: { url: string }, held: () => Promise<unknown>): Promise<CommittedEvent[]> {
    const ended: number[] = [];
    const writer = createLogWriter(address, { onZombieEnded: (backend) => ended.push(backend) });
    later(() => writer.close());
    const append = writer.append(randomUUID(), numbered(1));
    await held();
    const committed = await append;
    expect(ended).toEqual([]);
    return committed;
  }

  it('is left alone when it is another application', async () => {
    const address = await freshLog();
    const client = await holder(address, 'psql');
    await appendWhile(address, async () => {
      await query(address.url, `SELECT pg_sleep(${(bounds.headWaitMs + 2 * bounds.headCheckMs) / 1000})`);
      await client.query('COMMIT');
    });
  });

  it('is left alone while the server works for it', async () => {
    const address = await freshLog();
    const client = await holder(address, 'talos-log');
    await appendWhile(address, async () => {
      await client.query(`SELECT pg_sleep(${(bounds.headWaitMs + 2 * bounds.headCheckMs) / 1000})`);
      await client.query('COMMIT');
    });
  });
});
