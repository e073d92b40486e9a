/**
 * As which client a user is sent to an authorization server: the one of the server's entry, the one that is named by the
 * document that the gateway publishes, or one that it registers by itself, once for all gateways on the database. In that
 * order, as the MCP authorization specification has it. What is registered goes to the issuer that gave it alone.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { Recorder } from '../../audit/recorder.ts';
import { bounds } from '../../config/bounds.ts';
import type { Clock } from '../../core/clock.ts';
import { describeError, TalosError } from '../../core/errors.ts';
import type { McpServerSpec } from '../../core/mcp-server.ts';
import type { ClientKey, SealedClient } from '../../core/upstream-client.ts';
import { credentialFault } from '../../mcp/credentials/fetched-credential.ts';
import { isUnknownClient, requestTokens } from '../../mcp/credentials/oauth-client.ts';
import type { AuthorizationServer } from '../../mcp/credentials/oauth-discovery.ts';
import { type ClientPlace, registerClient } from '../../mcp/credentials/oauth-registration.ts';
import { credentialError } from '../../mcp/credentials/upstream-credential.ts';
import type { GuardedSend } from '../../mcp/network/guarded-fetch.ts';
import type { ClientStore } from '../../storage/upstream-clients.ts';
import type { Log } from '../../telemetry/telemetry.ts';
import { baseOf, clientDocument, redirectUriOf } from './client-document.ts';
import { registeredClientDraft } from './records.ts';
import type { ConnectionVault, OwnClient } from './vault.ts';

export interface OwnClientOptions {
  readonly clients: Pick<ClientStore, 'find' | 'claim' | 'release' | 'isDue' | 'forget'>;
  readonly vault: Pick<ConnectionVault, 'sealClient' | 'openClient'>;
  readonly recorder: Pick<Recorder, 'record'>;
  /** The guarded way to the authorization server of a tool server. */
  readonly sendFor: (spec: McpServerSpec) => GuardedSend;
  /** What the operator says is the gateway's address; never what a request names, because users are sent back there. */
  readonly publicUrl: string | undefined;
  readonly clock: Clock;
  readonly log: Log;
}

/** The gateway as a client that it makes itself, and where its users come back to. */
export interface OwnClientAt {
  readonly client: OwnClient;
  readonly redirectUri: string;
}

/** Throws `CREDENTIAL_UNAVAILABLE`, `STORE_UNAVAILABLE`, `SECRETS_UNREADABLE` or `AUDIT_UNAVAILABLE`. */
export async function ownClientFor(
  options: OwnClientOptions,
  spec: McpServerSpec,
  server: AuthorizationServer,
): Promise<OwnClientAt> {
  const publicUrl = baseOf(options.publicUrl);
  if (publicUrl === undefined) throw noClient('the gateway does not know its own address: set public_url');
  const redirectUri = redirectUriOf(publicUrl, spec.id);
  const { registration: way } = spec.auth ?? {};
  const { takesDocuments, url } = server.registration;
  const document = clientDocument(publicUrl, spec.id);
  if (way !== 'dynamic' && takesDocuments && document !== undefined) {
    return { redirectUri, client: { clientId: document.client_id, clientAuth: 'basic' } };
  }
  const isOnlyWay = way === 'document' || (way === undefined && takesDocuments && url === undefined);
  if (isOnlyWay) throw noClient(noDocument(takesDocuments));
  if (url === undefined || server.issuer === undefined) throw noClient(noRegistration);
  return { redirectUri, client: await registered(options, spec, server, { publicUrl, redirectUri }) };
}

const noRegistration = 'the authorization server registers no clients (RFC 7591): register one by hand';

function noDocument(takesDocuments: boolean): string {
  return takesDocuments
    ? 'public_url is no https:// address that the authorization server could ask for the document'
    : 'the authorization server takes no documents of clients';
}

function noClient(inside: string): TalosError {
  return new TalosError('CREDENTIAL_UNAVAILABLE', {
    message:
      'The authorization server of this tool server does not know the gateway: an administrator has to register it there, and set auth.client_id.',
    retryable: false,
    inside,
  });
}

// Registrations

async function registered(
  options: OwnClientOptions,
  spec: McpServerSpec,
  server: AuthorizationServer,
  place: ClientPlace,
): Promise<OwnClient> {
  const { clients, clock } = options;
  const key = { issuer: server.issuer ?? '', redirectUri: place.redirectUri };
  const endsAtMs = clock.monotonic() + bounds.connectionLeaseMs;
  do {
    const known = await clients.find(key);
    if (known !== undefined && isUsable(known, server, clock.now())) {
      const own = await opened(options, known);
      if (!(await isForgotten(options, spec, server, own))) return own;
      await forgetClient(options, own);
    }
    const leaseId = randomUUID();
    const lease = { leaseId, leaseMs: bounds.connectionLeaseMs, keptMax: bounds.clientsPerAddressMax };
    if (await clients.claim(key, known?.registrationId, lease)) {
      return await register(options, { spec, server, place, key, leaseId });
    }
    await delay(bounds.connectionLeasePollMs);
  } while (clock.monotonic() < endsAtMs);
  throw credentialError(
    'CREDENTIAL_UNAVAILABLE',
    spec.id,
    'another gateway is registering at the authorization server',
  );
}

/** It lasts until a user who sets out now has come back, and may ask for what is asked for now. */
function isUsable({ scopes, secretEndsAtMs }: SealedClient, server: AuthorizationServer, nowMs: number): boolean {
  const allowed = scopes.split(' ');
  const isLasting = secretEndsAtMs === undefined || secretEndsAtMs > nowMs + bounds.consentTtlSec * 1000;
  return isLasting && (server.scopes ?? []).every((scope) => allowed.includes(scope));
}

/**
 * Whether the authorization server says that it does not know the client. A user who is sent there would learn it from a
 * page, and the gateway never; so now and then it is asked, with a refresh token that nobody was given.
 */
async function isForgotten(
  { clients, sendFor }: OwnClientOptions,
  spec: McpServerSpec,
  server: AuthorizationServer,
  own: OwnClient,
): Promise<boolean> {
  if (own.registrationId === undefined || !(await clients.isDue(own.registrationId, bounds.clientAskMs))) return false;
  const parameters = { grant_type: 'refresh_token', refresh_token: randomUUID() };
  return await requestTokens(sendFor(spec), server.tokenUrl, own, parameters).then(() => false, isUnknownClient);
}

async function opened({ vault }: OwnClientOptions, sealed: SealedClient): Promise<OwnClient> {
  return { ...(await vault.openClient(sealed)), registrationId: sealed.registrationId };
}

interface Registering {
  readonly spec: McpServerSpec;
  readonly server: AuthorizationServer;
  readonly place: ClientPlace;
  readonly key: ClientKey;
  readonly leaseId: string;
}

/** A gateway that dies in between leaves a client behind that nobody uses, and another one registers after the lease. */
async function register(options: OwnClientOptions, registering: Registering): Promise<OwnClient> {
  const { clients, recorder, log } = options;
  const { spec, key, leaseId } = registering;
  try {
    const { client, clientId } = await granted(options, registering);
    // It is there as soon as the record of it is, unless the lease was over by then: then another one is.
    await recorder.record(registeredClientDraft(spec.id, { leaseId, client }, clientId));
    return await opened(options, (await clients.find(key)) ?? client);
  } catch (error) {
    log.warn({ server: spec.id, reason: describeError(error) }, 'the gateway could not register as a client');
    await clients.release(key, leaseId).catch(() => undefined);
    throw credentialFault(error, spec.id);
  }
}

async function granted(
  { sendFor, vault }: OwnClientOptions,
  { spec, server, place, key }: Registering,
): Promise<{ readonly client: SealedClient; readonly clientId: string }> {
  const { scopes = [], registration } = server;
  const { secretEndsAtMs, ...client } = await registerClient(sendFor(spec), registration, place, scopes);
  const sealed: SealedClient = {
    ...key,
    registrationId: randomUUID(),
    envelope: await vault.sealClient(key, client),
    scopes: scopes.join(' '),
    ...(secretEndsAtMs === undefined ? {} : { secretEndsAtMs }),
  };
  return { client: sealed, clientId: client.clientId };
}

/** After an answer that the authorization server does not know the client: it is registered anew for whoever comes next. */
export async function forgetClient(
  { clients, log }: Pick<OwnClientOptions, 'clients' | 'log'>,
  { registrationId }: OwnClient,
): Promise<void> {
  if (registrationId === undefined) return;
  await clients.forget(registrationId).catch((error: unknown) => {
    log.warn({ reason: describeError(error) }, 'a registration that is no good any more could not be removed');
  });
}
