/**
 * The records of a log itself, hashed again up to a signed root: bundles of entries as C2SP tlog-tiles serves them, or
 * bare hashes where records were pruned. What was read before is remembered as the edge of its tree.
 */
import { type Bytes, demand, hashesOf, isSame, toBase64 } from './bytes.ts';
import { Checklist, type Report } from './report.ts';
import { leafHash, TreeBuilder, type TreeHead } from './tree.ts';

/** How many records were read, and (base64, largest first) the roots of the fewest perfect subtrees that they make up. */
export interface Reading {
  readonly size: number;
  readonly edge: readonly string[];
}

/** An entry bundle, or the hashes of the same records as a tile of level 0. */
export type EntryTile = { readonly bundle: Bytes } | { readonly hashes: Bytes };

export interface EntriesReport extends Report {
  /** What to go on from next time; only there when all holds. */
  readonly reading?: Reading;
}

const hashBytes = 32;

/** Reads the records from `before` to the size of `head`, and demands its root. The first tile is the one that `before` ends in. */
export async function verifyEntries(
  before: Reading,
  tiles: AsyncIterable<EntryTile>,
  head: TreeHead,
): Promise<EntriesReport> {
  const list = new Checklist();
  const tree = new TreeBuilder();
  let pruned = 0;
  await list.look('records', async () => {
    await tree.appendUpTo(before.size, hashesOf(before.edge));
    let known = before.size % 256;
    for await (const tile of tiles) {
      const leaves = 'bundle' in tile ? await Promise.all(entriesOf(tile.bundle).map(leafHash)) : split(tile.hashes);
      if ('hashes' in tile) pruned += leaves.length - known;
      await tree.append(leaves.slice(known));
      known = 0;
    }
    const isWhole = tree.size === head.size && isSame(await tree.root(), head.root);
    demand(isWhole, `The records from ${before.size} on do not give the signed root.`);
    return `${head.size - before.size} new records give the signed root${pruned > 0 ? `, ${pruned} by hash only: they are pruned` : ''}`;
  });
  const reading = { size: tree.size, edge: tree.edge().map(toBase64) };
  return { ok: list.ok, checks: list.checks, ...(list.ok ? { reading } : {}) };
}

/** The entries of a bundle: each after its length in two bytes. */
function entriesOf(bundle: Bytes): Bytes[] {
  const entries: Bytes[] = [];
  for (let at = 0; at < bundle.length; ) {
    const end = at + 2 + 256 * (bundle[at] ?? 0) + (bundle[at + 1] ?? 0);
    demand(at + 2 <= bundle.length && end <= bundle.length, 'A bundle of records ends within a record.');
    entries.push(bundle.slice(at + 2, end));
    at = end;
  }
  return entries;
}

function split(hashes: Bytes): Bytes[] {
  demand(hashes.length % hashBytes === 0, 'A tile ends within a hash.');
  return Array.from({ length: hashes.length / hashBytes }, (_, n) => hashes.slice(n * hashBytes, (n + 1) * hashBytes));
}
