/** docs/clients.md: every configuration parses and points at the gateway with a credential, and the programs run. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { productionEnv, startTestGateway, type TestGateway, wallClock } from './support/gateway.ts';
import { tokenWith } from './support/issuer.ts';

const run = promisify(execFile);
const project = fileURLToPath(new URL('..', import.meta.url));
const page = readFileSync(join(project, 'docs/clients.md'), 'utf8');
const address = 'http://127.0.0.1:8000/mcp/weather';
const credential =
  /Bearer (?:<capability>|\$\{\{ secrets\.TALOS_TOKEN \}\}|\$\{(?:env:)?TALOS_TOKEN\}|\$TALOS_TOKEN|\$\{input:talos-token\})/;

/** The blocks of a language, with the heading that each stands under. */
function blocksOf(language: string): [heading: string, block: string][] {
  return page.split(/^## /m).flatMap((section) => {
    const heading = section.split('\n', 1)[0] ?? '';
    const blocks = [...section.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))];
    return blocks.map(([, block = '']): [string, string] => [heading, block]);
  });
}

describe('the configuration', () => {
  it.each(blocksOf('json'))('for %s is JSON, and has the address and a credential', (_, block) => {
    expect(() => JSON.parse(block)).not.toThrow();
    expect(block).toContain(`"${address}"`);
    expect(block).toMatch(block.includes('--header-file') ? /talos-headers\.txt/ : credential);
  });

  it.each(blocksOf('yaml'))('for %s is YAML, and has the address and a credential', (_, block) => {
    const { mcpServers } = parse(block) as { mcpServers: { url: string; requestOptions: { headers: object } }[] };
    expect(mcpServers.map(({ url }) => url)).toEqual([address]);
    expect(JSON.stringify(mcpServers[0]?.requestOptions.headers)).toMatch(credential);
  });

  it.each(blocksOf('toml'))('for %s is TOML, and names the variable of the credential', (_, block) => {
    const lines = block.trim().split('\n');
    expect(lines.filter((line) => !/^(?:\[[\w.]+\]|\w+ = "[^"\\]*")$/.test(line))).toEqual([]);
    expect(lines).toContain(`url = "${address}"`);
    expect(lines).toContain('bearer_token_env_var = "TALOS_TOKEN"');
  });

  it('is there for every client of the table', () => {
    const linked = [...page.matchAll(/^\| \[[^\]]+\]\(#([^)]+)\)/gm)].map(([, anchor]) => anchor);
    expect(linked.length).toBeGreaterThan(9);
    const headings = [...blocksOf('json'), ...blocksOf('yaml'), ...blocksOf('toml')].map(([heading]) =>
      heading.toLowerCase().replaceAll(' ', '-'),
    );
    expect(linked.filter((anchor) => !headings.includes(anchor ?? ''))).toEqual([]);
  });
});

describe('the program', () => {
  const programs = blocksOf('ts').map(([, block]): [string, string] => [/'(@[^']+)'/.exec(block)?.[1] ?? '', block]);
  let gateway: TestGateway;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'talos-clients-'));
    await symlink(join(project, 'node_modules'), join(folder, 'node_modules'));
    const weather = join(project, 'examples/weather/server.ts');
    gateway = await startTestGateway({
      env: productionEnv,
      clock: wallClock(),
      file: `servers:\n  weather: { command: ${JSON.stringify(process.execPath)}, args: [${JSON.stringify(weather)}] }\n`,
    });
  });

  afterAll(async () => {
    await gateway.stop();
    await rm(folder, { recursive: true });
  });

  it('is there for both generations of the SDK', () => {
    expect(programs.map(([name]) => name)).toEqual([
      '@modelcontextprotocol/client',
      '@modelcontextprotocol/sdk/client/index.js',
    ]);
  });

  it.each(programs)('with %s calls a tool in production, with its capability', async (_, block) => {
    const file = join(folder, `${programs.findIndex(([, each]) => each === block)}.ts`);
    const token = tokenWith({ scope: 'tool:weather' });
    await writeFile(file, block.replace('http://127.0.0.1:8000', gateway.url).replace('<capability>', token));
    const { stdout } = await run(process.execPath, [file], { cwd: folder });
    expect(stdout).toContain('Lisbon, PT');
    await writeFile(file, block.replace('http://127.0.0.1:8000', gateway.url).replace('<capability>', `${token}x`));
    await expect(run(process.execPath, [file], { cwd: folder })).rejects.toMatchObject({ code: 1 });
  });
});
