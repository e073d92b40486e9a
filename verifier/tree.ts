/**
 * The RFC 6962 Merkle tree as a verifier sees it: roots from proofs (algorithms of RFC 9162 section 2.1) and from all
 * leaves in a stream. Counts are plain numbers up to 2^53, so halves are taken by division, not by bit operators.
 */
import { type Bytes, concat, isSame, Malformed, sha256 } from './bytes.ts';

const leafPrefix = Uint8Array.of(0);
const nodePrefix = Uint8Array.of(1);

export function leafHash(data: Uint8Array): Promise<Bytes> {
  return sha256(concat(leafPrefix, data));
}

export function nodeHash(left: Uint8Array, right: Uint8Array): Promise<Bytes> {
  return sha256(concat(nodePrefix, left, right));
}

/** Whether `proof` leads from the leaf at `index` to `root`, the root of `size` leaves (RFC 9162 section 2.1.3.2). */
export async function isIncluded(leaf: Bytes, index: number, size: number, proof: readonly Bytes[], root: Bytes) {
  if (!isCount(index) || !isCount(size) || index >= size) return false;
  let [node, last, hash] = [index, size - 1, leaf];
  for (const sibling of proof) {
    if (last === 0) return false;
    if (isRight(node) || node === last) {
      hash = await nodeHash(sibling, hash);
      // A left node at the right edge has no sibling on these levels.
      while (!isRight(node) && node !== 0) [node, last] = [half(node), half(last)];
    } else {
      hash = await nodeHash(hash, sibling);
    }
    [node, last] = [half(node), half(last)];
  }
  return last === 0 && isSame(hash, root);
}

/** The head of a tree: how many leaves, and their root. */
export interface TreeHead {
  readonly size: number;
  readonly root: Bytes;
}

export function isSameHead(a: TreeHead, b: TreeHead): boolean {
  return a.size === b.size && isSame(a.root, b.root);
}

/** Whether `proof` shows that the old tree, of 1 leaf at least, is a prefix of the new (RFC 9162 section 2.1.4.2). */
export async function isConsistent(old: TreeHead, next: TreeHead, proof: readonly Bytes[]): Promise<boolean> {
  if (!isCount(old.size) || !isCount(next.size) || old.size < 1 || old.size > next.size) return false;
  if (old.size === next.size) return proof.length === 0 && isSameHead(old, next);
  let [node, last] = [old.size - 1, next.size - 1];
  while (isRight(node)) [node, last] = [half(node), half(last)];
  // When the old tree is perfect, its root is where the path starts, and the proof does not repeat it.
  const [start, ...path] = node === 0 ? [old.root, ...proof] : proof;
  if (start === undefined) return false;
  let [oldHash, newHash] = [start, start];
  for (const sibling of path) {
    if (last === 0) return false;
    if (isRight(node) || node === last) {
      [oldHash, newHash] = [await nodeHash(sibling, oldHash), await nodeHash(sibling, newHash)];
      while (!isRight(node) && node !== 0) [node, last] = [half(node), half(last)];
    } else {
      newHash = await nodeHash(newHash, sibling);
    }
    [node, last] = [half(node), half(last)];
  }
  return last === 0 && isSame(oldHash, old.root) && isSame(newHash, next.root);
}

/**
 * Grows a tree from its leaves or from the roots of perfect subtrees, in memory that does not depend on its size.
 * Invariant: `#nodes[l]` is there exactly when the size has a 1 bit of value 2^l.
 */
export class TreeBuilder {
  #size = 0;
  readonly #nodes: (Bytes | undefined)[] = [];

  /** The tree of the first `size` leaves, from the roots of its perfect subtrees, largest first. */
  static from(size: number, nodes: readonly Bytes[]): TreeBuilder {
    const builder = new TreeBuilder();
    const levels = levelsOf(size);
    if (levels.length !== nodes.length) throw new Malformed(`A tree of ${size} leaves has not ${nodes.length} parts.`);
    for (const [at, level] of levels.entries()) builder.#nodes[level] = nodes[at];
    builder.#size = size;
    return builder;
  }

  get size(): number {
    return this.#size;
  }

  /** Appends roots of perfect subtrees of 2^`level` leaves; the size must be a multiple of that. */
  async append(hashes: readonly Bytes[], level = 0): Promise<void> {
    this.#size += hashes.length * 2 ** level;
    let row = [...hashes];
    for (let at = level; row.length > 0; at++) {
      const waiting = this.#nodes[at];
      if (waiting !== undefined) row.unshift(waiting);
      this.#nodes[at] = row.length % 2 === 1 ? row.at(-1) : undefined;
      // All of a row at once: Web Crypto is fast only when it is not waited for hash by hash.
      const lefts = row.filter((_, place) => place % 2 === 0 && place + 1 < row.length);
      row = await Promise.all(lefts.map((left, pair) => nodeHash(left, row[2 * pair + 1] as Bytes)));
    }
  }

  /** Appends what follows up to `size` leaves in all, given as the roots of the fewest perfect subtrees. */
  async appendRest(size: number, nodes: readonly Bytes[]): Promise<void> {
    for (const node of nodes) {
      let level = 0;
      while (this.#size % 2 ** (level + 1) === 0 && this.#size + 2 ** (level + 1) <= size) level++;
      await this.append([node], level);
    }
    if (this.#size !== size) throw new Malformed(`What follows the records does not end at ${size} leaves.`);
  }

  async root(): Promise<Bytes> {
    let root: Bytes | undefined;
    for (const node of this.#nodes) {
      if (node !== undefined) root = root === undefined ? node : await nodeHash(node, root);
    }
    return root ?? (await sha256(new Uint8Array()));
  }
}

/** The levels of the 1 bits of `size`, highest first. */
function levelsOf(size: number): number[] {
  const levels: number[] = [];
  for (let level = 0; 2 ** level <= size; level++) if (isRight(Math.floor(size / 2 ** level))) levels.unshift(level);
  return levels;
}

const half = (n: number): number => Math.floor(n / 2);
const isRight = (n: number): boolean => n % 2 === 1;
const isCount = (n: number): boolean => Number.isSafeInteger(n) && n >= 0;
