/** Asking the store again and again: one question at a time, its age, and what is said when the store is away. */
import { PassThrough } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterEach, describe, expect, it } from 'vitest';
import { Poller } from '../../src/shared-state/poller.ts';
import { createTelemetry } from '../../src/telemetry/telemetry.ts';

/** A store that answers when told to. */
class Store {
  readonly #waiting: { resolve: () => void; reject: (error: Error) => void }[] = [];
  asked = 0;

  readonly ask = () =>
    new Promise<void>((resolve, reject) => {
      this.asked++;
      this.#waiting.push({ resolve, reject });
    });

  answer(): void {
    this.#waiting.shift()?.resolve();
  }

  fail(): void {
    this.#waiting.shift()?.reject(new Error('the store is away'));
  }
}

const pollers: Poller[] = [];
afterEach(async () => {
  for (const poller of pollers.splice(0)) await poller.close();
});

function setUp({ ask, pollMs = 3_600_000 }: { ask: () => Promise<void>; pollMs?: number }) {
  const clock = { nowMs: 0, monotonic: () => clock.nowMs };
  const destination = new PassThrough();
  const { log } = createTelemetry({ level: 'info', destination });
  const poller = new Poller({ subject: 'things', ask, pollMs, clock, log });
  pollers.push(poller);
  return { poller, clock, destination };
}

describe('a question', () => {
  it('is not asked twice at a time', async () => {
    const store = new Store();
    const { poller } = setUp(store);
    const both = Promise.all([poller.ask(), poller.ask()]);
    store.answer();
    await both;
    expect(store.asked).toBe(1);
  });

  it('is asked anew for whoever must know of what was committed meanwhile, once for all of them', async () => {
    const store = new Store();
    const { poller } = setUp(store);
    const early = poller.ask();
    const late = Promise.all([poller.refresh(), poller.refresh()]);
    store.answer();
    await early;
    await expect.poll(() => store.asked, { timeout: 20_000 }).toBe(2);
    store.answer();
    await late;
    expect(store.asked).toBe(2);
  });

  it('that failed does not fail the one behind it', async () => {
    const store = new Store();
    const { poller } = setUp(store);
    const early = expect(poller.ask()).rejects.toThrow('the store is away');
    const late = poller.refresh();
    store.fail();
    await early;
    await expect.poll(() => store.asked, { timeout: 20_000 }).toBe(2);
    store.answer();
    await expect(late).resolves.toBeUndefined();
  });

  it('is what the age counts from, when it was answered', async () => {
    const store = new Store();
    const { poller, clock } = setUp(store);
    expect(poller.ageMs).toBe(Number.POSITIVE_INFINITY);
    const asked = poller.ask();
    clock.nowMs = 5;
    store.answer();
    await asked;
    expect(poller.ageMs).toBe(5);
    const failed = expect(poller.ask()).rejects.toThrow();
    store.fail();
    await failed;
    expect(poller.ageMs).toBe(5);
  });
});

describe('polling', () => {
  it('goes on while the store is away, and says once that it is and once that it is back', async () => {
    let asked = 0;
    const { poller, destination } = setUp({
      ask: async () => {
        if (++asked <= 3) throw new Error('the store is away');
      },
      pollMs: 1,
    });
    poller.start();
    await expect.poll(() => asked, { timeout: 20_000 }).toBeGreaterThan(5);
    await poller.close();
    destination.end();
    const lines = (await text(destination)).trim().split('\n');
    expect(lines.map((line) => JSON.parse(line).msg)).toEqual([
      'the things cannot be read',
      'the things can be read again',
    ]);
  });

  it('ends when it is closed, also in the middle of a question', async () => {
    const store = new Store();
    const { poller } = setUp({ ask: store.ask, pollMs: 1 });
    poller.start();
    await expect.poll(() => store.asked, { timeout: 20_000 }).toBe(1);
    const closed = poller.close();
    store.answer();
    await closed;
    poller.start();
    await new Promise(setImmediate);
    expect(store.asked).toBe(1);
  });
});
