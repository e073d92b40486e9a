/**
 * The path of a tool, read from the raw URL. Tool names may hold `.`, `/`, `:` and any script, percent-encoded by
 * clients; the router's own parameters would stop at the colon of `:call`. The name is decoded once, and that decoded
 * name is what is judged, recorded and sent.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { TalosError } from '../../../core/errors.ts';
import { notFound } from '../../surfaces.ts';

export interface ToolPath {
  readonly serverId: string;
  readonly toolName: string;
}

const callPattern = /^\/v1\/mcp\/servers\/([^/]+)\/tools\/([^/]+):call$/;
const schemaPattern = /^\/v1\/mcp\/servers\/([^/]+)\/tools\/([^/]+)\/schema$/;

/** Throws `NOT_FOUND` when the URL is not a call, `INVALID_REQUEST` when its encoding is not valid. */
export function callPath(url: string): ToolPath {
  return parse(url, callPattern);
}

/** The same for the schema of a tool. */
export function schemaPath(url: string): ToolPath {
  return parse(url, schemaPattern);
}

/** Hooks for the wildcard routes: a path that they only seem to serve is not found, before its body is read. */
export const onlyCalls = only(callPattern);
export const onlySchemas = only(schemaPattern);

function only(pattern: RegExp) {
  return async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    if (!pattern.test(pathOf(request.raw.url ?? ''))) throw notFound(request, reply);
  };
}

function pathOf(url: string): string {
  return url.split('?', 1)[0] ?? '';
}

function parse(url: string, pattern: RegExp): ToolPath {
  const [, serverId, toolName] = pattern.exec(pathOf(url)) ?? [];
  if (serverId === undefined || toolName === undefined) throw new TalosError('NOT_FOUND');
  return { serverId: decode(serverId), toolName: decode(toolName) };
}

function decode(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new TalosError('INVALID_REQUEST', { message: 'The path holds a percent-encoding that is not valid UTF-8.' });
  }
}
