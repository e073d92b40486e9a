/** The tiles of the tree: full ones are stored once and never change; the edge is derived from what they are made of. */
import type pg from 'pg';
import type { NodeId } from '../core/merkle-proof.ts';
import { placeOfNode } from '../core/tile.ts';
import { edgeWidth, type FullTile, perfectRoot, TreeEdge, tileLevels, tileWidth } from '../core/tree-edge.ts';
import { read } from './db.ts';

const hashBytes = 32;

export interface TileReader {
  /** The first `width` hashes of a tile, or undefined when the log does not reach that far. */
  readonly tile: (level: number, index: number, width: number) => Promise<Buffer | undefined>;
  /** The hashes of perfect subtrees inside a tree of `size` leaves, in the order asked for. */
  readonly nodes: (ids: readonly NodeId[]) => Promise<Buffer[]>;
}

export function createTileReader(pool: pg.Pool): TileReader {
  return {
    tile: async (level, index, width) => {
      const hashes = (await readTiles(pool, [{ level, index }])).get(tileKey({ level, index })) ?? [];
      return hashes.length < width ? undefined : Buffer.concat(hashes.slice(0, width));
    },
    nodes: (ids) => readNodes(pool, ids),
  };
}

/** SQL that stores full tiles, to be run in the transaction that appends their leaves. */
export function insertTiles(tiles: readonly FullTile[]): string {
  if (tiles.length === 0) return '';
  const rows = tiles.map(
    ({ level, index, data, root }) =>
      `(${level}, ${index}, '\\x${data.toString('hex')}', '\\x${root.toString('hex')}')`,
  );
  return `INSERT INTO log_tile (level, index, data, root) VALUES ${rows.join(', ')};`;
}

/** The edge of a tree of `size` leaves, read on the connection that holds the head's lock. */
export async function readEdge(client: pg.Client, size: number): Promise<TreeEdge> {
  const levels: Buffer[][] = [];
  for (let level = 0; level < tileLevels(size); level++) {
    const first = Math.floor(size / tileWidth ** (level + 1)) * tileWidth;
    const { rows } = await client.query<{ hash: Buffer }>(entriesSql(level), [first, first + edgeWidth(size, level)]);
    levels.push(rows.map(({ hash }) => hash));
  }
  return new TreeEdge(size, levels);
}

// The entries of a tile: leaves at level 0, above it the roots of the tiles below.
function entriesSql(level: number): string {
  return level === 0
    ? 'SELECT leaf_hash AS hash FROM audit_event WHERE seq >= $1 AND seq < $2 ORDER BY seq'
    : `SELECT root AS hash FROM log_tile WHERE level = ${level - 1} AND index >= $1 AND index < $2 ORDER BY index`;
}

interface TileId {
  readonly level: number;
  readonly index: number;
}

async function readNodes(pool: pg.Pool, ids: readonly NodeId[]): Promise<Buffer[]> {
  const places = ids.map(placeOfNode);
  const tiles = await readTiles(pool, places);
  return places.map(({ first, count, ...tile }) => {
    const hashes = tiles.get(tileKey(tile))?.slice(first, first + count) ?? [];
    if (hashes.length !== count) throw new Error(`The log lacks a part of tile ${tile.level}/${tile.index}.`);
    return perfectRoot(hashes);
  });
}

async function readTiles(pool: pg.Pool, wanted: readonly TileId[]): Promise<Map<string, Buffer[]>> {
  const ids = new Map(wanted.map(({ level, index }) => [tileKey({ level, index }), { level, index }]));
  const tiles = new Map<string, Buffer[]>();
  const levels = [...ids.values()].map(({ level }) => level);
  const indexes = [...ids.values()].map(({ index }) => index);
  const rows = await read<{ level: number; index: string; data: Buffer }>(
    pool,
    `SELECT level, index, data FROM log_tile
       JOIN unnest($1::smallint[], $2::bigint[]) AS wanted (level, index) USING (level, index)`,
    [levels, indexes],
  );
  for (const { level, index, data } of rows) tiles.set(tileKey({ level, index: Number(index) }), split(data));
  for (const [key, id] of ids) {
    if (!tiles.has(key)) tiles.set(key, await readEntries(pool, id));
  }
  return tiles;
}

async function readEntries(pool: pg.Pool, { level, index }: TileId): Promise<Buffer[]> {
  const first = index * tileWidth;
  const rows = await read<{ hash: Buffer }>(pool, entriesSql(level), [first, first + tileWidth]);
  return rows.map(({ hash }) => hash);
}

function split(data: Buffer): Buffer[] {
  const hashes: Buffer[] = [];
  for (let at = 0; at < data.length; at += hashBytes) hashes.push(data.subarray(at, at + hashBytes));
  return hashes;
}

function tileKey({ level, index }: TileId): string {
  return `${level}/${index}`;
}
