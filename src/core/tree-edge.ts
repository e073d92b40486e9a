/**
 * The growing edge of the tiled tree: for each tile level the hashes of its last tile, which is not full yet. A tile is
 * handed out the moment it is full, and never changes afterwards (C2SP tlog-tiles: 256 hashes, 8 tree levels, a tile).
 */
import { nodeHash } from './merkle.ts';

export const tileWidth = 256;

/** A full tile: 256 hashes of one tile level. */
export interface FullTile {
  readonly level: number;
  readonly index: number;
  /** 256 · 32 bytes. */
  readonly data: Buffer;
  /** The root over the 256 hashes: the entry of this tile in the next level. */
  readonly root: Buffer;
}

export class TreeEdge {
  #size: number;
  /** By tile level, the hashes of the tile that is being filled. */
  readonly #levels: Buffer[][];

  /** `levels[l]` holds what the last tile of level l has so far: size / 256^l mod 256 hashes. */
  constructor(size: number, levels: Buffer[][]) {
    this.#size = size;
    this.#levels = levels;
    for (const [level, hashes] of levels.entries()) {
      const expected = edgeWidth(size, level);
      if (hashes.length !== expected) {
        throw new Error(`The tree's edge has ${hashes.length} hashes at tile level ${level}, not ${expected}.`);
      }
    }
  }

  get size(): number {
    return this.#size;
  }

  /** Appends a leaf and returns the tiles that it completed, lowest level first. */
  append(leaf: Buffer): FullTile[] {
    this.#size++;
    const full: FullTile[] = [];
    let entry = leaf;
    for (let level = 0; ; level++) {
      const hashes = this.#level(level);
      hashes.push(entry);
      if (hashes.length < tileWidth) return full;
      const tile = fullTile(level, this.#size / tileWidth ** (level + 1) - 1, hashes.splice(0));
      full.push(tile);
      entry = tile.root;
    }
  }

  #level(level: number): Buffer[] {
    const known = this.#levels[level];
    if (known !== undefined) return known;
    const added: Buffer[] = [];
    this.#levels[level] = added;
    return added;
  }
}

/** How many hashes the last, unfilled tile of a level has in a tree of `size` leaves. */
export function edgeWidth(size: number, level: number): number {
  return Math.floor(size / tileWidth ** level) % tileWidth;
}

/** How many tile levels a tree of `size` leaves has entries in. */
export function tileLevels(size: number): number {
  let levels = 1;
  for (let rest = Math.floor(size / tileWidth); rest > 0; rest = Math.floor(rest / tileWidth)) levels++;
  return levels;
}

function fullTile(level: number, index: number, hashes: Buffer[]): FullTile {
  return { level, index, data: Buffer.concat(hashes), root: perfectRoot(hashes) };
}

/** The root over a power of two of hashes. */
export function perfectRoot(hashes: readonly Buffer[]): Buffer {
  let row = hashes;
  while (row.length > 1) {
    const above: Buffer[] = [];
    for (let i = 0; i < row.length; i += 2) above.push(nodeHash(row[i] as Buffer, row[i + 1] as Buffer));
    row = above;
  }
  return row[0] as Buffer;
}
