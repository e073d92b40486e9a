/**
 * What was sent on the streams of one session, kept so that they can be resumed: within bounds, the oldest goes first.
 * It knows what it has dropped, so that a gap is told and never passed over.
 */
import { bounds } from '../../config/bounds.ts';

interface KeptEvent {
  readonly stream: number;
  readonly seq: number;
  readonly data: string;
}

/** Half of what there is, is for all sessions alike, so that nobody's streams break because others' are loud. */
const ownShare = bounds.mcpReplayTotalBytesMax / 2 / bounds.mcpSessionsMax;

/** How much all sessions keep together. */
export interface ReplayBudget {
  chars: number;
}

export class ReplayBuffer {
  readonly #budget: ReplayBudget;
  readonly #events: KeptEvent[] = [];
  /** Of each stream, the newest event that is not kept any more. */
  readonly #dropped = new Map<number, number>();
  #chars = 0;
  #isClosed = false;

  constructor(budget: ReplayBudget) {
    this.#budget = budget;
  }

  add(stream: number, seq: number, data: string): void {
    if (this.#isClosed) return;
    this.#events.push({ stream, seq, data });
    this.#count(data.length);
    while (this.#isOver() && this.#events.length > 0) this.#dropOldest();
  }

  /** What came after an event of the stream; undefined when some of it is not kept. */
  after(stream: number, seq: number): readonly KeptEvent[] | undefined {
    if ((this.#dropped.get(stream) ?? 0) > seq) return undefined;
    return this.#events.filter((event) => event.stream === stream && event.seq > seq);
  }

  forget(stream: number): void {
    for (const { data } of this.#events.filter((event) => event.stream === stream)) this.#count(-data.length);
    const others = this.#events.filter((event) => event.stream !== stream);
    this.#events.splice(0, this.#events.length, ...others);
    this.#dropped.delete(stream);
  }

  /** Keeps nothing, from now on. */
  close(): void {
    this.#isClosed = true;
    this.#count(-this.#chars);
    this.#events.length = 0;
  }

  #isOver(): boolean {
    const { mcpReplayBytesMax, mcpReplayEventsMax, mcpReplayTotalBytesMax } = bounds;
    if (this.#events.length > mcpReplayEventsMax || this.#chars > mcpReplayBytesMax) return true;
    return this.#chars > ownShare && this.#budget.chars > mcpReplayTotalBytesMax / 2;
  }

  #dropOldest(): void {
    const oldest = this.#events.shift();
    if (oldest === undefined) return;
    this.#dropped.set(oldest.stream, oldest.seq);
    this.#count(-oldest.data.length);
  }

  #count(chars: number): void {
    this.#chars += chars;
    this.#budget.chars += chars;
  }
}
