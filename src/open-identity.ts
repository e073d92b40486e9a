/** Who callers are, as the configuration says: keys, issuers and sessions, and the authenticator that asks them all. */
import { createAdminTokens } from './auth/admin-token.ts';
import { createApiKeys, warnOfOtherPeppers } from './auth/api-keys.ts';
import { createAttester } from './auth/attestation.ts';
import {
  type Authenticate,
  type AuthenticatorOptions,
  createAuthenticator,
  createPossessionCheck,
  createPresentCapability,
  type PossessionCheck,
  type PresentCapability,
} from './auth/authenticate.ts';
import type { BearerOptions } from './auth/bearer.ts';
import { createOidcVerifier } from './auth/oidc.ts';
import { openPepper } from './auth/pepper.ts';
import { Sessions } from './auth/sessions.ts';
import { bounds } from './config/bounds.ts';
import type { Config, Secrets } from './config/config.ts';
import type { Clock } from './core/clock.ts';
import { didSet } from './core/did.ts';
import { createIssueToken, type IssueToken, type IssueTokenOptions } from './gateway/issue-token.ts';
import { createManageApiKeys, type ManageApiKeys, type ManageApiKeysOptions } from './gateway/manage-api-keys.ts';
import type { ProtectedResource } from './http/protected-resource.ts';
import { createGuardedFetcher } from './mcp/network/guarded-fetch.ts';
import type { Authority } from './policy/authority.ts';
import type { CapabilityVerifier } from './policy/capability-verifier.ts';
import { createApiKeyStore } from './storage/api-keys.ts';
import type { openReadPool } from './storage/db.ts';
import { createSingleUseStore } from './storage/single-use.ts';
import type { Telemetry } from './telemetry/telemetry.ts';

export interface Identity {
  readonly authenticate: Authenticate<Authority>;
  readonly presentCapability: PresentCapability<Authority>;
  readonly possessionFault: PossessionCheck;
  /** What is done about keys and tokens, with what these corridors need of others. */
  readonly corridors: (needs: CorridorNeeds) => {
    readonly manageApiKeys: ManageApiKeys;
    readonly issueToken: IssueToken;
  };
  /** How many signed requests of the last hour were replays. */
  readonly replaysLastHour: () => number;
  /** Calls back whenever some API key may have changed. */
  readonly onChanged: (listener: () => void) => void;
  readonly close: () => Promise<void>;
}

type CorridorNeeds = Pick<ManageApiKeysOptions, 'authorizeAction' | 'administer' | 'policyMode'> &
  Pick<IssueTokenOptions, 'recorder'>;

export interface OpenIdentityOptions {
  readonly config: Config;
  readonly secrets: Secrets;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

/** Throws an `Error` with one sentence. */
export async function openIdentity(
  options: OpenIdentityOptions,
  pool: ReturnType<typeof openReadPool>,
  verifier: Pick<CapabilityVerifier, 'authorityOf' | 'stillValid'>,
): Promise<Identity> {
  const { config, secrets, clock, telemetry } = options;
  const { log } = telemetry;
  const store = createApiKeyStore(pool);
  const pepper = await openPepper({
    configured: secrets.apiKeyPepper,
    dataDir: config.dataDir,
    development: config.mode === 'development',
  });
  await warnOfOtherPeppers({ store, pepper, log });
  const apiKeys = createApiKeys({ store, pepper, clock, log });
  const { adminSecret } = secrets;
  const adminTokens = adminSecret === undefined ? undefined : createAdminTokens({ secret: adminSecret, clock });
  const fetcher = createGuardedFetcher({ timeoutMs: bounds.oidcFetchTimeoutMs, bytesMax: bounds.oidcAnswerBytesMax });
  const once = createSingleUseStore(pool);
  const authorityOf = (token: string) => verifier.authorityOf(token);
  const attester = createAttester({ clock, nonces: once });
  const authenticator: AuthenticatorOptions<Authority> = {
    mode: config.mode,
    adminSecret,
    bearerCapabilities: config.bearerCapabilities,
    apiKeys,
    adminTokens,
    oidc: oidcOf(options, fetcher.fetch),
    attester,
    attestationKeys: didSet(config.attestationKeys),
    authorityOf,
    stillValid: (authority) => verifier.stillValid(authority),
    sessions: new Sessions<Authority>({ entriesMax: bounds.sessionsMax, store: once, authorityOf, clock }),
    warn: (sentence) => log.warn(sentence),
  };
  return {
    authenticate: createAuthenticator(authenticator),
    presentCapability: createPresentCapability(authenticator),
    possessionFault: createPossessionCheck(authenticator),
    corridors: ({ recorder, ...needs }) => ({
      manageApiKeys: createManageApiKeys({ ...needs, store, mint: apiKeys.mint, forget: apiKeys.forget, clock }),
      issueToken: createIssueToken({ adminSecret, sign: adminTokens?.issue, recorder, identify: apiKeys.identify }),
    }),
    replaysLastHour: attester.replaysLastHour,
    onChanged: apiKeys.onChanged,
    async close() {
      await apiKeys.close();
      await fetcher.close();
    },
  };
}

function oidcOf(
  { config, clock, telemetry }: OpenIdentityOptions,
  fetch: (url: string) => Promise<Buffer>,
): BearerOptions<Authority>['oidc'] {
  const { oidcIssuer: issuer, oidcAudience: audience } = config;
  if (issuer === undefined || audience === undefined) return undefined;
  const verify = createOidcVerifier({
    issuer,
    audience,
    jwksUrl: config.oidcJwksUrl,
    algorithms: config.oidcAlgorithms,
    claims: {
      principal: config.oidcPrincipalClaim,
      team: config.oidcTeamClaim,
      permissions: config.oidcPermissionsClaim,
    },
    fetch,
    clock,
    log: telemetry.log,
  });
  return { issuer, verify };
}

/** What clients are told of whom to ask for a token. */
export function protectedResource({ oidcIssuer, publicUrl }: Config): ProtectedResource {
  return { issuer: oidcIssuer, publicUrl };
}
