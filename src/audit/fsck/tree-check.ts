/**
 * The tree over the records, built again from their leaves while they pass by: each full tile is compared with the one
 * that is stored, and at the end the edge gives compact range and root. Memory does not depend on the size of the log.
 */
import { CompactRange } from '../../core/merkle.ts';
import { perfectRoot, tileWidth } from '../../core/tree-edge.ts';
import type { SnapshotTile } from '../../storage/log-snapshot.ts';
import type { Findings } from './findings.ts';

interface Level {
  readonly stored: AsyncGenerator<SnapshotTile, void, undefined>;
  /** The next stored tile that was not compared yet. */
  next: SnapshotTile | undefined;
  hashes: Buffer[];
  full: number;
}

const hashBytes = 32;
const tileBytes = tileWidth * hashBytes;

export class TreeCheck {
  readonly #readTiles: (level: number) => AsyncGenerator<SnapshotTile, void, undefined>;
  readonly #findings: Findings;
  readonly #levels: Level[] = [];
  #size = 0;
  #tiles = 0;

  constructor(readTiles: (level: number) => AsyncGenerator<SnapshotTile, void, undefined>, findings: Findings) {
    this.#readTiles = readTiles;
    this.#findings = findings;
  }

  get size(): number {
    return this.#size;
  }

  get tiles(): number {
    return this.#tiles;
  }

  /** Takes the leaves of records that are gone, up to `size`, from their tiles: so many at least must be there. */
  async skipTo(size: number): Promise<void> {
    while (this.#size < size) {
      const level = await this.#level(0);
      const tile = await this.#takeStored(level, 0);
      if (tile === undefined) throw new Error(`Tile 0/${level.full} is missing, and its records are pruned.`);
      this.#size += tileWidth;
      this.#tiles++;
      level.full++;
      const hashes = split(tile.data);
      this.#compareRoot(tile, 0, perfectRoot(hashes));
      await this.#add(1, tile.root);
    }
  }

  /** Resolves only when a tile became full: everything else needs no waiting for. */
  add(leaf: Buffer): Promise<void> | undefined {
    this.#size++;
    const level = this.#levels[0];
    if (level !== undefined && level.hashes.length < tileWidth - 1) {
      level.hashes.push(leaf);
      return undefined;
    }
    return this.#add(0, leaf);
  }

  /** The hashes of the compact range: of each level's unfilled tile, the largest subtrees first. */
  range(): Buffer {
    const nodes = [...this.#levels].reverse().flatMap(({ hashes }) => largestSubtrees(hashes));
    return Buffer.concat(nodes);
  }

  root(): Buffer {
    return CompactRange.parse(this.#size, this.range()).root();
  }

  /** There must be no tiles but those that were met. */
  async end(tilesOutside: (levels: number) => Promise<number>): Promise<void> {
    for (const [number, level] of this.#levels.entries()) {
      for (let tile = await this.#peek(level); tile !== undefined; tile = await this.#peek(level)) {
        level.next = undefined;
        this.#findings.fault('tiles', `Tile ${number}/${tile.index} is of records that are not there.`);
      }
    }
    const outside = await tilesOutside(this.#levels.length);
    this.#findings.expect(outside === 0, 'tiles', () => `${outside} tiles are of levels that the tree does not have.`);
  }

  async #add(number: number, hash: Buffer): Promise<void> {
    const level = await this.#level(number);
    level.hashes.push(hash);
    if (level.hashes.length < tileWidth) return;
    const hashes = level.hashes;
    level.hashes = [];
    const root = perfectRoot(hashes);
    const stored = await this.#takeStored(level, number);
    level.full++;
    this.#tiles++;
    if (stored !== undefined) {
      const isSame = stored.data.equals(Buffer.concat(hashes));
      this.#findings.expect(isSame, 'tiles', () => `Tile ${number}/${stored.index} holds other hashes than its level.`);
      this.#compareRoot(stored, number, root);
    }
    await this.#add(number + 1, root);
  }

  #compareRoot(stored: SnapshotTile, number: number, root: Buffer): void {
    const isSame = stored.root.equals(root);
    this.#findings.expect(isSame, 'tiles', () => `Tile ${number}/${stored.index} has another root than its hashes.`);
  }

  /** The stored tile that stands where the next full one belongs. */
  async #takeStored(level: Level, number: number): Promise<SnapshotTile | undefined> {
    const tile = await this.#peek(level);
    const isThere = tile?.index === level.full && tile.data.length === tileBytes;
    this.#findings.expect(isThere, 'tiles', () => `Tile ${number}/${level.full} is missing or not whole.`);
    if (tile?.index === level.full) level.next = undefined;
    return isThere ? tile : undefined;
  }

  async #peek(level: Level): Promise<SnapshotTile | undefined> {
    if (level.next !== undefined) return level.next;
    const { value } = await level.stored.next();
    level.next = value ?? undefined;
    return level.next;
  }

  async #level(number: number): Promise<Level> {
    const known = this.#levels[number];
    if (known !== undefined) return known;
    const added: Level = { stored: this.#readTiles(number), next: undefined, hashes: [], full: 0 };
    this.#levels[number] = added;
    return added;
  }
}

/** The roots of the perfect subtrees that fewer than 256 hashes make up, largest first. */
function largestSubtrees(hashes: readonly Buffer[]): Buffer[] {
  const roots: Buffer[] = [];
  let at = 0;
  for (let width = tileWidth / 2; width >= 1; width /= 2) {
    if (hashes.length - at < width) continue;
    roots.push(perfectRoot(hashes.slice(at, at + width)));
    at += width;
  }
  return roots;
}

function split(data: Buffer): Buffer[] {
  return Array.from({ length: tileWidth }, (_, at) => data.subarray(at * hashBytes, (at + 1) * hashBytes));
}
