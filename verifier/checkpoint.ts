/** Checkpoints (C2SP tlog-checkpoint in a signed note): who signed that the log had this root at this size. */
import { type Bytes, decimalOf, demand, fromBase64, hashesOf, hex } from './bytes.ts';
import type { Checklist } from './report.ts';
import type { TreeHead } from './tree.ts';
import type { Key, Trust } from './trust.ts';

export interface Checkpoint extends TreeHead {
  readonly origin: string;
  /** The signed text and its signatures; `readCheckpoint` does not verify them. */
  readonly text: string;
  readonly signatures: readonly { readonly name: string; readonly id: string; readonly bytes: Bytes }[];
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: notes may hold none but newlines.
const control = /[\x00-\x09\x0b-\x1f]/;

/** Reads a signed note that is a checkpoint, without believing it. Throws `Refusal`. */
export function readCheckpoint(note: string): Checkpoint {
  demand(note.length <= 1_048_576 && note.isWellFormed() && !control.test(note), 'The note is too long or not text.');
  const split = note.lastIndexOf('\n\n');
  const lines = note.slice(split + 2).split('\n');
  demand(split >= 0 && lines.pop() === '' && lines.length <= 100, 'The checkpoint is not a signed note.');
  const text = note.slice(0, split + 1);
  const [origin = '', size, root, ...extensions] = text.slice(0, -1).split('\n');
  demand(origin !== '' && !extensions.includes(''), 'The checkpoint has an empty line.');
  const [rootBytes] = hashesOf([root]) as [Bytes];
  return {
    origin,
    size: decimalOf(size, 'size of the tree'),
    root: rootBytes,
    text,
    signatures: lines.map(readSignature),
  };
}

function readSignature(line: string): Checkpoint['signatures'][number] {
  const [, name, encoded] = /^— ([^+\p{White_Space}]+) ([A-Za-z0-9+/=]+)$/u.exec(line) ?? [];
  demand(name !== undefined, 'A signature line is not "— <name> <base64>".');
  const bytes = fromBase64(encoded ?? '');
  demand(bytes.length > 4, 'A signature line has no signature.');
  return { name, id: hex(bytes.slice(0, 4)), bytes: bytes.slice(4) };
}

/** Looks at a checkpoint: its form, a signature of a trusted log that bears its origin, and the quorum of witnesses. */
export async function lookAtCheckpoint(list: Checklist, note: string, trust: Trust): Promise<Checkpoint | undefined> {
  let checkpoint: Checkpoint | undefined;
  await list.look('checkpoint', () => {
    checkpoint = readCheckpoint(note);
    return `${checkpoint.origin} at ${checkpoint.size} records`;
  });
  const read = checkpoint;
  if (read === undefined) return undefined;
  await list.look('log_signature', async () => {
    const keys = trust.logs.filter(({ name }) => name === read.origin);
    demand(keys.length > 0, `No trusted key is named after the origin ${read.origin}.`);
    demand((await signersOf(read, keys)).size > 0, 'No trusted key has signed it.');
    return `signed by ${read.origin}`;
  });
  await list.look('witnesses', async () => {
    const times = await signersOf(read, [...trust.witnesses.values()]);
    const cosigned = [...trust.witnesses].filter(([, key]) => times.has(key));
    const said = cosigned.map(([name, key]) => `${name} at ${momentOf(times.get(key) ?? 0)}`);
    const detail = said.length === 0 ? 'no trusted witness has cosigned' : `cosigned by ${said.join(', ')}`;
    demand(trust.isQuorum(new Set(cosigned.map(([name]) => name))), `Too few witnesses: ${detail}.`);
    return detail;
  });
  return read;
}

// A witness can sign a time that no calendar has.
function momentOf(timeSec: number): string {
  const date = new Date(timeSec * 1000);
  return Number.isNaN(date.getTime()) ? `second ${timeSec}` : date.toISOString();
}

/** The keys that signed, with the time. Each counts once, by its first line; a wrong signature of a known key spoils all. */
async function signersOf({ text, signatures }: Checkpoint, keys: readonly Key[]): Promise<Map<Key, number>> {
  const times = new Map<Key, number>();
  for (const { name, id, bytes } of signatures) {
    const key = keys.find((known) => known.name === name && known.id === id);
    if (key === undefined || times.has(key)) continue;
    const timeSec = await key.verify(text, bytes);
    demand(timeSec !== undefined, `The signature of ${name} is wrong.`);
    times.set(key, timeSec);
  }
  return times;
}
