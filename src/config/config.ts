/**
 * The configuration of one gateway: `Config`, which may be shown, and `Secrets`, which may not. `loadConfig` makes both
 * from the layers default < file < environment and gives either a sound whole or every problem at once.
 */
import { resolve } from 'node:path';
import type { McpServerSpec } from '../core/mcp-server.ts';
import { ConfigError } from './config-error.ts';
import { readConfigFile } from './config-file.ts';
import type { Environment } from './env.ts';
import { readEnvironmentLayer } from './environment-layer.ts';
import { type Files, realFiles } from './files.ts';
import { Findings } from './findings.ts';
import { judgeLegacy } from './legacy-fate.ts';
import { type Resolved, resolveSettings, type Source } from './resolve.ts';
import { applyRules } from './rules.ts';
import type { Secret } from './secret.ts';
import { resolveServers } from './servers.ts';
import type { AuditOnFailure, LogLevel, Mode, Values } from './settings.ts';

/** All settings that may be shown. Paths are absolute. docs/configuration.md tells what each one means. */
export interface Config {
  readonly mode: Mode;
  readonly port: number;
  readonly bindHost: string;
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
  readonly trustedProxies: readonly string[];
  readonly corsOrigins: readonly string[];
  readonly shutdownDrainMs: number;
  readonly trustedIssuers: readonly string[];
  /** Always true in production. */
  readonly requireCapability: boolean;
  readonly bearerCapabilities: boolean;
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
  /** Ordered by id; disabled ones included. Values of `headers` and `env` print as `[secret]`. */
  readonly servers: readonly McpServerSpec[];
}

export interface Secrets {
  /** The PostgreSQL to use; undefined means the embedded one. */
  readonly databaseUrl: Secret | undefined;
  /** Always there in production. */
  readonly adminSecret: Secret | undefined;
  readonly auditIpHmacKey: Secret | undefined;
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
    config: { ...configOf(effective), servers: servers.servers.map((server) => absoluteCwd(server, cwd)) },
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
    logAnchorFiles: values.logAnchorFiles.map((path) => resolve(cwd, path)),
    auditSpoolDir: absolute(values.auditSpoolDir),
    toolRegistryFile: absolute(values.toolRegistryFile),
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
    auditIpHmacKeyId: values.auditIpHmacKeyId ?? (values.auditIpHmacKey === undefined ? undefined : 'default'),
  };
}

function configOf(values: Values): Omit<Config, 'servers'> {
  const {
    databaseUrl: _1,
    adminSecret: _2,
    auditIpHmacKey: _3,
    tlsCertFile,
    tlsKeyFile,
    shutdownDrainSec,
    logAnchorIntervalSec,
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
  };
}

function secretsOf({ databaseUrl, adminSecret, auditIpHmacKey }: Values): Secrets {
  return { databaseUrl, adminSecret, auditIpHmacKey };
}
