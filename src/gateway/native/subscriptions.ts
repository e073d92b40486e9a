/**
 * What clients of the stateless era listen to (`subscriptions/listen`, MCP 2026-07-28): one long answer each, for what its
 * caller may use, until the client leaves, the server ends it, or the caller may no longer.
 */
import type { Recorder } from '../../audit/recorder.ts';
import { bounds } from '../../config/bounds.ts';
import type { Clock } from '../../core/clock.ts';
import { type Denial, deny } from '../../core/denial.ts';
import { TalosError } from '../../core/errors.ts';
import type { JsonObject } from '../../core/json.ts';
import type { TakeCharges } from '../../core/limit.ts';
import { surfaceHttp } from '../../core/surface-http.ts';
import type { RpcId } from '../../mcp/protocol/inbound.ts';
import { rpcCodes } from '../../mcp/protocol/json-rpc.ts';
import type { McpServer } from '../../mcp/registry.ts';
import type { PolicyMode } from '../../policy/decide.ts';
import type { Telemetry } from '../../telemetry/telemetry.ts';
import type { Caller } from '../caller.ts';
import { overLimit } from '../over-limit.ts';
import { denialError, type Refuse } from '../refusal.ts';
import { rpcHash } from '../request-hash.ts';
import { rightMeta } from '../right-meta.ts';
import type { ServerFor } from '../server-for.ts';
import type { Outcome, RpcRequest } from './answer.ts';
import { CallerWatch } from './caller-watch.ts';
import { type ListenFilter, listenDenial, readListenFilter } from './listen-filter.ts';
import { Subscription, type SubscriptionEnd, subscriptionKey } from './subscription.ts';
import type { ToolChanges } from './tool-changes.ts';
import type { Turn } from './turn.ts';

export interface SubscriptionsOptions {
  readonly serverFor: ServerFor;
  readonly policyMode: PolicyMode;
  readonly take: TakeCharges;
  readonly refuse: Refuse;
  readonly recorder: Pick<Recorder, 'record'>;
  readonly telemetry: Telemetry;
  readonly clock: Clock;
  readonly validity: (caller: Caller) => Denial | undefined;
  /** Whether a caller may be at the address of a server; without an id, of all. */
  readonly mayReach: (caller: Caller, serverId: string | undefined) => boolean;
  readonly toolChanges: ToolChanges;
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
    if (filter === undefined) return invalidFilter;
    await this.#permit(turn, filter);
    if (this.#isClosing) throw new TalosError('SERVER_SHUTTING_DOWN');
    const free = this.#watch.reserve(caller);
    const subscription = new Subscription(turn, rpc.id, filter);
    try {
      await this.#record(turn, rpc);
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
    if (denial !== undefined) await refuse('mcp.methods.relay', denial, caller, facts, asked);
    if (serverId === undefined) return;
    const limited = await overLimit(take, caller, found(serverFor, serverId, caller));
    if (limited !== undefined) throw limited;
  }

  async #serve(subscription: Subscription, turn: Turn): Promise<SubscriptionEnd> {
    const { serverId, sink, signal } = turn;
    const { filter } = subscription;
    sink?.onClose(() => subscription.end('client_left'));
    if (signal.aborted) subscription.end('client_left');
    const stop = this.#options.toolChanges.on((changed) => {
      const concerns = serverId === undefined || serverId === changed;
      if (!concerns || filter.toolsListChanged !== true) return;
      if (this.#options.mayReach(subscription.caller, changed))
        subscription.tell('notifications/tools/list_changed', {});
    });
    try {
      const honoured = serverId === undefined ? {} : await this.#listenTo(serverId, subscription);
      subscription.acknowledge({
        ...(filter.toolsListChanged === true ? { toolsListChanged: true } : {}),
        ...honoured,
      });
      this.#watch.add(subscription);
      this.#measure();
      return await subscription.over;
    } finally {
      stop();
      subscription.end('client_left');
    }
  }

  /** What the server honours of what is for it to tell. */
  async #listenTo(serverId: string, subscription: Subscription): Promise<JsonObject> {
    const { toolsListChanged: _, ...filter } = subscription.filter;
    if (Object.keys(filter).length === 0) return {};
    const server = found(this.#options.serverFor, serverId, subscription.caller);
    const { acknowledged } = await server.listen({
      filter: filter as JsonObject,
      onNotification: (method, params) => subscription.hear(method, params),
      onEnd: () => subscription.end('server_ended'),
      signal: subscription.signal,
    });
    const { toolsListChanged: __, ...honoured } = acknowledged as JsonObject & ListenFilter;
    return honoured as JsonObject;
  }

  async #record({ caller, facts, serverId }: Turn, { method, params }: RpcRequest): Promise<void> {
    await this.#options.recorder.record({
      surfaceId: 'mcp.methods.relay',
      requestId: facts.requestId,
      principal: caller.principal,
      outcome: 'success',
      http: surfaceHttp(serverId === undefined ? 'mcp.native.all' : 'mcp.methods.relay', 200, facts),
      resource: { type: 'server', id: serverId ?? 'gateway' },
      meta: {
        event_type: 'mcp_request',
        server_id: serverId,
        rpc_method: method,
        request_hash: rpcHash(method, params),
        ...rightMeta(caller),
      },
    });
  }

  #measure(): void {
    this.#options.telemetry.mcpListening(this.#watch.size);
  }
}

function found(serverFor: ServerFor, serverId: string, caller: Caller): McpServer {
  const server = serverFor(serverId, caller);
  if (server instanceof TalosError) throw server;
  return server;
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

const invalidFilter: Outcome = {
  error: { code: rpcCodes.invalidParams, message: 'The notifications to listen to are not valid.' },
};
