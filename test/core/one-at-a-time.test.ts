import { expect, it } from 'vitest';
import { OneAtATime } from '../../src/core/one-at-a-time.ts';

function setUp() {
  const turns = new OneAtATime();
  const begun: string[] = [];
  const ask = (name: string) => {
    const end = Promise.withResolvers<string>();
    const done = turns.run(() => {
      begun.push(name);
      return end.promise;
    });
    return { ...end, done };
  };
  return { turns, begun, ask };
}

it('begins nothing before what was asked for earlier is over', async () => {
  const { begun, ask } = setUp();
  const [first, second, third] = [ask('first'), ask('second'), ask('third')];
  second.resolve('2');
  third.resolve('3');
  await new Promise(setImmediate);
  expect(begun).toEqual(['first']);
  first.resolve('1');
  expect(await Promise.all([first.done, second.done, third.done])).toEqual(['1', '2', '3']);
  expect(begun).toEqual(['first', 'second', 'third']);
});

it('tells a failure to who asked, and goes on', async () => {
  const { begun, ask } = setUp();
  const [first, second] = [ask('first'), ask('second')];
  first.reject(new Error('no disk'));
  await expect(first.done).rejects.toThrow('no disk');
  second.resolve('2');
  expect(await second.done).toBe('2');
  expect(begun).toEqual(['first', 'second']);
});

it('is settled when nothing is left, though something failed', async () => {
  const { turns, begun, ask } = setUp();
  await turns.settled();
  const [first, second] = [ask('first'), ask('second')];
  const failed = expect(first.done).rejects.toThrow('no disk');
  first.reject(new Error('no disk'));
  second.resolve('2');
  await turns.settled();
  expect(begun).toEqual(['first', 'second']);
  await failed;
});
