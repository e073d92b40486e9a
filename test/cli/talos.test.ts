/** `talos` as people run it: the tour, the quick start, serving in the foreground, and what it says when it cannot. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { childEnv } from '../support/child-env.ts';
import { eventually, startTestGateway, type TestGateway } from '../support/gateway.ts';
import { createTestDatabase } from '../support/postgres.ts';

const program = fileURLToPath(new URL('../../cli/talos.ts', import.meta.url));
const weather = fileURLToPath(new URL('../../examples/weather/server.ts', import.meta.url));
const git = fileURLToPath(new URL('../../examples/git/server.ts', import.meta.url));

let folder: string;
let did: string;
let gateway: TestGateway;

function start(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  return spawn(process.execPath, [program, ...args], {
    cwd: folder,
    env: { ...childEnv, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

async function talos(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  const child = start(args, env);
  const ended = once(child, 'close');
  const [out, err] = await Promise.all([readAll(child.stdout), readAll(child.stderr)]);
  const [code] = await ended;
  return { code, out, err };
}

const args = (script: string) => `{ command: ${JSON.stringify(process.execPath)}, args: [${JSON.stringify(script)}] }`;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-cli-'));
  did = (await talos(['quickstart', 'issuer', '--data-dir', 'data'])).out.trim();
  gateway = await startTestGateway({
    env: { TALOS_TRUSTED_ISSUERS: did },
    file: `servers:\n  weather: ${args(weather)}\n  git: ${args(git)}\n`,
  });
});

afterAll(async () => {
  await gateway.stop();
  await rm(folder, { recursive: true });
});

/** Something that answers HTTP and is no gateway. */
async function impostor(status: number, body: string): Promise<{ server: Server; url: string }> {
  const server = createServer((_, response) => response.writeHead(status).end(body)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}

describe('talos demo', () => {
  it('shows an allowed, a denied and a mismatched call, their records, and a hash that is right', async () => {
    const startedAt = performance.now();
    const { code, out, err } = await talos(['demo', '--url', gateway.url, '--data-dir', 'data']);
    expect({ code, err }).toEqual({ code: 0, err: '' });
    expect(performance.now() - startedAt).toBeLessThan(30_000);
    expect(out).toContain(`issued by ${did}`);
    expect(out).toContain('get_forecast');
    expect(out).toMatch(/denied: .*\(SCOPE_MISMATCH\)/);
    expect(out).toMatch(/refused: Input does not match schema/);
    const outcomes = [...out.matchAll(/#(\d+) {2}\S+Z {2}(success|denied|failure)/g)].map(([, , outcome]) => outcome);
    expect(outcomes).toEqual(['success', 'denied', 'failure']);
    const [said, computed] = [/the log says +([0-9a-f]{64})/, /we computed +([0-9a-f]{64})/].map(
      (pattern) => pattern.exec(out)?.[1],
    );
    expect(said).toMatch(/^[0-9a-f]{64}$/);
    expect(computed).toBe(said);
    expect(out).toMatch(/^ +ok +\S/m);
    expect(out).not.toContain('FAIL');
    expect(out.trimEnd().split('\n').at(-1)).toMatch(/^Verified: the record is in the log/);
    expect(out + gateway.logText()).not.toContain(
      (await readFile(join(folder, 'data/issuer.pem'), 'utf8')).split('\n')[1],
    );
  });

  it('with a key that the gateway does not trust says what the gateway said', async () => {
    await talos(['keys', 'create', '--out', 'stranger.pem']);
    const { code, out, err } = await talos(['demo', '--url', gateway.url, '--key', 'stranger.pem']);
    expect(code).toBe(2);
    expect(err).toMatch(/^error: The gateway answered 401: /);
    expect(out).not.toContain('Verified');
  });

  it('against a gateway without the sample server says so', async () => {
    const own = await startTestGateway({ env: { TALOS_TRUSTED_ISSUERS: did } });
    const { code, err } = await talos(['demo', '--url', own.url, '--data-dir', 'data']);
    await own.stop();
    expect(code).toBe(2);
    expect(err).toContain("The gateway answered 404: Server 'weather' not found");
  });

  it.each([
    [
      'nobody',
      async () => ({ url: 'http://127.0.0.1:9', end: () => undefined }),
      /No gateway answers at http:\/\/127\.0\.0\.1:9/,
    ],
    [
      'a page',
      async () => {
        const { server, url } = await impostor(200, '<html>');
        return { url, end: () => server.close() };
      },
      /is not a Talos Gateway/,
    ],
    [
      'another API',
      async () => {
        const { server, url } = await impostor(200, '{"tools":5}');
        return { url, end: () => server.close() };
      },
      /The gateway answered 200/,
    ],
    ['no URL', async () => ({ url: 'nonsense', end: () => undefined }), /nonsense is not a URL/],
  ])('against %s ends with a sentence', async (_, open, sentence) => {
    const { url, end } = await open();
    const { code, err } = await talos(['demo', '--url', url, '--data-dir', 'data']);
    end();
    expect(code).toBe(2);
    expect(err).toMatch(sentence);
    expect(err).not.toMatch(/^\s+at /m);
  });

  it('without a key says which file it looked for', async () => {
    const { code, err } = await talos(['demo', '--data-dir', 'nowhere']);
    expect(code).toBe(2);
    expect(err).toContain(join('nowhere', 'issuer.pem'));
  });
});

describe('talos quickstart', () => {
  it('makes an issuer key once, for its owner alone', async () => {
    expect(did).toMatch(/^did:key:z6Mk/);
    expect((await stat(join(folder, 'data/issuer.pem'))).mode & 0o777).toBe(0o600);
    expect((await talos(['quickstart', 'issuer', '--data-dir', 'data'])).out.trim()).toBe(did);
  });

  it('prints commands that work when pasted into a shell', async () => {
    const { code, out } = await talos(['quickstart', 'hints', '--data-dir', 'data', '--url', gateway.url]);
    expect(code).toBe(0);
    const curl = /^ {2}(curl [\s\S]*?)\n\n/m.exec(out)?.[1] ?? '';
    const shell = spawn('sh', ['-c', curl], { stdio: ['ignore', 'pipe', 'ignore'] });
    const answer = JSON.parse(await readAll(shell.stdout)) as Record<string, unknown>;
    expect(answer).toMatchObject({ output: { content: [{ type: 'text' }] }, audit_ref: expect.any(String) });
    const see = /'(http[^']+\/api\/events\?limit=1)'/.exec(out)?.[1] ?? '';
    expect(JSON.stringify(await (await fetch(see)).json())).toContain(String(answer['audit_ref']));
    expect((await fetch(`${gateway.url}/docs`)).status).toBe(200);
    expect(out).toContain(`${gateway.url}/docs`);
  });

  it.each([['issuer'], ['hints', '--data-dir', 'data'], ['hints', '--url', 'http://x']])(
    'needs its options: %s',
    async (...rest) => {
      const { code, err } = await talos(['quickstart', ...rest]);
      expect(code).toBe(2);
      expect(err).toMatch(/required option/);
    },
  );

  it('does not take a file that holds no key', async () => {
    await writeFile(join(folder, 'issuer.pem'), 'no key');
    const { code, err } = await talos(['quickstart', 'hints', '--data-dir', '.', '--url', gateway.url]);
    expect(code).toBe(2);
    expect(err).toMatch(/^error: .*issuer\.pem/);
  });
});

describe('talos serve', () => {
  it('runs the gateway in the foreground until SIGTERM', async () => {
    const database = await createTestDatabase();
    const child = start(['serve'], { DEV_MODE: 'true', TALOS_GATEWAY_PORT: '0', DATABASE_URL: database.url });
    let out = '';
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      out += chunk;
    });
    const url = await eventually(() => /"msg":"ready: (http[^"]+)"/.exec(out)?.[1], 20_000);
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    const ended = once(child, 'close');
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    await database.drop();
  });

  it('ends with 2 for settings that are no good', async () => {
    const { code, err, out } = await talos(['serve'], { DEV_MODE: 'false' });
    expect({ code, out }).toEqual({ code: 2, out: '' });
    expect(err).toContain('No tool server is configured');
  });
});

describe('talos', () => {
  it('tells its version and what it can do', async () => {
    const { version } = JSON.parse(await readFile(new URL('../../package.json', import.meta.url), 'utf8')) as {
      version: string;
    };
    expect(await talos(['--version'])).toEqual({ code: 0, out: `${version}\n`, err: '' });
    const { code, out } = await talos(['--help']);
    expect(code).toBe(0);
    for (const command of ['serve', 'demo', 'keys', 'grant', 'inspect', 'config', 'quickstart'])
      expect(out).toMatch(new RegExp(`^ +${command}\\b`, 'm'));
  });

  it.concurrent.each([[['nonsense']], [['demo', '--nonsense']], [['serve', 'extra']], [['--nonsense']]])(
    'refuses %j in a sentence, with exit code 2',
    async (wrong) => {
      const { code, out, err } = await talos(wrong);
      expect({ code, out }).toEqual({ code: 2, out: '' });
      expect(err).toMatch(/^error: (?:unknown|too many) .+\n/);
    },
  );
});
