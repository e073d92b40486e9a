/** One client that listens without a session: acknowledged first, then told, until it is over for one reason or another. */
import { bounds } from '../../../config/bounds.ts';
import { isJsonObject, type JsonObject } from '../../../core/json.ts';
import type { RpcId } from '../../../mcp/protocol/inbound.ts';
import { notification } from '../../../mcp/protocol/json-rpc.ts';
import { type Caller, isSameCaller } from '../../caller.ts';
import { notificationAmongAll } from '../aggregate/content.ts';
import type { CallerEnd, Watched } from '../caller-watch.ts';
import type { Turn } from '../turn.ts';
import { isAskedFor, type ListenFilter } from './listen-filter.ts';

export type SubscriptionEnd = CallerEnd | 'client_left' | 'server_ended' | 'shutdown';

/** In `_meta` of everything that is told: the id of the request. */
export const subscriptionKey = 'io.modelcontextprotocol/subscriptionId';

export class Subscription implements Watched {
  readonly filter: ListenFilter;
  readonly serverId: string | undefined;
  readonly over: Promise<SubscriptionEnd>;
  readonly #turn: Turn;
  readonly #id: RpcId;
  readonly #life = new AbortController();
  /** What came before the acknowledgement, which is told first. */
  #early: (() => void)[] | undefined = [];
  #caller: Caller;
  #settle: (over: SubscriptionEnd) => void = () => undefined;

  constructor(turn: Turn, id: RpcId, filter: ListenFilter) {
    this.#turn = turn;
    this.#id = id;
    this.filter = filter;
    this.serverId = turn.serverId;
    this.#caller = turn.caller;
    this.over = new Promise((resolve) => {
      this.#settle = resolve;
    });
  }

  get caller(): Caller {
    return this.#caller;
  }

  get signal(): AbortSignal {
    return this.#life.signal;
  }

  async reauthenticate(): Promise<boolean> {
    const caller = await this.#turn.reauthenticate();
    if (caller.denial !== undefined || !isSameCaller(caller, this.#caller)) return false;
    this.#caller = caller;
    return true;
  }

  acknowledge(honoured: JsonObject): void {
    this.#send('notifications/subscriptions/acknowledged', { notifications: honoured });
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const tell of early) tell();
  }

  /** What a server says that was asked for; the tools are told of by whoever has their list. */
  hear(serverId: string, method: string, params: JsonObject): void {
    if (!isAskedFor(this.filter, serverId, method, params)) return;
    this.tell(method, this.serverId === undefined ? notificationAmongAll(serverId, method, params) : params);
  }

  tell(method: string, params: JsonObject): void {
    if (this.#early === undefined) this.#send(method, params);
    else if (this.#early.length < bounds.mcpListenUrisMax) this.#early.push(() => this.#send(method, params));
  }

  end(over: SubscriptionEnd): void {
    if (this.#life.signal.aborted) return;
    this.#settle(over);
    this.#life.abort();
  }

  #send(method: string, params: JsonObject): void {
    if (this.#life.signal.aborted) return;
    const meta = params['_meta'];
    const _meta = { ...(isJsonObject(meta) ? meta : {}), [subscriptionKey]: this.#id };
    this.#turn.reply.send(notification(method, { ...params, _meta }));
  }
}
