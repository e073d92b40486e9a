/**
 * Tokens that the gateway can have again at any time: for itself (client credentials), or in exchange for the caller's own
 * (RFC 8693). They are kept in memory alone, for as long as they last, and asked for once by all who wait.
 */
import { bounds } from '../../config/bounds.ts';
import type { Clock } from '../../core/clock.ts';
import { describeError } from '../../core/errors.ts';
import type { McpServerSpec } from '../../core/mcp-server.ts';
import { SingleFlight } from '../../core/single-flight.ts';
import { Deadline } from '../deadline.ts';
import type { GuardedSend } from '../network/guarded-fetch.ts';
import { type GrantParameters, type OAuthClient, OAuthFault, requestTokens } from './oauth-client.ts';
import { type CallerToken, credentialError, type UpstreamCredential } from './upstream-credential.ts';
import { type SecretOf, texts } from './upstream-secrets.ts';

export interface CredentialContext {
  readonly send: GuardedSend;
  readonly secretOf: SecretOf;
  readonly clock: Clock;
}

interface Token {
  readonly header: string;
  readonly hadAtMs: number;
  /** When it is no longer used. */
  readonly endsAtMs: number;
}

/** How the client of a server's entry shows itself, with the secret as it is now. Rejects with `UpstreamError`. */
export async function oauthClientOf({ auth }: McpServerSpec, context: CredentialContext): Promise<OAuthClient> {
  const deadline = new Deadline(context.clock, bounds.upstreamAuthTimeoutMs);
  const filled = await texts(auth?.secrets ?? {}, context.secretOf, () => true)(deadline);
  const clientSecret = filled['client_secret'];
  return {
    clientId: auth?.clientId ?? '',
    clientAuth: auth?.clientAuth ?? 'basic',
    ...(clientSecret === undefined ? {} : { clientSecret }),
  };
}

/** Until when a token of this lifetime is used, in Unix milliseconds. */
export function usableUntil(nowMs: number, lifetimeMs: number): number {
  return nowMs + lifetimeMs - Math.min(bounds.upstreamTokenSkewMs, lifetimeMs / 10);
}

/** One credential of the gateway itself. */
export function clientCredential(spec: McpServerSpec, context: CredentialContext): UpstreamCredential {
  const { audience, resource, scopes } = spec.auth ?? {};
  return new FetchedCredential(spec, context, () => ({
    parameters: {
      grant_type: 'client_credentials',
      audience,
      resource: resource || undefined,
      scope: scopes?.join(' '),
    },
    endsAtMs: Number.POSITIVE_INFINITY,
  }));
}

/** One credential for all tokens of one caller that say the same of them, the longest-lasting of which is exchanged. */
export function exchangedCredential(
  spec: McpServerSpec,
  context: CredentialContext,
  first: CallerToken,
): UpstreamCredential {
  const { audience, resource, scopes, subjectTokenType = 'access_token' } = spec.auth ?? {};
  let subject = first;
  const fetched = new FetchedCredential(spec, context, () => ({
    parameters: {
      grant_type: 'urn:ietf:params:oauth:grant-type:token-exchange',
      subject_token: subject.reveal(),
      subject_token_type: `urn:ietf:params:oauth:token-type:${subjectTokenType}`,
      requested_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      audience,
      resource: (resource ?? (audience === undefined ? spec.url : undefined)) || undefined,
      scope: scopes?.join(' '),
    },
    // Whoever may no longer come here may no longer go there.
    endsAtMs: subject.expiresAtMs,
  }));
  return {
    header: (deadline) => fetched.header(deadline),
    renewed: (refused, deadline) => fetched.renewed(refused, deadline),
    whenRefused: fetched.whenRefused,
    offer(token) {
      if (token.expiresAtMs > subject.expiresAtMs) subject = token;
    },
  };
}

/** What is asked for, and how long what comes may be used at most, in Unix milliseconds. */
type Ask = () => { readonly parameters: GrantParameters; readonly endsAtMs: number };

class FetchedCredential implements UpstreamCredential {
  readonly whenRefused = 'CREDENTIAL_REFUSED';
  readonly #spec: McpServerSpec;
  readonly #context: CredentialContext;
  readonly #ask: Ask;
  readonly #fetching = new SingleFlight<string>();
  #token: Token | undefined;

  constructor(spec: McpServerSpec, context: CredentialContext, ask: Ask) {
    this.#spec = spec;
    this.#context = context;
    this.#ask = ask;
  }

  header(deadline: Deadline): string | Promise<string> {
    const token = this.#token;
    if (token !== undefined && this.#context.clock.now() < token.endsAtMs) return token.header;
    return deadline.wait(this.#fetching.run(() => this.#fetch()));
  }

  async renewed(refused: string, deadline: Deadline): Promise<string> {
    const token = this.#token;
    if (token?.header === refused) {
      const ageMs = this.#context.clock.now() - token.hadAtMs;
      if (ageMs < bounds.upstreamTokenRenewMs)
        throw credentialError(this.whenRefused, this.#spec.id, 'the server refuses a new token');
      this.#token = undefined;
    }
    return await this.header(deadline);
  }

  async #fetch(): Promise<string> {
    const { send, clock } = this.#context;
    const { parameters, endsAtMs } = this.#ask();
    const client = await oauthClientOf(this.#spec, this.#context);
    const granted = await requestTokens(send, this.#spec.auth?.tokenUrl ?? '', client, parameters).catch(
      (error: unknown) => {
        throw credentialFault(error, this.#spec.id);
      },
    );
    const now = clock.now();
    const lifetimeMs =
      granted.expiresInSec === undefined ? bounds.upstreamTokenLifetimeMs : granted.expiresInSec * 1000;
    const header = `Bearer ${granted.accessToken}`;
    this.#token = { header, hadAtMs: now, endsAtMs: Math.min(usableUntil(now, lifetimeMs), endsAtMs) };
    return header;
  }
}

/** Why an authorization server gave no token, as callers see it. */
export function credentialFault(error: unknown, serverId: string): unknown {
  if (!(error instanceof OAuthFault)) return error;
  const code = error.kind === 'refused' ? 'CREDENTIAL_REFUSED' : 'CREDENTIAL_UNAVAILABLE';
  return credentialError(code, serverId, describeError(error));
}
