/**
 * Clients as tool servers see them: who hears what a server says, and whom it may ask. A client hears of what it may
 * use, and of nothing else.
 */
import type { JsonObject } from '../../../core/json.ts';
import { notification } from '../../../mcp/protocol/json-rpc.ts';
import type { ClientHello, Peer } from '../../../mcp/protocol/peer.ts';
import type { McpServer } from '../../../mcp/registry.ts';
import type { PolicyMode } from '../../../policy/decide.ts';
import type { Caller, RequestFacts } from '../../caller.ts';
import { mayUse } from '../../rpc-authority.ts';
import { notificationAmongAll } from '../aggregate/content.ts';
import type { McpSession } from '../sessions/session.ts';
import type { Reply } from '../streams/reply.ts';
import type { AskClient } from './ask-client.ts';
import { putInSession } from './ask-in-session.ts';
import { offeredTo } from './client-offer.ts';

/** A request of a client, for whose server there shall be a peer. */
interface ClientRequest {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  readonly reply: Reply;
  /** Absent at the endpoint of all servers. */
  readonly serverId?: string;
  /** Absent when the request belongs to none: then nobody can be asked. */
  readonly session: McpSession | undefined;
}

export interface Peers {
  /** For what belongs to no request of a session. */
  readonly ofSession: (session: McpSession, server: McpServer) => { readonly client: ClientHello; readonly peer: Peer };
  /** For what belongs to one request. */
  readonly ofRequest: (request: ClientRequest, server: McpServer) => Peer;
}

export function createPeers(options: { readonly policyMode: PolicyMode; readonly askClient: AskClient }): Peers {
  const { policyMode, askClient } = options;
  const hears = (method: string, params: JsonObject, { id }: McpServer, caller: Caller): boolean =>
    method === progress || mayHear(method, id, caller, policyMode, params);

  return {
    ofSession(session, server) {
      const { facts, client } = session.opening;
      const peer: Peer = {
        onNotification(method, params) {
          if (hears(method, params, server, session.caller)) session.say(told(session, server, method, params));
        },
        onRequest: (method, params, signal) =>
          askClient({ ...asked(session, server), caller: session.caller, facts, method, params, signal }),
      };
      return { client: offeredTo(server.id, client, session.caller, policyMode), peer };
    },
    ofRequest(request, server) {
      const { session, caller, facts, reply } = request;
      const onNotification = (method: string, params: JsonObject) => {
        if (reply.takesMessages && hears(method, params, server, caller))
          reply.send(told(request, server, method, params));
      };
      if (session === undefined) return { onNotification };
      return {
        onNotification,
        onRequest: (method, params, signal) =>
          askClient({ ...asked(session, server, reply), caller, facts, method, params, signal }),
      };
    },
  };
}

function asked(session: McpSession, server: McpServer, reply?: Reply) {
  const { name: sessionName, opening } = session;
  return { server, sessionName, client: opening.client, put: putInSession(session, server, reply) };
}

/** What a server says, as it is said at the address that its hearer is at. */
function told(
  { serverId }: { readonly serverId?: string | undefined },
  { id }: McpServer,
  method: string,
  params: JsonObject,
): JsonObject {
  return notification(method, serverId === undefined ? notificationAmongAll(id, method, params) : params);
}

const progress = 'notifications/progress';

/**
 * What servers say that is passed on, and the method that its hearer must be allowed. That tools have changed is told by
 * whoever has their list.
 */
const heard: ReadonlyMap<string, string> = new Map([
  ['notifications/message', 'logging/setLevel'],
  ['notifications/resources/list_changed', 'resources/read'],
  ['notifications/resources/updated', 'resources/read'],
  ['notifications/prompts/list_changed', 'prompts/get'],
  ['notifications/elicitation/complete', 'elicitation/create'],
]);

/** Whether a client may hear this of a server, by the right to what it tells of: to one resource, where it names one. */
export function mayHear(
  method: string,
  serverId: string,
  caller: Caller,
  mode: PolicyMode,
  params: JsonObject = {},
): boolean {
  const [needed, uri] = [heard.get(method), params['uri']];
  if (needed === undefined) return false;
  return mayUse(needed, serverId, caller, mode, typeof uri === 'string' ? uri : undefined);
}
