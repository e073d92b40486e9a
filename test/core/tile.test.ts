import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { leafHash } from '../../src/core/merkle.ts';
import {
  decodeEntryBundle,
  encodeEntryBundle,
  formatTilePath,
  isTileOf,
  nodeOfTile,
  parseTilePath,
  placeOfNode,
  type TileName,
  tileRows,
} from '../../src/core/tile.ts';
import { TreeEdge } from '../../src/core/tree-edge.ts';
import { nodeReader } from '../verifier/log.ts';

const paths: readonly (readonly [string, TileName])[] = [
  ['tile/0/x001/x234/067', { level: 0, index: 1_234_067, width: 256 }],
  ['tile/0/000', { level: 0, index: 0, width: 256 }],
  ['tile/0/001.p/5', { level: 0, index: 1, width: 5 }],
  ['tile/5/x123/x456/078', { level: 5, index: 123_456_078, width: 256 }],
  ['tile/5/x123/x456/078.p/2', { level: 5, index: 123_456_078, width: 2 }],
  ['tile/0/x003/x057/500', { level: 0, index: 3_057_500, width: 256 }],
  ['tile/63/999.p/255', { level: 63, index: 999, width: 255 }],
  ['tile/2/x001/000.p/1', { level: 2, index: 1_000, width: 1 }],
  ['tile/entries/273.p/112', { level: 'entries', index: 273, width: 112 }],
  ['tile/entries/x001/x234/067', { level: 'entries', index: 1_234_067, width: 256 }],
  ['tile/0/x009/x007/x199/x254/x740/991', { level: 0, index: Number.MAX_SAFE_INTEGER, width: 256 }],
];

describe('tile paths', () => {
  it.each(paths)('%s', (path, tile) => {
    expect(formatTilePath(tile)).toBe(path);
    expect(parseTilePath(path)).toEqual(tile);
  });

  it.each([
    '',
    'tile',
    'tile/0',
    'tile/0/',
    'tile//000',
    '/tile/0/000',
    'tile/0/000/',
    'tile/0/000\n',
    'tile/0/0',
    'tile/0/00',
    'tile/0/0000',
    'tile/0/x000/001',
    'tile/0/x000/x001/067',
    'tile/0/001/067',
    'tile/0/x001',
    'tile/0/x001/x067',
    'tile/0/X001/067',
    'tile/0/123/456/078',
    'tile/-1/x123/x456/078',
    'tile/00/000',
    'tile/01/000',
    'tile/64/000',
    'tile/100/000',
    'tile/+1/000',
    'tile/data/000',
    'tile/Entries/000',
    'tile/8/0/000',
    'tile/0/-01',
    'tile/0/0x1',
    'tile/0/٠٠٠',
    'tile/0/000.p',
    'tile/0/000.p/',
    'tile/0/000.p/0',
    'tile/0/000.p/00',
    'tile/0/000.p/01',
    'tile/0/000.p/256',
    'tile/0/000.p/257',
    'tile/0/000.p/-1',
    'tile/0/000.p/1/2',
    'tile/0/000.q/1',
    'tile/0/000.P/1',
    'tile/0/../000',
    'tile/0/%30%30%30',
    'tile/0/x009/x007/x199/x254/x740/992',
    `tile/0/${'x001/'.repeat(200)}000`,
  ])('refuses %j', (path) => {
    expect(parseTilePath(path)).toBeUndefined();
  });

  it('are read back from every tile, and are the one spelling of what they name', () => {
    const tiles = fc.record({
      level: fc.oneof(fc.integer({ min: 0, max: 63 }), fc.constant('entries' as const)),
      index: fc.maxSafeNat(),
      width: fc.integer({ min: 1, max: 256 }),
    });
    fc.assert(
      fc.property(tiles, (tile) => {
        expect(parseTilePath(formatTilePath(tile))).toEqual(tile);
      }),
    );
    const near = fc.stringMatching(/^tile\/(entries|\d{1,2})\/(x?\d{1,3}\/){0,2}\d{2,4}(\.p\/\d{1,3})?$/);
    fc.assert(
      fc.property(near, (path) => {
        const tile = parseTilePath(path);
        if (tile !== undefined) expect(formatTilePath(tile)).toBe(path);
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('the tiles of a tree', () => {
  it.each([
    [0, []],
    [1, [[0, 0, 1]]],
    [255, [[0, 0, 255]]],
    [
      256,
      [
        [0, 1, 0],
        [1, 0, 1],
      ],
    ],
    [
      257,
      [
        [0, 1, 1],
        [1, 0, 1],
      ],
    ],
    [
      65_536,
      [
        [0, 256, 0],
        [1, 1, 0],
        [2, 0, 1],
      ],
    ],
    [
      70_000,
      [
        [0, 273, 112],
        [1, 1, 17],
        [2, 0, 1],
      ],
    ],
  ])('of %d leaves', (size, rows) => {
    expect(tileRows(size).map(({ level, fullTiles, partialWidth }) => [level, fullTiles, partialWidth])).toEqual(rows);
  });

  it.each([
    ['the last full tile', 0, 272, 256, true],
    ['the partial tile', 0, 273, 112, true],
    ['a narrower one of an earlier size', 0, 273, 1, true],
    ['a wider one', 0, 273, 113, false],
    ['the partial tile made full', 0, 273, 256, false],
    ['the next one', 0, 274, 1, false],
    ['the full tile of level 1', 1, 0, 256, true],
    ['the partial tile of level 1', 1, 1, 17, true],
    ['a wider one of level 1', 1, 1, 18, false],
    ['the top', 2, 0, 1, true],
    ['a wider top', 2, 0, 2, false],
    ['above the top', 3, 0, 1, false],
    ['the last entries', 'entries', 273, 112, true],
    ['entries that are not there', 'entries', 273, 113, false],
  ] as const)('of 70,000 leaves: %s', (_, level, index, width, isThere) => {
    expect(isTileOf({ level, index, width }, 70_000)).toBe(isThere);
  });
});

describe('nodes of a tree lie in its tiles', () => {
  it.each([
    [
      { level: 0, index: 0 },
      { level: 0, index: 0, first: 0, count: 1 },
    ],
    [
      { level: 0, index: 300 },
      { level: 0, index: 1, first: 44, count: 1 },
    ],
    [
      { level: 7, index: 3 },
      { level: 0, index: 1, first: 128, count: 128 },
    ],
    [
      { level: 8, index: 256 },
      { level: 1, index: 1, first: 0, count: 1 },
    ],
    [
      { level: 12, index: 5 },
      { level: 1, index: 0, first: 80, count: 16 },
    ],
    [
      { level: 16, index: 2 },
      { level: 2, index: 0, first: 2, count: 1 },
    ],
    [
      { level: 40, index: 2 ** 12 },
      { level: 5, index: 16, first: 0, count: 1 },
    ],
  ])('%j', (node, place) => {
    expect(placeOfNode(node)).toEqual(place);
  });

  it('and are what the leaves give, for every perfect subtree of a tree of two full tiles', async () => {
    const leaves = Array.from({ length: 512 }, (_, n) => leafHash(String(n)));
    const edge = new TreeEdge(0, []);
    const full = leaves.flatMap((leaf) => edge.append(leaf));
    const top = Buffer.concat(full.map(({ root }) => root));
    const read = nodeReader(leaves);
    for (let level = 0; level <= 9; level++) {
      for (let index = 0; index < 2 ** (9 - level); index++) {
        const place = placeOfNode({ level, index });
        const tile = place.level === 0 ? full[place.index]?.data : top;
        expect(nodeOfTile(tile ?? Buffer.alloc(0), place)).toEqual((await read([{ level, index }]))[0]);
      }
    }
  });

  it('but not in a tile that is too narrow', () => {
    expect(nodeOfTile(Buffer.alloc(32 * 3), { level: 0, index: 0, first: 2, count: 2 })).toBeUndefined();
    expect(nodeOfTile(Buffer.alloc(0), { level: 0, index: 0, first: 0, count: 1 })).toBeUndefined();
    expect(nodeOfTile(Buffer.alloc(63), { level: 0, index: 0, first: 1, count: 1 })).toBeUndefined();
  });
});

describe('entry bundles', () => {
  it('hold each entry after its length', () => {
    const bundle = encodeEntryBundle([Buffer.from('ab'), Buffer.alloc(0), Buffer.from('c')]);
    expect(bundle.toString('hex')).toBe('000261620000000163');
    expect(decodeEntryBundle(bundle, 3)?.map(String)).toEqual(['ab', '', 'c']);
  });

  it('give back any entries', () => {
    const entries = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 10 });
    fc.assert(
      fc.property(entries, (given) => {
        expect(decodeEntryBundle(encodeEntryBundle(given), given.length)).toEqual(
          given.map((bytes) => Buffer.from(bytes)),
        );
      }),
    );
  });

  it('hold entries of 65,535 bytes, and refuse one more', () => {
    expect(decodeEntryBundle(encodeEntryBundle([Buffer.alloc(65_535)]), 1)?.[0]).toHaveLength(65_535);
    expect(() => encodeEntryBundle([Buffer.alloc(65_536)])).toThrow(RangeError);
  });

  it.each([
    ['half a length', '00', 1],
    ['a length without its entry', '0001', 1],
    ['an entry that is cut', '000261', 1],
    ['an entry too few', '000161', 2],
    ['an entry too many', '000161000162', 1],
    ['bytes after the last entry', '00016100', 1],
    ['nothing where one should be', '', 1],
    ['one where nothing should be', '0000', 0],
  ])('are refused with %s', (_, hex, width) => {
    expect(decodeEntryBundle(Buffer.from(hex, 'hex'), width)).toBeUndefined();
  });
});
