/** Lists of many servers, of which one is slow: it holds them up once, and is heard again when it answers. */
import { describe, expect, it } from 'vitest';
import { TalosError } from '../../src/core/errors.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { PatientLists } from '../../src/gateway/native/patient-lists.ts';

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
    const [lists, slow] = [new PatientLists(), slowServer()];
    expect(await lists.listOf(servers.slow, slow.ask)).toEqual([]);
    expect(await lists.listOf(servers.slow, slow.ask)).toEqual([]);
    expect(slow.asked()).toBe(1);
    slow.answer(list);
    await expect.poll(() => lists.listOf(servers.slow, async () => list), { timeout: 20_000 }).toEqual(list);
  });

  it('and fails then is asked again, without being waited for', async () => {
    const [lists, slow] = [new PatientLists(), slowServer()];
    expect(await lists.listOf(servers.slow, slow.ask)).toEqual([]);
    slow.answer(new TalosError('UPSTREAM_TIMEOUT'));
    const askedAgain = async () => {
      await lists.listOf(servers.slow, slow.ask);
      return slow.asked();
    };
    await expect.poll(askedAgain, { timeout: 20_000 }).toBe(1);
    slow.answer(list);
    await expect.poll(() => lists.listOf(servers.slow, async () => list), { timeout: 20_000 }).toEqual(list);
  });

  it('and fails by a fault of ours is asked again, and takes nothing with it', async () => {
    const [lists, slow] = [new PatientLists(), slowServer()];
    expect(await lists.listOf(servers.slow, slow.ask)).toEqual([]);
    slow.answer(new TalosError('UPSTREAM_TIMEOUT'));
    let asked = 0;
    const faulty = async () => {
      asked++;
      throw new Error('a fault');
    };
    await expect
      .poll(async () => [await lists.listOf(servers.slow, faulty), asked >= 2], { timeout: 20_000 })
      .toEqual([[], true]);
    await expect.poll(() => lists.listOf(servers.slow, async () => list), { timeout: 20_000 }).toEqual(list);
  });

  it('is nobody else’s: a user’s slow copy of a server hides no other copy', async () => {
    const [lists, slow] = [new PatientLists(), slowServer()];
    const [ofOne, ofAnother] = [{ id: 'same' }, { id: 'same' }];
    expect(await lists.listOf(ofOne, slow.ask)).toEqual([]);
    expect(await lists.listOf(ofAnother, async () => list)).toEqual(list);
    slow.answer([]);
  });

  it('holds up no other one', async () => {
    const [lists, slow] = [new PatientLists(), slowServer()];
    const late = lists.listOf(servers.slow, slow.ask);
    expect(await lists.listOf(servers.quick, async () => list)).toEqual(list);
    expect(await late).toEqual([]);
    slow.answer([]);
  });
});

it('a server that fails has nothing to list, and is asked by the next one as before', async () => {
  const lists = new PatientLists();
  const failing = () => Promise.reject(new TalosError('UPSTREAM_UNAVAILABLE'));
  expect(await lists.listOf(servers.down, failing)).toEqual([]);
  expect(await lists.listOf(servers.down, async () => list)).toEqual(list);
});

it('a fault of our own is nobody’s list', async () => {
  const lists = new PatientLists();
  await expect(lists.listOf(servers.broken, () => Promise.reject(new Error('a fault')))).rejects.toThrow('a fault');
});
