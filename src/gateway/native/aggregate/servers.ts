/** The servers among which a caller is at the address of all, as methods there ask one or each of them. */
import { TalosError } from '../../../core/errors.ts';
import type { McpServer } from '../../../mcp/registry.ts';
import type { UpstreamSession } from '../../../mcp/upstream-session.ts';
import type { Caller } from '../../caller.ts';
import type { MethodOptions } from '../methods/method.ts';
import type { Turn } from '../turn.ts';
import { ownName } from './names.ts';
import { patiently } from './patience.ts';

export function serverIdsFor({ listTools }: Pick<MethodOptions, 'listTools'>, caller: Caller): string[] {
  return listTools.servers(caller).map(({ id }) => id);
}

/** The server of a tool or prompt, and its own name there; neither where the caller has no such server. */
export function namedAmongAll(options: MethodOptions, { caller }: Turn, name: string) {
  return ownName(name, serverIdsFor(options, caller));
}

/**
 * What one of many servers answers, asked with the client's own session there where it has one; undefined of one that is
 * not there, late, or fails. `what` is undefined of what callers make up as they like, such as cursors: who takes long
 * over that is not late for others.
 */
export async function answerAmongAll<T>(
  { serverFor, patience }: MethodOptions,
  { caller, session }: Turn,
  serverId: string,
  what: string | undefined,
  ask: (signal: AbortSignal, server: McpServer, own: UpstreamSession | undefined) => Promise<T>,
): Promise<T | undefined> {
  const server = serverFor(serverId, caller);
  if (server instanceof TalosError) return undefined;
  const own = session?.opened(server);
  if (what === undefined) return await patiently(ask(new AbortController().signal, server, own));
  // A part of a session that is slow makes the server late for that session alone.
  return await patience.answerOf(own ?? server, what, (signal) => ask(signal, server, own));
}
