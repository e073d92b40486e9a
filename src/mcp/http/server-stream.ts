/**
 * A stream on which a server over HTTP says what nobody asked: opened again when it ends or breaks off, where it left off
 * and not too soon, as long as somebody wants it. A server that declines is not asked again.
 */
import type { Clock } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';
import type { Log } from '../../telemetry/telemetry.ts';
import { Deadline } from '../deadline.ts';
import type { McpBounds } from '../mcp-bounds.ts';
import { Backoff } from '../resilience/backoff.ts';
import type { HttpClient, HttpSend } from './client.ts';
import type { HttpReply } from './exchange.ts';
import { isSessionLost } from './session-lost.ts';
import type { SseEvent } from './sse-parser.ts';

export interface ServerStreamOptions {
  readonly serverId: string;
  readonly client: HttpClient;
  readonly clock: Clock;
  readonly log: Log;
  readonly bounds: McpBounds;
  /** The request that opens it, from where it broke off. */
  readonly opening: (lastEventId: string | undefined) => Pick<HttpSend, 'method' | 'body' | 'headers'>;
  /** May throw `MessageFault`, which breaks it off. */
  readonly onMessage: (raw: Buffer) => void;
  /** Whether anybody wants it opened again. */
  readonly isWanted: () => boolean;
  /** Told when the server no longer knows the session of a stream that it had opened before. */
  readonly onGone?: () => void;
}

export class ServerStream {
  readonly #options: ServerStreamOptions;
  readonly #backoff: Backoff;
  readonly #stop = new AbortController();
  readonly #settled = Promise.withResolvers<void>();
  #state: 'closed' | 'open' | 'declined' = 'closed';
  #lastEventId: string | undefined;
  #wasOpen = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: ServerStreamOptions) {
    this.#options = options;
    const { clock, bounds } = options;
    this.#backoff = new Backoff({
      clock,
      minMs: bounds.upstreamStreamRetryMinMs,
      maxMs: bounds.upstreamStreamRetryMaxMs,
    });
  }

  /** Opens it unless it is open, or the server has none. */
  ensureOpen(): void {
    if (this.#state !== 'closed') return;
    this.#state = 'open';
    clearTimeout(this.#timer);
    void this.#run();
  }

  /** Resolves when the server has answered for the first time, whatever it said. */
  get settled(): Promise<void> {
    return this.#settled.promise;
  }

  close(): void {
    this.#state = 'declined';
    clearTimeout(this.#timer);
    this.#stop.abort();
  }

  async #run(): Promise<void> {
    const { client, clock, opening } = this.#options;
    const startedAtMs = clock.monotonic();
    const deadline = new Deadline(clock, Number.POSITIVE_INFINITY, this.#stop.signal);
    const onEvent = ({ data, lastEventId }: SseEvent) => {
      // Before it is read: what cannot be is not asked for again, nor what came before it.
      this.#lastEventId = lastEventId ?? this.#lastEventId;
      this.#options.onMessage(data);
      return undefined;
    };
    try {
      const onStream = () => {
        this.#wasOpen = true;
        this.#settled.resolve();
      };
      const reply = await client.send({ ...opening(this.#lastEventId), deadline, onEvent, onStream, aside: 'streams' });
      this.#ended(reply, clock.monotonic() - startedAtMs);
    } catch (error) {
      this.#broken(error, clock.monotonic() - startedAtMs);
    } finally {
      this.#settled.resolve();
    }
  }

  #ended(reply: HttpReply, ranMs: number): void {
    if (this.#state !== 'open') return;
    if (reply.kind === 'body' && isRefusal(reply.status)) {
      this.#state = 'declined';
      // Servers without such a stream say 405 or 404 from the start.
      const { bounds, onGone } = this.#options;
      if (this.#wasOpen && isSessionLost(reply.status, reply.body, bounds.upstreamResponseDepthMax)) onGone?.();
      return;
    }
    const { lastEventId, retryMs = 0 } = reply.kind === 'ended' ? reply : {};
    this.#lastEventId = lastEventId ?? this.#lastEventId;
    this.#reopenLater(ranMs, retryMs);
  }

  #broken(error: unknown, ranMs: number): void {
    if (this.#state !== 'open') return;
    const { log, serverId } = this.#options;
    log.debug({ server: serverId, reason: describeError(error) }, 'the stream of a tool server broke off');
    this.#reopenLater(ranMs, 0);
  }

  #reopenLater(ranMs: number, askedMs: number): void {
    const { isWanted, bounds } = this.#options;
    this.#state = 'closed';
    this.#backoff.failed(ranMs);
    if (!isWanted()) return;
    const waitMs = Math.min(Math.max(askedMs, this.#backoff.waitMs), bounds.upstreamStreamRetryMaxMs);
    this.#timer = setTimeout(() => this.ensureOpen(), waitMs).unref();
  }
}

/** A body in place of a stream is a "no" (405 in a session), unless the server only cannot now. */
function isRefusal(status: number): boolean {
  return status < 500 && status !== 429;
}
