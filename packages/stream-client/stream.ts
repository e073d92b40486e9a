/**
 * A stream over many connections: each goes on where the one before it stood, at whichever gateway, so that a consumer
 * sees every record once and in order. What the log has lost to retention comes as a gap.
 */
import { ItemBuffer } from './buffer.ts';
import { Connection, type Ended } from './connection.ts';
import { isAfter } from './cursor.ts';
import { StreamError, type StreamErrorCode } from './errors.ts';
import { provide, type StreamOptions } from './options.ts';
import { type CheckedItem, RecordChecker, type Verification } from './record-check.ts';

export type StreamItem =
  | {
      readonly type: 'event';
      readonly event: Readonly<Record<string, unknown>>;
      readonly cursor: string;
      /** With `verify` alone. */
      readonly verification?: Verification;
    }
  /** Records after `from` and up to `to`, both cursors, are gone. */
  | { readonly type: 'gap'; readonly from: string; readonly to: string; readonly reason: string };

export interface LogStream extends AsyncIterableIterator<StreamItem, undefined> {
  /** Where the consumer stands: what it has taken, and what there was nothing of. Open the next stream `after` it. */
  readonly cursor: string;
  /** Ends the iteration; what waits is dropped. */
  readonly close: () => void;
}

/**
 * Opens a stream. It connects at once, and again after every break, until it is closed. The iteration throws a
 * `StreamError` when the gateway refuses it; everything else is tried again.
 */
export function openStream(options: StreamOptions): LogStream {
  const stream = new Stream(options);
  void stream.run();
  return stream;
}

interface Buffered {
  readonly item: StreamItem;
  readonly verification: Promise<Verification> | undefined;
}

const bufferMaxDefault = 1_024;
const backoffDefault = { firstMs: 250, maxMs: 15_000 };
/** A gateway takes 50 messages a second, so a consumer that is just fast enough must not pause it for every item. */
const pauseMsMin = 100;
const fatalCodes = ['AUTH_FAILED', 'CAPABILITY_EXPIRED', 'INVALID_MESSAGE'] as const satisfies StreamErrorCode[];

class Stream implements LogStream {
  readonly #options: StreamOptions;
  readonly #buffer: ItemBuffer<Buffered>;
  readonly #checker = new RecordChecker();
  #urlIndex: number;
  #connection: Connection | undefined;
  #isWelcome = false;
  #failures = 0;
  #isClosed = false;
  #wake: () => void = () => undefined;
  /** What has arrived, or is known not to match: where the next connection goes on. */
  #received: string;
  /** What the consumer has taken. */
  #taken: string;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#received = options.after ?? '';
    this.#taken = this.#received;
    this.#urlIndex = Math.floor(randomBelow(options.urls.length));
    this.#buffer = new ItemBuffer({
      max: options.bufferMax ?? bufferMaxDefault,
      onFull: () => this.#connection?.pause(),
      onRoom: () => setTimeout(() => this.#resume(), pauseMsMin),
    });
    options.signal?.addEventListener('abort', this.close, { once: true });
    if (options.signal?.aborted === true) this.close();
  }

  get cursor(): string {
    return this.#buffer.size === 0 && !this.#isClosed ? this.#received : this.#taken;
  }

  readonly close = (): void => {
    if (this.#isClosed) return;
    this.#taken = this.cursor;
    this.#isClosed = true;
    this.#options.signal?.removeEventListener('abort', this.close);
    this.#connection?.close();
    this.#buffer.clear();
    this.#buffer.end();
    this.#wake();
  };

  async next(): Promise<IteratorResult<StreamItem, undefined>> {
    const { value, done } = await this.#buffer.take();
    if (done === true || value === undefined) return { value: undefined, done: true };
    const { item, verification } = value;
    this.#taken = item.type === 'gap' ? item.to : item.cursor;
    return { value: await withVerification(item, verification), done: false };
  }

  async return(): Promise<IteratorResult<StreamItem, undefined>> {
    this.close();
    return { value: undefined, done: true };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Connects until the stream is closed or refused. */
  async run(): Promise<void> {
    while (!this.#isClosed) {
      const url = this.#url;
      try {
        const ended = await this.#connect(url);
        this.#refuseFatal(ended);
        if (!this.#isClosed) await this.#wait(url, ended);
      } catch (error) {
        this.#taken = this.cursor;
        this.#isClosed = true;
        this.#buffer.end(error);
      }
    }
  }

  get #url(): string {
    const { urls } = this.#options;
    return urls[this.#urlIndex % urls.length] ?? urls[0];
  }

  async #connect(url: string): Promise<Ended> {
    const [capability, ticket] = await this.#credentials();
    if (this.#isClosed) return { closeCode: 1000, code: undefined, reason: '', retryAfterMs: undefined };
    this.#isWelcome = false;
    this.#connection = new Connection(
      { url, capability, ticket, filters: this.#options.filters, after: this.#received },
      {
        onWelcome: ({ sessionId, cursor }) => this.#welcomed(url, sessionId, cursor),
        onEvent: (event, cursor) => this.#onEvent(event, cursor),
        onGap: (gap) => this.#onGap(gap),
        onCursor: (cursor) => this.#advance(cursor),
        cursor: () => this.cursor,
      },
    );
    return await this.#connection.ended;
  }

  async #credentials(): Promise<[capability: string, ticket: string | undefined]> {
    const { capability, ticket } = this.#options;
    try {
      return [(await provide(capability)) ?? '', await provide(ticket)];
    } catch (error) {
      throw new StreamError('CREDENTIALS_UNAVAILABLE', 'The credentials for the stream could not be had.', error);
    }
  }

  #welcomed(url: string, sessionId: string, cursor: string): void {
    this.#isWelcome = true;
    this.#failures = 0;
    // The first one says where a stream without a place begins.
    if (this.#received === '') this.#advance(cursor);
    if (this.#buffer.isFull) this.#connection?.pause();
    this.#options.onStatus?.({ state: 'connected', url, sessionId });
  }

  #onEvent(event: Readonly<Record<string, unknown>>, cursor: string): void {
    if (!isAfter(cursor, this.#received)) return;
    this.#advance(cursor, { item: { type: 'event', event, cursor }, verification: this.#verificationOf(event) });
  }

  #onGap({ from, to, reason }: { readonly from: string; readonly to: string; readonly reason: string }): void {
    if (!isAfter(to, this.#received)) return;
    this.#advance(to, { item: { type: 'gap', from, to, reason }, verification: undefined });
  }

  #advance(cursor: string, buffered?: Buffered): void {
    // A consumer that has nothing to take stands where the stream does.
    if (this.#buffer.size === 0) this.#taken = this.#received;
    if (isAfter(cursor, this.#received)) this.#received = cursor;
    if (buffered !== undefined) this.#buffer.push(buffered);
  }

  #verificationOf(event: Readonly<Record<string, unknown>>): Promise<Verification> | undefined {
    if (this.#options.verify !== true) return undefined;
    const source = async () => ({ url: this.#url, capability: (await provide(this.#options.capability)) ?? '' });
    const verification = this.#checker.check(event as unknown as CheckedItem, source);
    // Thrown to whoever takes the item; it may never be taken.
    verification.catch(() => undefined);
    return verification;
  }

  #resume(): void {
    if (!this.#buffer.isFull) this.#connection?.resume();
  }

  /** What a fresh credential may mend is tried again when there can be one. */
  #refuseFatal({ code, reason }: Ended): void {
    const fatal = fatalCodes.find((known) => known === code);
    const { capability, ticket } = this.#options;
    const canRenew = fatal !== 'INVALID_MESSAGE' && (typeof capability === 'function' || ticket !== undefined);
    if (fatal !== undefined && !(canRenew && this.#isWelcome)) throw new StreamError(fatal, reason);
  }

  async #wait(url: string, { reason, retryAfterMs }: Ended): Promise<void> {
    const { firstMs, maxMs } = this.#options.backoff ?? backoffDefault;
    this.#failures++;
    this.#urlIndex++;
    const isElsewhere = this.#url !== url;
    const backoffMs = Math.ceil(randomBelow(Math.min(maxMs, firstMs * 2 ** (this.#failures - 1))));
    // The gateway that goes away knows when it is back; another one need not be waited for.
    const retryInMs = isElsewhere ? backoffMs : Math.max(backoffMs, retryAfterMs ?? 0);
    this.#options.onStatus?.({ state: 'waiting', url, reason, attempt: this.#failures, retryInMs });
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, retryInMs);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#isClosed) this.#wake();
    });
  }
}

async function withVerification(
  item: StreamItem,
  verification: Promise<Verification> | undefined,
): Promise<StreamItem> {
  return verification === undefined || item.type !== 'event' ? item : { ...item, verification: await verification };
}

/** A random number from 0 to below `end`. */
function randomBelow(end: number): number {
  const [word = 0] = crypto.getRandomValues(new Uint32Array(1));
  return (word / 2 ** 32) * end;
}
