import { resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/config.ts';
import { ConfigError } from '../../src/config/config-error.ts';
import { readEnvironment } from '../../src/config/env.ts';
import { load, makeFolder, problemsOf, refusal, soundEnv } from './support.ts';

const development = { DEV_MODE: 'true' };

describe('the order of layers', () => {
  it('is default, then file, then environment', () => {
    const yaml = 'mode: development\nport: 9001\n';
    expect(load(development).config.port).toBe(8000);
    expect(load({}, yaml).config.port).toBe(9001);
    expect(load({ PORT: '9002' }, yaml).config.port).toBe(9002);
    expect(load({ PORT: '9002', TALOS_GATEWAY_PORT: '9003' }, yaml).config.port).toBe(9003);
  });

  it('is told for each value', () => {
    const { sources } = load({ ...development, PORT: '9002' }, 'region: eu\nlog_level: debug\n');
    expect(sources.settings).toMatchObject({
      port: { layer: 'env', name: 'PORT' },
      region: { layer: 'file', name: 'region' },
      bindHost: { layer: 'default' },
    });
  });

  it('lets the environment take development mode back from the file', () => {
    expect(load({ ...soundEnv, DEV_MODE: 'false' }, 'mode: development').config.mode).toBe('production');
  });

  it('checks values that another layer overrides too', () => {
    expect(refusal({ ...development, PORT: '1' }, 'port: none')).toEqual([
      expect.stringMatching(/^port in .* must be/),
    ]);
  });
});

describe('several names of one setting', () => {
  it.each([
    [{ TALOS_GATEWAY_PORT: '1', PORT: '2' }, 'PORT differs from TALOS_GATEWAY_PORT, which wins.'],
    [{ TALOS_REGION: 'a', TALOS_REGION_ID: 'b' }, 'TALOS_REGION_ID differs from TALOS_REGION, which wins.'],
    [{ AUTH_ADMIN_SECRET: 'a', AUTH_SECRET: 'b' }, 'AUTH_SECRET differs from AUTH_ADMIN_SECRET, which wins.'],
    [
      { TALOS_TRUSTED_PROXIES: '10.0.0.1', TRUSTED_PROXIES: '10.0.0.2' },
      'TRUSTED_PROXIES differs from TALOS_TRUSTED_PROXIES, which wins.',
    ],
    [
      { TALOS_DATABASE_URL: 'postgres://a/d', DATABASE_URL: 'postgres://b/d', DATABASE_WRITE_URL: 'postgres://c/d' },
      'DATABASE_URL and DATABASE_WRITE_URL differ from TALOS_DATABASE_URL, which wins.',
    ],
    [
      { PORT: '1', TALOS__PORT: '2', TALOS__GATEWAY__PORT: '3' },
      'TALOS__PORT and TALOS__GATEWAY__PORT differ from PORT, which wins.',
    ],
  ])('%j: the first wins with a warning that shows no value', (env, warning) => {
    expect(load({ ...development, ...env }).warnings).toEqual([warning]);
  });

  it('may agree in silence, however they are written', () => {
    const env = { PORT: '08000', TALOS_GATEWAY_PORT: '8000', AUTH_SECRET: 'x', AUTH_ADMIN_SECRET: 'x' };
    expect(load({ ...development, ...env }).warnings).toEqual([]);
  });

  it('are each checked', () => {
    expect(refusal({ ...development, PORT: 'a', TALOS_GATEWAY_PORT: '1' })).toEqual([
      expect.stringMatching(/^PORT must/),
    ]);
  });
});

describe('overrides of the form TALOS__A__B', () => {
  it('reach the keys of both file layouts, above the file', () => {
    const env = { TALOS__DEV_MODE: 'yes', TALOS__GATEWAY__PORT: '9100', TALOS__CORS_ORIGINS: 'http://a.example' };
    const { config } = load(env, 'port: 9000');
    expect(config).toMatchObject({ mode: 'development', port: 9100, corsOrigins: ['http://a.example'] });
  });

  it('keep their types strict', () => {
    expect(refusal({ ...development, TALOS__BEARER_CAPABILITIES: 'nope', TALOS__GATEWAY__PORT: 'x' })).toEqual([
      expect.stringMatching(/^TALOS__GATEWAY__PORT must/),
      expect.stringMatching(/^TALOS__BEARER_CAPABILITIES must/),
    ]);
  });

  it.each([
    ['TALOS__GATEWAY__PROT', 'Did you mean "TALOS__GATEWAY__PORT"?'],
    ['TALOS__DEVMODE', 'Did you mean "TALOS__DEV_MODE"?'],
    ['TALOS__SERVERS__GIT', undefined],
    ['TALOS__CONFIG_VERSION', undefined],
    ['TALOS__MCP_CONNECTOR__ALLOWED_SERVERS', undefined],
    ['TALOS__', undefined],
  ])('refuse %s, which names no setting', (name, hint) => {
    const [problem, ...others] = refusal({ ...development, [name]: '1' });
    expect(others).toEqual([]);
    expect(problem).toMatch(new RegExp(`^${name} is not a setting\\. `));
    if (hint !== undefined) expect(problem).toContain(hint);
  });

  it('of keys without effect are told', () => {
    expect(load({ ...development, TALOS__MCP_CONNECTOR__SIGNING_KEY_REF: 'k' }).warnings).toEqual([
      'TALOS__MCP_CONNECTOR__SIGNING_KEY_REF is ignored: calls to tool servers are not signed by the gateway.',
    ]);
    expect(refusal({ ...development, TALOS__GATEWAY__DISABLE_AUTH: 'true' })).toHaveLength(1);
  });
});

describe('the older DB_ names', () => {
  const parts = { DB_HOST: 'db:5433', DB_NAME: 'talos', DB_USER: 'gw', DB_PASSWORD: 'p@ss/w:rd ' };
  const databaseUrl = (env: Record<string, string>, yaml?: string) =>
    load({ ...development, ...env }, yaml).secrets.databaseUrl?.reveal();

  it('are joined to an address, special characters encoded', () => {
    expect(databaseUrl(parts)).toBe('postgresql://gw:p%40ss%2Fw%3Ard%20@db:5433/talos');
  });

  it('do without a password, and overrule the file', () => {
    const { DB_PASSWORD: _, ...rest } = parts;
    expect(databaseUrl(rest, 'database_url: postgres://file/x')).toBe('postgresql://gw@db:5433/talos');
  });

  it.each(['TALOS_DATABASE_URL', 'DATABASE_URL', 'DATABASE_WRITE_URL'])('give way to %s with a warning', (name) => {
    const loaded = load({ ...development, ...parts, [name]: 'postgres://h/d' });
    expect(loaded.secrets.databaseUrl?.reveal()).toBe('postgres://h/d');
    expect(loaded.warnings).toEqual([`DB_HOST, DB_NAME, DB_USER, DB_PASSWORD ignored, because ${name} is set.`]);
  });

  it.each([
    [{ DB_HOST: 'h' }, /^DB_HOST without DB_NAME, DB_USER: /],
    [{ DB_NAME: 'n', DB_USER: 'u', DB_PASSWORD: 'canary' }, /^DB_NAME, DB_USER, DB_PASSWORD without DB_HOST: /],
    [{ ...parts, DB_HOST: 'h/../x' }, /^DB_HOST must be a host name/],
    [{ ...parts, DB_HOST: 'evil@h' }, /^DB_HOST must be a host name/],
  ])('%j: refused, so that records do not go elsewhere', (env, sentence) => {
    const problems = refusal({ ...development, ...env });
    expect(problems).toEqual([expect.stringMatching(sentence)]);
    expect(problems.join()).not.toContain('canary');
  });

  it('leave a password alone that belongs to something else', () => {
    expect(databaseUrl({ DB_PASSWORD: 'x' })).toBeUndefined();
  });
});

describe('names that nobody reads', () => {
  it.each([
    ['TALOS_GATEWAY_PROT', ' Did you mean TALOS_GATEWAY_PORT?'],
    ['TALOS_REQUIRE_CAPABILITIES', ' Did you mean TALOS_REQUIRE_CAPABILITY?'],
    ['TALOS_SOMETHING_ENTIRELY_UNRELATED_TO_IT', ''],
  ])('%s is told when it begins with TALOS_', (name, hint) => {
    expect(load({ ...development, [name]: 'canary' }).warnings).toEqual([
      `${name} is not a setting of the gateway and has no effect.${hint}`,
    ]);
  });

  it('are left alone otherwise', () => {
    expect(load({ ...development, PATH: '/bin', HOME: '/root', MCP_FOO: 'x', talos_port: '1' }).warnings).toEqual([]);
  });
});

describe('a load', () => {
  it('is accepted in production without a word when it is sound', () => {
    const { config, warnings } = load(soundEnv);
    expect(warnings).toEqual([]);
    expect(config).toMatchObject({
      mode: 'production',
      port: 8000,
      bindHost: '127.0.0.1',
      tls: undefined,
      shutdownDrainMs: 30_000,
      requireCapability: true,
      bearerCapabilities: true,
      region: 'local',
      logLevel: 'info',
    });
  });

  it('keeps secrets out of the configuration', () => {
    const { config } = load({
      ...soundEnv,
      DATABASE_URL: 'postgres://u:canary@h/d',
      AUDIT_IP_HMAC_KEY: 'canary'.repeat(6),
    });
    expect(Object.keys(config)).not.toEqual(expect.arrayContaining(['databaseUrl', 'adminSecret', 'auditIpHmacKey']));
    expect(JSON.stringify(config)).not.toMatch(/canary|v5Kx1QeXb9rPz7Lm/);
    expect(config.auditIpHmacKeyId).toBe('default');
  });

  it('makes the data folder absolute, from the working directory', () => {
    const cwd = makeFolder();
    expect(loadConfig({ env: development, cwd }).config.dataDir).toBe(resolve(cwd, '.talos'));
    expect(loadConfig({ env: { ...development, TALOS_DATA_DIR: '../x' }, cwd }).config.dataDir).toBe(
      resolve(cwd, '../x'),
    );
  });

  it('reports everything at once', () => {
    const env = { PORT: 'a', LOG_LEVEL: 'b', TALOS_CORS_ORIGINS: '*', MCP_SERVER_GATEWAY: 'http://h', TALOS__X: '1' };
    const problems = refusal({ ...env, AUTH_ADMIN_SECRET: 'changeme' }, 'prot: 1\ndata_dir: 5\n');
    for (const name of [
      'PORT',
      'LOG_LEVEL',
      'TALOS_CORS_ORIGINS',
      'MCP_SERVER_GATEWAY',
      'TALOS__X',
      'AUTH_ADMIN_SECRET',
      'prot',
      'data_dir',
    ]) {
      expect(
        problems.filter((problem) => problem.startsWith(`${name} `) || problem.startsWith(`${name}:`)),
      ).toHaveLength(1);
    }
    expect(problems).toHaveLength(8);
  });

  it('is refused with an error that carries the sentences and the exit code', () => {
    const attempt = () => load({ PORT: 'x' });
    expect(attempt).toThrow(ConfigError);
    expect(attempt).toThrow(expect.objectContaining({ exitCode: 2, message: problemsOf(attempt).join('\n') }));
  });

  it('does not depend on the process: the environment is handed in, as a frozen copy', () => {
    const env = readEnvironment();
    expect(Object.isFrozen(env)).toBe(true);
    expect(env['PATH']).toBe(process.env['PATH']);
    expect(load(development).effective.version).toBeUndefined();
  });
});
