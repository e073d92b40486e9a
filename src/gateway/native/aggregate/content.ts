/**
 * What goes to and fro between a client at the address of all servers and one of the servers: everywhere the protocol has
 * the URI of a resource, the client sees the one that it can read there, and the server its own.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../../../core/json.ts';
import { decodeHeaderValue, encodeHeaderValue } from '../../../mcp/protocol/era.ts';
import { nameAmongAll, uriAmongAll, withoutPrefix } from './names.ts';

/** A result of any method: `contents` of what was read, `content` of a tool, `messages` of a prompt. */
export function resultAmongAll(serverId: string, result: JsonObject): JsonObject {
  const { contents, content, messages } = result as Readonly<Record<string, JsonValue | undefined>>;
  return {
    ...result,
    ...(Array.isArray(contents) ? { contents: contents.map((each) => withUri(serverId, each)) } : {}),
    ...(Array.isArray(content) ? { content: contentAmongAll(serverId, content) } : {}),
    ...(Array.isArray(messages) ? { messages: messages.map((each) => messageAmongAll(serverId, each)) } : {}),
  };
}

/** An error that tells of a resource. */
export function errorAmongAll(serverId: string, error: JsonObject): JsonObject {
  const data = error['data'];
  return isJsonObject(data) ? { ...error, data: withUri(serverId, data) } : error;
}

/** What a server tells: of which resource, and in whose log. */
export function notificationAmongAll(serverId: string, method: string, params: JsonObject): JsonObject {
  if (method === 'notifications/resources/updated') return withUri(serverId, params) as JsonObject;
  if (method !== 'notifications/message') return params;
  const logger = params['logger'];
  return { ...params, logger: typeof logger === 'string' ? nameAmongAll(serverId, logger) : serverId };
}

/**
 * Arguments as the server knows them: a URI of its own that the client was shown, and gives back, has no prefix there.
 * Whatever is judged, hashed and validated comes after this.
 */
export function ownArguments<T extends JsonValue>(serverId: string, value: T): T {
  return ownValue(serverId, value) as T;
}

/** A header that repeats such an argument. */
export function ownHeader(serverId: string, value: string | undefined): string | undefined {
  const said = value === undefined ? undefined : decodeHeaderValue(value);
  const own = said === undefined ? undefined : withoutPrefix(serverId, said);
  return own === undefined || own === said ? value : encodeHeaderValue(own);
}

function ownValue(serverId: string, value: JsonValue): JsonValue {
  if (typeof value === 'string') return withoutPrefix(serverId, value);
  if (Array.isArray(value)) return value.map((each) => ownValue(serverId, each));
  if (!isJsonObject(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, ownValue(serverId, each)]));
}

function messageAmongAll(serverId: string, message: JsonValue): JsonValue {
  if (!isJsonObject(message) || message['content'] === undefined) return message;
  return { ...message, content: contentAmongAll(serverId, message['content']) };
}

function contentAmongAll(serverId: string, content: JsonValue): JsonValue {
  if (Array.isArray(content)) return content.map((each) => contentAmongAll(serverId, each));
  if (!isJsonObject(content)) return content;
  if (content['type'] === 'resource_link') return withUri(serverId, content);
  if (content['type'] !== 'resource' || content['resource'] === undefined) return content;
  return { ...content, resource: withUri(serverId, content['resource']) };
}

function withUri(serverId: string, value: JsonValue): JsonValue {
  const uri = isJsonObject(value) ? value['uri'] : undefined;
  return typeof uri === 'string' ? { ...(value as JsonObject), uri: uriAmongAll(serverId, uri) } : value;
}
