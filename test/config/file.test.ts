import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadConfig } from '../../src/config/config.ts';
import { fileNames } from '../../src/config/config-file.ts';
import { load, makeFolder, problemsOf, refusal, soundEnv } from './support.ts';

const development = { DEV_MODE: 'true' };

describe('which file is read', () => {
  const inFolder = (names: Readonly<Record<string, string>>, env: Record<string, string> = {}) => {
    const cwd = makeFolder(names);
    return { cwd, loaded: loadConfig({ env: { ...development, ...env }, cwd }) };
  };

  it('is none, one of the usual names, or the one that TALOS_CONFIG names', () => {
    expect(inFolder({}).loaded.file).toBeUndefined();
    for (const name of ['talos.config.yaml', 'gateway.yaml', 'config/config.yaml']) {
      const { cwd, loaded } = inFolder({ [name]: 'port: 9000' });
      expect(loaded.file).toBe(join(cwd, name));
      expect(loaded.config.port).toBe(9000);
    }
    expect(inFolder({ 'x/own.yml': 'port: 9001' }, { TALOS_CONFIG: 'x/own.yml' }).loaded.config.port).toBe(9001);
  });

  it('is the first of several, and the others are told', () => {
    const { cwd, loaded } = inFolder({ 'config/config.yaml': 'port: 1', 'gateway.yaml': 'port: 2' });
    expect(loaded.config.port).toBe(2);
    expect(loaded.warnings).toEqual([
      `${join(cwd, 'config/config.yaml')} is ignored, because ${join(cwd, 'gateway.yaml')} was found first.`,
    ]);
  });

  it('comes from the system folder of old when nothing nearer is there', () => {
    expect(fileNames).toEqual(['talos.config.yaml', 'gateway.yaml', '/etc/gateway/config.yaml', 'config/config.yaml']);
    const read = (path: string) =>
      path === '/etc/gateway/config.yaml' ? { text: 'port: 9002', mode: 0o644 } : undefined;
    const loaded = loadConfig({ env: development, cwd: '/w', files: { read, isReadable: () => true } });
    expect(loaded).toMatchObject({ file: '/etc/gateway/config.yaml', config: { port: 9002 } });
  });

  it('is refused when TALOS_CONFIG names none, a folder, or one that is too large', () => {
    const cwd = makeFolder({ 'talos.config.yaml': 'port: 1', 'large.yaml': `#${'x'.repeat(1024 * 1024)}` });
    mkdirSync(join(cwd, 'folder'));
    const attempt = (name: string) =>
      problemsOf(() => loadConfig({ env: { ...development, TALOS_CONFIG: name }, cwd }));
    expect(attempt('gone.yaml')).toEqual([`TALOS_CONFIG names a file that does not exist: ${join(cwd, 'gone.yaml')}.`]);
    expect(attempt('folder')).toEqual([expect.stringMatching(/folder cannot be read \(EISDIR\)/)]);
    expect(attempt('large.yaml')).toEqual([expect.stringMatching(/large.yaml is larger than 1048576 bytes/)]);
  });
});

describe('a file', () => {
  it.each(['', '# nothing', '---\n', '{}', 'null', 'port:\nglobal:\nextensions:\n'])('may say nothing: %j', (yaml) => {
    expect(load(development, yaml).config.port).toBe(8000);
  });

  it.each([
    ['a: [canary', 1],
    ['port: 1\nport: 2 # canary', 2],
    ['port: 1\n\tcanary: 2', 2],
    ['port: "canary', 1],
    ['port: !canary 5', 1],
    ['port: 1\n? [canary]\n: 2', 2],
  ])('that is not sound YAML is refused by line and not quoted: %j', (yaml, line) => {
    const problems = refusal(development, yaml);
    expect(problems[0]).toMatch(new RegExp(`talos.config.yaml is not valid YAML at line ${line} \\([A-Z_]+\\)\\.$`));
    expect(problems.join()).not.toContain('canary');
  });

  it.each(['- port', 'port', '5', 'true'])('must be a map: %j', (yaml) => {
    expect(refusal(development, yaml)).toEqual([expect.stringMatching(/must be a map of keys and values\.$/)]);
  });

  it('cannot be blown up by aliases', () => {
    const bomb = [
      'a: &a [x,x,x,x,x,x,x,x,x,x]',
      ...'bcdefghi'.split('').map((key, at) => `${key}: &${key} [${Array(10).fill(`*${'abcdefghi'[at]}`)}]`),
    ];
    const aliases = /has an alias \(\*name\) without its anchor, or aliases that expand without measure\.$/;
    expect(refusal(development, bomb.join('\n'))).toEqual([expect.stringMatching(aliases)]);
    expect(refusal(development, 'port: *canary')).toEqual([expect.stringMatching(aliases)]);
  });

  it.each([
    ['prot: 1', 'prot', 'Did you mean "port"?'],
    ['trustedIssuers: []', 'trustedIssuers', 'Did you mean "trusted_issuers"?'],
    ['gateway: {prot: 1}', 'gateway.prot', 'Did you mean "gateway.port"?'],
    ['global: {level: DEBUG}', 'global.level', ''],
    ['extensions: {gateway: {bindhost: x}}', 'extensions.gateway.bindhost', 'Did you mean "bind_host"?'],
    [
      'completely_unlike_anything_else_at_all: 1',
      'completely_unlike_anything_else_at_all',
      'See docs/configuration.md.',
    ],
    ['__proto__: {port: 1}', '__proto__', ''],
    ['constructor: 1', 'constructor', ''],
  ])('with an unknown key is refused by name, with the nearest: %j', (yaml, key, hint) => {
    const problems = refusal(development, yaml);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(new RegExp(`^${key} in .*talos\\.config\\.yaml is not a setting\\. `));
    expect(problems[0]).toContain(hint);
  });

  it.each(['gateway: 5', 'global: []', 'audit: x', 'extensions: 1', 'extensions: {gateway: 7}'])(
    'whose section is not a map is refused: %j',
    (yaml) => {
      expect(refusal(development, yaml)).toEqual([expect.stringMatching(/must be a map of keys and values\.$/)]);
    },
  );
});

describe('the older layout', () => {
  const layout = `
config_version: "1.0"
contracts_version: 1.4.0
global: { env: dev, region: us-east-1, log_level: WARNING }
gateway: { port: 8080, host: 127.0.0.2, disable_auth: false }
audit: { storage_backend: postgres }
extensions: { gateway: { require_capability: true, servers: { git: { url: "http://h/" } } }, other: { any: [thing] } }
`;

  it('is read into the same settings, without a word', () => {
    const { config, warnings } = load({}, layout);
    expect(warnings).toEqual([]);
    expect(config).toMatchObject({
      mode: 'development',
      region: 'us-east-1',
      logLevel: 'warn',
      port: 8080,
      bindHost: '127.0.0.2',
      requireCapability: true,
    });
    expect(config.servers.map(({ id }) => id)).toEqual(['git']);
  });

  it('gives way to our own keys, with a warning', () => {
    const { config, warnings } = load({}, `port: 9000\n${layout}`);
    expect(config.port).toBe(9000);
    expect(warnings).toEqual([expect.stringMatching(/^gateway\.port in .* differs from port in .*, which wins\.$/)]);
  });

  it.each([
    ['config_version: "2.0"', /^config_version in .* must be "1\.0"/],
    ['config_version: one', /^config_version in .* must be "1\.0"/],
    ['gateway: {disable_auth: true}', /^gateway\.disable_auth in .* is refused: authorisation cannot be switched off/],
    ['gateway: {database_url_ref: db}', /^gateway\.database_url_ref in .* cannot be resolved: set DATABASE_URL/],
    ['audit: {database_url_ref: db}', /^audit\.database_url_ref in .* cannot be resolved: set DATABASE_URL/],
    ['mcp_connector: {allowed_servers: 5}', /^mcp_connector\.allowed_servers in .* must be a list/],
    ['mcp_connector: {allowed_servers: [x]}', /^mcp_connector\.allowed_servers in .* must be an http/],
    ['global: {env: staging}', /^global\.env in .* must be one of/],
    ['global: {log_level: LOUD}', /^global\.log_level in .* must be one of/],
  ])('is refused where it cannot be kept: %s', (yaml, sentence) => {
    expect(refusal(development, yaml)).toEqual([expect.stringMatching(sentence)]);
  });

  it('takes an unquoted version for the number that YAML makes of it', () => {
    expect(load(development, 'config_version: 1.0').warnings).toEqual([]);
  });

  it.each(['gateway: {database_url_ref: db}', 'TALOS__AUDIT__DATABASE_URL_REF'])(
    'lets DATABASE_URL stand for %s',
    (given) => {
      const byName = given.startsWith('TALOS');
      const env = { ...development, ...(byName ? { [given]: 'db' } : {}) };
      expect(refusal(env, byName ? undefined : given)).toHaveLength(1);
      const { warnings } = load({ ...env, DATABASE_URL: 'postgres://h/d' }, byName ? undefined : given);
      expect(warnings).toEqual([expect.stringMatching(/is ignored: DATABASE_URL gives the address itself/)]);
    },
  );

  it('keeps tool servers to its allow-list', () => {
    const yaml = 'mcp_connector: {allowed_servers: ["http://a.example"]}\nservers: {own: {command: node}}\n';
    expect(load({ ...development, MCP_SERVER_A: 'http://a.example/' }, yaml).config.servers).toHaveLength(2);
    expect(refusal({ ...development, MCP_SERVER_A: 'http://a.example/x', MCP_GIT_URL: 'http://b' }, yaml)).toEqual([
      expect.stringMatching(/^The tool server "a" is not on the list mcp_connector\.allowed_servers/),
      expect.stringMatching(/^The tool server "git" is not on the list/),
    ]);
  });
});

describe('the permissions of the file', () => {
  const withMode = (mode: number, env: Record<string, string>, yaml: string) =>
    loadConfig({ env, cwd: makeFolder({ 'talos.config.yaml': yaml }, mode) });

  it('must not let everybody write in production', () => {
    for (const mode of [0o666, 0o602, 0o777]) {
      expect(problemsOf(() => withMode(mode, soundEnv, 'port: 1'))).toEqual([
        expect.stringMatching(/talos\.config\.yaml may be written by everybody/),
      ]);
    }
    expect(withMode(0o664, soundEnv, 'port: 1').config.port).toBe(1);
  });

  it('count as in production when only the file itself speaks of development', () => {
    expect(problemsOf(() => withMode(0o666, {}, 'mode: development'))).toHaveLength(1);
    expect(withMode(0o666, development, 'mode: development').config.mode).toBe('development');
  });

  it('should not let everybody read a secret', () => {
    const yaml = 'auth_admin_secret: v5Kx1QeXb9rPz7Lm';
    expect(withMode(0o644, development, yaml).warnings).toEqual([expect.stringMatching(/holds a secret .* chmod 600/)]);
    expect(withMode(0o600, development, yaml).warnings).toEqual([]);
    expect(withMode(0o644, development, 'port: 1').warnings).toEqual([]);
  });
});
