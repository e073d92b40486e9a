/** By which way a client's request goes to a server, and what that may know of the client. */
import type { McpServer } from '../../../mcp/registry.ts';
import type { Passage } from '../../passage.ts';
import type { RpcRequest } from '../answer.ts';
import { offeredTo } from '../peers/client-offer.ts';
import type { Turn } from '../turn.ts';
import type { MethodOptions } from './method.ts';

/** By a session of the client's own where it has one; else what the server needs to know goes along. */
export function passageOf(
  { peers, parkedCalls, policyMode }: MethodOptions,
  turn: Turn,
  { meta, client }: RpcRequest,
): Passage {
  const { session, reply, caller } = turn;
  const peer =
    session === undefined && !reply.takesMessages
      ? {}
      : { peerFor: (server: McpServer) => peers.ofRequest(turn, server) };
  const goesAlong = meta === undefined ? peer : { ...peer, meta };
  if (session !== undefined)
    return { ...goesAlong, lineTo: (server) => session.upstream(server), toolsAt: session.toolsAt };
  if (client === undefined) return goesAlong;
  const stayFor = parkedCalls.stayFor({ turn, client, meta });
  return { ...goesAlong, stayFor, clientFor: ({ id }) => offeredTo(id, client, caller, policyMode) };
}
