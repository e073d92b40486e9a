/**
 * JSON-RPC 2.0 as MCP uses it: what is sent, and how a received message is told apart. A message is parsed exactly
 * once; what is not valid is refused with a `MessageFault`, never repaired.
 */
import { isUtf8 } from 'node:buffer';
import { isJsonObject, type JsonObject, type JsonValue } from '../../core/json.ts';
import { depthWithin } from './json-depth.ts';

export interface RpcError {
  readonly code: number;
  readonly message: string;
  readonly data?: JsonValue;
}

/** What a server answered to one request. `raw` are the exact bytes of the response message. */
export type RpcAnswer =
  | { readonly kind: 'result'; readonly result: JsonObject; readonly raw: Buffer }
  | { readonly kind: 'error'; readonly error: RpcError; readonly raw: Buffer };

/** Of JSON-RPC 2.0 (section 5.1) and of MCP. */
export const rpcCodes = {
  parse: -32_700,
  invalidRequest: -32_600,
  methodNotFound: -32_601,
  invalidParams: -32_602,
  internal: -32_603,
  /** Errors that the gateway itself defines; `data.code` names them. */
  gateway: -32_000,
  sessionNotFound: -32_001,
  headerMismatch: -32_020,
  missingCapability: -32_021,
  unsupportedVersion: -32_022,
  urlElicitationRequired: -32_042,
} as const;

/** A received message that is not what JSON-RPC allows. The reason never quotes the message. */
export class MessageFault extends Error {
  override readonly name = 'MessageFault';
}

/** A nested value of this many bytes at most cannot be deep enough to hurt a serialiser. */
const shallowBytesMax = 8 * 1024;

/** Parses one message. Throws `MessageFault` for bytes that are not a JSON object in UTF-8 of at most `depthMax` levels. */
export function readMessage(raw: Buffer, depthMax: number): JsonObject {
  if (!isUtf8(raw)) throw new MessageFault('not valid UTF-8');
  const message = parse(raw.toString('utf8'));
  if (!isJsonObject(message)) throw new MessageFault('not a JSON object');
  if (raw.length > shallowBytesMax && !depthWithin(message, depthMax)) throw new MessageFault('nested too deeply');
  return message;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new MessageFault('not valid JSON');
  }
}

/** A message without a method is a response; with a method it is a request when it has an id, else a notification. */
export function isResponse(message: JsonObject): boolean {
  return message['method'] === undefined;
}

export function isRequest(message: JsonObject): boolean {
  return typeof message['method'] === 'string' && message['id'] !== undefined;
}

/** `lenient` is for bare JSON-RPC servers, many of which predate version 2.0 or ignore parts of it. */
export type Strictness = 'strict' | 'lenient';

/**
 * The answer that `message` gives to the request `id`. Throws `MessageFault` when it is no response, or not to this
 * request. An error may carry the id null: the server could not read ours (JSON-RPC 2.0, section 5).
 */
export function answerOf(message: JsonObject, raw: Buffer, id: number, strictness: Strictness): RpcAnswer {
  const { jsonrpc, error } = { jsonrpc: message['jsonrpc'], error: message['error'] };
  if (jsonrpc !== '2.0' && !(strictness === 'lenient' && jsonrpc === undefined))
    throw new MessageFault('not JSON-RPC 2.0');
  if (!isResponse(message)) throw new MessageFault('not a response');
  const failed = error !== undefined && error !== null;
  if (message['id'] !== id && !(failed && message['id'] === null))
    throw new MessageFault('a response to another request');
  return failed
    ? { kind: 'error', error: errorOf(error, strictness), raw }
    : { kind: 'result', result: resultOf(message), raw };
}

function resultOf(message: JsonObject): JsonObject {
  const { result } = { result: message['result'] };
  if (!isJsonObject(result)) throw new MessageFault('neither a result object nor an error');
  return result;
}

function errorOf(error: JsonValue, strictness: Strictness): RpcError {
  if (!isJsonObject(error)) throw new MessageFault('an error that is no object');
  const { code, message, data } = { code: error['code'], message: error['message'], data: error['data'] };
  if (Number.isInteger(code) && typeof message === 'string') {
    return { code: code as number, message, ...(data !== undefined && { data }) };
  }
  if (strictness === 'strict') throw new MessageFault('an error without code and message');
  return looseError(error);
}

/** Codes that are words travel as data, for what callers are promised is a number. */
function looseError(error: JsonObject): RpcError {
  const { message, ...data } = error;
  return {
    code: rpcCodes.gateway,
    message: typeof message === 'string' ? message : 'The tool server reported an error.',
    data,
  };
}

export function encodeRequest(id: number, method: string, params: JsonObject): string {
  return JSON.stringify({ jsonrpc: '2.0', id, method, params });
}

/** Without `params` where there are none. */
export function notification(method: string, params: JsonObject = {}): JsonObject {
  return Object.keys(params).length === 0 ? { jsonrpc: '2.0', method } : { jsonrpc: '2.0', method, params };
}

export function encodeNotification(method: string, params?: JsonObject): string {
  return JSON.stringify({ jsonrpc: '2.0', method, params });
}
