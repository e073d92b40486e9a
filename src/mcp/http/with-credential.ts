/**
 * One request with a credential. A server that refuses it with 401 has not processed the request, so it is sent once more
 * with another token; what the server says of scopes is told to whoever asked.
 */
import { describeError } from '../../core/errors.ts';
import { readChallenge } from '../credentials/oauth-discovery.ts';
import { credentialError, type UpstreamCredential } from '../credentials/upstream-credential.ts';
import type { Deadline } from '../deadline.ts';
import { UpstreamError } from '../upstream-error.ts';
import type { HttpReply } from './exchange.ts';

/** `send` gets the value of the `Authorization` header. Rejects with `UpstreamError` only. */
export async function withCredential(
  credential: UpstreamCredential,
  serverId: string,
  deadline: Deadline,
  send: (authorization: string) => Promise<HttpReply>,
): Promise<HttpReply> {
  const given = credential.header(deadline);
  const first = typeof given === 'string' ? given : await given.catch((error) => unavailable(error, serverId));
  const reply = await send(first);
  if (!isRefused(reply)) return withinScope(reply, serverId);
  const second = await credential.renewed(first, deadline).catch((error) => unavailable(error, serverId));
  const repeated = await send(second);
  if (isRefused(repeated)) throw credentialError(credential.whenRefused, serverId, 'it refuses a new token too');
  return withinScope(repeated, serverId);
}

function isRefused(reply: HttpReply): boolean {
  return reply.kind === 'body' && reply.status === 401;
}

/** RFC 6750, section 3.1. */
function withinScope(reply: HttpReply, serverId: string): HttpReply {
  if (reply.kind !== 'body' || reply.status !== 403) return reply;
  const { error, scopes = [] } = readChallenge(reply.headers['www-authenticate']);
  if (error !== 'insufficient_scope') return reply;
  throw new UpstreamError('UPSTREAM_SCOPE_INSUFFICIENT', {
    dispatched: false,
    isOurs: true,
    details: { server_id: serverId, scopes },
  });
}

/** Whoever waits too long for a token has not waited for the server. */
function unavailable(error: unknown, serverId: string): never {
  if (error instanceof UpstreamError && error.code !== 'UPSTREAM_TIMEOUT') throw error;
  throw credentialError('CREDENTIAL_UNAVAILABLE', serverId, describeError(error));
}
