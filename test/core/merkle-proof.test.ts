import { describe, expect, it } from 'vitest';
import { CompactRange, leafHash } from '../../src/core/merkle.ts';
import { consistencyProof, inclusionProof, type NodeId, rangeEdges, rootOf } from '../../src/core/merkle-proof.ts';
import { nodeReader } from '../verifier/log.ts';

const leaves = Array.from({ length: 70 }, (_, n) => leafHash(`leaf ${n}`));
const read = nodeReader(leaves);

/** PATH(m, D[n]) of RFC 6962 section 2.1.1, as it is written there. */
function pathOf(index: number, hashes: readonly Buffer[]): Buffer[] {
  if (hashes.length === 1) return [];
  const k = splitOf(hashes.length);
  const [left, right] = [hashes.slice(0, k), hashes.slice(k)];
  return index < k ? [...pathOf(index, left), treeHash(right)] : [...pathOf(index - k, right), treeHash(left)];
}

/** SUBPROOF(m, D[n], b) of RFC 6962 section 2.1.2. */
function subproof(from: number, hashes: readonly Buffer[], isWhole: boolean): Buffer[] {
  if (from === hashes.length) return isWhole ? [] : [treeHash(hashes)];
  const k = splitOf(hashes.length);
  const [left, right] = [hashes.slice(0, k), hashes.slice(k)];
  return from <= k
    ? [...subproof(from, left, isWhole), treeHash(right)]
    : [...subproof(from - k, right, false), treeHash(left)];
}

function splitOf(length: number): number {
  let split = 1;
  while (split * 2 < length) split *= 2;
  return split;
}

function treeHash(hashes: readonly Buffer[]): Buffer {
  const range = CompactRange.empty();
  for (const hash of hashes) range.append(hash);
  return range.root();
}

describe('proofs are those of RFC 6962', () => {
  it('for every leaf of every tree up to 70', async () => {
    for (let size = 1; size <= leaves.length; size++) {
      for (let index = 0; index < size; index++) {
        expect(await inclusionProof(index, size, read)).toEqual(pathOf(index, leaves.slice(0, size)));
      }
      expect(await rootOf(size, read)).toEqual(treeHash(leaves.slice(0, size)));
    }
  });

  it('for every pair of trees up to 70', async () => {
    for (let to = 1; to <= leaves.length; to++) {
      for (let from = 1; from <= to; from++) {
        expect(await consistencyProof(from, to, read)).toEqual(subproof(from, leaves.slice(0, to), true));
      }
    }
  });
});

describe('beyond what bit operators and logarithms carry', () => {
  const asked = async (prove: (read: (nodes: readonly NodeId[]) => Promise<Buffer[]>) => Promise<unknown>) => {
    let seen: readonly NodeId[] = [];
    await prove(async (nodes) => {
      seen = nodes;
      return nodes.map(() => Buffer.alloc(32));
    });
    return seen;
  };

  it.each([2 ** 31, 2 ** 32, 2 ** 49, 2 ** 52])(
    'a tree of %d leaves and one more splits before the last',
    async (size) => {
      const level = Math.log2(size);
      expect(await asked((reader) => inclusionProof(size, size + 1, reader))).toEqual([{ level, index: 0 }]);
      expect(await asked((reader) => consistencyProof(size, size + 1, reader))).toEqual([{ level: 0, index: size }]);
    },
  );

  it('a tree of one leaf less than a power of two asks for whole nodes only', async () => {
    const nodes = await asked((reader) => rootOf(2 ** 50 - 1, reader));
    expect(nodes.map(({ level }) => level)).toEqual(Array.from({ length: 50 }, (_, n) => 49 - n));
    expect(nodes.every(({ level, index }) => Number.isInteger(index) && (index + 1) * 2 ** level < 2 ** 50)).toBe(true);
  });
});

describe('rangeEdges', () => {
  it('names the fewest perfect subtrees on both sides', () => {
    expect(rangeEdges(5, 2, 13)).toEqual({
      left: [
        { level: 2, index: 0 },
        { level: 0, index: 4 },
      ],
      right: [
        { level: 0, index: 7 },
        { level: 2, index: 2 },
        { level: 0, index: 12 },
      ],
    });
    expect(rangeEdges(0, 13, 13)).toEqual({ left: [], right: [] });
    expect(rangeEdges(0, 0, 4)).toEqual({ left: [], right: [{ level: 2, index: 0 }] });
  });

  it.each([
    [0, 14, 13],
    [13, 1, 13],
    [-1, 1, 13],
    [0.5, 1, 13],
    [0, 1, Number.NaN],
  ])('refuses %d, %d in %d', (first, count, size) => {
    expect(() => rangeEdges(first, count, size)).toThrow(RangeError);
  });
});

describe('there is no proof', () => {
  it.each([
    [0, 0],
    [8, 8],
    [9, 8],
    [-1, 8],
    [0.5, 8],
    [Number.NaN, 8],
    [0, Number.POSITIVE_INFINITY],
    [0, 2 ** 53],
  ])('of leaf %d in a tree of %d', async (index, size) => {
    await expect(inclusionProof(index, size, read)).rejects.toThrow(RangeError);
  });

  it.each([
    [0, 0],
    [0, 8],
    [9, 8],
    [-1, 8],
    [1.5, 8],
    [1, Number.NaN],
    [1, 2 ** 53],
  ])('from %d to %d', async (from, to) => {
    await expect(consistencyProof(from, to, read)).rejects.toThrow(RangeError);
  });

  it('of the root of nothing', async () => {
    await expect(rootOf(0, read)).rejects.toThrow(RangeError);
  });
});
