/**
 * What was sent on the streams of one session, kept so that they can be resumed: within bounds, the oldest goes first.
 * It knows what it has dropped, so that a gap is told and never passed over. Log messages of servers go before all else
 * and leave no gap, or one server that talks much could end a session with many.
 */
import { bounds } from '../../../config/bounds.ts';

interface KeptEvent {
  readonly stream: number;
  readonly seq: number;
  readonly data: string;
  readonly isLog: boolean;
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
  #logs = 0;
  #isClosed = false;

  constructor(budget: ReplayBudget) {
    this.#budget = budget;
  }

  add(stream: number, seq: number, data: string, isLog = false): void {
    if (this.#isClosed) return;
    this.#events.push({ stream, seq, data, isLog });
    this.#count(data.length);
    if (isLog) this.#logs++;
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
    this.#logs = others.filter(({ isLog }) => isLog).length;
    this.#dropped.delete(stream);
  }

  /** Keeps nothing, from now on. */
  close(): void {
    this.#isClosed = true;
    this.#count(-this.#chars);
    this.#events.length = 0;
    this.#logs = 0;
  }

  #isOver(): boolean {
    const { mcpReplayBytesMax, mcpReplayEventsMax, mcpReplayTotalBytesMax } = bounds;
    if (this.#events.length > mcpReplayEventsMax || this.#chars > mcpReplayBytesMax) return true;
    return this.#chars > ownShare && this.#budget.chars > mcpReplayTotalBytesMax / 2;
  }

  #dropOldest(): void {
    const at = this.#logs > 0 ? this.#events.findIndex(({ isLog }) => isLog) : 0;
    const [oldest] = this.#events.splice(at, 1);
    if (oldest === undefined) return;
    if (oldest.isLog) this.#logs--;
    else this.#dropped.set(oldest.stream, oldest.seq);
    this.#count(-oldest.data.length);
  }

  #count(chars: number): void {
    this.#chars += chars;
    this.#budget.chars += chars;
  }
}
