/**
 * The configuration of one gateway: `Config`, which may be shown, and `Secrets`, which may not. `loadConfig` makes both
 * from the layers default < file < environment and gives either a sound whole or every problem at once.
 */
import { resolve } from 'node:path';
import type { Rate } from '../core/gcra.ts';
import type { McpServerSpec } from '../core/mcp-server.ts';
import { parseRate } from '../core/rate.ts';
import { ConfigError } from './config-error.ts';
import { readConfigFile } from './config-file.ts';
import type { Environment } from './env.ts';
import { readEnvironmentLayer } from './environment-layer.ts';
import { type Files, realFiles } from './files.ts';
import { Findings } from './findings.ts';
import type { OidcAlgorithm } from './identity-settings.ts';
import { judgeLegacy } from './legacy-fate.ts';
import { type Resolved, resolveSettings, type Source } from './resolve.ts';
import { applyRules } from './rules.ts';
import type { Secret } from './secret.ts';
import { secretNamesOf } from './secret-settings.ts';
import { resolveServers } from './servers.ts';
import type { AuditOnFailure, LogLevel, Mode, Values } from './settings.ts';

/** How often requests may come. */
export interface RateLimits {
  readonly ip: Rate;
  readonly key: Rate;
  /** By surface. */
  readonly routes: ReadonlyMap<string, Rate>;
}

/** All settings that may be shown. Paths are absolute. docs/configuration.md tells what each one means. */
export interface Config {
  readonly mode: Mode;
  readonly port: number;
  readonly bindHost: string;
  /** Where other gateways reach this one; port 0 means the port that it listens on. */
  readonly advertiseUrl: string | undefined;
  readonly dataDir: string;
  readonly toolRegistryFile: string | undefined;
  /** Undefined means `log.key` in the data folder. */
  readonly logKeyFile: string | undefined;
  /** Prints the key; never together with a file. */
  readonly logKeyCommand: readonly string[] | undefined;
  /** Undefined means a random name, made once. */
  readonly logOrigin: string | undefined;
  /** `<verifier key> <address>`, each. */
  readonly logWitnesses: readonly string[];
  /** Undefined means more than half; never more than there are. */
  readonly logWitnessQuorum: number | undefined;
  readonly logAnchorFiles: readonly string[];
  readonly logAnchorUrls: readonly string[];
  readonly logAnchorIntervalMs: number;
  /** Undefined keeps all records for ever. */
  readonly auditRetentionDays: number | undefined;
  readonly auditErasable: readonly string[];
  readonly auditOnFailure: AuditOnFailure;
  /** Undefined means `spool` in the data folder. */
  readonly auditSpoolDir: string | undefined;
  /** Bytes. */
  readonly auditSpoolSize: number;
  readonly auditUrl: string | undefined;
  /** Bytes; undefined means without limit. */
  readonly storeSizeWarn: number | undefined;
  readonly storeSizeStop: number | undefined;
  /** PEM files, which were readable at the start. */
  readonly tls: { readonly certFile: string; readonly keyFile: string } | undefined;
  /** Undefined where requests are not limited. */
  readonly rateLimits: RateLimits | undefined;
  readonly trustedProxies: readonly string[];
  readonly corsOrigins: readonly string[];
  readonly shutdownDrainMs: number;
  readonly trustedIssuers: readonly string[];
  /** Signs what the admin API grants; undefined means that it grants nothing. */
  readonly issuerKeyFile: string | undefined;
  /** Always true in production. */
  readonly requireCapability: boolean;
  readonly bearerCapabilities: boolean;
  readonly attestationKeys: readonly string[];
  /** Undefined means that no issuer's tokens are taken; never without an audience. */
  readonly oidcIssuer: string | undefined;
  readonly oidcAudience: string | undefined;
  /** Undefined means that the issuer says where. */
  readonly oidcJwksUrl: string | undefined;
  readonly oidcAlgorithms: readonly OidcAlgorithm[];
  readonly oidcPrincipalClaim: string;
  readonly oidcTeamClaim: string;
  readonly oidcPermissionsClaim: string;
  /** Undefined means what requests say. */
  readonly publicUrl: string | undefined;
  /** Names the key `auditIpHmacKey` of the secrets; undefined when there is none. */
  readonly auditIpHmacKeyId: string | undefined;
  readonly logLevel: LogLevel;
  readonly region: string;
  /** Undefined means the version of the package. */
  readonly version: string | undefined;
  readonly gitSha: string;
  readonly buildTime: string;
  readonly ollamaUrl: string | undefined;
  readonly tgaUrl: string | undefined;
  /** Undefined means `secrets.key` in the data folder. */
  readonly secretsKeyFile: string | undefined;
  /** Whether servers that are added at run time may be processes. */
  readonly managedStdioServers: boolean;
  /** How long a call waits for its approval, and how long it may be approved and made. */
  readonly approvalWaitSec: number;
  readonly approvalTtlSec: number;
  /** Names of variables of the environment that look like those of secrets, sorted. */
  readonly environmentSecretNames: readonly string[];
  /** Ordered by id; disabled ones included. Values of `headers` and `env` print as `[secret]`. */
  readonly servers: readonly McpServerSpec[];
}

export interface Secrets {
  /** The PostgreSQL to use; undefined means the embedded one. */
  readonly databaseUrl: Secret | undefined;
  /** Always there in production. */
  readonly adminSecret: Secret | undefined;
  readonly auditIpHmacKey: Secret | undefined;
  /** What gateways share their limits through; undefined means that each counts by itself. */
  readonly redisUrl: Secret | undefined;
  /** What API keys are hashed with. */
  readonly apiKeyPepper: Secret | undefined;
  /** Keys that secrets are kept under; undefined means that they are in a file. */
  readonly secretsKey: Secret | undefined;
}

export interface LoadedConfig {
  readonly config: Config;
  readonly secrets: Secrets;
  /** Sentences for the operator's log; nothing in them is secret. */
  readonly warnings: readonly string[];
  readonly sources: {
    readonly settings: Resolved['sources'];
    readonly servers: Readonly<Record<string, Source>>;
  };
  /** The value of every setting as it takes effect, secrets included as such. */
  readonly effective: Values;
  /** The file that was read. */
  readonly file: string | undefined;
}

export interface LoadOptions {
  readonly env: Environment;
  /** The working directory, which relative paths and the usual file names start from. */
  readonly cwd: string;
  readonly files?: Files;
}

/**
 * Loads the configuration without touching the globals of the process.
 *
 * @throws ConfigError with one sentence for every problem.
 */
export function loadConfig({ env, cwd, files = realFiles }: LoadOptions): LoadedConfig {
  const findings = new Findings();
  const environment = readEnvironmentLayer(env, findings);
  const file = readConfigFile(env, cwd, files, findings);
  for (const { key, shown, value } of file?.entries ?? []) judgeLegacy('file key', key, shown, value, findings);
  const resolved = resolveSettings(environment, file, findings);
  const values = absolutePaths(resolved.values, cwd);
  const servers = resolveServers(environment, env, file, findings);
  applyRules({ ...resolved, values, servers, environment, file, files }, resolved.failed, findings);
  if (findings.problems.length > 0) throw new ConfigError(findings.problems);
  const effective = applyMode(values);
  return {
    config: {
      ...configOf(effective),
      environmentSecretNames: secretNamesOf(env),
      servers: servers.servers.map((server) => absoluteCwd(server, cwd)),
    },
    secrets: secretsOf(effective),
    warnings: findings.warnings,
    sources: { settings: resolved.sources, servers: servers.sources },
    effective,
    file: file?.path,
  };
}

function absolutePaths(values: Values, cwd: string): Values {
  const absolute = (path: string | undefined) => (path === undefined ? undefined : resolve(cwd, path));
  return {
    ...values,
    dataDir: resolve(cwd, values.dataDir),
    logKeyFile: absolute(values.logKeyFile),
    issuerKeyFile: absolute(values.issuerKeyFile),
    logAnchorFiles: values.logAnchorFiles.map((path) => resolve(cwd, path)),
    auditSpoolDir: absolute(values.auditSpoolDir),
    toolRegistryFile: absolute(values.toolRegistryFile),
    secretsKeyFile: absolute(values.secretsKeyFile),
    tlsCertFile: absolute(values.tlsCertFile),
    tlsKeyFile: absolute(values.tlsKeyFile),
  };
}

function absoluteCwd(server: McpServerSpec, cwd: string): McpServerSpec {
  return server.cwd === undefined ? server : { ...server, cwd: resolve(cwd, server.cwd) };
}

/** Fills in the defaults that depend on other settings. */
function applyMode(values: Values): Values {
  return {
    ...values,
    requireCapability: values.requireCapability ?? values.mode === 'production',
    rateLimit: values.rateLimit ?? values.mode === 'production',
    auditIpHmacKeyId: values.auditIpHmacKeyId ?? (values.auditIpHmacKey === undefined ? undefined : 'default'),
  };
}

function configOf(values: Values): Omit<Config, 'servers' | 'environmentSecretNames'> {
  const {
    databaseUrl: _1,
    adminSecret: _2,
    auditIpHmacKey: _3,
    tlsCertFile,
    tlsKeyFile,
    shutdownDrainSec,
    logAnchorIntervalSec,
    rateLimit: _4,
    rateLimitIpRps: _5,
    rateLimitIpBurst: _6,
    rateLimitKeyRps: _7,
    rateLimitKeyBurst: _8,
    rateLimitRoutes: _9,
    redisUrl: _10,
    apiKeyPepper: _11,
    secretsKey: _12,
    ...rest
  } = values;
  const tls =
    tlsCertFile === undefined || tlsKeyFile === undefined ? undefined : { certFile: tlsCertFile, keyFile: tlsKeyFile };
  return {
    ...rest,
    requireCapability: values.requireCapability !== false,
    shutdownDrainMs: shutdownDrainSec * 1000,
    logAnchorIntervalMs: logAnchorIntervalSec * 1000,
    tls,
    rateLimits: rateLimitsOf(values),
  };
}

function rateLimitsOf(values: Values): RateLimits | undefined {
  if (values.rateLimit !== true) return undefined;
  const perSecond = (count: number, burst: number): Rate => ({ count, burst, periodMs: 1000 });
  return {
    ip: perSecond(values.rateLimitIpRps, values.rateLimitIpBurst),
    key: perSecond(values.rateLimitKeyRps, values.rateLimitKeyBurst),
    routes: new Map(values.rateLimitRoutes.flatMap(routeRate)),
  };
}

function routeRate(text: string): [string, Rate][] {
  const [surface = '', ...words] = text.split(' ');
  const rate = parseRate(words.join(' '));
  return rate === undefined ? [] : [[surface, rate]];
}

function secretsOf(values: Values): Secrets {
  const { databaseUrl, adminSecret, auditIpHmacKey, redisUrl, apiKeyPepper, secretsKey } = values;
  return { databaseUrl, adminSecret, auditIpHmacKey, redisUrl, apiKeyPepper, secretsKey };
}
