import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CompactRange, leafHash, nodeHash } from '../../src/core/merkle.ts';

// The eight leaves of the Certificate Transparency tests; all of their bytes are ASCII.
const leaves = ['', '00', '10', '2021', '3031', '40414243', '5051525354555657', '606162636465666768696a6b6c6d6e6f'].map(
  (hex) => Buffer.from(hex, 'hex').toString('latin1'),
);

// RFC 6962 roots of the first 0 to 8 of them.
const roots = [
  'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  '6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d',
  'fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125',
  'aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77',
  'd37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7',
  '4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4',
  '76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef',
  'ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c',
  '5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328',
];

describe('the RFC 6962 tree', () => {
  it.each(roots.map((root, size) => [size, root] as const))(
    'has over the first %d known leaves the root %s',
    (size, root) => {
      expect(rangeOf(leaves.slice(0, size).map(leafHash)).root().toString('hex')).toBe(root);
    },
  );

  it('hashes leaves and nodes apart', () => {
    const data = 'x'.repeat(64);
    expect(leafHash(data).equals(createHash('sha256').update(data).digest())).toBe(false);
    expect(leafHash('ab').equals(nodeHash(Buffer.from('a'), Buffer.from('b')))).toBe(false);
    // A leaf whose data are the two children of a node must not be that node.
    const [left, right] = [leafHash('l'), leafHash('r')];
    const asLeaf = createHash('sha256')
      .update(Buffer.concat([Buffer.from([0]), left, right]))
      .digest();
    expect(nodeHash(left, right).equals(asLeaf)).toBe(false);
  });

  it('hashes text as UTF-8', () => {
    const expected = createHash('sha256').update(Buffer.from('\0é😀', 'utf8')).digest();
    expect(leafHash('é😀')).toEqual(expected);
  });

  it('does not repeat an odd node: n leaves and n+1 with the last one twice differ', () => {
    const three = leaves.slice(0, 3).map(leafHash);
    expect(rangeOf(three).root()).not.toEqual(rangeOf([...three, three[2] as Buffer]).root());
  });
});

describe('CompactRange against the recursive definition', () => {
  it('gives the same root at every size from 0 to 300, and after a round trip through its bytes', () => {
    const hashes = numbered(300);
    let range = CompactRange.empty();
    for (let size = 0; ; size++) {
      const expected = treeHash(hashes.slice(0, size));
      expect(range.root(), `size ${size}`).toEqual(expected);
      range = CompactRange.parse(size, range.serialize());
      expect(range.size).toBe(size);
      expect(range.root(), `size ${size}, restored`).toEqual(expected);
      if (size === hashes.length) break;
      range.append(hashes[size] as Buffer);
    }
  });

  it('gives the same root at random sizes, split anywhere by a round trip', () => {
    const hashes = numbered(5_000);
    const sizes = fc.nat({ max: hashes.length }).chain((size) => fc.tuple(fc.constant(size), fc.nat({ max: size })));
    fc.assert(
      fc.property(sizes, ([size, cut]) => {
        const first = rangeOf(hashes.slice(0, cut));
        const range = CompactRange.parse(cut, first.serialize());
        for (const hash of hashes.slice(cut, size)) range.append(hash);
        expect(range.root()).toEqual(treeHash(hashes.slice(0, size)));
      }),
      { numRuns: 20 },
    );
  });

  it.each([255, 256, 257, 511, 512, 65_535, 65_536, 65_537])('round-trips at size %d', (size) => {
    const range = CompactRange.empty();
    const leaf = leafHash('x');
    for (let i = 0; i < size; i++) range.append(leaf);
    const restored = CompactRange.parse(size, Buffer.from(range.serialize()));
    expect(restored.root()).toEqual(range.root());
    restored.append(leaf);
    range.append(leaf);
    expect(restored.serialize()).toEqual(range.serialize());
  });

  it('keeps what was restored apart from the bytes that it came from', () => {
    const bytes = rangeOf(numbered(3)).serialize();
    const range = CompactRange.parse(3, bytes);
    range.append(leafHash('y'));
    expect(bytes).toEqual(rangeOf(numbered(3)).serialize());
  });

  it('carries sizes beyond 2^32', () => {
    const size = 2 ** 40 + 1;
    const range = CompactRange.parse(size, Buffer.concat(numbered(2)));
    range.append(leafHash('z'));
    expect(range.size).toBe(size + 1);
    expect(range.serialize()).toHaveLength(2 * 32);
  });
});

describe('CompactRange.parse refuses', () => {
  it.each([
    ['bytes for the empty tree', 0, 32],
    ['no bytes for one leaf', 1, 0],
    ['a hash that is cut', 1, 31],
    ['a byte too many', 1, 33],
    ['a hash too few', 3, 32],
    ['a hash too many', 4, 64],
    ['a hash too few beyond 2^32', 2 ** 33 + 2 ** 31, 32],
  ])('%s', (_, size, bytes) => {
    expect(() => CompactRange.parse(size, Buffer.alloc(bytes))).toThrow(
      `A compact range of ${bytes} bytes cannot belong to a tree of ${size} leaves.`,
    );
  });
});

function rangeOf(hashes: readonly Buffer[]): CompactRange {
  const range = CompactRange.empty();
  for (const hash of hashes) range.append(hash);
  return range;
}

function numbered(count: number): Buffer[] {
  return Array.from({ length: count }, (_, index) => leafHash(`leaf ${index}`));
}

/** MTH of RFC 6962 section 2.1, as it is written there. */
function treeHash(hashes: readonly Buffer[]): Buffer {
  if (hashes.length === 0) return createHash('sha256').digest();
  if (hashes.length === 1) return hashes[0] as Buffer;
  let split = 1;
  while (split * 2 < hashes.length) split *= 2;
  const hash = createHash('sha256').update(Buffer.from([1]));
  return hash
    .update(treeHash(hashes.slice(0, split)))
    .update(treeHash(hashes.slice(split)))
    .digest();
}
