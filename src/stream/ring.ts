/**
 * The newest records of the log, encoded, without a hole: from `start` up to before `end`. Bounded in number and bytes;
 * what was pushed out is in the table.
 */
import type { FilterView } from './filter.ts';
import type { FrameFormat, StreamRecord } from './frame.ts';

export interface RingBounds {
  readonly recordsMax: number;
  readonly bytesMax: number;
}

export interface WriteBounds {
  /** Of one write; a record alone may pass it. */
  readonly bytesMax: number;
  /** How many records are looked at for one write. */
  readonly scanMax: number;
}

/** What a reader gets at once. */
export interface Chunk {
  /** Frames one after the other; empty when nothing matched. */
  readonly bytes: Buffer;
  readonly events: number;
  /** Where the reader stands after it. */
  readonly next: number;
  /** The id of the record before `next`. */
  readonly lastId: string;
}

const sharedChunksMax = 64;
const compactMin = 1_024;

export class Ring {
  readonly #bounds: RingBounds;
  // The record of `seq` is at `seq - #base`; what is before `start` is empty, and is cut off in steps.
  #records: (StreamRecord | undefined)[] = [];
  // What readers at the same place with the same filter share, until there is more to read.
  readonly #chunks = new Map<string, Chunk>();
  #base: number;
  #start: number;
  #bytes = 0;

  constructor(start: number, bounds: RingBounds) {
    this.#bounds = bounds;
    this.#base = start;
    this.#start = start;
  }

  get start(): number {
    return this.#start;
  }

  get end(): number {
    return this.#base + this.#records.length;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The record of `seq`, when it is here. */
  at(seq: number): StreamRecord | undefined {
    return this.#records[seq - this.#base];
  }

  /** The record must be the next one. */
  push(record: StreamRecord): void {
    if (record.seq !== this.end) throw new Error(`Record ${record.seq} does not follow ${this.end - 1}.`);
    this.#chunks.clear();
    this.#records.push(record);
    this.#bytes += record.size;
    while (this.end - this.#start > this.#bounds.recordsMax || this.#bytes > this.#bounds.bytesMax) this.#dropOldest();
    this.#compact();
  }

  /** Matching records from `next` on, which must be inside, as many as fit one write. */
  chunk(next: number, filter: FilterView, format: FrameFormat, bounds: WriteBounds): Chunk {
    const key = `${format} ${next} ${filter.text}`;
    const known = this.#chunks.get(key);
    if (known !== undefined) return known;
    const chunk = this.#makeChunk(next, filter, format, bounds);
    if (this.#chunks.size < sharedChunksMax) this.#chunks.set(key, chunk);
    return chunk;
  }

  #makeChunk(next: number, { matches }: FilterView, format: FrameFormat, bounds: WriteBounds): Chunk {
    const frames: Buffer[] = [];
    let bytes = 0;
    let seq = next;
    const end = Math.min(this.end, next + bounds.scanMax);
    for (; seq < end; seq++) {
      const record = this.#records[seq - this.#base] as StreamRecord;
      if (!matches(record.keys)) continue;
      const frame = record.frame(format);
      if (bytes > 0 && bytes + frame.length > bounds.bytesMax) break;
      frames.push(frame);
      bytes += frame.length;
    }
    const last = this.#records[seq - 1 - this.#base] as StreamRecord;
    return { bytes: joined(frames), events: frames.length, next: seq, lastId: last.eventId };
  }

  #dropOldest(): void {
    const place = this.#start - this.#base;
    this.#bytes -= (this.#records[place] as StreamRecord).size;
    this.#records[place] = undefined;
    this.#start++;
  }

  #compact(): void {
    const gone = this.#start - this.#base;
    if (gone < compactMin || gone * 2 < this.#records.length) return;
    this.#records = this.#records.slice(gone);
    this.#base = this.#start;
  }
}

/** One buffer for one write. */
export function joined(frames: readonly Buffer[]): Buffer {
  return frames.length === 1 ? (frames[0] as Buffer) : Buffer.concat(frames);
}
