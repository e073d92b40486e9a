import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { CompactRange, leafHash as coreLeafHash } from '../../src/core/merkle.ts';
import { consistencyProof, inclusionProof, rangeEdges } from '../../src/core/merkle-proof.ts';
import { isConsistent, isIncluded, leafHash, nodeHash, TreeBuilder } from '../../verifier/index.ts';
import { nodeReader } from './log.ts';

type Bytes = Uint8Array<ArrayBuffer>;

const sizeMax = 300;
const leaves = Array.from({ length: sizeMax }, (_, n) => coreLeafHash(`leaf ${n}`));
const read = nodeReader(leaves);
const roots: Bytes[] = [];

const bytes = (buffer: Uint8Array): Bytes => new Uint8Array(buffer);
const hex = (text: string): Bytes => bytes(Buffer.from(text, 'hex'));
const rootAt = (size: number): Bytes => roots[size] as Bytes;
const leafAt = (index: number): Bytes => bytes(leaves[index] as Buffer);
const head = (size: number) => ({ size, root: rootAt(size) });
const path = async (index: number, size: number) => (await inclusionProof(index, size, read)).map(bytes);
const steps = async (from: number, to: number) => (await consistencyProof(from, to, read)).map(bytes);

/** The same bytes with one bit turned over. */
function flipped(given: Bytes, bit: number): Bytes {
  const copy = bytes(given);
  const at = Math.floor(bit / 8) % copy.length;
  copy[at] = (copy[at] as number) ^ (1 << (bit % 8));
  return copy;
}

beforeAll(() => {
  const range = CompactRange.empty();
  roots.push(bytes(range.root()));
  for (const leaf of leaves) {
    range.append(leaf);
    roots.push(bytes(range.root()));
  }
});

// The eight leaves and roots of the Certificate Transparency tests.
const knownLeaves = [
  '',
  '00',
  '10',
  '2021',
  '3031',
  '40414243',
  '5051525354555657',
  '606162636465666768696a6b6c6d6e6f',
];
const knownRoots = [
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];
const knownHead = (size: number) => ({ size, root: hex(knownRoots[size - 1] ?? '') });

describe('the known tree of eight leaves', () => {
  it('has the known root at every size, by the builder', async () => {
    const builder = new TreeBuilder();
    for (const [at, leaf] of knownLeaves.entries()) {
      await builder.append([await leafHash(hex(leaf))]);
      expect(await builder.root()).toEqual(hex(knownRoots[at] ?? ''));
    }
  });

  it('is empty with the hash of nothing', async () => {
    expect(await new TreeBuilder().root()).toEqual(
      hex('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'),
    );
  });

  it('contains its third of three leaves by the root of the first two', async () => {
    const leaf = await leafHash(hex('10'));
    expect(await isIncluded(leaf, 2, knownHead(3), [hex(knownRoots[1] ?? '')])).toBe(true);
    expect(await isIncluded(leaf, 1, knownHead(3), [hex(knownRoots[1] ?? '')])).toBe(false);
  });

  it('grows from six to eight by the known proof', async () => {
    const proof = [
      '0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a',
      'ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0',
      'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
    ].map(hex);
    expect(await isConsistent(knownHead(6), knownHead(8), proof)).toBe(true);
    expect(await isConsistent(knownHead(5), knownHead(8), proof)).toBe(false);
    expect(await isConsistent(knownHead(6), knownHead(7), proof)).toBe(false);
  });

  it('grows from two to five by the known proof', async () => {
    const proof = [
      '5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e',
      'bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b',
    ].map(hex);
    expect(await isConsistent(knownHead(2), knownHead(5), proof)).toBe(true);
    expect(await isConsistent(knownHead(2), knownHead(5), [...proof].reverse())).toBe(false);
  });
});

/** The tree of seven leaves of RFC 9162 section 2.1.5, by the names that it gives the nodes. */
describe('the example of RFC 9162', () => {
  const names: Record<string, Bytes> = {};
  const node = (name: string): Bytes => names[name] as Bytes;

  beforeAll(async () => {
    for (const [at, name] of ['a', 'b', 'c', 'd', 'e', 'f', 'j'].entries()) names[name] = leafAt(at);
    const join = async (left: string, right: string) => await nodeHash(node(left), node(right));
    names['g'] = await join('a', 'b');
    names['h'] = await join('c', 'd');
    names['i'] = await join('e', 'f');
    names['k'] = await join('g', 'h');
    names['l'] = await join('i', 'j');
  });

  it.each([
    [0, ['b', 'h', 'l']],
    [3, ['c', 'g', 'l']],
    [4, ['f', 'j', 'k']],
    [6, ['i', 'k']],
  ])('has for leaf %d the path %s', async (index, expected) => {
    const proof = expected.map(node);
    expect(await path(index, 7)).toEqual(proof);
    expect(await isIncluded(leafAt(index), index, head(7), proof)).toBe(true);
  });

  it.each([
    [3, ['c', 'd', 'g', 'l']],
    [4, ['l']],
    [6, ['i', 'j', 'k']],
  ])('grows from %d to 7 by %s', async (from, expected) => {
    const proof = expected.map(node);
    expect(await steps(from, 7)).toEqual(proof);
    expect(await isConsistent(head(from), head(7), proof)).toBe(true);
  });
});

describe('every tree up to 300 leaves', () => {
  it('proves each of its leaves', async () => {
    for (let size = 1; size <= sizeMax; size++) {
      const proven = Array.from({ length: size }, async (_, index) =>
        isIncluded(leafAt(index), index, head(size), await path(index, size)),
      );
      expect((await Promise.all(proven)).indexOf(false), `size ${size}`).toBe(-1);
    }
  }, 60_000);

  it('is proven to contain each smaller one', async () => {
    for (let to = 1; to <= sizeMax; to++) {
      const proven = Array.from({ length: to }, async (_, at) =>
        isConsistent(head(at + 1), head(to), await steps(at + 1, to)),
      );
      expect((await Promise.all(proven)).indexOf(false), `size ${to}`).toBe(-1);
    }
  }, 60_000);
});

const places = fc
  .integer({ min: 2, max: sizeMax })
  .chain((size) => fc.record({ size: fc.constant(size), index: fc.nat({ max: size - 1 }), bit: fc.nat({ max: 255 }) }));

describe('an inclusion proof fails', () => {
  it('with any bit of leaf, root or proof turned over', async () => {
    await fc.assert(
      fc.asyncProperty(places, async ({ size, index, bit }) => {
        const proof = await path(index, size);
        const leaf = leafAt(index);
        expect(await isIncluded(flipped(leaf, bit), index, head(size), proof)).toBe(false);
        expect(await isIncluded(leaf, index, { size, root: flipped(rootAt(size), bit) }, proof)).toBe(false);
        for (const [at, hash] of proof.entries()) {
          expect(await isIncluded(leaf, index, head(size), proof.with(at, flipped(hash, bit)))).toBe(false);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('for every other index of the tree', async () => {
    for (const size of [2, 3, 7, 8, 20, 33]) {
      for (let index = 0; index < size; index++) {
        const proof = await path(index, size);
        for (let other = 0; other < size; other++) {
          expect(await isIncluded(leafAt(index), other, head(size), proof)).toBe(other === index);
        }
      }
    }
  });

  it('when it is cut, lengthened or moved', async () => {
    await fc.assert(
      fc.asyncProperty(places, async ({ size, index }) => {
        const proof = await path(index, size);
        const [leaf, root] = [leafAt(index), rootAt(size)];
        for (const wrong of [
          proof.slice(1),
          proof.slice(0, -1),
          [...proof, root],
          [leaf, ...proof],
          [...proof, leaf],
        ]) {
          expect(await isIncluded(leaf, index, head(size), wrong)).toBe(false);
        }
      }),
      { numRuns: 100 },
    );
  });

  it.each([
    ['an index that is the size', 8, 8],
    ['an index beyond the size', 9, 8],
    ['a negative index', -1, 8],
    ['an index between two', 0.5, 8],
    ['no leaves at all', 0, 0],
    ['a negative size', 0, -8],
    ['an index that is no number', Number.NaN, 8],
    ['a size without end', 0, Number.POSITIVE_INFINITY],
    ['a size beyond 2^53', 0, 2 ** 53],
  ])('for %s', async (_, index, size) => {
    expect(await isIncluded(leafAt(0), index, { size, root: rootAt(8) }, await path(0, 8))).toBe(false);
  });

  it('for another size of the same depth, when the path differs', async () => {
    expect(await isIncluded(leafAt(6), 6, { size: 8, root: rootAt(7) }, await path(6, 7))).toBe(false);
    expect(await isIncluded(leafAt(0), 0, { size: 9, root: rootAt(8) }, await path(0, 8))).toBe(false);
  });

  it('that shows a node as if it were a leaf', async () => {
    const inner = await nodeHash(leafAt(0), leafAt(1));
    expect(await isIncluded(inner, 0, head(4), (await path(0, 4)).slice(1))).toBe(false);
  });
});

const pairs = fc
  .integer({ min: 2, max: sizeMax })
  .chain((to) =>
    fc.record({ to: fc.constant(to), from: fc.integer({ min: 1, max: to - 1 }), bit: fc.nat({ max: 255 }) }),
  );

describe('a consistency proof fails', () => {
  it('with any bit of the roots or the proof turned over', async () => {
    await fc.assert(
      fc.asyncProperty(pairs, async ({ from, to, bit }) => {
        const proof = await steps(from, to);
        const wrong = (size: number) => ({ size, root: flipped(rootAt(size), bit) });
        expect(await isConsistent(wrong(from), head(to), proof)).toBe(false);
        expect(await isConsistent(head(from), wrong(to), proof)).toBe(false);
        for (const [at, hash] of proof.entries()) {
          expect(await isConsistent(head(from), head(to), proof.with(at, flipped(hash, bit)))).toBe(false);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('when it is cut or lengthened', async () => {
    await fc.assert(
      fc.asyncProperty(pairs, async ({ from, to }) => {
        const proof = await steps(from, to);
        const root = rootAt(to);
        for (const wrong of [proof.slice(1), proof.slice(0, -1), [...proof, root], [root, ...proof]]) {
          expect(await isConsistent(head(from), head(to), wrong)).toBe(false);
        }
      }),
      { numRuns: 100 },
    );
  });

  it('when the roots belong to other sizes than they are given for', async () => {
    await fc.assert(
      fc.asyncProperty(pairs, async ({ from, to }) => {
        const proof = await steps(from, to);
        expect(await isConsistent({ size: from, root: rootAt(from - 1) }, head(to), proof)).toBe(false);
        expect(await isConsistent(head(from), { size: to, root: rootAt(to - 1) }, proof)).toBe(false);
      }),
      { numRuns: 100 },
    );
  });

  it.each([
    ['nothing', 0, 8],
    ['more to less', 8, 7],
    ['a negative size', -1, 8],
    ['half a leaf', 0.5, 8],
    ['a size that is no number', Number.NaN, 8],
    ['a size beyond 2^53', 8, 2 ** 53],
  ])('from %s', async (_, from, to) => {
    const old = { size: from, root: rootAt(Math.max(0, Math.floor(from) || 0)) };
    const next = { size: to, root: rootAt(Math.min(to, 8)) };
    expect(await isConsistent(old, next, [])).toBe(false);
    expect(await isConsistent(old, next, await steps(4, 8))).toBe(false);
  });

  it('between equal sizes when it is not empty or the roots differ', async () => {
    expect(await isConsistent(head(8), head(8), [])).toBe(true);
    expect(await isConsistent(head(8), head(8), [rootAt(8)])).toBe(false);
    expect(await isConsistent(head(8), { size: 8, root: rootAt(7) }, [])).toBe(false);
  });
});

describe('TreeBuilder', () => {
  it('gives the same root whatever the batches', async () => {
    const batches = fc.array(fc.nat({ max: 70 }), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(batches, async (sizes) => {
        const builder = new TreeBuilder();
        for (const size of sizes) {
          const next = leaves.slice(builder.size, Math.min(builder.size + size, sizeMax));
          await builder.append(next.map(bytes));
        }
        expect(await builder.root()).toEqual(rootAt(builder.size));
      }),
      { numRuns: 50 },
    );
  });

  it('gives the root from any range of leaves and its edges', async () => {
    const ranges = fc.tuple(fc.nat(sizeMax), fc.nat(sizeMax), fc.nat(sizeMax));
    await fc.assert(
      fc.asyncProperty(ranges, async (cuts) => {
        const [first, end, size] = cuts.toSorted((a, b) => a - b) as [number, number, number];
        const { left, right } = rangeEdges(first, end - first, size);
        const builder = new TreeBuilder();
        await builder.appendUpTo(first, (await read(left)).map(bytes));
        await builder.append(leaves.slice(first, end).map(bytes));
        await builder.appendUpTo(size, (await read(right)).map(bytes));
        expect(await builder.root()).toEqual(rootAt(size));
      }),
      { numRuns: 200 },
    );
  });

  it('refuses edges with a node too many or too few', async () => {
    await expect(new TreeBuilder().appendUpTo(5, [rootAt(4)])).rejects.toThrow('does not end at 5');
    await expect(new TreeBuilder().appendUpTo(4, [rootAt(4), rootAt(1)])).rejects.toThrow('does not end at 4');
  });
});
