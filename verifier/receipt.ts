/** Receipts: that a record, byte for byte, is in a log whose signed checkpoint covers it. Needs nothing but the receipt. */
import { type Bytes, countOf, decimalOf, demand, fromBase64, hashesOf, hex, sha256, utf8 } from './bytes.ts';
import { type Checkpoint, lookAtCheckpoint } from './checkpoint.ts';
import { canonical, isObject, type Json, type JsonObject, parseCanonical, parseClosed } from './json.ts';
import { Checklist, type Report } from './report.ts';
import { isIncluded, leafHash } from './tree.ts';
import type { Trust } from './trust.ts';

export interface ReceiptReport extends Report {
  /** What was proven; only there when it is. Show this, not what stands in the receipt. */
  readonly record?: JsonObject;
  readonly leafIndex?: number;
  readonly checkpoint?: Checkpoint;
}

interface Receipt {
  readonly record: string;
  readonly eventHash?: Json | undefined;
  readonly details?: Json | undefined;
  readonly leafIndex: number;
  readonly treeSize?: number;
  readonly proof: readonly Bytes[];
  readonly checkpoint: string;
}

/** Verifies a `talos.receipt/v1` (text or object), or a C2SP `.tlog-proof` whose extra data is the record. */
export async function verifyReceipt(input: string | JsonObject, trust: Trust): Promise<ReceiptReport> {
  const list = new Checklist();
  let receipt: Receipt | undefined;
  await list.look('format', () => {
    const text = typeof input === 'string' ? input : canonical(input);
    demand(text.length <= 8_388_608, 'The receipt is too long.');
    receipt = text.startsWith('c2sp.org/tlog-proof@') ? readTlogProof(text) : readReceipt(text);
    return 'the receipt is whole';
  });
  if (receipt === undefined) return { ok: false, checks: list.checks };
  await lookAtRecord(list, receipt);
  const checkpoint = await lookAtCheckpoint(list, receipt.checkpoint, trust);
  if (checkpoint !== undefined) await lookAtInclusion(list, receipt, checkpoint);
  const { ok, checks } = list;
  if (!ok || checkpoint === undefined) return { ok: false, checks };
  return { ok, checks, record: parseCanonical(receipt.record), leafIndex: receipt.leafIndex, checkpoint };
}

const members = ['format', 'record', 'event_hash', 'details', 'leaf_index', 'tree_size', 'proof', 'checkpoint'];

function readReceipt(text: string): Receipt {
  const json = parseClosed(text, members);
  const { format, record, checkpoint } = json;
  demand(format === 'talos.receipt/v1', 'It is neither a talos.receipt/v1 nor a tlog-proof.');
  demand(typeof record === 'string' && typeof checkpoint === 'string', 'The record or the checkpoint is not text.');
  return {
    record,
    checkpoint,
    eventHash: json['event_hash'],
    details: json['details'],
    leafIndex: countOf(json['leaf_index'], 'leaf index'),
    treeSize: countOf(json['tree_size'], 'tree size'),
    proof: hashesOf(json['proof']),
  };
}

function readTlogProof(text: string): Receipt {
  const split = text.indexOf('\n\n');
  const [format, extra = '', index = '', ...proof] = text.slice(0, Math.max(split, 0)).split('\n');
  demand(format === 'c2sp.org/tlog-proof@v1', 'The tlog-proof is not of version 1.');
  demand(extra.startsWith('extra '), 'The tlog-proof does not carry the record as its extra data.');
  demand(index.startsWith('index '), 'The tlog-proof has no index.');
  return {
    // Bytes that are not UTF-8 become other bytes here, and the proof of those fails.
    record: new TextDecoder('utf-8', { ignoreBOM: true }).decode(fromBase64(extra.slice('extra '.length))),
    leafIndex: decimalOf(index.slice('index '.length), 'leaf index'),
    proof: hashesOf(proof),
    checkpoint: text.slice(split + 2),
  };
}

async function lookAtRecord(list: Checklist, { record, eventHash, details }: Receipt): Promise<void> {
  await list.look('record', () => {
    parseCanonical(record);
    return 'the record is in canonical form';
  });
  if (eventHash !== undefined) {
    await list.look('event_hash', async () => {
      demand(eventHash === hex(await sha256(utf8(record))), 'The event hash is not that of the record.');
      return 'the event hash is that of the record';
    });
  }
  if (details === undefined) return;
  await list.look('details', async () => {
    demand(typeof details === 'string', 'The details are not text.');
    await demandDetails(parseCanonical(record), details);
    return 'the details are those that the record names';
  });
}

/** `details`, as canonical JSON, must be those that `meta.details_hash` of the record binds. */
export async function demandDetails(record: JsonObject, details: string): Promise<void> {
  const { meta } = record;
  const named = isObject(meta) ? meta['details_hash'] : undefined;
  demand(named === hex(await sha256(utf8(details))), 'The details are not those that the record names.');
}

async function lookAtInclusion(list: Checklist, receipt: Receipt, checkpoint: Checkpoint): Promise<void> {
  await list.look('inclusion', async () => {
    const { record, leafIndex, treeSize, proof } = receipt;
    demand(treeSize === undefined || treeSize === checkpoint.size, 'The tree size is not that of the checkpoint.');
    const isProven = await isIncluded(await leafHash(utf8(record)), leafIndex, checkpoint, proof);
    demand(isProven, `It is not proven to have the index ${leafIndex} among ${checkpoint.size} records.`);
    return `it has the index ${leafIndex} among ${checkpoint.size} records`;
  });
}
