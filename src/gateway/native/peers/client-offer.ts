/**
 * What a client offers to servers, less what it may not be asked: a server that is not told of it does not ask. What the
 * gateway passes on is sampling, elicitation and roots; nothing else of a client is told to a server.
 */
import { type ClientHello, clientOffers } from '../../../mcp/protocol/peer.ts';
import type { PolicyMode } from '../../../policy/decide.ts';
import type { Caller } from '../../caller.ts';
import { mayUse } from '../../rpc-authority.ts';

export function offeredTo(serverId: string, client: ClientHello, caller: Caller, mode: PolicyMode): ClientHello {
  const { clientInfo, capabilities } = client;
  const offered = clientOffers.filter(
    ([name, method]) => capabilities[name] !== undefined && mayUse(method, serverId, caller, mode),
  );
  return { clientInfo, capabilities: Object.fromEntries(offered.map(([name]) => [name, capabilities[name] ?? {}])) };
}
