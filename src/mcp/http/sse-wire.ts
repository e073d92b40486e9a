/**
 * The two-way stream to a tool server over HTTP+SSE, the transport of 2024-11-05: one event stream brings its messages,
 * each of ours is a POST to the address that its first event names, which must be of the same origin.
 */
import { describeError } from '../../core/errors.ts';
import type { ConnectionOptions } from '../connection.ts';
import { Deadline } from '../deadline.ts';
import type { OpenWire, Wire, WireEvents } from '../duplex/wire.ts';
import { invalidResponse, UpstreamError } from '../upstream-error.ts';
import type { HttpClient } from './client.ts';
import type { HttpReply } from './exchange.ts';
import type { SseEvent } from './sse-parser.ts';

export function sseWire(options: ConnectionOptions, client: HttpClient): OpenWire {
  return async (events, deadline) => {
    const wire = new SseWire(options, client, events);
    await wire.open(deadline);
    return wire;
  };
}

class SseWire implements Wire {
  readonly #options: ConnectionOptions;
  readonly #client: HttpClient;
  readonly #events: WireEvents;
  readonly #endpoint = Promise.withResolvers<string>();
  readonly #end = new AbortController();
  #path: string | undefined;
  /** What the next messages wait for: those of the handshake come one after the other, and before all else. */
  #before: Promise<unknown> | undefined;
  /** Messages that the server has not taken yet. */
  #sending = 0;
  #isOver = false;

  constructor(options: ConnectionOptions, client: HttpClient, events: WireEvents) {
    this.#options = options;
    this.#client = client;
    this.#events = events;
  }

  /** Resolves when the server has named its endpoint. Rejects with `UpstreamError`, not dispatched. */
  async open(deadline: Deadline): Promise<void> {
    const { clock } = this.#options;
    const forever = new Deadline(clock, Number.POSITIVE_INFINITY, this.#end.signal);
    this.#client
      .send({
        method: 'GET',
        headers: [],
        deadline: forever,
        onEvent: (event) => this.#onEvent(event),
        aside: 'streams',
      })
      .then(
        (reply) => this.#over(reasonOf(reply)),
        (error: unknown) => this.#broken(error),
      );
    try {
      this.#path = await deadline.wait(this.#endpoint.promise);
    } catch (error) {
      this.kill();
      throw error;
    }
  }

  send(message: string, onFailure: (error: UpstreamError) => void): void {
    // A server that asks much and takes nothing must not make them pile up here.
    if (this.#sending >= this.#sendingMax) {
      onFailure(new UpstreamError('UPSTREAM_BUSY', { dispatched: false }));
      return;
    }
    this.#sending++;
    const sending = this.#before === undefined ? this.#post(message) : this.#before.then(() => this.#post(message));
    const settled = sending
      .catch((error: unknown) => {
        if (error instanceof UpstreamError) onFailure(error);
      })
      .finally(() => this.#sending--);
    if (this.#events.isStarting()) this.#before = settled;
  }

  kill(): void {
    this.#end.abort();
    this.#over('it was ended');
  }

  async stop(): Promise<void> {
    this.kill();
  }

  /** Room for what may be in flight, for whatever it may be asked, and for some that go beside that. */
  get #sendingMax(): number {
    const { spec, bounds } = this.#options;
    const requests = spec.maxConcurrency ?? bounds.upstreamInFlightMax;
    return requests + bounds.upstreamPeerRequestsMax + bounds.upstreamGoodbyesInFlightMax;
  }

  async #post(body: string): Promise<void> {
    const { clock, bounds, spec } = this.#options;
    // Some servers give the receipt when the call is over.
    const waitMs = Math.max(bounds.upstreamCallTimeoutMs, spec.callTimeoutMs ?? 0);
    const deadline = new Deadline(clock, waitMs, this.#end.signal);
    const reply = await this.#client.send({ body, headers: [], deadline, path: this.#path ?? '' });
    if (reply.kind === 'body' && reply.status >= 200 && reply.status < 300) return;
    throw invalidResponse(
      reply.kind === 'body' ? `HTTP ${reply.status} in place of a receipt` : 'a stream in place of a receipt',
    );
  }

  #onEvent({ type, data }: SseEvent): undefined {
    if (type === 'endpoint') this.#named(data.toString('utf8'));
    else if (type === 'message' && this.#path !== undefined) this.#events.onMessage(data);
  }

  /** Only the first one counts: what follows it was shaken hands upon. */
  #named(address: string): void {
    if (this.#path !== undefined) return;
    const base = new URL(this.#options.spec.url ?? '');
    const url = URL.canParse(address, base.href) ? new URL(address, base) : undefined;
    if (url === undefined || url.origin !== base.origin) {
      this.#endpoint.reject(invalidResponse('its endpoint is not of its own origin'));
      return;
    }
    this.#path = url.pathname + url.search;
    this.#endpoint.resolve(this.#path);
  }

  #broken(error: unknown): void {
    if (error instanceof UpstreamError && error.code === 'UPSTREAM_RESPONSE_TOO_LARGE') this.#events.onTooLarge();
    this.#endpoint.reject(error);
    this.#over(`its event stream broke off: ${describeError(error)}`);
  }

  #over(reason: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#endpoint.reject(invalidResponse(reason));
    this.#endpoint.promise.catch(() => undefined);
    this.#end.abort();
    this.#events.onOver(reason);
  }
}

function reasonOf(reply: HttpReply): string {
  return reply.kind === 'body' ? `HTTP ${reply.status} in place of an event stream` : 'its event stream ended';
}
