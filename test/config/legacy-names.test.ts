import { describe, expect, it } from 'vitest';
import { fileKeys } from '../../src/config/config-file.ts';
import { legacyNames } from '../../src/config/legacy-names.ts';
import { settingList } from '../../src/config/settings.ts';
import { load, refusal } from './support.ts';

const development = { TALOS__DEV_MODE: 'true' };

/** Every name that an earlier gateway or its deployments read. */
const namesOfOld = `
GIT_SHA VERSION BUILD_TIME DEV_MODE MODE TALOS_ENV TALOS_RUN_ID TALOS_REGION TALOS_AUDIT_URL OLLAMA_URL TGA_URL
TOOL_SERVER_CONFIG_SOURCE MCP_SERVER_<ID> MCP_CONNECTOR_URL MCP_GIT_URL MCP_WEATHER_URL TALOS_STORAGE_TYPE
TALOS_DATABASE_URL DB_USER DB_PASSWORD DB_HOST DB_NAME AUTH_ADMIN_SECRET AUTH_SECRET ADMIN_EMAIL TALOS_GATEWAY_PORT
TALOS_BIND_HOST PORT TALOS_MASTER_KEY TALOS_CURRENT_KEK_ID TALOS__A__B DATABASE_WRITE_URL DATABASE_READ_URL REDIS_URL
TALOS_KEY_PEPPER TGA_DB_PATH TMPDIR DATABASE_URL ENV LOG_LEVEL RATE_LIMIT_ENABLED RATE_LIMIT_BACKEND
RATE_LIMIT_DEFAULT_RPS RATE_LIMIT_DEFAULT_BURST RATE_LIMIT_DEV_FAIL_OPEN TRACING_ENABLED OTEL_EXPORTER_OTLP_ENDPOINT
OTEL_RESOURCE_ATTRIBUTES SHUTDOWN_DRAIN_TIMEOUT_SECONDS AUDIT_IP_HMAC_KEY AUDIT_IP_HMAC_KEY_ID TRUSTED_PROXIES
TOOL_REGISTRY_PATH TALOS_REGION_ID AUTH_ADMIN_JWKS_URL AUTH_ADMIN_ISSUER AUTH_ADMIN_AUDIENCE MASTER_KEY AUDIT_SINK_URL
gateway.yaml /etc/gateway/config.yaml config/config.yaml
config_version contracts_version extensions global.env global.region global.log_level gateway.port gateway.host
gateway.database_url_ref gateway.disable_auth audit.storage_backend audit.database_url_ref audit.retention_days
mcp_connector.allowed_servers mcp_connector.signing_key_ref audit_url ollama_url tga_url dev_mode
`
  .trim()
  .split(/\s+/);

const environmentNames = legacyNames.filter(({ kind }) => kind === 'environment');

/** A line of the file that sets a dotted key. */
function yamlOf(key: string, value: unknown): string {
  const [section, inner] = key.split('.');
  return inner === undefined ? `${key}: ${JSON.stringify(value)}` : `${section}: {${inner}: ${JSON.stringify(value)}}`;
}

describe('the table of legacy names', () => {
  it('has every name of old, once', () => {
    expect(legacyNames.map(({ name }) => name).sort()).toEqual([...namesOfOld].sort());
  });

  it('calls honoured only what a setting reads, and a setting reads none of the others', () => {
    for (const { name, kind, fate, note } of legacyNames) {
      const reader = settingList.find(([, { env, file }]) => [...env, ...file].includes(name));
      if (fate !== 'honoured') expect(reader, name).toBeUndefined();
      else if (settingList.some(([, { file }]) => file[0] === note) && !/^DB_/.test(name)) {
        expect(reader?.[1].file[0], name).toBe(note);
      } else if (kind === 'file key') expect(fileKeys).toContain(name);
    }
  });
});

describe('a name that is ignored', () => {
  it.each(environmentNames.filter(({ fate }) => fate === 'ignored'))(
    '$name is told with the reason',
    ({ name, note }) => {
      const { warnings } = load({ ...development, [name]: 'canary' });
      expect(warnings).toEqual([`${name} is ignored: ${note}.`]);
    },
  );

  const fileNames = legacyNames.filter(
    ({ kind, fate, name }) => kind === 'file key' && fate === 'ignored' && !name.endsWith('_ref'),
  );
  it.each(fileNames)('$name of the file is told with the reason', ({ name, note }) => {
    const { warnings } = load(development, yamlOf(name, 'canary'));
    expect(warnings).toEqual([expect.stringMatching(new RegExp(`^${name} in .*talos\\.config\\.yaml is ignored: `))]);
    expect(warnings[0]).toContain(note);
    expect(warnings[0]).not.toContain('canary');
  });
});

describe('a name that is refused', () => {
  it('stops the start with the reason', () => {
    for (const source of ['http', 'k8s', 'FILES']) {
      expect(refusal({ ...development, TOOL_SERVER_CONFIG_SOURCE: source })).toEqual([
        expect.stringMatching(/^TOOL_SERVER_CONFIG_SOURCE is refused: tool servers come from the environment and/),
      ]);
    }
    expect(refusal(development, 'gateway: {disable_auth: "yes"}')).toHaveLength(1);
  });
});

describe('a value that says what holds anyway', () => {
  const harmless = legacyNames.flatMap(({ kind, name, harmless: values }) =>
    (values ?? []).flatMap((value) => [[kind, name, value] as const, [kind, name, value.toUpperCase()] as const]),
  );

  it.each(harmless)('passes in silence: %s %s=%s', (kind, name, value) => {
    const loaded =
      kind === 'environment' ? load({ ...development, [name]: value }) : load(development, yamlOf(name, value));
    expect(loaded.warnings).toEqual([]);
  });
});
