/**
 * Follows the log while somebody reads it live: pages from the table, in order and without a hole, into the ring. A hint
 * makes it look at once; without any it looks every `streamPollMs`, so that a lost hint costs time and no record.
 */
import { bounds } from '../config/bounds.ts';
import { describeError } from '../core/errors.ts';
import type { Listening, LogTail } from '../storage/tail.ts';
import type { Telemetry } from '../telemetry/telemetry.ts';
import { StreamRecord } from './frame.ts';
import { Ring } from './ring.ts';

export interface FollowerOptions {
  readonly tail: LogTail;
  readonly telemetry: Pick<Telemetry, 'streamReadFailed' | 'streamReadWorks'>;
  /** Told when there is more in the ring. */
  readonly onMore: () => void;
}

export class Follower {
  readonly #options: FollowerOptions;
  #ring: Ring | undefined;
  #listening: Listening | undefined;
  #running: Promise<void> | undefined;
  #isWanted = false;
  #isHinted = false;
  #wake: (() => void) | undefined;

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  /** What was read so far; undefined until the end of the log was found. */
  get ring(): Ring | undefined {
    return this.#ring;
  }

  /** From now on the log is followed. */
  start(): void {
    if (this.#isWanted) return;
    this.#isWanted = true;
    this.#listening = this.#options.tail.listen(() => this.hint());
    this.#running = this.#run(this.#running);
  }

  /** Nobody reads any more. Resolves when the last read is through. */
  async stop(): Promise<void> {
    if (!this.#isWanted) return await this.#running;
    this.#isWanted = false;
    const listening = this.#listening;
    this.#listening = undefined;
    this.hint();
    await listening?.close();
    await this.#running;
  }

  /** There may be more. */
  hint(): void {
    this.#isHinted = true;
    this.#wake?.();
  }

  async #run(before: Promise<void> | undefined): Promise<void> {
    await before;
    while (this.#isWanted) {
      try {
        const hasMore = await this.#read();
        this.#options.telemetry.streamReadWorks();
        if (!hasMore) await this.#pause(bounds.streamPollMs);
      } catch (error) {
        this.#options.telemetry.streamReadFailed(describeError(error));
        this.#isHinted = false;
        await this.#pause(bounds.streamRetryMs);
      }
    }
    this.#ring = undefined;
  }

  /** Reads one page. Resolves with whether there may be another. */
  async #read(): Promise<boolean> {
    const { tail, onMore } = this.#options;
    this.#isHinted = false;
    if (this.#ring === undefined) {
      this.#ring = newRing(await tail.head());
      onMore();
    }
    const ring = this.#ring;
    const page = await tail.records({
      filter: {},
      firstSeq: ring.end,
      limit: bounds.streamFollowRecordsMax,
      bytesMax: bounds.streamFollowBytesMax,
    });
    for (const event of page) ring.push(new StreamRecord(event));
    if (page.length > 0) onMore();
    return page.length > 0;
  }

  async #pause(ms: number): Promise<void> {
    if (this.#isHinted || !this.#isWanted) return;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = undefined;
  }
}

function newRing(start: number): Ring {
  return new Ring(start, { recordsMax: bounds.streamRingRecordsMax, bytesMax: bounds.streamRingBytesMax });
}
