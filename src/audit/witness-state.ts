/**
 * What a witness has cosigned, in one file: the newest checkpoint of each log. It is durable before a cosignature leaves
 * the house, and a witness that lost it would vouch for a log that was rolled back, so it is never made in silence.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { describeError } from '../core/errors.ts';
import { isJsonObject, type JsonObject } from '../core/json.ts';
import { parseJsonStrict } from '../core/strict-json.ts';
import { foundIn, replaceFile } from './checkpointer-file.ts';

export interface WitnessedCheckpoint {
  readonly size: number;
  readonly root: Buffer;
  /** As the log signed it: evidence, should the log ever deny it. */
  readonly note: string;
}

export interface WitnessState {
  readonly of: (origin: string) => WitnessedCheckpoint | undefined;
  /** Durable when it resolves. When it rejects, the checkpoint may not be cosigned. */
  readonly put: (origin: string, checkpoint: WitnessedCheckpoint) => Promise<void>;
}

const format = 'talos.witness/v1';

/** Writes a state without any checkpoint to a new file. Throws what the file system says. */
export async function createWitnessState(file: string): Promise<void> {
  await writeFile(file, serialize(new Map()), { flag: 'wx', mode: 0o600, flush: true });
}

/** Opens a state that was made before. One process at a time may use it. Throws an `Error` with one sentence. */
export async function openWitnessState(file: string): Promise<WitnessState> {
  let checkpoints = await readState(file);
  return {
    of: (origin) => checkpoints.get(origin),
    async put(origin, checkpoint) {
      const next = new Map(checkpoints).set(origin, checkpoint);
      await replaceFile(file, serialize(next));
      checkpoints = next;
    },
  };
}

type Checkpoints = ReadonlyMap<string, WitnessedCheckpoint>;

async function readState(file: string): Promise<Checkpoints> {
  try {
    const state = parseJsonStrict(await readFile(file, 'utf8'));
    const notes = isJsonObject(state) && state['format'] === format ? state['checkpoints'] : undefined;
    if (!isJsonObject(notes)) throw new Error(`it is not of the format ${format}`);
    return parseNotes(notes);
  } catch (error) {
    throw new Error(`The state of the witness in ${file} cannot be read: ${describeError(error)}`);
  }
}

function parseNotes(notes: JsonObject): Checkpoints {
  return new Map(
    Object.entries(notes).map(([origin, note]) => {
      if (typeof note !== 'string') throw new Error('a checkpoint is not text');
      const { size, root, ...found } = foundIn(origin, note);
      if (found.origin !== origin) throw new Error(`the checkpoint of ${origin} is of another log`);
      return [origin, { size, root, note }];
    }),
  );
}

function serialize(checkpoints: Checkpoints): string {
  const notes = Object.fromEntries([...checkpoints].map(([origin, { note }]) => [origin, note]));
  return `${JSON.stringify({ format, checkpoints: notes }, null, 2)}\n`;
}
