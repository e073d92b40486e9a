/**
 * Where clients learn whom to ask for a token: the metadata of RFC 9728, and the `WWW-Authenticate` header of RFC 6750
 * that leads there. Without an issuer there is nobody to name, and clients get their credentials by other ways.
 */
import type { FastifyRequest } from 'fastify';
import type { TalosError } from '../core/errors.ts';

export interface ProtectedResource {
  /** Undefined when no issuer's tokens are taken. */
  readonly issuer: string | undefined;
  /** Address that clients know the gateway by; undefined for the one that a request names. */
  readonly publicUrl: string | undefined;
}

export const metadataPath = '/.well-known/oauth-protected-resource';

/** The address of the gateway as a client knows it, without a slash at its end. */
export function baseUrl(request: FastifyRequest, { publicUrl }: ProtectedResource): string {
  return (publicUrl ?? namedBase(request)).replace(/\/+$/, '');
}

/** The address that the client's request names, also when it came by way of another gateway. */
export function namedBase({ voucher, protocol, host }: FastifyRequest): string {
  return voucher?.base ?? `${protocol}://${host}`;
}

/** The challenge that goes with an error; undefined for one that no other credential would cure. */
export function challengeOf(error: TalosError, request: FastifyRequest): string | undefined {
  const words = parametersOf(error);
  if (words === undefined) return undefined;
  const parameters = ['realm="talos"', ...words, ...metadataParameter(request)];
  return `Bearer ${parameters.join(', ')}`;
}

// Whoever sent no credential is told nothing but that one is needed (RFC 6750, section 3.1).
function parametersOf({ status, code }: TalosError): string[] | undefined {
  if (status === 401) return code === 'AUTH_MISSING' || code === 'AUTH_SCHEME' ? [] : ['error="invalid_token"'];
  return code === 'TALOS_DENIED' ? ['error="insufficient_scope"'] : undefined;
}

function metadataParameter(request: FastifyRequest): string[] {
  const { protectedResource } = request.server;
  if (protectedResource.issuer === undefined) return [];
  const path = request.raw.url?.split('?', 1)[0] ?? '';
  const suffix = resourcePath.exec(path)?.[0] ?? '';
  const url = `${baseUrl(request, protectedResource)}${metadataPath}${suffix}`;
  // A Host header may hold anything; what is no address is not repeated.
  return /^https?:\/\/[\w.:[\]/~-]+$/.test(url) ? [`resource_metadata="${url}"`] : [];
}

/** Paths that are resources of their own: clients look for the metadata of the address that they were given. */
export const resourcePath = /^\/(?:mcp|v1\/mcp)(?:\/[a-z0-9_-]{1,63})?(?=\/|$)/;
