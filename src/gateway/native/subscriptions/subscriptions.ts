/**
 * What clients of the stateless era listen to (`subscriptions/listen`, MCP 2026-07-28): one long answer each, for what its
 * caller may use, until the client leaves, the server ends it, or the caller may no longer.
 */
import type { Recorder } from '../../../audit/recorder.ts';
import { bounds } from '../../../config/bounds.ts';
import { deny } from '../../../core/denial.ts';
import { TalosError } from '../../../core/errors.ts';
import type { JsonObject } from '../../../core/json.ts';
import type { TakeCharges } from '../../../core/limit.ts';
import { surfaceHttp } from '../../../core/surface-http.ts';
import type { SurfaceId } from '../../../core/surfaces.ts';
import type { RpcId } from '../../../mcp/protocol/inbound.ts';
import { rpcCodes } from '../../../mcp/protocol/json-rpc.ts';
import type { PolicyMode } from '../../../policy/decide.ts';
import type { Telemetry } from '../../../telemetry/telemetry.ts';
import { overLimit } from '../../over-limit.ts';
import { denialError, type Refuse } from '../../refusal.ts';
import { rpcHash } from '../../request-hash.ts';
import { rightMeta } from '../../right-meta.ts';
import { foundServer, type ServerFor } from '../../server-for.ts';
import { resourcesAmongAll } from '../aggregate/names.ts';
import type { Outcome, RpcRequest } from '../answer.ts';
import { CallerWatch, type LastingRights } from '../caller-watch.ts';
import { type ListChange, type ListChanges, toolsChanged } from '../list-changes.ts';
import type { Turn } from '../turn.ts';
import { isListAskedFor, type ListenFilter, listenDenial, readListenFilter } from './listen-filter.ts';
import { listenToServers } from './listen-to-servers.ts';
import { Subscription, type SubscriptionEnd, subscriptionKey } from './subscription.ts';

export interface SubscriptionsOptions extends LastingRights {
  readonly serverFor: ServerFor;
  readonly policyMode: PolicyMode;
  readonly take: TakeCharges;
  readonly refuse: Refuse;
  readonly recorder: Pick<Recorder, 'record'>;
  readonly telemetry: Telemetry;
  readonly listChanges: ListChanges;
}

export class Subscriptions {
  readonly #options: SubscriptionsOptions;
  readonly #watch: CallerWatch<Subscription>;
  #isClosing = false;

  constructor(options: SubscriptionsOptions) {
    const { validity, clock, mayReach } = options;
    this.#options = options;
    this.#watch = new CallerWatch({
      max: bounds.mcpListensMax,
      perCallerMax: bounds.mcpListensPerCallerMax,
      clock,
      validity,
      mayStay: ({ caller, filter, serverId }) =>
        mayReach(caller, serverId) && listenDenial(filter, caller, serverId, options.policyMode) === undefined,
    });
  }

  readonly judgeAll = (): void => this.#watch.judgeAll();

  readonly reauthenticateAll = (): void => this.#watch.reauthenticateAll();

  /** Serves one, and resolves when it is over. */
  async listen(turn: Turn, rpc: RpcRequest): Promise<Outcome> {
    const { sink, caller, serverId } = turn;
    if (sink === undefined) return notAcceptable;
    const filter = readListenFilter(rpc.params['notifications'], serverId);
    if (filter === undefined) return invalidFilter(serverId);
    await this.#permit(turn, filter);
    if (this.#isClosing) throw new TalosError('SERVER_SHUTTING_DOWN');
    const free = this.#watch.reserve(caller);
    const subscription = new Subscription(turn, rpc.id, filter);
    try {
      await this.#record(turn, rpc, filter);
      return endOf(rpc.id, await this.#serve(subscription, turn));
    } finally {
      this.#watch.remove(subscription);
      this.#measure();
      free();
    }
  }

  /** Tells everybody that it is over. */
  close(): void {
    this.#isClosing = true;
    for (const subscription of this.#watch.all()) subscription.end('shutdown');
    this.#watch.close();
  }

  async #permit({ caller, facts, serverId }: Turn, filter: ListenFilter): Promise<void> {
    const { policyMode, telemetry, refuse, serverFor, take, mayReach } = this.#options;
    const denial = mayReach(caller, serverId)
      ? listenDenial(filter, caller, serverId, policyMode)
      : (caller.denial ?? deny('SCOPE_MISMATCH', 'scope'));
    telemetry.decided(denial);
    const asked = { rpc_method: 'subscriptions/listen', ...(serverId === undefined ? {} : { server_id: serverId }) };
    if (denial !== undefined) await refuse('mcp.methods.relay', denial, caller, facts, asked, cameInAt(serverId));
    const asks = new Set([
      ...(serverId === undefined ? [] : [serverId]),
      ...(filter.resourceSubscriptions?.keys() ?? []),
    ]);
    for (const id of asks) {
      const limited = await overLimit(take, caller, foundServer(serverFor, id, caller));
      if (limited !== undefined) throw limited;
    }
  }

  async #serve(subscription: Subscription, { sink, signal }: Turn): Promise<SubscriptionEnd> {
    const { serverFor, listChanges } = this.#options;
    sink?.onClose(() => subscription.end('client_left'));
    if (signal.aborted) subscription.end('client_left');
    const stop = listChanges.on((change) => this.#listChanged(subscription, change));
    try {
      const honoured = await listenToServers(serverFor, subscription);
      subscription.acknowledge({ ...listsTold(subscription), ...honoured });
      this.#watch.add(subscription);
      this.#measure();
      return await subscription.over;
    } finally {
      stop();
      subscription.end('client_left');
    }
  }

  #listChanged(subscription: Subscription, { serverId, method }: ListChange): void {
    const isToldHere =
      subscription.serverId === undefined || (subscription.serverId === serverId && method === toolsChanged);
    if (!isToldHere || !isListAskedFor(subscription.filter, method)) return;
    if (this.#options.mayHear(subscription.caller, serverId, method)) subscription.tell(method, {});
  }

  /** What was asked for at the address, and among all servers what each is asked. */
  async #record(turn: Turn, { method, params }: RpcRequest, { resourceSubscriptions }: ListenFilter): Promise<void> {
    const { serverId } = turn;
    const ofServers = serverId === undefined ? [...(resourceSubscriptions ?? [])] : [];
    await Promise.all([
      this.#recordAt(turn, serverId, rpcHash(method, params)),
      ...ofServers.map(([id, uris]) =>
        this.#recordAt(turn, id, rpcHash(method, { notifications: { resourceSubscriptions: uris } })),
      ),
    ]);
  }

  async #recordAt({ caller, facts, ...at }: Turn, serverId: string | undefined, request_hash: string): Promise<void> {
    await this.#options.recorder.record({
      surfaceId: 'mcp.methods.relay',
      requestId: facts.requestId,
      principal: caller.principal,
      outcome: 'success',
      http: surfaceHttp(cameInAt(at.serverId), 200, facts),
      resource: { type: 'server', id: serverId ?? 'gateway' },
      meta: {
        event_type: 'mcp_request',
        server_id: serverId,
        rpc_method: 'subscriptions/listen',
        request_hash,
        ...rightMeta(caller),
      },
    });
  }

  #measure(): void {
    this.#options.telemetry.mcpListening(this.#watch.size);
  }
}

function cameInAt(serverId: string | undefined): SurfaceId {
  return serverId === undefined ? 'mcp.native.all' : 'mcp.methods.relay';
}

/** The lists of which the gateway tells: at the address of one server the others are for that to tell of. */
function listsTold({ serverId, filter }: Subscription): JsonObject {
  const { toolsListChanged, promptsListChanged, resourcesListChanged } = filter;
  return {
    ...(toolsListChanged && { toolsListChanged }),
    ...(serverId === undefined && promptsListChanged && { promptsListChanged }),
    ...(serverId === undefined && resourcesListChanged && { resourcesListChanged }),
  };
}

/** A stream that ends in good order has a result. */
function endOf(id: RpcId, over: SubscriptionEnd): Outcome {
  if (over === 'capability_ended' || over === 'credential_ended') {
    throw denialError({ ...deny('REVOKED'), message: 'The credentials that this was opened with hold no longer.' });
  }
  return { result: { _meta: { [subscriptionKey]: id } } };
}

const notAcceptable: Outcome = {
  status: 406,
  error: { code: rpcCodes.invalidRequest, message: 'This is answered by an event stream: accept text/event-stream.' },
};

function invalidFilter(serverId: string | undefined): Outcome {
  const message = 'The notifications to listen to are not valid.';
  return {
    error: {
      code: rpcCodes.invalidParams,
      message: serverId === undefined ? `${message} ${resourcesAmongAll}` : message,
    },
  };
}
