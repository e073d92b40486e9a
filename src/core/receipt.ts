/**
 * The receipt of a record, `talos.receipt/v1`: the exact canonical record, its place in the log, and the proof that a
 * signed checkpoint covers it. It verifies offline, without the gateway that made it.
 */
import { decodeBase64Hash, encodeBase64 } from './base64.ts';
import { parseCheckpoint } from './checkpoint.ts';
import { TalosError } from './errors.ts';
import { isJsonObject, type JsonObject, type JsonValue } from './json.ts';
import { parseNote } from './note.ts';
import { parseJsonStrict } from './strict-json.ts';
import { proofHashesMax, type TlogProof } from './tlog-proof.ts';

const receiptFormat = 'talos.receipt/v1';

export interface Receipt {
  /** The canonical record: as UTF-8 the data of the leaf. */
  readonly record: string;
  /** hex SHA-256 of the record; a convenience, the record tells it. */
  readonly eventHash?: string;
  /** Canonical JSON of the details that `meta.details_hash` of the record binds. */
  readonly details?: string;
  readonly leafIndex: number;
  /** The size of the tree that the checkpoint speaks of. */
  readonly treeSize: number;
  /** The audit path, nearest sibling first. */
  readonly proof: readonly Buffer[];
  /** The signed note, verbatim. */
  readonly checkpoint: string;
}

const receiptCharsMax = 8 * 1024 * 1024;
const recordCharsMax = 65_535;
const detailsCharsMax = 1024 * 1024;

/** The receipt as a JSON object. */
export function receiptToJson(receipt: Receipt): JsonObject {
  return {
    format: receiptFormat,
    record: receipt.record,
    ...(receipt.eventHash === undefined ? {} : { event_hash: receipt.eventHash }),
    ...(receipt.details === undefined ? {} : { details: receipt.details }),
    leaf_index: receipt.leafIndex,
    tree_size: receipt.treeSize,
    proof: receipt.proof.map(encodeBase64),
    checkpoint: receipt.checkpoint,
  };
}

export function formatReceipt(receipt: Receipt): string {
  return JSON.stringify(receiptToJson(receipt));
}

/** The same proof as a C2SP `.tlog-proof`, with the record as its extra data. */
export function receiptToTlogProof({ record, leafIndex, proof, checkpoint }: Receipt): TlogProof {
  return { extra: Buffer.from(record), index: leafIndex, hashes: proof, checkpoint };
}

/** Reads a receipt strictly, without judging what it proves. Throws `INVALID_JSON` or `INVALID_REQUEST`. */
export function parseReceipt(text: string): Receipt {
  if (text.length > receiptCharsMax) throw refuse(`is longer than ${receiptCharsMax} characters`);
  const value = parseJsonStrict(text);
  if (!isJsonObject(value)) throw refuse('is not a JSON object');
  return receiptOfJson(value);
}

const members = ['format', 'record', 'event_hash', 'details', 'leaf_index', 'tree_size', 'proof', 'checkpoint'];

function receiptOfJson(json: JsonObject): Receipt {
  const unknown = Object.keys(json).find((key) => !members.includes(key));
  if (unknown !== undefined) throw refuse('has a member that is not known');
  if (json['format'] !== receiptFormat) throw refuse(`is not of the format ${receiptFormat}`);
  const [leafIndex, treeSize] = [parseCount(json, 'leaf_index'), parseCount(json, 'tree_size')];
  if (leafIndex >= treeSize) throw refuse('has a leaf index beyond its tree size');
  const eventHash = json['event_hash'] === undefined ? undefined : parseText(json, 'event_hash', 64);
  if (eventHash !== undefined && !/^[0-9a-f]{64}$/.test(eventHash)) throw refuse('has an event hash that is none');
  const details = json['details'] === undefined ? undefined : parseText(json, 'details', detailsCharsMax);
  return {
    record: parseText(json, 'record', recordCharsMax),
    ...(eventHash === undefined ? {} : { eventHash }),
    ...(details === undefined ? {} : { details }),
    leafIndex,
    treeSize,
    proof: parseProof(json['proof']),
    checkpoint: parseCheckpointNote(json, treeSize),
  };
}

function parseText(json: JsonObject, key: string, charsMax: number): string {
  const value = json[key];
  if (typeof value !== 'string' || value.length > charsMax)
    throw refuse(`has no ${key} of at most ${charsMax} characters`);
  return value;
}

function parseCount(json: JsonObject, key: string): number {
  const value = json[key];
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw refuse(`has no ${key}`);
  return value;
}

function parseProof(value: JsonValue | undefined): Buffer[] {
  if (!Array.isArray(value) || value.length > proofHashesMax)
    throw refuse(`has no proof of at most ${proofHashesMax} hashes`);
  return value.map((text: JsonValue) => {
    const hash = typeof text === 'string' ? decodeBase64Hash(text) : undefined;
    if (hash === undefined) throw refuse('has a proof that is not a list of base64 SHA-256 hashes');
    return hash;
  });
}

function parseCheckpointNote(json: JsonObject, treeSize: number): string {
  const note = parseText(json, 'checkpoint', receiptCharsMax);
  if (parseCheckpoint(parseNote(note).text).size !== treeSize)
    throw refuse('has a tree size that is not the checkpoint’s');
  return note;
}

function refuse(reason: string): TalosError {
  return new TalosError('INVALID_REQUEST', { message: `The receipt ${reason}.` });
}
