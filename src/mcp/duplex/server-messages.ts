/**
 * What a tool server says on one connection besides its answers: notifications reach whom they are meant for, requests
 * are put to the peer. Progress is told by its token, which is the id of the request it is about: unique on a connection,
 * whatever the clients call theirs.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.ts';
import type { RpcRequest } from '../connection.ts';
import { isRequest } from '../protocol/json-rpc.ts';
import type { Peer } from '../protocol/peer.ts';
import { PeerRequests, type PeerRequestsOptions } from './peer-requests.ts';

export interface ServerMessagesOptions extends PeerRequestsOptions {
  /** A list of the server, or a resource that it was asked to watch, is not what it was. */
  readonly onChange: (method: string, params: JsonObject) => void;
  /** For what belongs to no request, and to requests without a peer. */
  readonly peer?: Peer | undefined;
}

const changes: ReadonlySet<string> = new Set([
  'notifications/tools/list_changed',
  'notifications/prompts/list_changed',
  'notifications/resources/list_changed',
  'notifications/resources/updated',
]);

/** Whether a notification says that something is not what it was. */
export function isChange(method: string): boolean {
  return changes.has(method);
}

export class ServerMessages {
  readonly #options: ServerMessagesOptions;
  readonly #requests: PeerRequests;
  /** Requests that a peer follows, by the id they have on this connection. */
  readonly #followed = new Map<number, RpcRequest>();

  constructor(options: ServerMessagesOptions) {
    this.#options = options;
    this.#requests = new PeerRequests(options);
  }

  /** `request` goes out under `id`. */
  opened(id: number, request: RpcRequest): void {
    if (request.peer !== undefined) this.#followed.set(id, request);
  }

  /** It has its answer, or will have none. */
  closed(id: number, request: RpcRequest): void {
    if (request.peer === undefined) return;
    this.#followed.delete(id);
    this.#requests.drop(request);
  }

  /** The connection is over. */
  over(): void {
    this.#followed.clear();
    this.#requests.drop();
  }

  /**
   * One message that is no response. `of` is the request that it came along with, where that is known; where it came along
   * with none, `during` is the one whose clock stands still all the same.
   */
  take(message: JsonObject, of?: RpcRequest, during?: RpcRequest): void {
    if (!isRequest(message)) this.#takeNotification(message, of);
    else this.#requests.take(message, of?.peer === undefined ? { peer: this.#options.peer } : of, during);
  }

  /**
   * The same of a message that does not say what request it came along with, while `only` was the only one in flight. In
   * a client's own session a question stays open when that is answered, which may have nothing to do with it; until then
   * it is not held against the server that its client is thinking.
   */
  takeStray(message: JsonObject, only: RpcRequest | undefined): void {
    const { peer } = this.#options;
    if (peer === undefined || !isRequest(message)) this.take(message, only);
    else this.#requests.take(message, { peer: only?.peer ?? peer }, only);
  }

  #takeNotification(message: JsonObject, of: RpcRequest | undefined): void {
    const { method, params } = message as Readonly<Record<string, JsonValue | undefined>>;
    if (typeof method === 'string') this.#notified(method, isJsonObject(params) ? params : {}, of);
  }

  #notified(method: string, params: JsonObject, of: RpcRequest | undefined): void {
    if (method === 'notifications/cancelled') {
      this.#requests.cancelled(params['requestId']);
    } else if (method === 'notifications/progress') {
      this.#progressed(method, params);
    } else {
      if (isChange(method)) this.#options.onChange(method, params);
      (of?.peer ?? this.#options.peer)?.onNotification(method, params);
    }
  }

  /** Progress of nothing that is open is nobody's. */
  #progressed(method: string, params: JsonObject): void {
    const { progressToken } = params;
    const request = typeof progressToken === 'number' ? this.#followed.get(progressToken) : undefined;
    const named = request?.meta?.['progressToken'];
    if (request === undefined || named === undefined) return;
    request.deadline.renew();
    request.peer?.onNotification(method, { ...params, progressToken: named });
  }
}
