/**
 * What a log sends to a witness (C2SP tlog-witness, `add-checkpoint`): the size that the witness has seen, the proof that
 * the new tree continues it, and the new checkpoint.
 */
import { decodeBase64Hash, encodeBase64 } from '../core/base64.ts';
import { TalosError } from '../core/errors.ts';

export interface AddCheckpoint {
  readonly oldSize: number;
  /** Empty when the old size is 0 or that of the checkpoint. */
  readonly proof: readonly Buffer[];
  /** The signed note. */
  readonly note: string;
}

/** The path below a witness's submission prefix. */
export const addCheckpointPath = '/add-checkpoint';
/** The type of a refusal that tells the size of the checkpoint that the witness has. */
export const sizeType = 'text/x.tlog.size';

const proofLinesMax = 63;

export function formatAddCheckpoint({ oldSize, proof, note }: AddCheckpoint): string {
  return `${[`old ${oldSize}`, ...proof.map(encodeBase64)].join('\n')}\n\n${note}`;
}

/** Reads the body strictly. Throws `INVALID_REQUEST`. */
export function parseAddCheckpoint(body: string): AddCheckpoint {
  const split = body.indexOf('\n\n');
  if (split < 0) throw refuse('has no empty line before the checkpoint');
  const [first = '', ...lines] = body.slice(0, split).split('\n');
  const size = /^old (.*)$/.exec(first)?.[1] ?? '';
  const oldSize = parseTreeSize(size);
  if (oldSize === undefined) throw refuse('does not begin with "old <size>"');
  if (lines.length > proofLinesMax) throw refuse(`has more than ${proofLinesMax} proof lines`);
  const proof = lines.map((line) => {
    const hash = decodeBase64Hash(line);
    if (hash === undefined) throw refuse('has a proof line that is no base64 SHA-256 hash');
    return hash;
  });
  return { oldSize, proof, note: body.slice(split + 2) };
}

/** Decimal digits without leading zeroes, or undefined. */
export function parseTreeSize(text: string): number | undefined {
  const size = /^(?:0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(size) ? size : undefined;
}

function refuse(reason: string): TalosError {
  return new TalosError('INVALID_REQUEST', { message: `The request ${reason}.` });
}
