/** One connection of the transport before Streamable HTTP: its stream, and the session that was opened in it. */
import { bounds } from '../../../config/bounds.ts';
import { rpcCodes } from '../../../mcp/protocol/json-rpc.ts';
import { accountKey, type Caller, type RequestFacts } from '../../caller.ts';
import type { NativeAnswer } from '../answer.ts';
import type { NativeMcp, NativeRequest } from '../native-mcp.ts';
import type { EventSink } from '../streams/event-sink.ts';

export interface LegacyOpening {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  readonly serverId: string;
  readonly reauthenticate: () => Promise<Caller>;
}

export type LegacyMessage = Omit<NativeRequest, 'serverId' | 'sessionId' | 'sink' | 'signal'> & {
  readonly serverId: string;
  /** The id that the stream has begun with. */
  readonly sessionId: string;
};

export interface LegacyConnectionOptions {
  readonly opening: LegacyOpening;
  readonly nativeMcp: NativeMcp;
  readonly onClosed: () => void;
  /** Told of what nobody foresaw. */
  readonly onFailure: (error: unknown) => void;
}

export class LegacyConnection {
  readonly opening: LegacyOpening;
  /** Whose it is, in words that nobody else shares. */
  readonly owner: string;
  readonly #options: LegacyConnectionOptions;
  readonly #life = new AbortController();
  readonly #patience: NodeJS.Timeout;
  #stream: EventSink | undefined;
  #isInitializing = false;
  #sessionId: string | undefined;
  #running = 0;
  #isEnding = false;

  constructor(options: LegacyConnectionOptions) {
    this.opening = options.opening;
    this.owner = accountKey(options.opening.caller);
    this.#options = options;
    this.#patience = setTimeout(() => this.endSoon(), bounds.legacyInitializeMs).unref();
  }

  serve(stream: EventSink): void {
    this.#stream = stream;
    stream.onClose(() => this.#closed());
  }

  /** `initialize` comes first, and once. */
  isReadyFor(method: string): boolean {
    if (method === 'initialize') return this.#sessionId === undefined && !this.#isInitializing;
    return this.#sessionId !== undefined;
  }

  /** A message that nobody answers on the stream. */
  take(message: LegacyMessage): Promise<NativeAnswer> {
    return this.#options.nativeMcp.post(this.#inSession(message));
  }

  /** Resolves when the answer is on the stream, or nobody is there to read it. Never rejects. */
  async request(message: LegacyMessage, id: string | number): Promise<void> {
    this.#running++;
    try {
      if (this.#sessionId === undefined) await this.#initialize(message);
      else this.#say(await this.#options.nativeMcp.post({ ...this.#inSession(message), sink: this.#sink(ignore) }));
    } catch (error) {
      this.#options.onFailure(error);
      const failure = { code: rpcCodes.internal, message: 'An internal error occurred.' };
      this.#say({ status: 200, body: { jsonrpc: '2.0', id, error: failure } });
    }
    this.#running--;
    if (this.#isEnding) this.endSoon();
  }

  async #initialize(message: LegacyMessage): Promise<void> {
    this.#isInitializing = true;
    try {
      const answer = await this.#options.nativeMcp.post({ ...this.#inSession(message), sink: this.#sink(ignore) });
      this.#say(answer);
      if (answer.sessionId !== undefined) await this.#opened(answer.sessionId);
    } finally {
      this.#isInitializing = false;
    }
  }

  async #opened(sessionId: string): Promise<void> {
    clearTimeout(this.#patience);
    this.#sessionId = sessionId;
    // The client has left while it was being opened.
    if (this.#life.signal.aborted) return await this.#endSession(sessionId);
    const sink = this.#sink(() => this.endSoon());
    const { isStreamed } = await this.#options.nativeMcp.listen({ ...this.opening, sessionId, sink });
    // It has ended already.
    if (isStreamed !== true) this.endSoon();
  }

  /** What was not sent as it came. */
  #say({ body, isStreamed }: NativeAnswer): void {
    if (body !== undefined && isStreamed !== true) this.#stream?.send(JSON.stringify(body));
  }

  /** The stream for whoever says something on it; what they do when they have said everything is for the caller to know. */
  #sink(onEnd: () => void): EventSink {
    const { signal } = this.#life;
    return {
      begun: true,
      get closed() {
        return signal.aborted;
      },
      open: ignore,
      // Nothing can be resumed here, so events have no ids.
      send: (data) => this.#stream?.send(data),
      end: onEnd,
      onClose: (listener) => signal.addEventListener('abort', listener, { once: true }),
    };
  }

  #inSession(message: LegacyMessage): NativeRequest {
    const { sessionId: _, ...request } = message;
    const session = this.#sessionId === undefined ? {} : { sessionId: this.#sessionId };
    return { ...request, ...session, signal: this.#life.signal };
  }

  /** When what is under way has its answer. */
  endSoon(): void {
    this.#isEnding = true;
    if (this.#running > 0) return;
    if (this.#stream === undefined) this.#closed();
    else this.#stream.end();
  }

  #closed(): void {
    if (this.#life.signal.aborted) return;
    clearTimeout(this.#patience);
    this.#life.abort();
    this.#options.onClosed();
    if (this.#sessionId !== undefined) this.#endSession(this.#sessionId).catch(this.#options.onFailure);
  }

  async #endSession(sessionId: string): Promise<void> {
    await this.#options.nativeMcp.end({ ...this.opening, sessionId });
  }
}

function ignore(): void {}
