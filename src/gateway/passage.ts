/** What goes along with a request to a tool server, and by which way: the same for tool calls and all else. */
import type { JsonObject } from '../core/json.ts';
import { type ClientHello, canBeAsked, type Peer } from '../mcp/protocol/peer.ts';
import type { McpServer } from '../mcp/registry.ts';
import type { Asked } from '../mcp/upstream-call.ts';
import { UpstreamError } from '../mcp/upstream-error.ts';
import type { ToolSource } from '../mcp/upstream-session.ts';
import type { StayFor } from './stay.ts';

/** The way to a server: its shared connection, or a client's own session with it. */
export type Line = Pick<McpServer, 'callTool' | 'relay'>;

/** The tools that the server shows in a session of the client's own. */
export type ToolsAt = (server: McpServer) => ToolSource | undefined;

export interface Passage {
  /** In place of the server's shared connection. Throws `UpstreamError`. */
  readonly lineTo?: (server: McpServer) => Promise<Line>;
  /** Where the server shows the client other tools than everybody. */
  readonly toolsAt?: ToolsAt;
  /** What the server may know of the client. */
  readonly clientFor?: (server: McpServer) => ClientHello;
  readonly peerFor?: (server: McpServer) => Peer;
  /** Where a call stays open while its client is asked, and the client has no session. */
  readonly stayFor?: StayFor;
  /** What of the client's `_meta` goes along. */
  readonly meta?: JsonObject;
}

/** What of a passage is said to the server itself. */
export function alongTo(
  server: McpServer,
  { clientFor, peerFor, meta }: Passage,
): Pick<Asked, 'client' | 'peer' | 'meta'> {
  return {
    ...(clientFor === undefined ? {} : { client: clientFor(server) }),
    ...(peerFor === undefined ? {} : { peer: peerFor(server) }),
    ...(meta === undefined ? {} : { meta }),
  };
}

/**
 * The methods of what a server asks for in place of an answer (MCP 2026-07-28), for its record. Throws
 * `UPSTREAM_INVALID_RESPONSE` for what is malformed, and for what it was not told that the client offers.
 */
export function askedFor(
  { inputRequests = {} }: JsonObject & { inputRequests?: unknown },
  client: ClientHello,
): string {
  if (typeof inputRequests !== 'object' || inputRequests === null || Array.isArray(inputRequests)) throw invalid();
  const methods = Object.values(inputRequests as Record<string, unknown>).map(methodOf);
  if (!methods.every((method) => canBeAsked(client, method))) throw invalid();
  return [...new Set(methods)].sort().join(' ');
}

function methodOf(request: unknown): string {
  const method = typeof request === 'object' && request !== null ? (request as JsonObject)['method'] : undefined;
  if (typeof method !== 'string') throw invalid();
  return method;
}

function invalid(): UpstreamError {
  return new UpstreamError('UPSTREAM_INVALID_RESPONSE', {
    dispatched: true,
    inside: 'it asked for input that the client does not offer, or that is not valid',
  });
}
