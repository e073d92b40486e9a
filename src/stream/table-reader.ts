/**
 * What is older than the ring, from the table: a page for each write. Few reads run at once, whoever waits, and readers
 * that want the same page share one, as those that reconnect together do.
 */
import { bounds } from '../config/bounds.ts';
import type { StoredEvent } from '../storage/events.ts';
import type { LogTail, Pruned } from '../storage/tail.ts';
import type { FilterView } from './filter.ts';
import { type FrameFormat, StreamRecord } from './frame.ts';
import { type Chunk, joined } from './ring.ts';

export interface TableRequest {
  readonly position: { readonly next: number };
  readonly view: FilterView;
  readonly format: FrameFormat;
}

export type TablePage = ({ readonly kind: 'chunk' } & Chunk) | ({ readonly kind: 'gap' } & Pruned);

export class TableReader {
  readonly #tail: LogTail;
  readonly #pending = new Map<string, Promise<TablePage>>();
  readonly #waiting: (() => void)[] = [];
  #reads = 0;

  constructor(tail: LogTail) {
    this.#tail = tail;
  }

  /** Matching records before `endSeq`, or the gap that they begin with. Throws `STORE_UNAVAILABLE`. */
  async read(request: TableRequest, endSeq: number): Promise<TablePage> {
    const { position, view, format } = request;
    const key = `${format} ${position.next} ${view.text}`;
    const pending = this.#pending.get(key);
    if (pending !== undefined) return await pending;
    const page = this.#inTurn(() => this.#read(request, endSeq)).finally(() => this.#pending.delete(key));
    this.#pending.set(key, page);
    return await page;
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    if (this.#reads >= bounds.streamPageReadsMax) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#reads++;
    try {
      return await work();
    } finally {
      // Whoever waited longest takes over the place.
      const next = this.#waiting.shift();
      if (next === undefined) this.#reads--;
      else next();
    }
  }

  async #read({ position, view, format }: TableRequest, endSeq: number): Promise<TablePage> {
    const firstSeq = position.next;
    const scanEnd = Math.min(endSeq, firstSeq + bounds.streamPageScanRecordsMax);
    const events = await this.#tail.records({
      filter: view.filter,
      firstSeq,
      endSeq: scanEnd,
      limit: bounds.streamPageRecordsMax,
      bytesMax: bounds.streamPageBytesMax,
    });
    // Asked only now: records are marked as pruned before they go, so a page read before cannot hide that they went.
    const pruned = isWhole(events, firstSeq) ? undefined : await this.#tail.prunedFrom(firstSeq);
    if (pruned !== undefined) return { kind: 'gap', ...pruned };
    return { kind: 'chunk', ...(await this.#chunkOf(events, view, format, scanEnd)) };
  }

  async #chunkOf(found: readonly StoredEvent[], view: FilterView, format: FrameFormat, scanEnd: number) {
    const last = found.at(-1);
    if (last !== undefined) {
      // The table finds more than was asked for where its columns do not tell.
      const records = found.map((event) => new StreamRecord(event)).filter(({ keys }) => view.matches(keys));
      const bytes = joined(records.map((record) => record.frame(format)));
      return { bytes, events: records.length, next: last.seq + 1, lastId: last.eventId };
    }
    const lastId = await this.#tail.idAt(scanEnd - 1);
    // It was pruned just now; the next read says so.
    if (lastId === undefined) throw new Error(`There is no record ${scanEnd - 1} any more.`);
    return { bytes: Buffer.alloc(0), events: 0, next: scanEnd, lastId };
  }
}

/** Whether nothing can be missing between the first place asked for and the last one found. */
function isWhole(events: readonly StoredEvent[], firstSeq: number): boolean {
  const last = events.at(-1);
  return last !== undefined && last.seq - firstSeq === events.length - 1;
}
