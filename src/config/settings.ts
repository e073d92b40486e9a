/**
 * Every setting, in one table: its names in the environment and in the file, how a value is read, the default and the
 * meaning. The loader, `talos config` and docs/configuration.md (compared by a test) all follow this table. Tool
 * servers are not in it, because they are a list of their own (`servers.ts`).
 */
import { approvalSettings } from './approval-settings.ts';
import { bounds } from './bounds.ts';
import { identitySettings } from './identity-settings.ts';
import { limitSettings } from './limit-settings.ts';
import { logSettings } from './log-settings.ts';
import {
  type Parsed,
  parseBoolean,
  parseDatabaseUrl,
  parseGatewayAddress,
  parseHost,
  parseHttpUrl,
  parseInteger,
  parseIssuer,
  parseLabel,
  parseList,
  parseOrigin,
  parsePath,
  parseProxy,
  parseSecret,
  parseText,
  parseWord,
} from './parse.ts';
import type { Secret } from './secret.ts';
import { secretSettings } from './secret-settings.ts';
import { type Setting, setting } from './setting.ts';

export type { AuditOnFailure } from './log-settings.ts';
export type { Setting } from './setting.ts';

export type Mode = 'development' | 'production';
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

const namedModes = {
  development: 'development',
  dev: 'development',
  production: 'production',
  prod: 'production',
} as const;

// "test" gets the strict rules: a forgotten test deployment must not be an open one.
const deploymentModes = { ...namedModes, local: 'development', test: 'production' } as const;

const parseNamedMode = parseWord<Mode>(namedModes);
const parseDeployment = parseWord<Mode>(deploymentModes);

/** One mode out of five names that mean it in three ways: a flag, a mode, the kind of deployment. */
function parseMode(raw: unknown, name: string): Parsed<Mode> {
  if (name === 'TALOS_ENV' || name === 'global.env') return parseDeployment(raw);
  if (name !== 'DEV_MODE' && name !== 'dev_mode') return parseNamedMode(raw);
  const flag = parseBoolean(raw);
  return flag.ok ? { ok: true, value: flag.value ? 'development' : 'production' } : flag;
}

const parseLogLevel = parseWord<LogLevel>({
  trace: 'trace',
  debug: 'debug',
  info: 'info',
  warn: 'warn',
  warning: 'warn',
  error: 'error',
  critical: 'fatal',
  fatal: 'fatal',
  silent: 'silent',
});

export const settings = {
  mode: setting<Mode>({
    env: ['DEV_MODE', 'MODE', 'TALOS_ENV'],
    file: ['mode', 'dev_mode', 'global.env'],
    parse: parseMode,
    default: 'production',
    mustAgree: true,
    meaning:
      'Development mode lets callers in without a credential. `DEV_MODE` is true or false; `MODE` is `dev`, `development`, `prod` or `production`; `TALOS_ENV` is also `local` (development) or `test` (the rules of production).',
  }),
  port: setting<number>({
    env: ['TALOS_GATEWAY_PORT', 'PORT'],
    file: ['port', 'gateway.port'],
    parse: parseInteger(0, 65_535, 'a port number'),
    default: 8000,
    meaning: 'TCP port to listen on; 0 lets the system choose a free one.',
  }),
  bindHost: setting<string>({
    env: ['TALOS_BIND_HOST'],
    file: ['bind_host', 'gateway.host'],
    parse: parseHost,
    default: '127.0.0.1',
    meaning:
      'Address to listen on. In production an address that others can reach needs TLS or trusted proxies; in development it is a loud warning.',
  }),
  advertiseUrl: setting<string | undefined>({
    env: ['TALOS_ADVERTISE_URL'],
    file: ['advertise_url'],
    parse: parseGatewayAddress,
    default: undefined,
    defaultText: 'none: others answer 404 for MCP sessions that this one has',
    meaning:
      'Address under which the other gateways on the same database reach this one and no other, such as `http://10.0.0.7:8000`; port 0 stands for the one that it listens on. Requests come there with the credentials of clients.',
  }),
  dataDir: setting<string>({
    env: ['TALOS_DATA_DIR'],
    file: ['data_dir'],
    parse: parsePath,
    default: '.talos',
    meaning: 'Folder for the embedded store, keys and logs.',
  }),
  toolRegistryFile: setting<string | undefined>({
    env: ['TALOS_TOOL_REGISTRY', 'TOOL_REGISTRY_PATH'],
    file: ['tool_registry'],
    parse: parsePath,
    default: undefined,
    defaultText: 'none: every tool counts as one that writes',
    meaning:
      'JSON file that says which tools only read (`tools`: `tool_server`, `tool_name`, `tool_class`), and with `path_arguments` which further arguments hold paths, and with `requires_idempotency_key` which may be called under an idempotency key only. A call of any other tool is on record before it is sent.',
  }),
  ...logSettings,
  ...identitySettings,
  databaseUrl: setting<Secret | undefined>({
    env: ['TALOS_DATABASE_URL', 'DATABASE_URL', 'DATABASE_WRITE_URL', 'DB_HOST'],
    file: ['database_url'],
    parse: parseDatabaseUrl,
    default: undefined,
    defaultText: 'the embedded store',
    secret: true,
    meaning:
      'PostgreSQL 14 or newer. `DB_HOST` (host or host:port) is joined with `DB_NAME`, `DB_USER` and `DB_PASSWORD` to an address when no other name is set.',
  }),
  ...secretSettings,
  ...approvalSettings,
  trustedIssuers: setting<readonly string[]>({
    env: ['TALOS_TRUSTED_ISSUERS'],
    file: ['trusted_issuers'],
    parse: parseList(parseIssuer),
    default: [],
    meaning: 'DIDs (`did:key`, `did:talos`) whose capabilities count. Every other issuer is denied.',
  }),
  issuerKeyFile: setting<string | undefined>({
    env: ['TALOS_ISSUER_KEY_FILE'],
    file: ['issuer_key_file'],
    parse: parsePath,
    default: undefined,
    meaning:
      'File with the Ed25519 key (PEM) that the admin API signs new capabilities with. Without one it grants none. The key counts only where its DID is a trusted issuer.',
  }),
  requireCapability: setting<boolean | undefined>({
    env: ['TALOS_REQUIRE_CAPABILITY'],
    file: ['require_capability'],
    parse: parseBoolean,
    default: undefined,
    defaultText: 'true in production, false in development',
    meaning: 'Demand a capability in development mode too. Production always demands one; false is refused there.',
  }),
  bearerCapabilities: setting<boolean>({
    env: ['TALOS_BEARER_CAPABILITIES'],
    file: ['bearer_capabilities'],
    parse: parseBoolean,
    default: true,
    meaning: 'Honour a capability from whoever presents it, without proof that the caller is its subject.',
  }),
  adminSecret: setting<Secret | undefined>({
    env: ['AUTH_ADMIN_SECRET', 'AUTH_SECRET'],
    file: ['auth_admin_secret'],
    parse: parseSecret,
    default: undefined,
    secret: true,
    meaning: `Secret of the administration routes. Production needs one of at least ${bounds.adminSecretCharsMin} characters that is not a well-known placeholder.`,
  }),
  ...limitSettings,
  corsOrigins: setting<readonly string[]>({
    env: ['TALOS_CORS_ORIGINS'],
    file: ['cors_origins'],
    parse: parseList(parseOrigin),
    default: [],
    meaning: 'Origins whose pages may call the gateway; `*` is never one. Development adds every localhost origin.',
  }),
  trustedProxies: setting<readonly string[]>({
    env: ['TALOS_TRUSTED_PROXIES', 'TRUSTED_PROXIES'],
    file: ['trusted_proxies'],
    parse: parseList(parseProxy),
    default: [],
    meaning: 'IP addresses and CIDR blocks of proxies whose `X-Forwarded-For` is believed.',
  }),
  tlsCertFile: setting<string | undefined>({
    env: ['TALOS_TLS_CERT_FILE'],
    file: ['tls_cert_file'],
    parse: parsePath,
    default: undefined,
    meaning: 'PEM file of the certificate chain. Goes with the key file; both or neither.',
  }),
  tlsKeyFile: setting<string | undefined>({
    env: ['TALOS_TLS_KEY_FILE'],
    file: ['tls_key_file'],
    parse: parsePath,
    default: undefined,
    meaning: 'PEM file of the private key.',
  }),
  shutdownDrainSec: setting<number>({
    env: ['SHUTDOWN_DRAIN_TIMEOUT_SECONDS'],
    file: ['shutdown_drain_timeout_seconds'],
    parse: parseInteger(bounds.shutdownDrainSecMin, bounds.shutdownDrainSecMax, 'a number of seconds'),
    default: bounds.shutdownDrainSecDefault,
    meaning: 'How long requests in flight may take to finish after SIGTERM.',
  }),
  auditIpHmacKey: setting<Secret | undefined>({
    env: ['AUDIT_IP_HMAC_KEY'],
    file: ['audit_ip_hmac_key'],
    parse: parseSecret,
    default: undefined,
    secret: true,
    meaning: `Key under which client addresses are hashed into records; without it records carry no address. At least ${bounds.ipHmacKeyCharsMin} characters in production.`,
  }),
  auditIpHmacKeyId: setting<string | undefined>({
    env: ['AUDIT_IP_HMAC_KEY_ID'],
    file: ['audit_ip_hmac_key_id'],
    parse: parseLabel,
    default: undefined,
    defaultText: '`default` when there is a key',
    meaning: 'Name of that key in the records, so that it can be replaced.',
  }),
  logLevel: setting<LogLevel>({
    env: ['LOG_LEVEL'],
    file: ['log_level', 'global.log_level'],
    parse: parseLogLevel,
    default: 'info',
    meaning: '`trace`, `debug`, `info`, `warn` (`warning`), `error`, `fatal` (`critical`) or `silent`.',
  }),
  region: setting<string>({
    env: ['TALOS_REGION', 'TALOS_REGION_ID'],
    file: ['region', 'global.region'],
    parse: parseLabel,
    default: 'local',
    meaning: 'Name of the place this gateway runs in, as health answers and the header `X-Talos-Region` tell it.',
  }),
  version: setting<string | undefined>({
    env: ['VERSION'],
    file: ['version'],
    parse: parseText,
    default: undefined,
    defaultText: 'the version of the package',
    meaning: 'Version that `/version` and `/healthz` tell.',
  }),
  gitSha: setting<string>({
    env: ['GIT_SHA'],
    file: ['git_sha'],
    parse: parseText,
    default: 'unknown',
    meaning: 'Commit that `/version` tells.',
  }),
  buildTime: setting<string>({
    env: ['BUILD_TIME'],
    file: ['build_time'],
    parse: parseText,
    default: 'unknown',
    meaning: 'Time of the build that `/version` tells.',
  }),
  ollamaUrl: setting<string | undefined>({
    env: ['OLLAMA_URL'],
    file: ['ollama_url'],
    parse: parseHttpUrl,
    default: undefined,
    meaning: 'Ollama server that `/health/ollama` probes.',
  }),
  tgaUrl: setting<string | undefined>({
    env: ['TGA_URL'],
    file: ['tga_url'],
    parse: parseHttpUrl,
    default: undefined,
    meaning: 'Governance agent that `/health/tga` probes.',
  }),
};

export type SettingKey = keyof typeof settings;

/** The value of every setting, before the rules and the assembly into `Config` and `Secrets`. */
export type Values = {
  readonly [K in SettingKey]: (typeof settings)[K] extends Setting<infer T> ? T : never;
};

/** The table as a list, for whoever walks over it without caring for the type of a value. */
export const settingList: readonly (readonly [SettingKey, Setting<unknown>])[] = Object.entries(settings).map(
  ([key, entry]) => [key as SettingKey, entry],
);
