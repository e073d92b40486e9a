/**
 * Who opens a stream: by the credentials of the request, or by a ticket for them where a browser cannot send headers. What
 * was shown is kept in memory for as long as the stream lasts, to be judged again.
 */
import type { FastifyReply, FastifyRequest } from 'fastify';
import type { Credentials } from '../auth/authenticate.ts';
import type { JsonObject } from '../core/json.ts';
import type { Caller } from '../gateway/caller.ts';
import type { StreamEvents } from '../gateway/stream-events.ts';
import { type AuthenticateRequest, authenticated } from './caller.ts';

/** What can be shown again; a signature over one request cannot. */
export type ShownCredentials = Pick<Credentials, 'authorization' | 'capability' | 'session'>;

export interface StreamCredentials {
  /** A hook: sets the caller. */
  readonly hook: (request: FastifyRequest, reply: FastifyReply) => Promise<void>;
  readonly shownBy: (request: FastifyRequest) => ShownCredentials;
  readonly reauthenticate: Reauthenticate;
}

/** Judges what was shown anew, for somebody who was let in before. */
export type Reauthenticate = (shown: ShownCredentials, caller: Caller) => Promise<Caller>;

export function createStreamCredentials(
  authenticate: AuthenticateRequest,
  streamEvents: StreamEvents,
): StreamCredentials {
  const byTicket = new WeakMap<FastifyRequest, ShownCredentials>();
  const byHeaders = authenticated(authenticate, 'open');
  return {
    async hook(request, reply) {
      const { ticket } = request.query as { readonly ticket?: unknown };
      if (typeof ticket !== 'string') return await byHeaders(request, reply);
      const shown = shownFrom(await streamEvents.redeemTicket(ticket));
      byTicket.set(request, shown);
      request.caller = await authenticate(shown, 'open');
    },
    shownBy: (request) => byTicket.get(request) ?? shownBy(request),
    reauthenticate: createReauthenticate(authenticate),
  };
}

export function createReauthenticate(authenticate: AuthenticateRequest): Reauthenticate {
  return async (shown, caller) => {
    if (caller.attestedDid === undefined) return await authenticate(shown, 'open');
    // A signature over one request cannot be asked for again, and the capability that it proved is judged all the time;
    // the key or token beside it may have been revoked since.
    if (caller.permissions === undefined) return caller;
    const { permissions } = await authenticate({ authorization: shown.authorization, capability: undefined }, 'open');
    return permissions === undefined ? caller : { ...caller, permissions };
  };
}

/** The same as an object to be sealed. */
export function credentialsToSeal(request: FastifyRequest): JsonObject {
  const shown = Object.entries(shownBy(request));
  return Object.fromEntries(shown.filter((entry): entry is [string, string] => entry[1] !== undefined));
}

function shownFrom(sealed: JsonObject): ShownCredentials {
  return {
    authorization: textIn(sealed['authorization']),
    capability: textIn(sealed['capability']),
    session: textIn(sealed['session']),
  };
}

/** In the headers of a request. */
export function shownBy({ headers }: FastifyRequest): ShownCredentials {
  return {
    authorization: headers.authorization,
    capability: textIn(headers['x-talos-capability']),
    session: textIn(headers['x-talos-session']),
  };
}

function textIn(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
