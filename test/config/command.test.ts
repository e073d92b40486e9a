import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { describeAsJson, describeAsYaml } from '../../src/config/describe.ts';
import { settingList } from '../../src/config/settings.ts';
import { childEnv } from '../support/child-env.ts';
import { load, makeFolder, soundEnv } from './support.ts';

const program = fileURLToPath(new URL('config-cli.ts', import.meta.url));

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs `talos config` in a folder with this file and exactly this environment. */
function run(args: readonly string[], env: Readonly<Record<string, string>>, yaml = ''): Promise<Outcome> {
  const cwd = makeFolder({ 'talos.config.yaml': yaml });
  return new Promise((resolve) => {
    execFile(process.execPath, [program, 'config', ...args], { cwd, env: { ...childEnv, ...env } }, (error, out, err) =>
      resolve({ code: error === null ? 0 : Number(error.code), out, err }),
    );
  });
}

// Each in a place of its own, so that a failure names the leak.
const canaryEnv = {
  ...soundEnv,
  AUTH_ADMIN_SECRET: 'canary-admin-1234567890',
  AUTH_SECRET: 'canary-second-admin-secret',
  TALOS_DATABASE_URL: 'postgres://gw:canary-password@db/talos?sslpassword=canary-ssl',
  DB_HOST: 'db',
  DB_NAME: 'talos',
  DB_USER: 'gw',
  DB_PASSWORD: 'canary-db-password',
  AUDIT_IP_HMAC_KEY: 'canary-hmac-key-canary-hmac-key-canary',
  MCP_SERVER_GIT: 'https://git.example/mcp?api_key=canary-query',
  OLLAMA_URL: 'http://ollama/?token=canary-probe',
  REDIS_URL: 'redis://:canary-redis@r',
  TALOS_MASTER_KEY: `canary${'A'.repeat(37)}`,
  TALOS_KEY_PEPPER: 'canary-pepper-canary-pepper-canary-pepper',
  TALOS_UNKNOWN_TOKEN: 'canary-unknown',
  HEADER_TOKEN: 'canary-filled-in',
};
const canaryYaml = `
auth_admin_secret: canary-file-secret-1234
servers:
  git: { url: "http://moved/", headers: { Authorization: "Bearer \${HEADER_TOKEN}", X-Key: canary-header } }
  files:
    command: node
    args: [--db, "postgres://u:canary-argument@h/d?x=canary-argument-query"]
    env: { TOKEN: canary-process }
`;

describe('talos config', { timeout: 30_000 }, () => {
  it('prints every setting with where it comes from', async () => {
    const { code, out, err } = await run(
      [],
      { ...soundEnv, PORT: '0' },
      'region: eu\ncors_origins: [https://a.example]',
    );
    expect({ code, err }).toEqual({ code: 0, err: '' });
    const lines = out.split('\n');
    expect(lines).toContain('port: 0 # env PORT');
    expect(lines).toContain('region: eu # file region');
    expect(lines).toContain('cors_origins: [ https://a.example ] # file cors_origins');
    expect(lines).toContain('log_level: info # default');
    expect(lines).toContain('auth_admin_secret: "[secret]" # env AUTH_ADMIN_SECRET');
    expect(lines).toContain('database_url: null # default');
    expect(Object.keys(parse(out))).toEqual([...settingList.map(([, { file }]) => file[0]), 'servers']);
    expect(out).toMatch(/ {2}# env MCP_SERVER_GIT\n {2}git:\n {4}name: git\n/);
  });

  it('prints the same as JSON', async () => {
    const { code, out } = await run(['--json'], { ...soundEnv, PORT: '0', TALOS_ENVV: 'x' });
    const shown = JSON.parse(out);
    expect(code).toBe(0);
    expect(shown.settings.port).toEqual({ value: 0, source: { layer: 'env', name: 'PORT' } });
    expect(shown.settings.auth_admin_secret.value).toBe('[secret]');
    expect(shown.servers.git).toMatchObject({ url: soundEnv['MCP_SERVER_GIT'], source: { name: 'MCP_SERVER_GIT' } });
    expect(shown.warnings).toEqual([expect.stringMatching(/^TALOS_ENVV is not a setting/)]);
  });

  it.each([[[]], [['--json']]])('prints no secret, whatever it was given by (%j)', async (args) => {
    const { code, out, err } = await run(args, canaryEnv, canaryYaml);
    expect(code).toBe(0);
    expect(out).toContain('[secret]');
    expect(out + err).not.toMatch(/canary/);
    expect(err).toContain('AUTH_SECRET differs from AUTH_ADMIN_SECRET');
  });

  it('prints every problem and exits with 1 when a start would be refused, and no secret then either', async () => {
    const broken = { ...canaryEnv, PORT: 'x', TALOS_DATABASE_URL: 'mysql://u:canary@h', AUTH_ADMIN_SECRET: ' canary' };
    const { code, out, err } = await run(
      [],
      { ...broken, MCP_SERVER_B: 'http://u:canary@h' },
      `${canaryYaml}\nprot: canary`,
    );
    expect(code).toBe(1);
    expect(out).toBe('');
    expect(err.trim().split('\n')).toHaveLength(5);
    expect(err).not.toMatch(/canary/);
  });
});

describe('the printed configuration', () => {
  it('loads again as the same, when nothing in it is secret', () => {
    const yaml = 'servers: {a: {command: x, args: ["1", "--y: z"], call_timeout: 1.5, tags: [t], enabled: true}}';
    const first = load({ DEV_MODE: 'true', PORT: '0', TALOS_TRUSTED_PROXIES: '10.0.0.0/8' }, yaml);
    const second = load({}, describeAsYaml(first));
    expect(second.config).toEqual(first.config);
    expect(second.warnings).toEqual([]);
  });

  it('tells a program of an absent file and no servers', () => {
    expect(JSON.parse(describeAsJson(load({ DEV_MODE: 'true' })))).toMatchObject({
      file: null,
      servers: {},
      warnings: [],
    });
    const yaml = describeAsYaml(load({ DEV_MODE: 'true' })).split('\n');
    expect(yaml.at(0)).toBe('# Effective configuration. File: none.');
    expect(yaml.at(-2)).toBe('servers: {}');
  });
});
