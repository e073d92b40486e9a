/** From a request to its caller: the credentials are judged before the body is read. */
import { createHmac } from 'node:crypto';
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { AttestationHeaders, AttestedRequest } from '../auth/attestation.ts';
import type { AuthenticationDemand, Credentials } from '../auth/authenticate.ts';
import type { ClientIpHash } from '../core/audit-event.ts';
import { TalosError } from '../core/errors.ts';
import type { Caller, RequestFacts } from '../gateway/caller.ts';
import { readAttestedBody } from './attested-body.ts';
import { clientAddressOf } from './client-network.ts';
import { oneHeader } from './one-header.ts';

export type AuthenticateRequest = (credentials: Credentials, demand: AuthenticationDemand) => Promise<Caller>;

/** A hook for routes that need a caller. */
export function authenticated(authenticate: AuthenticateRequest, demand: AuthenticationDemand) {
  return async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    const caller = await authenticate(credentialsOf(request), demand);
    request.caller = caller;
    if (caller.sessionId !== undefined) reply.header(sessionHeader, caller.sessionId);
  };
}

const sessionHeader = 'x-talos-session';

/** What a request carries to say who sends it. Throws `AUTH_INVALID` when it says it twice. */
function credentialsOf(request: FastifyRequest): Credentials {
  const { authorization, 'x-talos-capability': capability, [sessionHeader]: session } = request.headers;
  // Of several, Node.js shows the first, and whoever stands before the gateway may have judged another one.
  if ((request.raw.headersDistinct['authorization']?.length ?? 0) > 1) throw new TalosError('AUTH_INVALID');
  return {
    authorization,
    capability: oneHeader(capability),
    session: oneHeader(session),
    attestation: attestationOf(request),
  };
}

/** The request as its sender may have signed it; undefined when nothing says so. One header is enough to say it. */
function attestationOf(request: FastifyRequest): AttestedRequest | undefined {
  const header = (name: string) => oneHeader(request.headers[`x-talos-${name}`]);
  const headers: AttestationHeaders = {
    keyId: header('key-id'),
    timestamp: header('timestamp'),
    nonce: header('nonce'),
    signature: header('signature'),
    algorithm: header('sig-alg'),
    version: header('sig-version'),
  };
  if (Object.values(headers).every((value) => value === undefined)) return undefined;
  return {
    headers,
    method: request.method,
    target: request.raw.url ?? '',
    opcode: request.routeOptions.config.surface ?? '',
    readBody: () => readAttestedBody(request),
  };
}

/** The caller that `authenticated` found. */
export function callerOf(request: FastifyRequest): Caller {
  if (request.caller === undefined) throw new Error('The route does not authenticate its caller.');
  return request.caller;
}

/** How client addresses are recorded: as an HMAC under this key, or not at all. */
export interface ClientIpKey {
  readonly key: string;
  readonly keyId: string;
}

export type FactsOf = (request: FastifyRequest) => RequestFacts;

export function createFactsOf(ipKey: ClientIpKey | undefined): FactsOf {
  if (ipKey === undefined) return (request) => ({ requestId: request.id });
  return (request) => ({
    requestId: request.id,
    clientIp: hashAddress(canonicalAddress(clientAddressOf(request)), ipKey),
  });
}

/** The caller that `authenticated` found, and what a record says of the request. */
export function askerOf(request: FastifyRequest, factsOf: FactsOf) {
  return { caller: callerOf(request), facts: factsOf(request) };
}

function hashAddress(address: string, { key, keyId }: ClientIpKey): ClientIpHash {
  return { hash: createHmac('sha256', key).update(address).digest('hex'), keyId };
}

// A dual-stack listener sees IPv4 clients in their mapped form.
function canonicalAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address.toLowerCase();
}

/** Aborted when the client goes away before its answer is complete. */
export function clientGone(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) controller.abort();
  });
  return controller.signal;
}
