/**
 * The client behind a request, as far as a tool server may know it, tell it things and ask it things. What crosses here
 * is MCP as the client speaks it: its progress tokens, its methods; ids of JSON-RPC stay on their own side.
 */
import type { JsonObject } from '../../core/json.ts';
import type { RpcError } from './json-rpc.ts';

/** What a client says of itself, less what it must not offer here. */
export interface ClientHello {
  readonly clientInfo: JsonObject;
  /** `sampling`, `elicitation`, `roots` and the rest. */
  readonly capabilities: JsonObject;
}

/** What servers may ask of clients, by the capability that offers it. */
export const clientOffers = [
  ['sampling', 'sampling/createMessage'],
  ['elicitation', 'elicitation/create'],
  ['roots', 'roots/list'],
] as const;

/** Whether the client offers to be asked this. */
export function canBeAsked({ capabilities }: ClientHello, method: string): boolean {
  return clientOffers.some(([name, offered]) => offered === method && capabilities[name] !== undefined);
}

export type PeerReply = { readonly result: JsonObject } | { readonly error: RpcError };

/** Whom a tool server talks to besides answering: about one request, or about none in particular. */
export interface Peer {
  /** Progress, log messages, changed lists. Must not throw. */
  readonly onNotification: (method: string, params: JsonObject) => void;
  /**
   * A request of the server: `sampling/createMessage`, `elicitation/create`, `roots/list`. Never rejects; `signal` is
   * aborted when the server no longer waits. Absent where nobody can be asked.
   */
  readonly onRequest?: (method: string, params: JsonObject, signal: AbortSignal) => Promise<PeerReply>;
}
