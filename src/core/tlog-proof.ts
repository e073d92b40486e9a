/**
 * The text form of an inclusion proof (C2SP tlog-proof): extra data, index, audit path and the signed checkpoint that
 * the path leads to. The leaf itself is not part of it, unless it travels as the extra data.
 */
import { decodeBase64, decodeBase64Hash, encodeBase64 } from './base64.ts';
import { parseCheckpoint } from './checkpoint.ts';
import { TalosError } from './errors.ts';
import { parseNote } from './note.ts';

export interface TlogProof {
  /** Opaque and not authenticated. */
  readonly extra?: Buffer;
  /** The index of the leaf. */
  readonly index: number;
  /** The audit path, nearest sibling first. */
  readonly hashes: readonly Buffer[];
  /** The signed note, verbatim. */
  readonly checkpoint: string;
}

const header = 'c2sp.org/tlog-proof@v1';
const proofCharsMax = 2 * 1024 * 1024;
/** A tree of 2^53 leaves has paths of 53 hashes. */
export const proofHashesMax = 63;

export function formatTlogProof({ extra, index, hashes, checkpoint }: TlogProof): string {
  const lines = [header, ...(extra === undefined ? [] : [`extra ${encodeBase64(extra)}`]), `index ${index}`];
  return `${[...lines, ...hashes.map(encodeBase64)].join('\n')}\n\n${checkpoint}`;
}

/** Reads a proof without judging it. Throws `INVALID_REQUEST` when it is malformed. */
export function parseTlogProof(text: string): TlogProof {
  if (text.length > proofCharsMax) throw refuse(`is longer than ${proofCharsMax} characters`);
  const split = text.indexOf('\n\n');
  if (split < 0) throw refuse('has no empty line before the checkpoint');
  const lines = text.slice(0, split).split('\n');
  if (lines.shift() !== header) throw refuse(`does not start with ${header}`);
  const extra = lines[0]?.startsWith('extra ') ? parseExtra(lines.shift() ?? '') : undefined;
  const index = parseIndex(lines.shift() ?? '');
  const hashes = parseHashes(lines);
  const checkpoint = text.slice(split + 2);
  parseCheckpoint(parseNote(checkpoint).text);
  return { index, hashes, checkpoint, ...(extra === undefined ? {} : { extra }) };
}

function parseExtra(line: string): Buffer {
  const extra = decodeBase64(line.slice('extra '.length));
  if (extra === undefined) throw refuse('has extra data that is not base64');
  return extra;
}

function parseIndex(line: string): number {
  const index = Number(/^index (0|[1-9][0-9]{0,15})$/.exec(line)?.[1] ?? Number.NaN);
  if (!Number.isSafeInteger(index)) throw refuse('has no index without leading zeroes');
  return index;
}

function parseHashes(lines: readonly string[]): Buffer[] {
  if (lines.length > proofHashesMax) throw refuse(`has more than ${proofHashesMax} hashes`);
  return lines.map((line) => {
    const hash = decodeBase64Hash(line);
    if (hash === undefined) throw refuse('has a line that is no base64 SHA-256 hash');
    return hash;
  });
}

function refuse(reason: string): TalosError {
  return new TalosError('INVALID_REQUEST', { message: `The proof ${reason}.` });
}
