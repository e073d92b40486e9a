import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { NodeId } from '../../src/core/merkle-proof.ts';
import { rememberNodes } from '../../src/core/remembered-nodes.ts';

const hashOf = ({ level, index }: NodeId) => Buffer.from(`${level}/${index}`);

function counted() {
  const asked: NodeId[][] = [];
  return {
    asked,
    read: async (nodes: readonly NodeId[]) => {
      asked.push([...nodes]);
      return nodes.map(hashOf);
    },
  };
}

it('gives what the reader behind it gives, in the order asked for, however little it remembers', async () => {
  const node = fc.record({ level: fc.nat(3), index: fc.nat(5) });
  await fc.assert(
    fc.asyncProperty(fc.array(fc.array(node), { maxLength: 20 }), fc.integer({ min: 1, max: 8 }), async (asks, max) => {
      const nodes = rememberNodes(counted().read, max);
      for (const ask of asks) expect(await nodes(ask)).toEqual(ask.map(hashOf));
    }),
  );
});

it('asks for a node once, and not at all when it knows them all', async () => {
  const { asked, read } = counted();
  const nodes = rememberNodes(read, 10);
  await nodes([1, 2, 3].map((index) => ({ level: 0, index })));
  await nodes([3, 4, 1].map((index) => ({ level: 0, index })));
  await nodes([4, 3].map((index) => ({ level: 0, index })));
  expect(asked.map((ask) => ask.map(({ index }) => index))).toEqual([[1, 2, 3], [4]]);
});

it('asks again for what it forgot, and remembers nothing of a reading that failed', async () => {
  const { asked, read } = counted();
  let isBroken = true;
  const nodes = rememberNodes((ids) => (isBroken ? Promise.reject(new Error('broken')) : read(ids)), 2);
  await expect(nodes([{ level: 0, index: 0 }])).rejects.toThrow('broken');
  isBroken = false;
  for (const index of [0, 1, 2, 0]) await nodes([{ level: 0, index }]);
  expect(asked).toHaveLength(4);
});
