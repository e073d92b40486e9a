/**
 * The corridor of users who connect their account at a tool server: they set out for its authorization server with a state
 * that is good once, and come back with a code for tokens that only they use. A connection is there as soon as the record of
 * it is.
 */
import type { Recorder } from '../../audit/recorder.ts';
import { bounds } from '../../config/bounds.ts';
import { describeError, TalosError } from '../../core/errors.ts';
import type { TakeCharges } from '../../core/limit.ts';
import type { McpServerSpec } from '../../core/mcp-server.ts';
import type { BearerPrincipal } from '../../core/principal.ts';
import { tokenPurpose } from '../../core/server-auth.ts';
import type { SurfaceId } from '../../core/surfaces.ts';
import type { ConnectionKey } from '../../core/upstream-connection.ts';
import { serverNotFound } from '../../mcp/registry.ts';
import { decideReach, type PolicyMode } from '../../policy/decide.ts';
import type { ConnectionStore, StoredConnection } from '../../storage/upstream-connections.ts';
import type { Consent, ConsentStore } from '../../storage/upstream-consents.ts';
import type { Caller, RequestFacts } from '../caller.ts';
import { overLimit } from '../over-limit.ts';
import type { Refuse } from '../refusal.ts';
import { connectionKeyOf } from '../server-for.ts';
import {
  type AuthorizationResponse,
  beginAuthorization,
  type ConnectionFlowOptions,
  completeAuthorization,
  revokeTokens,
  storedStateOf,
} from './flow.ts';
import { type ConnectionAction, connectionDraft } from './records.ts';

export interface ConnectionRequest {
  readonly caller: Caller;
  readonly facts: RequestFacts;
  readonly serverId: string;
}

export interface AuthorizationStart {
  /** Where the user has to go, with a browser. */
  readonly authorizationUrl: string;
  readonly expiresInSec: number;
  readonly auditRef: string;
}

export interface ConnectionStatus {
  /** `expired`: the account has to be connected again. */
  readonly state: 'connected' | 'expired' | 'not_connected';
  readonly scopes?: readonly string[];
  readonly connectedAt?: Date;
  /** Of the token that is used now, which is refreshed when there is a way to. */
  readonly expiresAtMs?: number;
}

/** Whose account is about to be connected to what. */
export interface Arrival {
  readonly serverName: string;
  readonly principalId: string;
}

/** Each throws the denial, `AUTH_MISSING`, `SERVER_NOT_FOUND`, `STORE_UNAVAILABLE`, or `AUDIT_UNAVAILABLE`. */
export interface ConnectServer {
  /**
   * @param base The address that browsers know the gateway by, without a slash at its end. Throws `INVALID_REQUEST` when
   * the server has no accounts, and `CREDENTIAL_UNAVAILABLE` when its authorization server cannot be found.
   */
  readonly start: (request: ConnectionRequest, base: string) => Promise<AuthorizationStart>;
  readonly status: (request: ConnectionRequest) => Promise<ConnectionStatus>;
  /** Resolves with whether the authorization server was told. Throws `NOT_FOUND` when there is nothing to disconnect. */
  readonly disconnect: (
    request: ConnectionRequest,
  ) => Promise<{ readonly isRevoked: boolean; readonly auditRef: string }>;
  /** Nothing is done yet. Throws `CONSENT_INVALID` for what nobody set out with. */
  readonly arrival: (returned: AuthorizationResponse) => Promise<Arrival>;
  /** Throws `CONSENT_INVALID`, `CREDENTIAL_REFUSED` or `CREDENTIAL_UNAVAILABLE` when no account is connected. */
  readonly finish: (
    returned: AuthorizationResponse,
    facts: RequestFacts,
  ) => Promise<Arrival & { readonly auditRef: string }>;
}

export interface ConnectServerOptions extends ConnectionFlowOptions {
  readonly connections: Pick<ConnectionStore, 'find'>;
  readonly consents: Pick<ConsentStore, 'put' | 'find' | 'take'>;
  /** Told when an account was connected or disconnected. */
  readonly connectionChanged: (key: ConnectionKey) => void;
  readonly policyMode: PolicyMode;
  readonly take: TakeCharges;
  readonly refuse: Refuse;
  readonly recorder: Pick<Recorder, 'record'>;
}

export function createConnectServer(options: ConnectServerOptions): ConnectServer {
  const { connections, consents } = options;
  return {
    async start(request, base) {
      const principal = await permitted(options, 'mcp.connections.start', request);
      const spec = accountsOf(options, request.serverId);
      const limited = await overLimit(options.take, request.caller, { id: spec.id, spec });
      if (limited !== undefined) throw limited;
      const authorizationUrl = await beginAuthorization(options, spec, principal, base).catch((error: unknown) =>
        failed(options, 'mcp.connections.start', { ...request, principal }, error),
      );
      const { eventId } = await options.recorder.record(
        connectionDraft('mcp.connections.start', { ...request, principal }, { outcome: 'success', statusCode: 200 }),
      );
      return { authorizationUrl, expiresInSec: bounds.consentTtlSec, auditRef: eventId };
    },
    async status(request) {
      const principal = await permitted(options, 'mcp.connections.get', request);
      const spec = accountsOf(options, request.serverId);
      return statusOf(spec, await connections.find(connectionKeyOf(spec.id, principal)), options.clock.now());
    },
    async disconnect(request) {
      const principal = await permitted(options, 'mcp.connections.delete', request);
      const connection = await connections.find(connectionKeyOf(request.serverId, principal));
      if (connection === undefined) throw new TalosError('NOT_FOUND', { message: 'No account is connected.' });
      const { eventId } = await options.recorder.record({
        ...connectionDraft(
          'mcp.connections.delete',
          { ...request, principal },
          { outcome: 'success', statusCode: 200 },
        ),
        companions: { connections: { kind: 'delete', key: connectionKeyOf(request.serverId, principal) } },
      });
      options.connectionChanged(connectionKeyOf(request.serverId, principal));
      // Whatever the authorization server says to it, or does not, the user is disconnected here.
      return { isRevoked: await revokeTokens(options, connection), auditRef: eventId };
    },
    async arrival(returned) {
      const consent = await consents.find(storedStateOf(options, returned), returned.serverId);
      if (consent === undefined) throw new TalosError('CONSENT_INVALID');
      return arrivalOf(options, consent);
    },
    async finish(returned, facts) {
      const { serverId } = returned;
      // Spent whatever comes of it: nobody tries twice with one state.
      const consent = await consents.take(storedStateOf(options, returned), serverId);
      if (consent === undefined) throw new TalosError('CONSENT_INVALID');
      const asked = { facts, serverId, principal: principalOf(consent) };
      const connection = await completeAuthorization(options, returned, consent).catch((error: unknown) =>
        failed(options, 'mcp.connections.finish', asked, error),
      );
      const { eventId } = await options.recorder.record({
        ...connectionDraft('mcp.connections.finish', asked, { outcome: 'success', statusCode: 200 }),
        companions: { connections: { kind: 'put', connection } },
      });
      // What was opened with an account before is not to go on as another one.
      options.connectionChanged(connection);
      return { ...arrivalOf(options, consent), auditRef: eventId };
    },
  };
}

/** Who may see something of a server may have an account there. */
async function permitted(
  { policyMode, refuse }: ConnectServerOptions,
  surfaceId: SurfaceId,
  { caller, facts, serverId }: ConnectionRequest,
): Promise<BearerPrincipal> {
  const decision = decideReach(serverId, caller, policyMode);
  const denial = caller.denial ?? (decision.allow ? undefined : decision.denial);
  if (denial !== undefined) return await refuse(surfaceId, denial, caller, facts);
  if (caller.principal.authMode === 'anonymous') throw new TalosError('AUTH_MISSING');
  return caller.principal;
}

function accountsOf({ registry }: ConnectServerOptions, serverId: string): McpServerSpec {
  const spec = registry.get(serverId)?.spec;
  if (spec === undefined) throw serverNotFound(serverId.slice(0, 80));
  if (spec.auth?.type === 'oauth') return spec;
  throw new TalosError('INVALID_REQUEST', { message: 'This tool server is used without an account of each user.' });
}

function arrivalOf({ registry }: ConnectServerOptions, { serverId, principalId }: Consent): Arrival {
  return { serverName: registry.get(serverId)?.spec.name ?? serverId, principalId };
}

function principalOf({ principalId, teamId }: Consent): BearerPrincipal {
  return { authMode: 'bearer', id: principalId, teamId };
}

// What is there

function statusOf(spec: McpServerSpec, connection: StoredConnection | undefined, nowMs: number): ConnectionStatus {
  if (connection?.purpose !== tokenPurpose(spec)) return { state: 'not_connected' };
  const { lostBecause, expiresAtMs, isRenewable, scopes, connectedAt } = connection;
  const hasEnded = !isRenewable && expiresAtMs !== undefined && expiresAtMs <= nowMs;
  return {
    state: lostBecause !== undefined || hasEnded ? 'expired' : 'connected',
    scopes: scopes.split(' ').filter((scope) => scope !== ''),
    connectedAt,
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
  };
}

/** Throws the error, with the reference of the record that tells of it. */
async function failed(
  { recorder, log }: ConnectServerOptions,
  surfaceId: SurfaceId,
  asked: ConnectionAction,
  thrown: unknown,
): Promise<never> {
  const error =
    thrown instanceof TalosError
      ? thrown
      : new TalosError('INTERNAL', { inside: describeError(thrown), cause: thrown });
  log.warn({ server: asked.serverId, reason: describeError(error) }, 'an account was not connected');
  const { eventId } = await recorder.record(
    connectionDraft(surfaceId, asked, { outcome: 'failure', statusCode: error.status, code: error.code }),
  );
  throw error.with({ auditRef: eventId });
}
