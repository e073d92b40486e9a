/** Settings of how callers are known: API keys, the issuer of their tokens, keys that sign requests. */
import { parseHttpUrl, parseIssuer, parseList, parseSecret, parseText, parseWord } from './parse.ts';
import type { Secret } from './secret.ts';
import { setting } from './setting.ts';

/** Asymmetric ones only. */
export type OidcAlgorithm =
  | 'RS256'
  | 'RS384'
  | 'RS512'
  | 'PS256'
  | 'PS384'
  | 'PS512'
  | 'ES256'
  | 'ES384'
  | 'ES512'
  | 'EdDSA'
  | 'Ed25519';

const parseAlgorithm = parseWord<OidcAlgorithm>({
  rs256: 'RS256',
  rs384: 'RS384',
  rs512: 'RS512',
  ps256: 'PS256',
  ps384: 'PS384',
  ps512: 'PS512',
  es256: 'ES256',
  es384: 'ES384',
  es512: 'ES512',
  eddsa: 'EdDSA',
  ed25519: 'Ed25519',
});

export const identitySettings = {
  apiKeyPepper: setting<Secret | undefined>({
    env: ['TALOS_API_KEY_PEPPER', 'TALOS_KEY_PEPPER'],
    file: ['api_key_pepper'],
    parse: parseSecret,
    default: undefined,
    defaultText: '`api-keys.pepper` in the data folder in development, none in production',
    secret: true,
    meaning:
      'Secret that API keys are hashed with. All gateways on one database need the same; without it production has no API keys. At least 32 characters in production.',
  }),
  attestationKeys: setting<readonly string[]>({
    env: ['TALOS_ATTESTATION_KEYS'],
    file: ['attestation_keys'],
    parse: parseList(parseIssuer),
    default: [],
    meaning:
      'DIDs that are known by their signature over a request alone. The subject of a valid capability need not be listed.',
  }),
  oidcIssuer: setting<string | undefined>({
    env: ['TALOS_OIDC_ISSUER', 'AUTH_ADMIN_ISSUER'],
    file: ['oidc_issuer'],
    parse: parseHttpUrl,
    default: undefined,
    meaning:
      'Issuer of OpenID Connect whose tokens name callers, exactly as its tokens spell it. Its keys are discovered. Needs an audience.',
  }),
  oidcAudience: setting<string | undefined>({
    env: ['TALOS_OIDC_AUDIENCE', 'AUTH_ADMIN_AUDIENCE'],
    file: ['oidc_audience'],
    parse: parseText,
    default: undefined,
    meaning: 'Audience that those tokens must be for.',
  }),
  oidcJwksUrl: setting<string | undefined>({
    env: ['TALOS_OIDC_JWKS_URL', 'AUTH_ADMIN_JWKS_URL'],
    file: ['oidc_jwks_url'],
    parse: parseHttpUrl,
    default: undefined,
    defaultText: 'what the issuer says',
    meaning: 'Where the keys of the issuer are, for one that cannot be discovered.',
  }),
  oidcAlgorithms: setting<readonly OidcAlgorithm[]>({
    env: ['TALOS_OIDC_ALGORITHMS'],
    file: ['oidc_algorithms'],
    parse: parseList(parseAlgorithm),
    default: ['RS256', 'PS256', 'ES256', 'EdDSA'],
    meaning: 'Signature algorithms that those tokens may have; only asymmetric ones can be listed.',
  }),
  oidcPrincipalClaim: setting<string>({
    env: ['TALOS_OIDC_PRINCIPAL_CLAIM'],
    file: ['oidc_principal_claim'],
    parse: parseText,
    default: 'sub',
    meaning: 'Claim that names the caller. Dots lead into objects.',
  }),
  oidcTeamClaim: setting<string>({
    env: ['TALOS_OIDC_TEAM_CLAIM'],
    file: ['oidc_team_claim'],
    parse: parseText,
    default: 'team_id',
    meaning: 'Claim that names their team; `default` when it is not there.',
  }),
  oidcPermissionsClaim: setting<string>({
    env: ['TALOS_OIDC_PERMISSIONS_CLAIM'],
    file: ['oidc_permissions_claim'],
    parse: parseText,
    default: 'permissions',
    meaning: 'Claim with their permissions: a list, or one text with blanks.',
  }),
  publicUrl: setting<string | undefined>({
    env: ['TALOS_PUBLIC_URL'],
    file: ['public_url'],
    parse: parseHttpUrl,
    default: undefined,
    defaultText: 'the address that a request names',
    meaning:
      'Address that clients know the gateway by, for the metadata that leads them to the issuer, and for the way back from authorization servers of tool servers.',
  }),
};
