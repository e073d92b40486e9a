/**
 * One look at a running log: its newest checkpoint beside the last one that was believed, then the new records
 * themselves. The memory goes on only when all of it holds.
 */
import { setTimeout as delay } from 'node:timers/promises';
import {
  type Checkpoint,
  type EntriesReport,
  type EntryTile,
  type MonitorReport,
  monitor,
  type Reading,
  Refusal,
  readCheckpoint,
  type Trust,
  verifyEntries,
} from '../../verifier/index.ts';
import type { LogSource } from './source.ts';
import { type Memory, nothingRead } from './state.ts';

export interface LogReport extends MonitorReport {
  /** The note that the gateway gave. */
  readonly note: string;
  /** How far the records themselves were read; what it was when anything does not hold. */
  readonly reading: Reading;
}

export interface LogRequest {
  readonly source: LogSource;
  readonly memory: Memory | undefined;
  readonly trust: Trust;
  /** Whether the records are read and hashed too. */
  readonly withRecords: boolean;
  readonly onProgress: (done: number, of: number) => void;
}

const tileWidth = 256;
// Of several gateways on one log, one may be a moment behind the one that was asked last time.
const looksMax = 4;
const firstPauseMs = 250;

/** Throws `LogUnreachable`, and `UsageError` when the caller may not read the records. */
export async function verifyLog(request: LogRequest): Promise<LogReport> {
  const { source, memory, trust } = request;
  const seen = memory === undefined ? undefined : readCheckpoint(memory.checkpoint);
  const note = await newestNote(source, seen);
  const next = readable(note);
  const isLonger = seen !== undefined && next !== undefined && seen.size > 0 && next.size > seen.size;
  const proof = isLonger ? await source.consistency(seen.size, next.size) : [];
  const history = await monitor(memory?.checkpoint, note, proof, trust);
  const reading = memory?.reading ?? nothingRead;
  if (!history.ok || next === undefined || !request.withRecords) return { ...history, note, reading };
  const records = await readRecords(request, reading, next);
  return {
    ...history,
    ok: records.ok,
    checks: [...history.checks, ...records.checks],
    seen: records.ok ? history.seen : memory?.checkpoint,
    note,
    reading: records.reading ?? reading,
  };
}

async function newestNote(source: LogSource, seen: Checkpoint | undefined): Promise<string> {
  for (let look = 1; ; look++) {
    const note = await source.checkpoint();
    const isBehind = seen !== undefined && (readable(note)?.size ?? seen.size) < seen.size;
    if (!isBehind || look === looksMax) return note;
    await delay(firstPauseMs * 2 ** (look - 1));
  }
}

/** What cannot be read is for the verifier to say. */
function readable(note: string): Checkpoint | undefined {
  try {
    return readCheckpoint(note);
  } catch (error) {
    if (error instanceof Refusal) return undefined;
    throw error;
  }
}

async function readRecords(request: LogRequest, reading: Reading, next: Checkpoint): Promise<EntriesReport> {
  return await verifyEntries(reading, tilesOf(request, reading.size, next.size), next);
}

async function* tilesOf(
  { source, onProgress }: LogRequest,
  from: number,
  to: number,
): AsyncGenerator<EntryTile, void, undefined> {
  const first = from === to ? Math.ceil(to / tileWidth) : Math.floor(from / tileWidth);
  for (let index = first; index * tileWidth < to; index++) {
    yield await source.entries(index, Math.min(tileWidth, to - index * tileWidth));
    onProgress(Math.min((index + 1) * tileWidth, to) - from, to - from);
  }
}
