/**
 * One reader of the log: where it stands, what it wants, and what it is doing. It pulls; nobody queues anything for it.
 *
 * States: ready (to be served) → writing (until the chunk has left this process) → ready; or → reading (a page of the
 * table) → writing or ready; or → idle (has all there is). Closed is for ever.
 */
import { cursorOf } from '../core/cursor.ts';
import { type FilterView, type StreamFilter, viewOf } from './filter.ts';
import type { FrameFormat } from './frame.ts';
import type { Chunk } from './ring.ts';

/** Records after `from` and up to `to`, both cursors, are gone. */
export interface Gap {
  readonly from: string;
  readonly to: string;
}

/** Where the frames go. */
export interface Sink {
  readonly format: FrameFormat;
  /** `left` is called when the bytes have left this process; never when the connection ends first. */
  readonly write: (bytes: Buffer, left: () => void) => void;
  /** A figure that changes whenever the client takes some of what was written. */
  readonly unsent: () => number;
  /** Says that something is missing, before what comes behind it. */
  readonly gap: (gap: Gap) => void;
}

export interface Position {
  readonly next: number;
  /** The cursor of what comes before it; empty at the start of a log. */
  readonly cursor: string;
}

export type SubscriptionState = 'ready' | 'writing' | 'reading' | 'idle' | 'closed';

export interface SubscriptionOptions {
  readonly sink: Sink;
  readonly filter: StreamFilter;
  readonly position: Position;
  readonly nowMs: () => number;
  /** Told when it may be served again. */
  readonly onReady: (subscription: Subscription) => void;
  readonly onClose: (subscription: Subscription) => void;
}

export class Subscription {
  readonly #options: SubscriptionOptions;
  #view: FilterView;
  #position: Position;
  #state: SubscriptionState = 'idle';
  #isPaused = false;
  #isHeld = false;
  #movedAtMs: number;
  #unsent = 0;
  #events = 0;
  #bytes = 0;
  // A read of the table that began before the reader was moved belongs to nobody.
  #epoch = 0;

  constructor(options: SubscriptionOptions) {
    this.#options = options;
    this.#view = viewOf(options.filter);
    this.#position = options.position;
    this.#movedAtMs = options.nowMs();
  }

  get position(): Position {
    return this.#position;
  }

  get view(): FilterView {
    return this.#view;
  }

  get format(): FrameFormat {
    return this.#options.sink.format;
  }

  get state(): SubscriptionState {
    return this.#state;
  }

  /** The client wants nothing now. */
  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** It gets nothing now, because the client or the gateway says so. */
  get isStopped(): boolean {
    return this.#isPaused || this.#isHeld;
  }

  /** What was written so far. */
  get sent(): { readonly events: number; readonly bytes: number } {
    return { events: this.#events, bytes: this.#bytes };
  }

  /**
   * For how long nothing of the chunk that is on its way was taken, as far as somebody looked; 0 when none is. Large
   * chunks leave slow clients in parts.
   */
  stuckMs(): number {
    if (this.#state !== 'writing') return 0;
    if (this.#options.sink.unsent() !== this.#unsent) this.hasMoved();
    return this.#options.nowMs() - this.#movedAtMs;
  }

  /** The client has taken something. */
  hasMoved(): void {
    this.#movedAtMs = this.#options.nowMs();
    this.#unsent = this.#options.sink.unsent();
  }

  get epoch(): number {
    return this.#epoch;
  }

  /** There is something to be done for it. */
  ready(): void {
    if (this.#state !== 'idle' || this.isStopped) return;
    this.#state = 'ready';
    this.#options.onReady(this);
  }

  /** Its turn ended with nothing to do. */
  rest(): void {
    if (this.#state === 'ready' || this.#state === 'reading') this.#state = 'idle';
  }

  /** A page of the table is being read for it. */
  wait(): void {
    if (this.#state === 'ready') this.#state = 'reading';
  }

  /** Moves over a chunk, and writes what is in it. */
  take(chunk: Chunk): void {
    this.#position = { next: chunk.next, cursor: cursorOf(chunk.lastId) };
    if (chunk.events === 0) this.#again();
    else this.#write(chunk);
  }

  #write(chunk: Chunk): void {
    this.#state = 'writing';
    this.#events += chunk.events;
    this.#bytes += chunk.bytes.length;
    this.#options.sink.write(chunk.bytes, () => {
      if (this.#state === 'writing') this.#again();
    });
    this.hasMoved();
  }

  /** Goes on behind what is gone. */
  skip(gap: { readonly untilSeq: number; readonly lastId: string }): void {
    const to = cursorOf(gap.lastId);
    this.#options.sink.gap({ from: this.#position.cursor, to });
    this.#position = { next: gap.untilSeq, cursor: to };
    this.#again();
  }

  /** Another filter, or another place, or both. */
  move(to: { readonly filter?: StreamFilter; readonly position?: Position }): void {
    if (to.filter !== undefined) this.#view = viewOf(to.filter);
    if (to.position !== undefined) this.#position = to.position;
    this.#epoch++;
    if (this.#state === 'reading') this.#again();
    else this.ready();
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.ready();
  }

  /** Holds it back, or lets it go on, whatever the client says. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    if (!isHeld) this.ready();
  }

  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#options.onClose(this);
  }

  #again(): void {
    this.#state = 'idle';
    this.ready();
  }
}
