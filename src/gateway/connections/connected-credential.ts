/**
 * The credential of a user who connected their account at a tool server: read from the store, refreshed before it ends, by
 * one gateway of all that share the database, and no longer used as soon as the user or the server says so.
 */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { bounds } from '../../config/bounds.ts';
import { describeError } from '../../core/errors.ts';
import type { McpServerSpec } from '../../core/mcp-server.ts';
import { tokenPurpose } from '../../core/server-auth.ts';
import { SingleFlight } from '../../core/single-flight.ts';
import type { ConnectionKey } from '../../core/upstream-connection.ts';
import {
  type CredentialContext,
  credentialFault,
  oauthClientOf,
  usableUntil,
} from '../../mcp/credentials/fetched-credential.ts';
import {
  type GrantedTokens,
  isUnknownClient,
  type OAuthClient,
  OAuthFault,
  requestTokens,
} from '../../mcp/credentials/oauth-client.ts';
import { credentialError, type UpstreamCredential } from '../../mcp/credentials/upstream-credential.ts';
import type { Deadline } from '../../mcp/deadline.ts';
import type { ConnectionStore, StoredConnection } from '../../storage/upstream-connections.ts';
import type { Log } from '../../telemetry/telemetry.ts';
import type { ConnectionVault, OwnClient, UserTokens } from './vault.ts';

export interface ConnectedCredentialOptions extends CredentialContext {
  readonly store: Pick<ConnectionStore, 'find' | 'lease' | 'refreshed' | 'release'>;
  readonly vault: Pick<ConnectionVault, 'openTokens' | 'sealTokens'>;
  /** Told of a client of the gateway's own that the authorization server does not know any more. Never fails. */
  readonly forget: (client: OwnClient) => Promise<void>;
  /** Told of a connection whose tokens are no good any more. Never fails. */
  readonly onLost: (connection: StoredConnection, reason: string) => void;
  readonly log: Log;
}

interface Known {
  readonly connection: StoredConnection;
  readonly tokens: UserTokens;
  readonly header: string;
  /** When the store was asked, by the clock that only moves forward. */
  readonly readAtMs: number;
}

export class ConnectedCredential implements UpstreamCredential {
  readonly whenRefused = 'CONNECTION_EXPIRED';
  connectionId: string | undefined;
  readonly #options: ConnectedCredentialOptions;
  readonly #spec: McpServerSpec;
  readonly #key: ConnectionKey;
  readonly #working = new SingleFlight<string>();
  #known: Known | undefined;
  #refreshedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: ConnectedCredentialOptions, spec: McpServerSpec, key: ConnectionKey) {
    this.#options = options;
    this.#spec = spec;
    this.#key = key;
  }

  header(deadline: Deadline): string | Promise<string> {
    const known = this.#known;
    if (known !== undefined && this.#isFresh(known) && this.#isUsable(known.connection)) return known.header;
    return deadline.wait(this.#working.run(() => this.#current()));
  }

  async renewed(refused: string, deadline: Deadline): Promise<string> {
    const replace = () => deadline.wait(this.#working.run(() => this.#replacing(refused)));
    const other = await replace();
    // Who looked it up for somebody else does not know that it was refused.
    return other === refused ? await replace() : other;
  }

  /** A header that should do: as the store has it, or refreshed when that has ended. */
  async #current(): Promise<string> {
    const known = await this.#read();
    return this.#isUsable(known.connection) ? known.header : await this.#refresh(known);
  }

  /** Another header than this one, which another gateway may have had already. */
  async #replacing(refused: string): Promise<string> {
    const known = await this.#read();
    if (known.header !== refused) return this.#isUsable(known.connection) ? known.header : await this.#refresh(known);
    // Who refuses what was just had refuses the next one too.
    const ageMs = this.#options.clock.monotonic() - this.#refreshedAtMs;
    if (ageMs < bounds.upstreamTokenRenewMs) throw this.#lost('the server refuses a token that was just refreshed');
    return await this.#refresh(known);
  }

  /** The connection as the store has it now. Throws `CONNECTION_REQUIRED` or `CONNECTION_EXPIRED`. */
  async #read(): Promise<Known> {
    const { store, vault, clock } = this.#options;
    const readAtMs = clock.monotonic();
    const connection = await store.find(this.#key);
    // Tokens of another address or client are for that one alone.
    if (connection?.purpose !== tokenPurpose(this.#spec)) {
      this.#known = undefined;
      throw credentialError('CONNECTION_REQUIRED', this.#spec.id);
    }
    if (connection.lostBecause !== undefined) {
      this.#known = undefined;
      throw this.#lost(connection.lostBecause);
    }
    const before = this.#known;
    const isKnown = before !== undefined && isSameTokens(before.connection, connection);
    const tokens = isKnown ? before.tokens : await vault.openTokens(connection);
    this.connectionId ??= connection.connectionId;
    this.#known = { connection, tokens, header: `Bearer ${tokens.accessToken}`, readAtMs };
    return this.#known;
  }

  #isFresh({ readAtMs }: Known): boolean {
    return this.#options.clock.monotonic() - readAtMs < bounds.connectionFreshMs;
  }

  #isUsable({ expiresAtMs }: StoredConnection): boolean {
    return expiresAtMs === undefined || this.#options.clock.now() < expiresAtMs;
  }

  #lost(reason: string) {
    return credentialError('CONNECTION_EXPIRED', this.#spec.id, reason);
  }

  /** Fresh tokens in the place of these: by us, or by the gateway that is at it already. */
  async #refresh(known: Known): Promise<string> {
    const { clock } = this.#options;
    const { refreshToken } = known.tokens;
    if (refreshToken === undefined) throw this.#lost('the token has ended, and there is none to refresh it with');
    const endsAtMs = clock.monotonic() + bounds.upstreamAuthTimeoutMs;
    do {
      const leaseId = randomUUID();
      if (await this.#lease(known.connection, leaseId)) {
        const granted = await this.#spend(known, refreshToken, leaseId);
        this.#refreshedAtMs = clock.monotonic();
        return await this.#keep(known, granted, leaseId);
      }
      await delay(bounds.connectionLeasePollMs);
      const now = await this.#read();
      if (!isSameTokens(now.connection, known.connection)) return now.header;
    } while (clock.monotonic() < endsAtMs);
    throw credentialError('CREDENTIAL_UNAVAILABLE', this.#spec.id, 'another gateway is refreshing the token');
  }

  #lease({ connectionId, version }: StoredConnection, leaseId: string): Promise<boolean> {
    return this.#options.store.lease(connectionId, version, leaseId, bounds.connectionLeaseMs);
  }

  async #spend({ connection, tokens }: Known, refreshToken: string, leaseId: string): Promise<GrantedTokens> {
    const { store, send, log } = this.#options;
    const { tokenUrl, resource } = tokens.server;
    try {
      const client = await clientAt(this.#spec, tokens, this.#options);
      const parameters = { grant_type: 'refresh_token', refresh_token: refreshToken, resource };
      return await requestTokens(send, tokenUrl, client, parameters);
    } catch (error) {
      const isForgotten = await this.#isForgotten(error, tokens);
      const isLost = isForgotten || (error instanceof OAuthFault && error.code === 'invalid_grant');
      const reason = isLost ? `the refresh was refused: ${describeError(error)}` : undefined;
      await store.release(connection.connectionId, leaseId, reason).catch(() => false);
      log.warn({ server: this.#spec.id, reason: describeError(error) }, 'a user’s token could not be refreshed');
      if (reason === undefined) throw credentialFault(error, this.#spec.id);
      this.#options.onLost(connection, reason);
      throw this.#lost(reason);
    }
  }

  /** A client that is registered by hand may be set right; tokens of one that was not are nobody's any more. */
  async #isForgotten(error: unknown, { client }: UserTokens): Promise<boolean> {
    if (client === undefined || !isUnknownClient(error)) return false;
    await this.#options.forget(client);
    return true;
  }

  /**
   * The old refresh token may be spent by now, so a crash here costs the user a new connection; a store that is away for a
   * moment must not.
   */
  async #keep({ connection, tokens }: Known, granted: GrantedTokens, leaseId: string): Promise<string> {
    const { store, vault, clock } = this.#options;
    const refreshToken = granted.refreshToken ?? tokens.refreshToken;
    const fresh: UserTokens = {
      accessToken: granted.accessToken,
      ...(refreshToken === undefined ? {} : { refreshToken }),
      server: tokens.server,
      ...(tokens.client === undefined ? {} : { client: tokens.client }),
    };
    const refreshed = {
      envelope: await vault.sealTokens(connection, fresh),
      scopes: granted.scopes ?? connection.scopes,
      isRenewable: refreshToken !== undefined,
      ...expiryOf(granted, clock.now()),
    };
    const isKept = await stubbornly(() => store.refreshed(connection.connectionId, leaseId, refreshed));
    if (!isKept) throw credentialError('CONNECTION_REQUIRED', this.#spec.id, 'the user disconnected meanwhile');
    return (await this.#read()).header;
  }
}

function isSameTokens(one: StoredConnection, other: StoredConnection): boolean {
  return one.connectionId === other.connectionId && one.version === other.version;
}

/** The client that tokens were given to, or are about to be: with its secret as it is now. Rejects with `UpstreamError`. */
export async function clientAt(
  spec: McpServerSpec,
  { client, server }: { readonly client?: OwnClient | undefined; readonly server: UserTokens['server'] },
  context: CredentialContext,
): Promise<OAuthClient> {
  return client ?? { ...(await oauthClientOf(spec, context)), clientAuth: server.clientAuth };
}

/** Until when the access token is used. */
export function expiryOf({ expiresInSec }: GrantedTokens, nowMs: number): { readonly expiresAtMs?: number } {
  return expiresInSec === undefined ? {} : { expiresAtMs: Math.round(usableUntil(nowMs, expiresInSec * 1000)) };
}

const attempts = 5;

async function stubbornly<T>(work: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (attempt === attempts) throw error;
      await delay(bounds.connectionLeasePollMs * 2 ** attempt);
    }
  }
}
