/**
 * The parts that a log is served in (C2SP tlog-tiles): names and paths of hash tiles and entry bundles, which of them a
 * tree of some size has, where a node of the tree lies, and the bytes of an entry bundle.
 */
import type { NodeId } from './merkle-proof.ts';
import { edgeWidth, perfectRoot, tileLevels, tileWidth } from './tree-edge.ts';

/** A hash tile of a tile level, or the bundle of the entries that a tile of level 0 has the hashes of. */
export interface TileName {
  readonly level: number | 'entries';
  readonly index: number;
  /** How many hashes or entries: 256, or fewer in a partial tile at the right edge. */
  readonly width: number;
}

const hashBytes = 32;
const levelMax = 63;
// A node of tree level l lies in tile level l / 8.
const levelsPerTile = 8;
const lengthBytes = 2;
const entryBytesMax = 65_535;

/** `tile/<level>/<index>[.p/<width>]`, without a leading slash. */
export function formatTilePath({ level, index, width }: TileName): string {
  const digits = String(index);
  const groups = digits.padStart(Math.ceil(digits.length / 3) * 3, '0').match(/.{3}/g) ?? [];
  const path = groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group)).join('/');
  return `tile/${level}/${path}${width === tileWidth ? '' : `.p/${width}`}`;
}

/** The tile that a path names, or undefined unless the path is the one spelling of that name. */
export function parseTilePath(path: string): TileName | undefined {
  const match = /^tile\/(entries|\d{1,2})\/((?:x\d{3}\/){0,5}\d{3})(?:\.p\/(\d{1,3}))?$/.exec(path);
  const [, level, index, width] = match ?? [];
  if (level === undefined || index === undefined) return undefined;
  const tile: TileName = {
    level: level === 'entries' ? level : Number(level),
    index: Number(index.replaceAll(/[x/]/g, '')),
    width: width === undefined ? tileWidth : Number(width),
  };
  // Writing it again refuses leading zeroes, groups of zeroes and `.p/256`.
  return isInRange(tile) && formatTilePath(tile) === path ? tile : undefined;
}

function isInRange({ level, index, width }: TileName): boolean {
  const levelFits = level === 'entries' || level <= levelMax;
  return levelFits && Number.isSafeInteger(index) && width >= 1 && width <= tileWidth;
}

/** What a tree has at one tile level: so many full tiles, then one of `partialWidth` hashes unless that is 0. */
export interface TileRow {
  readonly level: number;
  readonly fullTiles: number;
  readonly partialWidth: number;
}

/** The tiles of a tree of `size` leaves, level by level, from the leaves up. */
export function tileRows(size: number): TileRow[] {
  if (size === 0) return [];
  return Array.from({ length: tileLevels(size) }, (_, level) => ({
    level,
    fullTiles: Math.floor(size / tileWidth ** (level + 1)),
    partialWidth: edgeWidth(size, level),
  }));
}

/** Whether a tree of `size` leaves has the tile. One that has grown further still has the narrower partial tiles. */
export function isTileOf({ level, index, width }: TileName, size: number): boolean {
  const hashes = Math.floor(size / tileWidth ** (level === 'entries' ? 0 : level));
  return index * tileWidth + width <= hashes;
}

/** Where the hashes lie that a node of the tree is the root of: `count` of them, from the `first` of a tile on. */
export interface NodePlace {
  readonly level: number;
  readonly index: number;
  readonly first: number;
  readonly count: number;
}

/** The place of the root of the leaves from index · 2^level, 2^level of them. */
export function placeOfNode({ level, index }: NodeId): NodePlace {
  const count = 2 ** (level % levelsPerTile);
  const entry = index * count;
  return {
    level: Math.floor(level / levelsPerTile),
    index: Math.floor(entry / tileWidth),
    first: entry % tileWidth,
    count,
  };
}

/** The hash of the node at `place`, from the bytes of its tile; undefined when the tile does not reach that far. */
export function nodeOfTile(tile: Buffer, { first, count }: NodePlace): Buffer | undefined {
  if (tile.length < (first + count) * hashBytes) return undefined;
  const hashes = Array.from({ length: count }, (_, at) =>
    tile.subarray((first + at) * hashBytes, (first + at + 1) * hashBytes),
  );
  return perfectRoot(hashes);
}

/** An entry bundle: each entry after its length as a big-endian uint16. Throws `RangeError` for a longer entry. */
export function encodeEntryBundle(entries: readonly Uint8Array[]): Buffer {
  return Buffer.concat(entries.flatMap((entry) => [lengthOf(entry), entry]));
}

function lengthOf(entry: Uint8Array): Buffer {
  if (entry.length > entryBytesMax) throw new RangeError(`An entry of ${entry.length} bytes fits no bundle.`);
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt16BE(entry.length);
  return length;
}

/** The entries of a bundle, or undefined unless it holds exactly `width` of them and nothing else. */
export function decodeEntryBundle(bundle: Buffer, width: number): Buffer[] | undefined {
  const entries: Buffer[] = [];
  let at = 0;
  while (at < bundle.length && entries.length < width) {
    if (bundle.length < at + lengthBytes) return undefined;
    const end = at + lengthBytes + bundle.readUInt16BE(at);
    if (end > bundle.length) return undefined;
    entries.push(bundle.subarray(at + lengthBytes, end));
    at = end;
  }
  return entries.length === width && at === bundle.length ? entries : undefined;
}
