/** Receipts: that a record, byte for byte, is in a log whose signed checkpoint covers it. Needs nothing but the receipt. */
import { type Bytes, countOf, fromBase64, hashesOf, hex, Malformed, sha256, utf8 } from './bytes.ts';
import { type Checkpoint, sentenceOf, verifyCheckpoint } from './checkpoint.ts';
import { canonical, type Json, type JsonObject, parseCanonicalObject, parseDistinctObject } from './json.ts';
import { type Check, check, isAllOk, type Report } from './report.ts';
import { isIncluded, leafHash } from './tree.ts';
import type { Trust } from './trust.ts';

export interface ReceiptReport extends Report {
  /** What was proven, when `ok`: show this, not what stands in the receipt. */
  readonly record?: JsonObject;
  readonly leafIndex?: number;
  readonly checkpoint?: Checkpoint;
  readonly witnessedAtSec?: Readonly<Record<string, number>>;
}

const receiptCharsMax = 8 * 1024 * 1024;

/** Verifies a `talos.receipt/v1` (text or object), or a C2SP `.tlog-proof` whose extra data is the record. */
export async function verifyReceipt(receipt: string | JsonObject, trust: Trust): Promise<ReceiptReport> {
  let read: Receipt;
  try {
    read = readReceipt(typeof receipt === 'string' ? receipt : canonical(receipt));
  } catch (error) {
    return { ok: false, checks: [check('format', false, sentenceOf(error))] };
  }
  const { checkpoint, checks, witnessedAtSec } = await verifyCheckpoint(read.checkpoint, trust);
  const all = [
    check('format', true, read.format),
    ...(await recordChecks(read)),
    ...checks,
    await inclusionCheck(read, checkpoint),
  ];
  const ok = isAllOk(all);
  const proven = ok ? { record: parseCanonicalObject(read.record) } : {};
  return {
    ok,
    checks: all,
    ...proven,
    leafIndex: read.leafIndex,
    witnessedAtSec,
    ...(checkpoint === undefined ? {} : { checkpoint }),
  };
}

interface Receipt {
  readonly format: string;
  readonly record: string;
  readonly eventHash: Json | undefined;
  readonly details: Json | undefined;
  readonly leafIndex: number;
  readonly treeSize: number | undefined;
  readonly proof: readonly Bytes[];
  readonly checkpoint: string;
}

const receiptMembers = ['format', 'record', 'event_hash', 'details', 'leaf_index', 'tree_size', 'proof', 'checkpoint'];

function readReceipt(text: string): Receipt {
  if (text.length > receiptCharsMax) throw new Malformed('The receipt is too long.');
  if (text.startsWith('c2sp.org/tlog-proof@')) return readTlogProof(text);
  const json = parseDistinctObject(text);
  const { format, record, checkpoint } = json;
  if (format !== 'talos.receipt/v1') throw new Malformed('It is neither a talos.receipt/v1 nor a tlog-proof.');
  refuseUnknown(json, receiptMembers);
  if (typeof record !== 'string' || typeof checkpoint !== 'string')
    throw new Malformed('Record or checkpoint are no text.');
  return {
    format,
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
  const [format = '', extra = '', index = '', ...proof] = text.slice(0, Math.max(split, 0)).split('\n');
  if (format !== 'c2sp.org/tlog-proof@v1') throw new Malformed('The proof is not of version 1 of its format.');
  const record = extra.startsWith('extra ') ? fromBase64(extra.slice('extra '.length)) : undefined;
  if (record === undefined) throw new Malformed('The proof does not carry the record as extra data.');
  const [, leafIndex] = /^index (0|[1-9][0-9]{0,15})$/.exec(index) ?? [];
  return {
    format,
    record: new TextDecoder('utf-8', { ignoreBOM: true }).decode(record),
    eventHash: undefined,
    details: undefined,
    leafIndex: countOf(Number(leafIndex), 'leaf index'),
    treeSize: undefined,
    proof: hashesOf(proof),
    checkpoint: text.slice(split + 2),
  };
}

export function refuseUnknown(json: JsonObject, members: readonly string[]): void {
  const unknown = Object.keys(json).find((key) => !members.includes(key));
  if (unknown !== undefined) throw new Malformed(`There is an unknown member: ${unknown.slice(0, 40)}.`);
}

async function recordChecks({ record, eventHash, details }: Receipt): Promise<Check[]> {
  let parsed: JsonObject;
  try {
    parsed = parseCanonicalObject(record);
  } catch (error) {
    return [check('record', false, sentenceOf(error))];
  }
  const checks = [check('record', true, 'the record is in canonical form')];
  if (eventHash !== undefined) {
    const isRight = eventHash === hex(await sha256(utf8(record)));
    checks.push(check('event_hash', isRight, isRight ? 'is the hash of the record' : 'is not the hash of the record'));
  }
  if (details !== undefined) {
    const isRight = typeof details === 'string' && (await isDetailsOf(parsed, details));
    checks.push(check('details', isRight, isRight ? 'are those that the record names' : 'are not those of the record'));
  }
  return checks;
}

/** Whether `details`, as canonical JSON, are bound by `meta.details_hash` of the record. */
export async function isDetailsOf(record: JsonObject, details: string): Promise<boolean> {
  const meta = record['meta'];
  if (typeof meta !== 'object' || meta === null || Array.isArray(meta)) return false;
  return meta['details_hash'] === hex(await sha256(utf8(details)));
}

async function inclusionCheck(receipt: Receipt, checkpoint: Checkpoint | undefined): Promise<Check> {
  const { record, leafIndex, treeSize, proof } = receipt;
  if (checkpoint === undefined) return check('inclusion', false, 'there is no checkpoint to prove it against');
  const { size, root } = checkpoint;
  if (treeSize !== undefined && treeSize !== size)
    return check('inclusion', false, 'the tree size is not the checkpoint’s');
  const isProven = await isIncluded(await leafHash(utf8(record)), leafIndex, size, proof, root);
  const place = `record ${leafIndex} of ${size}`;
  return check('inclusion', isProven, isProven ? `is ${place}` : `is not proven to be ${place}`);
}
