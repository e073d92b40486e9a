/** How servers over HTTP say that they no longer know a session: 404 by the rules, while many answer 400 and say so in words. */
import { isJsonObject, type JsonObject } from '../../core/json.ts';
import { MessageFault, readMessage } from '../protocol/json-rpc.ts';

/** A tool that speaks of sessions is not meant. */
const sessionLost =
  /valid session id|session not found|(missing|invalid|unknown) session|mcp-session-id|server not initialized/i;

/** Whether `message` of a JSON-RPC error that came with `status`, to a request with a session's id, says so. */
export function tellsSessionLost(status: number, message: string): boolean {
  return status === 400 && sessionLost.test(message);
}

/** The same of a whole answer, to a request that no answer is read of. */
export function isSessionLost(status: number, body: Buffer, depthMax: number): boolean {
  if (status === 404) return true;
  const message = status === 400 ? errorMessage(body, depthMax) : undefined;
  return message !== undefined && tellsSessionLost(status, message);
}

/** The message of a refusal with the id null where a server left it out: it may not have read the request's. */
export function withId(message: JsonObject): JsonObject {
  return message['id'] === undefined ? { ...message, id: null } : message;
}

function errorMessage(body: Buffer, depthMax: number): string | undefined {
  try {
    const { error } = readMessage(body, depthMax) as JsonObject & { error?: unknown };
    const message = isJsonObject(error) ? error['message'] : undefined;
    return typeof message === 'string' ? message : undefined;
  } catch (error) {
    if (error instanceof MessageFault) return undefined;
    throw error;
  }
}
