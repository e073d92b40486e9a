/**
 * Every name that earlier Talos gateways read, with its fate here: honoured, ignored with a warning, or refused with
 * the reason. docs/configuration.md lists the same table and a test compares the two.
 */
export interface LegacyName {
  readonly name: string;
  readonly kind: 'environment' | 'file key' | 'file';
  readonly fate: 'honoured' | 'ignored' | 'refused';
  /** As what it is honoured; or why it is ignored or refused, as the end of a sentence. */
  readonly note: string;
  /** Values, in lower case, that say what holds anyway and so pass in silence. */
  readonly harmless?: readonly string[];
}

const env = (name: string, fate: LegacyName['fate'], note: string, harmless: readonly string[] = []): LegacyName => ({
  name,
  kind: 'environment',
  fate,
  note,
  harmless,
});

const key = (name: string, fate: LegacyName['fate'], note: string, harmless: readonly string[] = []): LegacyName => ({
  name,
  kind: 'file key',
  fate,
  note,
  harmless,
});

const file = (name: string): LegacyName => ({
  name,
  kind: 'file',
  fate: 'honoured',
  note: 'read when neither TALOS_CONFIG nor talos.config.yaml is there; the first that exists',
});

const noTracing = 'this gateway exports no traces';
const oneStore = 'records always go to PostgreSQL, the embedded one or that of DATABASE_URL';
const noReferences =
  'DATABASE_URL gives the address itself; without it the start is refused, because a reference cannot be resolved';

export const legacyNames: readonly LegacyName[] = [
  env('GIT_SHA', 'honoured', 'git_sha'),
  env('VERSION', 'honoured', 'version'),
  env('BUILD_TIME', 'honoured', 'build_time'),
  env('DEV_MODE', 'honoured', 'mode'),
  env('MODE', 'honoured', 'mode'),
  env('TALOS_ENV', 'honoured', 'mode'),
  env('ENV', 'ignored', 'TALOS_ENV chooses the mode', ['prod', 'production']),
  env('TALOS_RUN_ID', 'ignored', 'the gateway makes an id of its own at every start'),
  env('TALOS_REGION', 'honoured', 'region'),
  env('TALOS_REGION_ID', 'honoured', 'region'),
  env('LOG_LEVEL', 'honoured', 'log_level'),
  env('TMPDIR', 'honoured', 'the folder for temporary files of the process, as everywhere'),

  env('TALOS_GATEWAY_PORT', 'honoured', 'port'),
  env('PORT', 'honoured', 'port'),
  env('TALOS_BIND_HOST', 'honoured', 'bind_host'),
  env('TRUSTED_PROXIES', 'honoured', 'trusted_proxies'),
  env('SHUTDOWN_DRAIN_TIMEOUT_SECONDS', 'honoured', 'shutdown_drain_timeout_seconds'),

  env('MCP_SERVER_<ID>', 'honoured', 'servers'),
  env('MCP_CONNECTOR_URL', 'honoured', 'servers'),
  env('MCP_GIT_URL', 'honoured', 'servers'),
  env('MCP_WEATHER_URL', 'honoured', 'servers'),
  env(
    'TOOL_SERVER_CONFIG_SOURCE',
    'refused',
    'tool servers come from the environment and the configuration file only (the value "file" is accepted)',
    ['file'],
  ),
  env('TOOL_REGISTRY_PATH', 'honoured', 'tool_registry'),

  env('TALOS_STORAGE_TYPE', 'ignored', oneStore, ['postgres']),
  env('TALOS_DATABASE_URL', 'honoured', 'database_url'),
  env('DATABASE_URL', 'honoured', 'database_url'),
  env('DATABASE_WRITE_URL', 'honoured', 'database_url'),
  env('DATABASE_READ_URL', 'ignored', 'reads go to the same PostgreSQL as writes, so that nobody misses a record'),
  env('DB_USER', 'honoured', 'database_url'),
  env('DB_PASSWORD', 'honoured', 'database_url'),
  env('DB_HOST', 'honoured', 'database_url'),
  env('DB_NAME', 'honoured', 'database_url'),
  env('TGA_DB_PATH', 'ignored', 'it belongs to the governance agent, which keeps its own store'),
  env('REDIS_URL', 'honoured', 'redis_url'),

  env('AUTH_ADMIN_SECRET', 'honoured', 'auth_admin_secret'),
  env('AUTH_SECRET', 'honoured', 'auth_admin_secret'),
  env('AUTH_ADMIN_JWKS_URL', 'honoured', 'oidc_jwks_url'),
  env('AUTH_ADMIN_ISSUER', 'honoured', 'oidc_issuer'),
  env('AUTH_ADMIN_AUDIENCE', 'honoured', 'oidc_audience'),
  env('ADMIN_EMAIL', 'ignored', 'this gateway keeps no profile of an administrator'),
  env('TALOS_KEY_PEPPER', 'honoured', 'api_key_pepper'),
  env('TALOS_MASTER_KEY', 'honoured', 'secrets_key'),
  env('MASTER_KEY', 'honoured', 'secrets_key'),
  env('TALOS_CURRENT_KEK_ID', 'ignored', 'the first key of secrets_key is the one in use'),

  env('TALOS_AUDIT_URL', 'honoured', 'audit_url'),
  env('AUDIT_SINK_URL', 'honoured', 'audit_url'),
  env('AUDIT_IP_HMAC_KEY', 'honoured', 'audit_ip_hmac_key'),
  env('AUDIT_IP_HMAC_KEY_ID', 'honoured', 'audit_ip_hmac_key_id'),

  env('OLLAMA_URL', 'honoured', 'ollama_url'),
  env('TGA_URL', 'honoured', 'tga_url'),

  env('RATE_LIMIT_ENABLED', 'honoured', 'rate_limit'),
  env('RATE_LIMIT_BACKEND', 'ignored', 'limits are shared where REDIS_URL is set, and held in memory where it is not'),
  env('RATE_LIMIT_DEFAULT_RPS', 'honoured', 'rate_limit_key_rps'),
  env('RATE_LIMIT_DEFAULT_BURST', 'honoured', 'rate_limit_key_burst'),
  env(
    'RATE_LIMIT_DEV_FAIL_OPEN',
    'ignored',
    'in development, and only there, limits are held in memory while Redis is away',
  ),
  env('TRACING_ENABLED', 'ignored', noTracing, ['false', '0', 'no', 'off']),
  env('OTEL_EXPORTER_OTLP_ENDPOINT', 'ignored', noTracing),
  env('OTEL_RESOURCE_ATTRIBUTES', 'ignored', noTracing),

  env(
    'TALOS__A__B',
    'honoured',
    'the file key `a.b` of one value, weaker than the names of the settings table; an unknown key is refused',
  ),

  file('gateway.yaml'),
  file('/etc/gateway/config.yaml'),
  file('config/config.yaml'),

  key('config_version', 'honoured', 'the version of the older layout; must be "1.0"'),
  key('contracts_version', 'honoured', 'a remark without effect'),
  key('global.env', 'honoured', 'mode'),
  key('global.region', 'honoured', 'region'),
  key('global.log_level', 'honoured', 'log_level'),
  key('gateway.port', 'honoured', 'port'),
  key('gateway.host', 'honoured', 'bind_host'),
  key('gateway.database_url_ref', 'ignored', noReferences),
  key('gateway.disable_auth', 'refused', 'authorisation cannot be switched off; use development mode (DEV_MODE=true)', [
    'false',
    '0',
    'no',
    'off',
  ]),
  key('audit.storage_backend', 'ignored', oneStore, ['postgres']),
  key('audit.database_url_ref', 'ignored', noReferences),
  key('audit.retention_days', 'honoured', 'audit_retention_days'),
  key(
    'mcp_connector.allowed_servers',
    'honoured',
    'an allow-list: every tool server that has an address must be on it',
  ),
  key('mcp_connector.signing_key_ref', 'ignored', 'calls to tool servers are not signed by the gateway'),
  key('extensions', 'honoured', 'a place for others; `extensions.gateway` may hold any key of the settings table'),
  key('dev_mode', 'honoured', 'mode'),
  key('ollama_url', 'honoured', 'ollama_url'),
  key('tga_url', 'honoured', 'tga_url'),
  key('audit_url', 'honoured', 'audit_url'),
];

/** The sections of the older file layout, whose keys are written with a dot here. */
export const legacySections = ['global', 'gateway', 'audit', 'mcp_connector'] as const;

/** Whether a value of this name says only what holds anyway. */
export function isHarmless(entry: LegacyName, value: unknown): boolean {
  return entry.harmless?.includes(String(value).toLowerCase()) ?? false;
}
