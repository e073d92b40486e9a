/**
 * The ways a tool server over HTTP wants to be spoken to. `session`: MCP up to 2025-11-25, opened by `initialize`.
 * `stateless`: MCP from 2026-07-28 on, where every request carries its envelope. `bare`: JSON-RPC without MCP's handshake.
 */
import { isUtf8 } from 'node:buffer';
import { isJsonObject, type JsonObject } from '../../core/json.ts';
import type { RpcRequest } from '../connection.ts';
import { onlyTools, type ServerHello } from './hello.ts';
import { encodeRequest, type Strictness } from './json-rpc.ts';
import type { ClientHello } from './peer.ts';

export type Era =
  | { readonly kind: 'bare' }
  | {
      readonly kind: 'session';
      readonly protocolVersion: string;
      /** Absent when the server keeps no session. */
      readonly sessionId: string | undefined;
      readonly hello: ServerHello;
    }
  | { readonly kind: 'stateless'; readonly protocolVersion: string; readonly hello: ServerHello };

export function helloOf(era: Era): ServerHello {
  return era.kind === 'bare' ? onlyTools : era.hello;
}

/** Whether the server tells when its list of these changes. */
export function announcesChanges({ capabilities }: ServerHello, of: 'tools' | 'prompts' | 'resources'): boolean {
  const capability = capabilities[of];
  return isJsonObject(capability) && capability['listChanged'] === true;
}

export const statelessVersion = '2026-07-28';

/** Versions of the session era that we speak, the preferred one first. */
export const sessionVersions: readonly string[] = ['2025-11-25', '2025-06-18', '2025-03-26', '2024-11-05'];

const clientInfo = { name: 'talos-gateway', version: '1' };

/** The gateway itself. No capability: it neither samples nor elicits. */
export const ownHello: ClientHello = { clientInfo, capabilities: {} };

/** The envelope of the stateless era. */
export const envelope: JsonObject = envelopeOf(ownHello);

function envelopeOf({ clientInfo, capabilities }: ClientHello): JsonObject {
  return {
    'io.modelcontextprotocol/protocolVersion': statelessVersion,
    'io.modelcontextprotocol/clientInfo': clientInfo,
    'io.modelcontextprotocol/clientCapabilities': capabilities,
  };
}

export function initializeParams({ clientInfo, capabilities }: ClientHello, protocolVersion?: string): JsonObject {
  return { protocolVersion: protocolVersion ?? (sessionVersions[0] as string), capabilities, clientInfo };
}

export function strictnessOf(era: Era): Strictness {
  return era.kind === 'bare' ? 'lenient' : 'strict';
}

type Spoken = Pick<RpcRequest, 'method' | 'params' | 'client' | 'meta'>;

export function encodeForEra(era: Era, id: number, { method, params, client, meta }: Spoken): string {
  if (era.kind === 'bare') return encodeRequest(id, method, params);
  const own = era.kind === 'stateless' ? (client === undefined ? envelope : envelopeOf(client)) : undefined;
  if (meta === undefined) return encodeRequest(id, method, own === undefined ? params : { ...params, _meta: own });
  return encodeRequest(id, method, { ...params, _meta: { ...meta, ...progressToken(id, meta), ...own } });
}

/** In place of the client's own, which is unique among that client's requests only. */
function progressToken(id: number, meta: JsonObject): JsonObject {
  return meta['progressToken'] === undefined ? {} : { progressToken: id };
}

/** The headers that `era` adds to a request, names and values in turn. */
export function eraHeaders(era: Era, request: Pick<RpcRequest, 'method' | 'params' | 'mirrorHeaders'>): string[] {
  if (era.kind === 'bare') return [];
  if (era.kind === 'session') return sessionHeaders(era);
  return [
    ...statelessHeaders(request.method, mirroredName(request.method, request.params)),
    ...(request.mirrorHeaders ?? []),
  ];
}

export function sessionHeaders(era: Extract<Era, { kind: 'session' }>): string[] {
  const version = ['mcp-protocol-version', era.protocolVersion];
  return era.sessionId === undefined ? version : [...version, 'mcp-session-id', era.sessionId];
}

export function statelessHeaders(method: string, name: string | undefined): string[] {
  const headers = ['mcp-protocol-version', statelessVersion, 'mcp-method', method];
  return name === undefined ? headers : [...headers, 'mcp-name', encodeHeaderValue(name)];
}

/** What the header `Mcp-Name` repeats, for the methods that have it (MCP 2026-07-28, Streamable HTTP). */
export function mirroredName(method: string, params: JsonObject): string | undefined {
  const key = nameKeys.get(method);
  const name = key === undefined ? undefined : params[key];
  return typeof name === 'string' ? name : undefined;
}

const nameKeys = new Map([
  ['tools/call', 'name'],
  ['prompts/get', 'name'],
  ['resources/read', 'uri'],
]);

const safeHeaderValue = /^[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?$/;
const sentinel = /^=\?base64\?(.*)\?=$/;
const base64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

/** A value as MCP 2026-07-28 puts it into a header: as it is, or base64 in a sentinel when HTTP would not keep it so. */
export function encodeHeaderValue(value: string): string {
  if (safeHeaderValue.test(value) && !sentinel.test(value)) return value;
  return `=?base64?${Buffer.from(value, 'utf8').toString('base64')}?=`;
}

/** What such a header says; undefined when it claims to be base64 in UTF-8 and is not. */
export function decodeHeaderValue(value: string): string | undefined {
  const encoded = sentinel.exec(value)?.[1];
  if (encoded === undefined) return value;
  const bytes = base64.test(encoded) ? Buffer.from(encoded, 'base64') : undefined;
  return bytes !== undefined && isUtf8(bytes) ? bytes.toString('utf8') : undefined;
}
