import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { McpServer } from '../../src/mcp/registry.ts';
import { startHttpProgram } from '../support/mcp-processes.ts';
import { call, patience, serverOf, textOf } from '../support/mcp-registry.ts';

const weather = fileURLToPath(new URL('../../examples/weather/server.ts', import.meta.url));
const git = fileURLToPath(new URL('../../examples/git/server.ts', import.meta.url));

function overStdio(...args: string[]): McpServer {
  return serverOf({ transport: 'stdio', command: 'node', args }).server;
}

async function overHttp(...args: string[]): Promise<string> {
  const text = await startHttpProgram([...args, '--http', '0'], {}, /Listening on \S+\n/);
  return /http:\S+/.exec(text)?.[0] ?? '';
}

async function faults(server: McpServer, name: string, input: unknown): Promise<string[]> {
  return (await server.tool(name, patience()))?.validate(input) ?? ['no such tool'];
}

describe('the weather example', () => {
  it.each(['stdio', 'auto'] as const)('answers over %s', async (transport) => {
    const server =
      transport === 'stdio' ? overStdio(weather) : serverOf({ transport, url: await overHttp(weather) }).server;
    const tools = await server.listTools(patience());
    expect(tools.map(({ name, annotations }) => [name, annotations])).toEqual([
      ['get_forecast', { readOnlyHint: true, idempotentHint: true, openWorldHint: false }],
      ['list_cities', { readOnlyHint: true, idempotentHint: true, openWorldHint: false }],
    ]);
    expect(await call(server, 'get_forecast', { city: 'lisbon', days: 2 })).toMatchObject({
      isError: false,
      result: { structuredContent: { city: 'Lisbon', country: 'PT', days: [{ day: 1, high_c: 24 }, { day: 2 }] } },
    });
    expect(textOf(await call(server, 'get_forecast', { city: ' ZURICH ' }))).toMatch(/^Zürich, CH\nDay 1: fog/);
    expect(textOf(await call(server, 'list_cities')).split('\n').length).toBeGreaterThanOrEqual(12);
  });

  it('says which cities it knows when asked for another', async () => {
    const answer = await call(overStdio(weather), 'get_forecast', { city: 'Atlantis' });
    expect(answer).toMatchObject({ kind: 'result', isError: true });
    expect(textOf(answer)).toContain('Known cities: Berlin, Cape Town, Lisbon');
  });

  it('has schemas that refuse what it does not take', async () => {
    const server = overStdio(weather);
    expect(await faults(server, 'get_forecast', { city: 'Lisbon' })).toEqual([]);
    expect(await faults(server, 'get_forecast', { town: 'Lisbon' })).toEqual([
      "required property 'city' missing",
      "unknown property 'town'",
    ]);
    expect(await faults(server, 'get_forecast', { city: 'Lisbon', days: 8 })).toEqual(["property 'days' must be <= 7"]);
    expect(await faults(server, 'get_forecast', { city: '' })).toHaveLength(1);
    expect(await faults(server, 'list_cities', { all: true })).toEqual(["unknown property 'all'"]);
  });

  it.each([
    ['another name for this machine', { host: 'attacker.example' }],
    ['a page from elsewhere', { origin: 'https://attacker.example' }],
  ])('does not answer %s over HTTP', async (_, headers) => {
    const url = await overHttp(weather);
    const { request } = await import('undici');
    const answer = await request(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: '{}',
    });
    expect(answer.statusCode).toBe(403);
    await answer.body.dump();
  });
});

describe('the git example', () => {
  const author = {
    GIT_AUTHOR_NAME: 'Ada',
    GIT_AUTHOR_EMAIL: 'ada@example.com',
    GIT_COMMITTER_NAME: 'Ada',
    GIT_COMMITTER_EMAIL: 'ada@example.com',
  };

  /** Two commits on `main`, one untracked file, one link that leads out. */
  function repository(): string {
    const folder = mkdtempSync(join(tmpdir(), 'talos-git-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const run = (...args: string[]) =>
      execFileSync('git', ['-C', folder, ...args], { env: { ...process.env, ...author } });
    run('init', '--quiet', '--initial-branch=main');
    writeFileSync(join(folder, 'grüße.txt'), 'one\n');
    mkdirSync(join(folder, 'sub'));
    writeFileSync(join(folder, 'sub', 'b.txt'), 'b\n');
    symlinkSync('/etc/passwd', join(folder, 'link'));
    run('add', '.');
    run('commit', '--quiet', '-m', 'First');
    writeFileSync(join(folder, 'grüße.txt'), 'one\ntwo\n');
    run('commit', '--quiet', '-am', 'Second: "quoted"');
    writeFileSync(join(folder, 'new file.txt'), 'x');
    return folder;
  }

  it('reads commits, status, files and differences', async () => {
    const server = overStdio(git, repository());
    expect(await call(server, 'git_log', {})).toMatchObject({
      result: {
        structuredContent: {
          commits: [
            { subject: 'Second: "quoted"', author: 'Ada', hash: expect.stringMatching(/^[0-9a-f]{40}$/) },
            { subject: 'First' },
          ],
        },
      },
    });
    expect(await call(server, 'git_log', { max_count: 5, path: 'sub' })).toMatchObject({
      result: { structuredContent: { commits: [{ subject: 'First' }] } },
    });
    expect(await call(server, 'git_status')).toMatchObject({
      result: { structuredContent: { branch: 'main', changes: [{ state: '??', path: 'new file.txt' }] } },
    });
    expect(textOf(await call(server, 'git_show', { path: 'grüße.txt' }))).toBe('one\ntwo\n');
    expect(textOf(await call(server, 'git_show', { revision: 'HEAD~1', path: 'grüße.txt' }))).toBe('one\n');
    expect(textOf(await call(server, 'git_show', { revision: 'main' }))).toContain('+two');
    expect(textOf(await call(server, 'git_diff', { from: 'HEAD~1', to: 'HEAD' }))).toContain('+two');
    expect(textOf(await call(server, 'git_diff'))).toBe('No differences.');
  });

  it('reads also over HTTP, and from a folder inside of the repository', async () => {
    const { server } = serverOf({ transport: 'auto', url: await overHttp(git, join(repository(), 'sub')) });
    expect(textOf(await call(server, 'git_show', { path: 'sub/b.txt' }))).toBe('b\n');
  });

  it.each([
    ['git_log', { revision: '--output=/tmp/talos-injected' }],
    ['git_log', { revision: '-p' }],
    ['git_log', { revision: 'HEAD..main' }],
    ['git_log', { revision: '' }],
    ['git_log', { path: '../../etc' }],
    ['git_log', { path: '/etc/passwd' }],
    ['git_log', { path: 'sub/../../x' }],
    ['git_show', { revision: 'HEAD:sub' }],
    ['git_show', { revision: '$(id)' }],
    ['git_show', { revision: 'no-such-branch' }],
    ['git_show', { path: '../outside' }],
    ['git_show', { path: 'no-such-file' }],
    ['git_show', { path: '' }],
    ['git_diff', { from: '--no-index' }],
    ['git_diff', { from: 'HEAD', to: '-O/etc/passwd' }],
    ['git_diff', { path: '/etc/passwd' }],
    ['git_diff', { path: '..' }],
  ])('refuses %s with %j', async (tool, args) => {
    const answer = await call(overStdio(git, repository()), tool, args);
    expect(answer).toMatchObject({ kind: 'result', isError: true });
  });

  it('does not follow a link out of the repository, nor pathspec magic', async () => {
    const server = overStdio(git, repository());
    expect(textOf(await call(server, 'git_show', { path: 'link' }))).toBe('/etc/passwd');
    expect(await call(server, 'git_log', { path: ':(exclude)sub' })).toMatchObject({
      result: { structuredContent: { commits: [] } },
    });
  });

  it('runs nothing that the repository names', async () => {
    const folder = repository();
    const config = (...args: string[]) => execFileSync('git', ['-C', folder, 'config', ...args]);
    const traces = join(folder, 'sub', 'traces');
    const leave = `touch ${traces}; cat`;
    for (const name of ['core.fsmonitor', 'core.pager', 'diff.external', 'diff.evil.textconv', 'diff.evil.command'])
      config(name, leave);
    writeFileSync(join(folder, '.gitattributes'), '*.txt diff=evil\n');
    writeFileSync(join(folder, 'grüße.txt'), 'changed\n');
    const server = overStdio(git, folder);
    expect(textOf(await call(server, 'git_diff'))).toContain('+changed');
    await call(server, 'git_show', {});
    await call(server, 'git_log', {});
    expect(textOf(await call(server, 'git_status'))).not.toContain('traces');
  });

  it('does not start outside of a repository', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'talos-nogit-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const { server, log } = serverOf({ transport: 'stdio', command: 'node', args: [git, folder] });
    await expect(call(server, 'git_log')).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', dispatched: false });
    expect(log.text()).toContain('not a git repository');
  });
});
