/** Many servers, of which one is slow: it holds them up once, and is heard again when it answers. */
import { describe, expect, it } from 'vitest';
import { TalosError } from '../../src/core/errors.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { Patience } from '../../src/gateway/native/aggregate/patience.ts';

/** A server that answers when it is told to. */
function slowServer() {
  const waiting: ((answer: JsonObject[] | TalosError) => void)[] = [];
  const ask = () =>
    new Promise<JsonObject[]>((resolve, reject) => {
      waiting.push((answer) => (answer instanceof TalosError ? reject(answer) : resolve(answer)));
    });
  const answer = (said: JsonObject[] | TalosError) => {
    for (const settle of waiting.splice(0)) settle(said);
  };
  return { ask, answer, asked: () => waiting.length };
}

const list = [{ name: 'tool' }];
const servers = { slow: {}, quick: {}, down: {}, broken: {} };

describe('a server that is late', () => {
  it('is waited for once, asked on the side by one, and listed again once it has answered', async () => {
    const [patience, slow] = [new Patience(), slowServer()];
    expect(await patience.answerOf(servers.slow, 'list', slow.ask)).toBeUndefined();
    expect(await patience.answerOf(servers.slow, 'list', slow.ask)).toBeUndefined();
    expect(slow.asked()).toBe(1);
    slow.answer(list);
    await expect
      .poll(() => patience.answerOf(servers.slow, 'list', async () => list), { timeout: 20_000 })
      .toEqual(list);
  });

  it('and fails then is asked again, without being waited for', async () => {
    const [patience, slow] = [new Patience(), slowServer()];
    expect(await patience.answerOf(servers.slow, 'list', slow.ask)).toBeUndefined();
    slow.answer(new TalosError('UPSTREAM_TIMEOUT'));
    const askedAgain = async () => {
      await patience.answerOf(servers.slow, 'list', slow.ask);
      return slow.asked();
    };
    await expect.poll(askedAgain, { timeout: 20_000 }).toBe(1);
    slow.answer(list);
    await expect
      .poll(() => patience.answerOf(servers.slow, 'list', async () => list), { timeout: 20_000 })
      .toEqual(list);
  });

  it('and fails by a fault of ours is asked again, and takes nothing with it', async () => {
    const [patience, slow] = [new Patience(), slowServer()];
    expect(await patience.answerOf(servers.slow, 'list', slow.ask)).toBeUndefined();
    slow.answer(new TalosError('UPSTREAM_TIMEOUT'));
    let asked = 0;
    const faulty = async () => {
      asked++;
      throw new Error('a fault');
    };
    await expect
      .poll(async () => [await patience.answerOf(servers.slow, 'list', faulty), asked >= 2], { timeout: 20_000 })
      .toEqual([undefined, true]);
    await expect
      .poll(() => patience.answerOf(servers.slow, 'list', async () => list), { timeout: 20_000 })
      .toEqual(list);
  });

  it('is nobody else’s: a user’s slow copy of a server hides no other copy', async () => {
    const [patience, slow] = [new Patience(), slowServer()];
    const [ofOne, ofAnother] = [{ id: 'same' }, { id: 'same' }];
    expect(await patience.answerOf(ofOne, 'list', slow.ask)).toBeUndefined();
    expect(await patience.answerOf(ofAnother, 'list', async () => list)).toEqual(list);
    slow.answer([]);
  });

  it('holds up no other one', async () => {
    const [patience, slow] = [new Patience(), slowServer()];
    const late = patience.answerOf(servers.slow, 'list', slow.ask);
    expect(await patience.answerOf(servers.quick, 'list', async () => list)).toEqual(list);
    expect(await late).toBeUndefined();
    slow.answer([]);
  });
});

it('a server that fails has nothing to list, and is asked by the next one as before', async () => {
  const patience = new Patience();
  const failing = () => Promise.reject(new TalosError('UPSTREAM_UNAVAILABLE'));
  expect(await patience.answerOf(servers.down, 'list', failing)).toBeUndefined();
  expect(await patience.answerOf(servers.down, 'list', async () => list)).toEqual(list);
});

it('a fault of our own is nobody’s list', async () => {
  const patience = new Patience();
  await expect(patience.answerOf(servers.broken, 'list', () => Promise.reject(new Error('a fault')))).rejects.toThrow(
    'a fault',
  );
});
