/**
 * The streams of one session: the general one, for what belongs to no request, and one for each answer that has become a
 * stream. All of them can be resumed as far as their buffer reaches.
 */
import { bounds } from '../../../config/bounds.ts';
import { TalosError } from '../../../core/errors.ts';
import type { EventSink } from './event-sink.ts';
import { MessageStream, readEventId } from './message-stream.ts';
import { type ReplayBudget, ReplayBuffer } from './replay-buffer.ts';

const generalNumber = 0;

export class SessionStreams {
  readonly general: MessageStream;
  readonly #replay: ReplayBuffer;
  readonly #byNumber = new Map<number, MessageStream>();
  #lastNumber = generalNumber;

  constructor(budget: ReplayBudget) {
    this.#replay = new ReplayBuffer(budget);
    this.general = new MessageStream(generalNumber, this.#replay);
    this.#byNumber.set(generalNumber, this.general);
  }

  /** A stream for one answer. */
  open(): MessageStream {
    const stream = new MessageStream(++this.#lastNumber, this.#replay);
    this.#byNumber.set(stream.number, stream);
    if (this.#byNumber.size > bounds.mcpStreamsKeptMax) this.#forgetOldest();
    return stream;
  }

  /**
   * Goes on with the stream that an event is of; without one, with the general stream. Undefined when some of what came
   * since is not kept. Throws `INVALID_REQUEST` for an id that was never given.
   */
  resume(sink: EventSink, lastEventId: string | undefined): MessageStream | undefined {
    const at = lastEventId === undefined ? { stream: generalNumber, seq: undefined } : readEventId(lastEventId);
    if (at === undefined || at.stream > this.#lastNumber) throw unknownEvent();
    const stream = this.#byNumber.get(at.stream);
    if (stream !== undefined && at.seq !== undefined && !stream.knows(at.seq)) throw unknownEvent();
    return stream?.connect(sink, at.seq) === true ? stream : undefined;
  }

  /** Nothing can be resumed any more. */
  close(): void {
    this.general.disconnect();
    this.#replay.close();
  }

  /** The oldest that nothing will be sent on any more. */
  #forgetOldest(): void {
    for (const stream of this.#byNumber.values()) {
      if (!stream.isFinished) continue;
      this.#byNumber.delete(stream.number);
      this.#replay.forget(stream.number);
      return;
    }
  }
}

function unknownEvent(): TalosError {
  return new TalosError('INVALID_REQUEST', { message: 'Last-Event-ID is not the id of an event of this session.' });
}
