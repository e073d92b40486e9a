/** The records of users' accounts at tool servers: never a token, a code or a secret. */
import { bounds } from '../../config/bounds.ts';
import type { EventDraft } from '../../core/audit-event.ts';
import { ownDraft } from '../../core/own-draft.ts';
import type { BearerPrincipal } from '../../core/principal.ts';
import { surfaceHttp } from '../../core/surface-http.ts';
import type { SurfaceId } from '../../core/surfaces.ts';
import type { ClientChange } from '../../core/upstream-client.ts';
import type { ConnectionKey } from '../../core/upstream-connection.ts';
import type { Caller, RequestFacts } from '../caller.ts';
import { rightMeta } from '../right-meta.ts';

/** What was asked, by whom. */
export interface ConnectionAction {
  readonly facts: RequestFacts;
  readonly serverId: string;
  readonly principal: BearerPrincipal;
  readonly caller?: Caller;
}

/** Of what a user did, or the gateway for them. */
export function connectionDraft(
  surfaceId: SurfaceId,
  { facts, serverId, principal, caller }: ConnectionAction,
  { outcome, statusCode, code }: Pick<EventDraft, 'outcome'> & { readonly statusCode: number; readonly code?: string },
): EventDraft {
  return {
    surfaceId,
    requestId: facts.requestId,
    outcome,
    principal,
    http: surfaceHttp(surfaceId, statusCode, facts),
    resource: { type: 'server', id: serverId },
    meta: {
      event_type: 'connection',
      server_id: serverId,
      code,
      ...(caller === undefined ? {} : rightMeta(caller)),
    },
  };
}

/** Of a connection whose tokens are no good any more. */
export function lostConnectionDraft({ serverId, principalId }: ConnectionKey, reason: string): EventDraft {
  return {
    ...ownDraft('mcp.connections.lost'),
    outcome: 'failure',
    resource: { type: 'server', id: serverId },
    meta: {
      event_type: 'connection',
      server_id: serverId,
      connection_of: principalId,
      connection_lost: reason,
    },
  };
}

/** Of the gateway that registered itself, for the way to the authorization server of a tool server. */
export function registeredClientDraft(
  serverId: string,
  { leaseId, client }: ClientChange,
  clientId: string,
): EventDraft {
  return {
    ...ownDraft('mcp.clients.registered'),
    resource: { type: 'server', id: serverId },
    meta: {
      event_type: 'connection',
      server_id: serverId,
      registered_issuer: client.issuer.slice(0, bounds.metaStringCharsMax),
      registered_client: clientId.slice(0, bounds.metaStringCharsMax),
    },
    companions: { upstreamClient: { leaseId, client } },
  };
}
