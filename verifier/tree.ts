/**
 * The RFC 6962 Merkle tree as a verifier sees it: roots from proofs (algorithms of RFC 9162 section 2.1) and from all
 * leaves in a stream. Counts are plain numbers up to 2^53, so halves are taken by division, not by bit operators.
 */
import { type Bytes, concat, demand, isSame, sha256 } from './bytes.ts';

const leafPrefix = Uint8Array.of(0);
const nodePrefix = Uint8Array.of(1);

/** The head of a tree: how many leaves, and their root. */
export interface TreeHead {
  readonly size: number;
  readonly root: Bytes;
}

export function leafHash(data: Uint8Array): Promise<Bytes> {
  return sha256(concat(leafPrefix, data));
}

export function nodeHash(left: Uint8Array, right: Uint8Array): Promise<Bytes> {
  return sha256(concat(nodePrefix, left, right));
}

/** Whether `proof` leads from the leaf hash at `index` to the root (RFC 9162 section 2.1.3.2). */
export async function isIncluded(
  leaf: Bytes,
  index: number,
  head: TreeHead,
  proof: readonly Bytes[],
): Promise<boolean> {
  if (!isCount(index) || !isCount(head.size) || index >= head.size) return false;
  const climb = new Climb(index, head.size - 1);
  let hash = leaf;
  for (const sibling of proof) {
    if (climb.isAtTop) return false;
    hash = climb.isSiblingLeft() ? await nodeHash(sibling, hash) : await nodeHash(hash, sibling);
    climb.up();
  }
  return climb.isAtTop && isSame(hash, head.root);
}

/** Whether `proof` shows that the old tree, of 1 leaf at least, is a prefix of the new (RFC 9162 section 2.1.4.2). */
export async function isConsistent(old: TreeHead, next: TreeHead, proof: readonly Bytes[]): Promise<boolean> {
  if (!isCount(old.size) || !isCount(next.size) || old.size < 1 || old.size > next.size) return false;
  if (old.size === next.size) return proof.length === 0 && isSame(old.root, next.root);
  const climb = new Climb(old.size - 1, next.size - 1);
  // When the old tree is perfect, its root is where the path starts, and the proof does not repeat it.
  const [start, ...path] = climb.isPerfect() ? [old.root, ...proof] : proof;
  if (start === undefined) return false;
  let [oldHash, newHash] = [start, start];
  for (const sibling of path) {
    if (climb.isAtTop) return false;
    if (climb.isSiblingLeft()) {
      [oldHash, newHash] = await Promise.all([nodeHash(sibling, oldHash), nodeHash(sibling, newHash)]);
    } else newHash = await nodeHash(newHash, sibling);
    climb.up();
  }
  return climb.isAtTop && isSame(oldHash, old.root) && isSame(newHash, next.root);
}

/** The way from a node to the root, beside the way of the last node of its level. */
class Climb {
  #node: number;
  #last: number;

  constructor(node: number, last: number) {
    this.#node = node;
    this.#last = last;
  }

  get isAtTop(): boolean {
    return this.#last === 0;
  }

  up(): void {
    this.#node = Math.floor(this.#node / 2);
    this.#last = Math.floor(this.#last / 2);
  }

  /** Climbs to the perfect subtree that the old tree ends with, and says whether it is all of the old tree. */
  isPerfect(): boolean {
    while (this.#node % 2 === 1) this.up();
    return this.#node === 0;
  }

  /** Whether the next sibling is a left one. A last node that is a left one has no sibling: those levels are passed. */
  isSiblingLeft(): boolean {
    if (this.#node % 2 === 0 && this.#node !== this.#last) return false;
    while (this.#node % 2 === 0 && this.#node !== 0) this.up();
    return true;
  }
}

/**
 * Grows a tree from its leaves or from the roots of perfect subtrees, in memory that hardly depends on its size.
 * Invariant: `#nodes[l]` is there exactly when the size has a 1 bit of value 2^l.
 */
export class TreeBuilder {
  #size = 0;
  readonly #nodes: (Bytes | undefined)[] = [];

  get size(): number {
    return this.#size;
  }

  /** Appends hashes of leaves or, at higher levels, of perfect subtrees, which the size must be a multiple of. */
  async append(hashes: readonly Bytes[], level = 0): Promise<void> {
    this.#size += hashes.length * 2 ** level;
    let row = [...hashes];
    for (let at = level; row.length > 0; at++) {
      const waiting = this.#nodes[at];
      if (waiting !== undefined) row.unshift(waiting);
      this.#nodes[at] = row.length % 2 === 1 ? row.pop() : undefined;
      // A row at once: Web Crypto is slow only when each hash is waited for.
      const lefts = row.filter((_, place) => place % 2 === 0);
      row = await Promise.all(lefts.map((left, pair) => nodeHash(left, row[2 * pair + 1] as Bytes)));
    }
  }

  /** Appends the leaves up to `size` in all, given as the roots of the fewest perfect subtrees. */
  async appendUpTo(size: number, nodes: readonly Bytes[]): Promise<void> {
    for (const node of nodes) {
      let level = 0;
      while (this.#size % 2 ** (level + 1) === 0 && this.#size + 2 ** (level + 1) <= size) level++;
      await this.append([node], level);
    }
    demand(this.#size === size, `The edge of the records does not end at ${size}.`);
  }

  /** The roots of the fewest perfect subtrees, largest first. */
  edge(): Bytes[] {
    return this.#nodes.filter((node) => node !== undefined).reverse();
  }

  async root(): Promise<Bytes> {
    let root: Bytes | undefined;
    for (const node of this.#nodes) {
      if (node !== undefined) root = root === undefined ? node : await nodeHash(node, root);
    }
    return root ?? (await sha256(new Uint8Array()));
  }
}

const isCount = (n: number): boolean => Number.isSafeInteger(n) && n >= 0;
