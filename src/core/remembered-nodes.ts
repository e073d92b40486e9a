/**
 * Nodes of the tree that were read before. A perfect subtree of an append-only log never changes, so what was read once
 * stays true; for proofs only, as whoever judges the database itself must ask it each time.
 */
import { LruMap } from './lru-map.ts';
import type { NodeId, NodeReader } from './merkle-proof.ts';

/** Reads only the nodes that are not among the `nodesMax` used last. */
export function rememberNodes(read: NodeReader, nodesMax: number): NodeReader {
  const known = new LruMap<Buffer>(nodesMax);
  return async (nodes) => {
    const found = nodes.map((node) => known.get(nameOf(node)));
    const missing = nodes.filter((_, at) => found[at] === undefined);
    if (missing.length === 0) return found as Buffer[];
    const hashes = (await read(missing)).values();
    return found.map((hash, at) => hash ?? remember(nodes[at] as NodeId, hashes.next().value as Buffer));
  };

  function remember(node: NodeId, hash: Buffer): Buffer {
    known.set(nameOf(node), hash);
    return hash;
  }
}

function nameOf({ level, index }: NodeId): string {
  return `${level}/${index}`;
}
