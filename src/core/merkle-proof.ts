/**
 * Proofs of an RFC 6962 tree: making them from stored node hashes, and judging them from nothing but hashes. A node is
 * named by its level (0 = leaves) and its index in that level; only nodes of perfect subtrees are ever asked for.
 */
import { nodeHash } from './merkle.ts';

/** A perfect subtree: the leaves from `index` · 2^`level`, 2^`level` of them. */
export interface NodeId {
  readonly level: number;
  readonly index: number;
}

/** The hash of a perfect subtree that lies wholly inside the tree. */
export type NodeReader = (nodes: readonly NodeId[]) => Promise<readonly Buffer[]>;

/**
 * The audit path of leaf `index` in the tree of `size` leaves (RFC 6962 section 2.1.1), nearest sibling first.
 * Throws `RangeError` unless 0 ≤ index < size.
 */
export async function inclusionProof(index: number, size: number, read: NodeReader): Promise<Buffer[]> {
  if (!isCount(index) || !isCount(size) || index >= size) {
    throw new RangeError(`There is no leaf ${index} in a tree of ${size}.`);
  }
  return await readSubtrees(inclusionPath(index, 0, size), read);
}

/**
 * The proof that the tree of `from` leaves is a prefix of the tree of `to` (RFC 6962 section 2.1.2).
 * Throws `RangeError` unless 1 ≤ from ≤ to. Empty when both are the same.
 */
export async function consistencyProof(from: number, to: number, read: NodeReader): Promise<Buffer[]> {
  if (!isCount(from) || !isCount(to) || from < 1 || from > to) {
    throw new RangeError(`There is no consistency proof from ${from} to ${to}.`);
  }
  return await readSubtrees(consistencyPath(from, 0, to, true), read);
}

/** The root of the tree of `size` leaves. Throws `RangeError` unless there is one leaf at least. */
export async function rootOf(size: number, read: NodeReader): Promise<Buffer> {
  if (!isCount(size) || size < 1) throw new RangeError(`There are no nodes in a tree of ${size}.`);
  const [root] = await readSubtrees([{ start: 0, end: size }], read);
  return root as Buffer;
}

/**
 * What stands left and right of `count` leaves from `first` on in a tree of `size`: with these nodes and the leaves
 * themselves anyone computes the root. Left of them largest first, right of them in the order of the leaves.
 */
export function rangeEdges(first: number, count: number, size: number): { left: NodeId[]; right: NodeId[] } {
  if (![first, count, size].every(isCount) || first + count > size) {
    throw new RangeError(`There are no ${count} leaves from ${first} on in a tree of ${size}.`);
  }
  return {
    left: perfectSubtrees({ start: 0, end: first }),
    right: perfectSubtrees({ start: first + count, end: size }),
  };
}

/** A run of leaves, end exclusive. */
interface Span {
  readonly start: number;
  readonly end: number;
}

function inclusionPath(index: number, start: number, end: number): Span[] {
  if (end - start === 1) return [];
  const middle = start + largestPowerBelow(end - start);
  return index < middle
    ? [...inclusionPath(index, start, middle), { start: middle, end }]
    : [...inclusionPath(index, middle, end), { start, end: middle }];
}

// `isWhole` says that the old tree is known to the verifier as a whole, so that its root need not be sent.
function consistencyPath(from: number, start: number, end: number, isWhole: boolean): Span[] {
  if (from === end) return isWhole ? [] : [{ start, end }];
  const middle = start + largestPowerBelow(end - start);
  return from <= middle
    ? [...consistencyPath(from, start, middle, isWhole), { start: middle, end }]
    : [...consistencyPath(from, middle, end, false), { start, end: middle }];
}

/** The hash of each span, from the perfect subtrees that make it up, all read at once. */
async function readSubtrees(spans: readonly Span[], read: NodeReader): Promise<Buffer[]> {
  const parts = spans.map(perfectSubtrees);
  const hashes = await read(parts.flat());
  let from = 0;
  return parts.map((nodes) => {
    const own = hashes.slice(from, from + nodes.length);
    from += nodes.length;
    return own.reduceRight((right, left) => nodeHash(left, right));
  });
}

function perfectSubtrees({ start, end }: Span): NodeId[] {
  const nodes: NodeId[] = [];
  for (let at = start; at < end; ) {
    const level = Math.min(levelWithin(end - at), alignmentOf(at));
    nodes.push({ level, index: at / 2 ** level });
    at += 2 ** level;
  }
  return nodes;
}

// The largest level whose perfect subtrees have at most `n` leaves. Math.log2 would round up just below powers of two.
function levelWithin(n: number): number {
  let level = 0;
  while (2 ** (level + 1) <= n) level++;
  return level;
}

// For n ≥ 2, the largest power of two smaller than n.
function largestPowerBelow(n: number): number {
  return 2 ** levelWithin(n - 1);
}

// The largest level at which a perfect subtree can start at leaf `at`.
function alignmentOf(at: number): number {
  let level = 0;
  while (level < 53 && at % 2 ** (level + 1) === 0) level++;
  return level;
}

function isCount(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 0;
}
