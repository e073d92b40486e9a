/**
 * What is remembered of a log between two looks at it, in one small file that is replaced wholly or not at all. Whoever
 * loses it begins anew, and sees nothing that was changed before.
 */
import { readFile } from 'node:fs/promises';
import { replaceFile } from '../../src/audit/checkpointer-file.ts';
import { isJsonObject, type JsonValue } from '../../src/core/json.ts';
import { type Reading, readCheckpoint } from '../../verifier/index.ts';
import { UsageError } from '../usage-error.ts';

export interface Memory {
  /** The last note that was believed. */
  readonly checkpoint: string;
  /** The keys that were believed at first sight, when that was asked for. */
  readonly keys: readonly string[];
  /** How far the records themselves were read. */
  readonly reading: Reading;
}

export const nothingRead: Reading = { size: 0, edge: [] };

const format = 'talos.log-state/v1';

/** What the file remembers, or undefined when there is no file. */
export async function readMemory(file: string): Promise<Memory | undefined> {
  try {
    return parse(await readFile(file, 'utf8'));
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : undefined;
    if (code === 'ENOENT') return undefined;
    throw new UsageError(`${file} cannot be read (${code ?? `it is no ${format}`}).`);
  }
}

function parse(text: string): Memory {
  const state: unknown = JSON.parse(text);
  if (!isJsonObject(state) || state['format'] !== format) throw new Error('another format');
  const { checkpoint, keys, reading } = state;
  if (typeof checkpoint !== 'string' || !isTexts(keys) || !isReading(reading)) throw new Error('another form');
  readCheckpoint(checkpoint);
  return { checkpoint, keys, reading };
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((text) => typeof text === 'string');
}

function isReading(value: JsonValue | undefined): value is JsonValue & Reading {
  return isJsonObject(value) && Number.isSafeInteger(value['size']) && isTexts(value['edge']);
}

/** Durable when it resolves. */
export async function writeMemory(file: string, memory: Memory): Promise<void> {
  await written(file, `${JSON.stringify({ format, ...memory }, null, 2)}\n`);
}

/** Keeps the note that contradicts the memory beside it: the two convict the log. Returns the name of the file. */
export async function keepEvidence(file: string, note: string): Promise<string> {
  const evidence = `${file}.refused`;
  await written(evidence, note);
  return evidence;
}

async function written(file: string, text: string): Promise<void> {
  try {
    await replaceFile(file, text);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw new UsageError(`${file} cannot be written (${code}).`);
  }
}
