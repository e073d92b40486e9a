/** A request that is no tool call, passed on to one server: by its own address, or among all. */
import type { JsonObject } from '../../../core/json.ts';
import { errorAmongAll, resultAmongAll } from '../aggregate/content.ts';
import type { Outcome, RpcRequest } from '../answer.ts';
import type { Turn } from '../turn.ts';
import type { Method, MethodOptions } from './method.ts';
import { passageOf } from './passage-of.ts';

/** Where a request goes: a server, and what that is asked in its own words. */
export interface Target {
  readonly serverId: string;
  readonly params: JsonObject;
}

/** At the server's own address: everything as it came. */
export const relay: Method = (options, turn, rpc) =>
  relayTo(options, turn, rpc, { serverId: turn.serverId ?? '', params: rpc.params });

export async function relayTo(
  options: MethodOptions,
  turn: Turn,
  rpc: RpcRequest,
  { serverId, params }: Target,
): Promise<Outcome> {
  const { caller, facts, signal, session } = turn;
  const isAmongAll = turn.serverId === undefined;
  const { answer, auditRef } = await options.relayMethod({
    ...{ caller, facts, serverId, method: rpc.method, params, signal },
    ...(isAmongAll ? { by: 'mcp.native.all' as const } : {}),
    passage: passageOf(options, turn, rpc),
    ...(session === undefined ? {} : { sessionName: session.name }),
  });
  if (answer.kind === 'error') {
    const error = { ...answer.error };
    return { error: isAmongAll ? errorAmongAll(serverId, error) : error, auditRef };
  }
  const result = isAmongAll ? resultAmongAll(serverId, answer.result) : answer.result;
  return { result, asksInput: answer.kind === 'input_required', auditRef };
}
