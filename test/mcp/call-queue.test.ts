/** Who may call a tool server, and who waits: in order, within bounds, and gone when they give up. */
import { describe, expect, it } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { Deadline } from '../../src/mcp/deadline.ts';
import { CallQueue, type CallQueueOptions } from '../../src/mcp/resilience/call-queue.ts';

function queueOf(options: Partial<CallQueueOptions> = {}) {
  const load = { inFlight: 0, queued: 0 };
  const queue = new CallQueue({
    inFlightMax: 2,
    queuedMax: 3,
    waitMs: 60_000,
    onLoad: (now) => Object.assign(load, now),
    ...options,
  });
  return { queue, load };
}

const patient = (signal?: AbortSignal) => new Deadline(systemClock, 60_000, signal);

/** Work that ends when the test says so, and tells when it began. */
function jobs(queue: CallQueue) {
  const began: string[] = [];
  const ends = new Map<string, () => void>();
  const start = (name: string, deadline = patient()) =>
    queue.run(deadline, () => {
      began.push(name);
      return new Promise<string>((resolve) => ends.set(name, () => resolve(name)));
    });
  return { began, start, end: (name: string) => ends.get(name)?.() };
}

const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'answered',
    (error: { code: string; dispatched: boolean }) => `${error.code} ${error.dispatched ? 'sent' : 'not sent'}`,
  );

describe('a queue of calls', () => {
  it('serves who comes first first, and no more at once than it may', async () => {
    const { queue, load } = queueOf();
    const { began, start, end } = jobs(queue);
    const calls = ['a', 'b', 'c', 'd', 'e'].map((name) => start(name));
    expect(began).toEqual(['a', 'b']);
    expect(load).toEqual({ inFlight: 2, queued: 3 });
    for (const name of ['b', 'a', 'c', 'e', 'd']) {
      end(name);
      await new Promise((resolve) => setImmediate(resolve));
      end(name);
    }
    end('d');
    end('e');
    await expect(Promise.all(calls)).resolves.toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(began).toEqual(['a', 'b', 'c', 'd', 'e']);
    expect(load).toEqual({ inFlight: 0, queued: 0 });
  });

  it('refuses at once who finds it full', async () => {
    const { queue, load } = queueOf();
    const { start, end } = jobs(queue);
    const calls = ['a', 'b', 'c', 'd', 'e'].map((name) => start(name));
    expect(await codeOf(start('f'))).toBe('UPSTREAM_BUSY not sent');
    expect(load).toEqual({ inFlight: 2, queued: 3 });
    for (const name of ['a', 'b', 'c', 'd', 'e']) {
      end(name);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await Promise.all(calls);
  });

  it('lets go of who leaves, whose turn goes to the next', async () => {
    const { queue, load } = queueOf({ inFlightMax: 1 });
    const { began, start, end } = jobs(queue);
    const leaving = new AbortController();
    const first = start('first');
    const gone = codeOf(start('gone', patient(leaving.signal)));
    const next = start('next');
    leaving.abort();
    expect(await gone).toBe('CALL_CANCELLED not sent');
    expect(load).toEqual({ inFlight: 1, queued: 1 });
    end('first');
    await first;
    await expect.poll(() => began).toEqual(['first', 'next']);
    end('next');
    await next;
    expect(load).toEqual({ inFlight: 0, queued: 0 });
  });

  it('keeps nobody for longer than its patience, nor for longer than theirs', async () => {
    const { queue, load } = queueOf({ inFlightMax: 1, waitMs: 20 });
    const { began, start, end } = jobs(queue);
    const first = start('first');
    expect(await codeOf(start('second'))).toBe('UPSTREAM_BUSY not sent');
    expect(await codeOf(start('third', new Deadline(systemClock, 5)))).toBe('UPSTREAM_TIMEOUT not sent');
    expect(load).toEqual({ inFlight: 1, queued: 0 });
    end('first');
    await first;
    expect(began).toEqual(['first']);
  });

  it('passes the turn on when work fails', async () => {
    const { queue, load } = queueOf({ inFlightMax: 1 });
    const failing = codeOf(queue.run(patient(), () => Promise.reject(Object.assign(new Error(), { code: 'BROKEN' }))));
    const { start, end } = jobs(queue);
    const next = start('next');
    expect(await failing).toContain('BROKEN');
    end('next');
    await next;
    expect(load).toEqual({ inFlight: 0, queued: 0 });
  });

  it('with no room to wait is a plain bound', async () => {
    const { queue } = queueOf({ inFlightMax: 1, queuedMax: 0 });
    const { start, end } = jobs(queue);
    const first = start('first');
    expect(await codeOf(start('second'))).toBe('UPSTREAM_BUSY not sent');
    end('first');
    await first;
    const third = start('third');
    end('third');
    await expect(third).resolves.toBe('third');
  });
});
