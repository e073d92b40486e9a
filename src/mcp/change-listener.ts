/**
 * The stream on which a server over HTTP says that its tools changed: a GET in a session, `subscriptions/listen` in the
 * stateless era. It is a courtesy that shortens how long an old catalog is believed; nothing depends on it, so it is
 * reopened only when tools are listed, and a server that declines is not asked again.
 */
import { describeError } from '../core/errors.ts';
import type { JsonObject } from '../core/json.ts';
import type { ConnectionOptions } from './connection.ts';
import { Deadline } from './deadline.ts';
import { announcesToolChanges, type Era, encodeForEra, eraHeaders } from './era.ts';
import type { HttpClient, HttpSend } from './http-client.ts';

const listenMethod = 'subscriptions/listen';

export class ChangeListener {
  readonly #client: HttpClient;
  readonly #options: ConnectionOptions;
  readonly #era: Era;
  readonly #onMessage: (raw: Buffer) => void;
  readonly #stop = new AbortController();
  #state: 'closed' | 'open' | 'declined' = 'closed';

  constructor(client: HttpClient, options: ConnectionOptions, era: Era, onMessage: (raw: Buffer) => void) {
    this.#client = client;
    this.#options = options;
    this.#era = era;
    this.#onMessage = onMessage;
    if (!announcesToolChanges(era)) this.#state = 'declined';
  }

  /** Opens the stream unless it is open, or the server has none. `nextId` numbers the request that opens it. */
  ensureOpen(nextId: () => number): void {
    if (this.#state !== 'closed') return;
    this.#state = 'open';
    this.#client.send(this.#opening(nextId())).then(
      (reply) => {
        // A body in place of a stream is a "no" (405 in a session).
        this.#state = reply.kind === 'body' ? 'declined' : 'closed';
      },
      (error: unknown) => this.#broken(error),
    );
  }

  close(): void {
    this.#state = 'declined';
    this.#stop.abort();
  }

  #broken(error: unknown): void {
    if (this.#state === 'declined') return;
    this.#state = 'closed';
    const { log, spec } = this.#options;
    log.debug({ server: spec.id, reason: describeError(error) }, 'the change stream of a tool server broke off');
  }

  #opening(id: number): HttpSend {
    const deadline = new Deadline(this.#options.clock, Number.POSITIVE_INFINITY, this.#stop.signal);
    const onEvent = (event: { readonly data: Buffer }) => {
      this.#onMessage(event.data);
      return undefined;
    };
    const params: JsonObject = { notifications: { toolsListChanged: true } };
    const headers = eraHeaders(this.#era, { method: listenMethod, params });
    if (this.#era.kind === 'session') return { method: 'GET', headers, deadline, onEvent };
    return { body: encodeForEra(this.#era, id, listenMethod, params), headers, deadline, onEvent };
  }
}
