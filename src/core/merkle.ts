/**
 * The RFC 6962 Merkle tree, held as a compact range: the roots of the perfect subtrees that make up the log, largest
 * first. Appending costs one leaf hash and, amortised, one node hash; the state of a log of any size is under 2 kB.
 */
import { sha256 } from './hash.ts';

const hashBytes = 32;
const nodePrefix = Buffer.from([1]);
/** The root of the empty tree (RFC 6962 section 2.1). */
const emptyRoot = sha256('');

/** SHA-256(0x00 ‖ data): the hash of a leaf, domain-separated from that of a node. */
export function leafHash(data: string): Buffer {
  return sha256(`\0${data}`);
}

/** SHA-256(0x01 ‖ left ‖ right). */
export function nodeHash(left: Uint8Array, right: Uint8Array): Buffer {
  return sha256(Buffer.concat([nodePrefix, left, right]));
}

/** The right edge of a growing tree. Invariant: `nodes` holds one hash for each 1 bit of `size`, highest bit first. */
export class CompactRange {
  #size: number;
  readonly #nodes: Buffer[];

  private constructor(size: number, nodes: Buffer[]) {
    this.#size = size;
    this.#nodes = nodes;
  }

  static empty(): CompactRange {
    return new CompactRange(0, []);
  }

  /** Restores what `serialize` gave. Throws when the bytes cannot belong to a tree of `size` leaves. */
  static parse(size: number, bytes: Buffer): CompactRange {
    if (bytes.length !== ones(size) * hashBytes) {
      throw new Error(`A compact range of ${bytes.length} bytes cannot belong to a tree of ${size} leaves.`);
    }
    const nodes: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += hashBytes) nodes.push(bytes.subarray(at, at + hashBytes));
    return new CompactRange(size, nodes);
  }

  get size(): number {
    return this.#size;
  }

  /** Appends one leaf by its hash. */
  append(leaf: Buffer): void {
    let node = leaf;
    // Each trailing 1 bit of the size is a perfect subtree that the new leaf completes to one twice as large.
    for (let rest = this.#size; rest % 2 === 1; rest = Math.floor(rest / 2)) {
      const left = this.#nodes.pop();
      if (left === undefined) throw new Error('The compact range is shorter than its size.');
      node = nodeHash(left, node);
    }
    this.#nodes.push(node);
    this.#size++;
  }

  /** The root of the tree (RFC 6962 section 2.1): the nodes folded from the right. */
  root(): Buffer {
    const nodes = this.#nodes;
    let root = nodes.at(-1);
    if (root === undefined) return emptyRoot;
    for (let i = nodes.length - 2; i >= 0; i--) root = nodeHash(nodes[i] as Buffer, root);
    return root;
  }

  /** The hashes one after another: 32 bytes for each 1 bit of the size. */
  serialize(): Buffer {
    return Buffer.concat(this.#nodes);
  }
}

// Bit operators would cut sizes over 2^31.
function ones(size: number): number {
  let count = 0;
  for (let rest = size; rest > 0; rest = Math.floor(rest / 2)) count += rest % 2;
  return count;
}
