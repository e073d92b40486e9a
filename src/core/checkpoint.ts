/**
 * Checkpoints (C2SP tlog-checkpoint): the text of a signed note that says, of the log named by its origin, how many
 * leaves it has and what its RFC 6962 root is. Only the text is handled here; signatures are `note.ts`.
 */
import { decodeBase64Hash, encodeBase64 } from './base64.ts';
import { TalosError } from './errors.ts';

export interface Checkpoint {
  /** Identifies the log; not empty, one line. */
  readonly origin: string;
  /** How many leaves the log has. */
  readonly size: number;
  /** 32 bytes. */
  readonly root: Buffer;
  /** Further lines, each not empty. We write none: monitors cannot audit them. */
  readonly extensions?: readonly string[];
}

/** The note text. Throws `INVALID_REQUEST` for what `parseCheckpoint` would not give back. */
export function formatCheckpoint({ origin, size, root, extensions = [] }: Checkpoint): string {
  const text = `${[origin, String(size), encodeBase64(root), ...extensions].join('\n')}\n`;
  const again = parseCheckpoint(text);
  if (again.origin !== origin || again.extensions?.length !== extensions.length)
    throw refuse('has a line break in a line');
  return text;
}

/** Reads a note text strictly. Throws `INVALID_REQUEST` when it is no checkpoint. */
export function parseCheckpoint(text: string): Checkpoint {
  if (!text.endsWith('\n')) throw refuse('does not end with a newline');
  const [origin, size, encodedRoot, ...extensions] = text.slice(0, -1).split('\n');
  if (origin === undefined || origin === '') throw refuse('has no origin');
  const root = decodeBase64Hash(encodedRoot ?? '');
  if (root === undefined) throw refuse('has no base64 SHA-256 root in its third line');
  if (extensions.includes('')) throw refuse('has an empty line');
  return { origin, size: parseSize(size ?? ''), root, extensions };
}

function parseSize(text: string): number {
  const size = /^(?:0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(size)) throw refuse('has no tree size without leading zeroes in its second line');
  return size;
}

function refuse(reason: string): TalosError {
  return new TalosError('INVALID_REQUEST', { message: `The checkpoint ${reason}.` });
}
