/**
 * What a tool server asks of the client, on one connection: each request is put to the peer and its reply sent back under
 * the server's own id. How many are open at once is bounded; what nobody can answer is declined at once.
 */
import type { Clock } from '../../core/clock.ts';
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.ts';
import { RecentCount } from '../../core/recent-count.ts';
import type { Deadline } from '../deadline.ts';
import { type RpcError, rpcCodes } from '../protocol/json-rpc.ts';
import type { Peer, PeerReply } from '../protocol/peer.ts';

/** On whose behalf the server asks. */
export interface AskedOf {
  readonly peer?: Peer | undefined;
  /**
   * Of the request that the server has not answered yet; it stands still while the peer is asked. Absent when the server
   * asks on behalf of none.
   */
  readonly deadline?: Deadline;
}

export interface PeerRequestsOptions {
  /** Sends a reply that the server waits for. It counts as a request until that is done; must not reject. */
  readonly reply: (message: string) => Promise<void> | void;
  /** Sends one that nothing depends on. */
  readonly decline: (message: string) => void;
  readonly openMax: number;
  /** On behalf of one request, in all. */
  readonly perRequestMax: number;
  /** On behalf of none. */
  readonly perMinuteMax: number;
  readonly clock: Pick<Clock, 'monotonic'>;
}

interface Open {
  readonly of: AskedOf;
  readonly abort: AbortController;
}

type ServerRequestId = string | number;

const tooMany: RpcError = { code: rpcCodes.gateway, message: 'Too many requests' };
const idInUse: RpcError = { code: rpcCodes.invalidRequest, message: 'The id is that of an open request' };
const unknownMethod: RpcError = { code: rpcCodes.methodNotFound, message: 'Method not found' };

export class PeerRequests {
  readonly #options: PeerRequestsOptions;
  readonly #open = new Map<ServerRequestId, Open>();
  readonly #counts = new WeakMap<AskedOf, number>();
  readonly #ofNone: RecentCount;
  #replying = 0;

  constructor(options: PeerRequestsOptions) {
    this.#options = options;
    this.#ofNone = new RecentCount(options.clock, 60_000);
  }

  /**
   * `request` has a method and an id. One with an id that JSON-RPC does not allow is nobody's. `during` is the one whose
   * patience stands still, where that is another one than who is asked on behalf of.
   */
  take(request: JsonObject, of: AskedOf, during: AskedOf = of): void {
    const { id, method, params } = request as Readonly<Record<string, JsonValue | undefined>>;
    if (!isId(id) || typeof method !== 'string') return;
    const own = method === 'ping' ? { result: {} } : this.#refusal(id, of, during);
    if (own === undefined) void this.#ask(id, method, isJsonObject(params) ? params : {}, of, during.deadline?.pause());
    else this.#options.decline(replyText(id, own));
  }

  /** The server no longer waits for the answer to its request. */
  cancelled(id: JsonValue | undefined): void {
    if (isId(id)) this.#open.get(id)?.abort.abort();
  }

  /** What was asked on behalf of `of` is nobody's any more. Without one: whatever is open. */
  drop(of?: AskedOf): void {
    for (const open of this.#open.values()) if (of === undefined || open.of === of) open.abort.abort();
  }

  #refusal(id: ServerRequestId, of: AskedOf, during: AskedOf): PeerReply | undefined {
    if (of.peer?.onRequest === undefined) return { error: unknownMethod };
    if (this.#open.has(id)) return { error: idInUse };
    const isRoom = this.#open.size + this.#replying < this.#options.openMax;
    const isCounted = isRoom && this.#counted(of) && (of === during || this.#counted(during));
    return isCounted ? undefined : { error: tooMany };
  }

  /** Whether there may be one more. */
  #counted(of: AskedOf): boolean {
    const { perRequestMax, perMinuteMax } = this.#options;
    if (of.deadline === undefined) {
      if (this.#ofNone.value >= perMinuteMax) return false;
      this.#ofNone.note();
      return true;
    }
    const count = (this.#counts.get(of) ?? 0) + 1;
    if (count <= perRequestMax) this.#counts.set(of, count);
    return count <= perRequestMax;
  }

  async #ask(id: ServerRequestId, method: string, params: JsonObject, of: AskedOf, resume?: () => void): Promise<void> {
    const abort = new AbortController();
    this.#open.set(id, { of, abort });
    const reply = await replyOf(of.peer, method, params, abort.signal);
    resume?.();
    this.#open.delete(id);
    if (abort.signal.aborted) return;
    this.#replying++;
    await this.#options.reply(replyText(id, reply));
    this.#replying--;
  }
}

/** A peer that breaks its promise not to reject must not leave the server waiting. */
async function replyOf(
  peer: Peer | undefined,
  method: string,
  params: JsonObject,
  signal: AbortSignal,
): Promise<PeerReply> {
  try {
    return (await peer?.onRequest?.(method, params, signal)) ?? { error: unknownMethod };
  } catch {
    return { error: { code: rpcCodes.internal, message: 'The client could not be asked' } };
  }
}

function isId(id: JsonValue | undefined): id is ServerRequestId {
  return typeof id === 'string' || typeof id === 'number';
}

function replyText(id: ServerRequestId, reply: PeerReply): string {
  return JSON.stringify({ jsonrpc: '2.0', id, ...reply });
}
