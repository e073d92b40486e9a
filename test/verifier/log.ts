/** A small log in memory with a signer of its own, made with the gateway's own code, for the verifier to judge. */
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import { canonicalize } from '../../src/core/canonical-json.ts';
import { formatCheckpoint } from '../../src/core/checkpoint.ts';
import { cosignatureSigner } from '../../src/core/cosignature.ts';
import { sha256Hex } from '../../src/core/hash.ts';
import type { JsonObject } from '../../src/core/json.ts';
import { CompactRange, leafHash, nodeHash } from '../../src/core/merkle.ts';
import { consistencyProof, inclusionProof, type NodeReader, rangeEdges } from '../../src/core/merkle-proof.ts';
import { signNote } from '../../src/core/note.ts';
import { cosignature, formatVerifierKey, type NoteSigner, noteSigner } from '../../src/core/note-key.ts';
import type { Receipt } from '../../src/core/receipt.ts';

export const origin = 'gateway.example/log';
const { privateKey } = generateKeyPairSync('ed25519');
export const logSigner = noteSigner(origin, privateKey);
export const logKey = formatVerifierKey(origin, createPublicKey(privateKey));

export interface TestWitness {
  readonly signer: NoteSigner;
  readonly vkey: string;
}

export function makeWitness(name: string, nowSec = 1_700_000_000): TestWitness {
  const pair = generateKeyPairSync('ed25519');
  return {
    signer: cosignatureSigner(name, pair.privateKey, () => nowSec),
    vkey: formatVerifierKey(name, pair.publicKey, cosignature),
  };
}

/** Canonical records that differ. */
export function makeRecords(count: number, salt = ''): string[] {
  return Array.from({ length: count }, (_, n) =>
    canonicalize({ event_id: `e${n}${salt}`, meta: { n }, ts: '2026-01-01' }),
  );
}

/** Reads the perfect subtrees over these leaves. */
export function nodeReader(leaves: readonly Buffer[]): NodeReader {
  const levels: (readonly Buffer[])[] = [leaves];
  for (let row = leaves; row.length > 1; levels.push(row)) row = rowAbove(row);
  return async (nodes) =>
    nodes.map(({ level, index }) => {
      const node = levels[level]?.[index];
      if (node === undefined) throw new Error(`Node ${level}/${index} is not within the tree.`);
      return node;
    });
}

function rowAbove(row: readonly Buffer[]): readonly Buffer[] {
  const pairs = Array.from({ length: Math.floor(row.length / 2) }, (_, pair) => row.slice(2 * pair, 2 * pair + 2));
  return pairs.map(([left, right]) => nodeHash(left as Buffer, right as Buffer));
}

export class TestLog {
  readonly records: readonly string[];
  readonly #leaves: readonly Buffer[];

  constructor(records: readonly string[]) {
    this.records = records;
    this.#leaves = records.map(leafHash);
  }

  root(size = this.records.length): Buffer {
    const range = CompactRange.empty();
    for (const leaf of this.#leaves.slice(0, size)) range.append(leaf);
    return range.root();
  }

  async checkpoint(size = this.records.length, signers: readonly NoteSigner[] = [logSigner]): Promise<string> {
    return await signNote({ text: formatCheckpoint({ origin, size, root: this.root(size) }), signatures: [] }, signers);
  }

  async consistency(from: number, to = this.records.length): Promise<string[]> {
    return base64(await consistencyProof(from, to, nodeReader(this.#leaves)));
  }

  async receipt(leafIndex: number, treeSize = this.records.length, signers = [logSigner]): Promise<Receipt> {
    const record = this.records[leafIndex] ?? '';
    return {
      record,
      eventHash: sha256Hex(record),
      leafIndex,
      treeSize,
      proof: await inclusionProof(leafIndex, treeSize, nodeReader(this.#leaves)),
      checkpoint: await this.checkpoint(treeSize, signers),
    };
  }

  /** The lines of a range export. */
  async exportRange(first = 0, count = this.records.length, size = this.records.length): Promise<string[]> {
    const { left, right } = rangeEdges(first, count, size);
    const read = nodeReader(this.#leaves);
    const range = { first, count, left: base64(await read(left)), right: base64(await read(right)) };
    const header = { format: 'talos.export/v1', checkpoint: await this.checkpoint(size), range };
    const lines = this.records.slice(first, first + count).map((record, at) => exportLine(first + at, record));
    return [canonicalize(header), ...lines];
  }

  /** The lines of an export of single records, each with its proof. */
  async exportSelection(indexes: readonly number[]): Promise<string[]> {
    const header = canonicalize({ format: 'talos.export/v1', checkpoint: await this.checkpoint() });
    const lines = indexes.map(async (index) => {
      const { record, proof } = await this.receipt(index);
      return exportLine(index, record, { proof: base64(proof) });
    });
    return [header, ...(await Promise.all(lines))];
  }
}

export function exportLine(index: number, record: string, more: JsonObject = {}): string {
  return canonicalize({ ...more, leaf_index: index, record: JSON.parse(record) as JsonObject });
}

export function base64(hashes: readonly Uint8Array[]): string[] {
  return hashes.map((hash) => Buffer.from(hash).toString('base64'));
}
