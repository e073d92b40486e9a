/** Questions of servers on their way to the client of a session, and the replies on their way back. */
import { bounds } from '../../../config/bounds.ts';
import { isJsonObject, type JsonObject } from '../../../core/json.ts';
import { notification } from '../../../mcp/protocol/json-rpc.ts';
import type { McpServer } from '../../../mcp/registry.ts';
import type { McpSession } from '../sessions/session.ts';
import type { Reply } from '../streams/reply.ts';
import { type Put, unheard } from './ask-client.ts';

/** `reply` is that of the client's request that the question belongs to. */
export function putInSession(session: McpSession, server: McpServer, reply: Reply | undefined): Put {
  return async (method, params, signal) => {
    const { asked } = session;
    const way = session.wayTo(reply);
    if (way === undefined) return unheard('The client listens to no stream.');
    if (asked.size >= bounds.mcpAsksMax) return unheard('The client is asked too much.');
    const id = asked.nextId();
    const patience = AbortSignal.any([signal, AbortSignal.timeout(bounds.mcpAskMs)]);
    const replied = asked.replyTo(id, patience, progressTo(session, server, params));
    way.send({ jsonrpc: '2.0', id, method, params: withToken(params, id) });
    const said = await replied;
    if (said === undefined) {
      way.send(notification('notifications/cancelled', { requestId: id }));
    }
    return said;
  };
}

/** Two servers may have chosen the same token: on the way it is the id of the request. */
function withToken(params: JsonObject, id: number): JsonObject {
  const meta = metaOf(params);
  return meta['progressToken'] === undefined ? params : { ...params, _meta: { ...meta, progressToken: id } };
}

function progressTo(
  session: McpSession,
  server: McpServer,
  params: JsonObject,
): ((said: JsonObject) => void) | undefined {
  const token = metaOf(params)['progressToken'];
  if (token === undefined) return undefined;
  return (said) => session.notifyServer(server, 'notifications/progress', { ...said, progressToken: token });
}

function metaOf(params: JsonObject): JsonObject {
  const meta = params['_meta'];
  return isJsonObject(meta) ? meta : {};
}
