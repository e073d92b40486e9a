/**
 * One `subscriptions/listen` to a server of the stateless era: acknowledged first, then changes until one side ends it.
 * Changes that were not acknowledged are not passed on, nor is anything else: it would pass for what belongs to a request.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.ts';
import type { Deadline } from '../deadline.ts';
import { UpstreamError } from '../upstream-error.ts';
import type { Listening, ListenOptions } from '../upstream-session.ts';
import { isChange } from './server-messages.ts';

export const listenMethod = 'subscriptions/listen';
const subscriptionKey = 'io.modelcontextprotocol/subscriptionId';

/** Which listening a notification belongs to. */
export function subscriptionOf(message: JsonObject): number | undefined {
  const params = message['params'];
  const meta = isJsonObject(params) ? params['_meta'] : undefined;
  const id = isJsonObject(meta) ? meta[subscriptionKey] : undefined;
  return typeof id === 'number' ? id : undefined;
}

export class StreamListener {
  readonly #id: number;
  readonly #options: ListenOptions;
  readonly #leave: () => void;
  readonly #outcome = Promise.withResolvers<Listening>();
  #state: 'asked' | 'acknowledged' | 'over' = 'asked';

  /** `leave` is called when our side ends it. */
  constructor(id: number, options: ListenOptions, leave: () => void) {
    this.#id = id;
    this.#options = options;
    this.#leave = leave;
    // Nobody may be waiting for it any more.
    this.#outcome.promise.catch(() => undefined);
  }

  /** Rejects with `UpstreamError`, not dispatched, when the server does not acknowledge in time. */
  async acknowledged(deadline: Deadline): Promise<Listening> {
    const { signal } = this.#options;
    const onAbort = () => {
      this.#state = 'over';
      this.#leave();
    };
    try {
      const listening = await deadline.wait(this.#outcome.promise);
      if (signal.aborted) onAbort();
      else signal.addEventListener('abort', onAbort, { once: true });
      return listening;
    } catch (error) {
      onAbort();
      throw error;
    }
  }

  /** One notification that belongs here. */
  take(message: JsonObject): void {
    const { method, params } = message as Readonly<Record<string, JsonValue | undefined>>;
    const given = isJsonObject(params) ? params : {};
    if (method === 'notifications/subscriptions/acknowledged') this.#acknowledge(given);
    else if (method === 'notifications/cancelled') this.end();
    else if (this.#state === 'acknowledged' && typeof method === 'string' && isChange(method)) {
      this.#options.onNotification(method, withoutSubscription(given, this.#id));
    }
  }

  /** The server ends it, or was never willing. */
  end(): void {
    const before = this.#state;
    this.#state = 'over';
    // Later, so that nobody hears of the end of what they do not know yet to have begun.
    if (before === 'acknowledged') setImmediate(() => this.#tellEnd());
    if (before === 'asked') this.#outcome.reject(refused());
  }

  #tellEnd(): void {
    const { onEnd, signal } = this.#options;
    if (!signal.aborted) onEnd?.();
  }

  #acknowledge({ notifications }: JsonObject): void {
    if (this.#state !== 'asked') return;
    this.#state = 'acknowledged';
    this.#outcome.resolve({ acknowledged: isJsonObject(notifications) ? notifications : {} });
  }
}

/** The id is that of our own request: the client's is another one. */
function withoutSubscription(params: JsonObject, id: number): JsonObject {
  const meta = params['_meta'];
  if (!isJsonObject(meta) || meta[subscriptionKey] !== id) return params;
  const { [subscriptionKey]: _, ...others } = meta;
  const { _meta: __, ...rest } = params;
  return Object.keys(others).length === 0 ? rest : { ...rest, _meta: others };
}

function refused(): UpstreamError {
  return new UpstreamError('UPSTREAM_INVALID_RESPONSE', {
    dispatched: false,
    inside: 'it did not acknowledge that it is listened to',
  });
}
