/** What the documents say is true: tables match the code, links and titles resolve, and every command exists. */
import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Command } from 'commander';
import { beforeAll, describe, expect, it } from 'vitest';
import { denialReasons } from '../src/core/denial.ts';
import { type ErrorCode, errorTable } from '../src/core/errors.ts';
import { surfaces } from '../src/core/surfaces.ts';

const project = fileURLToPath(new URL('..', import.meta.url));
const read = (path: string) => readFileSync(join(project, path), 'utf8');

const topPages = readdirSync(project).filter((name) => name.endsWith('.md'));
const docPages = readdirSync(join(project, 'docs'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.md'))
  .map((name) => `docs/${name}`);
const pages = [...topPages, ...docPages];

/** The cells of every row of the tables under a heading. */
function tableUnder(page: string, heading: string): string[][] {
  const section = read(page)
    .split(/^## /m)
    .find((part) => part.startsWith(`${heading}\n`));
  return (section ?? '')
    .split('\n')
    .filter((line) => line.startsWith('| ') && !/^[| -]+$/.test(line))
    .slice(1)
    .map((line) =>
      line
        .slice(1, -1)
        .split('|')
        .map((cell) => cell.trim()),
    );
}

const withoutTicks = (text = '') => text.replaceAll('`', '');

describe('docs/errors.md', () => {
  const rows = tableUnder('docs/errors.md', 'The codes');

  it('has a row for every code, in the order of the table in code, and no other', () => {
    expect(rows.map(([code]) => withoutTicks(code))).toEqual(Object.keys(errorTable));
  });

  it.each(rows)('%s has the status and retryability of the code', (code, status, retryable, meaning, advice) => {
    const spec = errorTable[withoutTicks(code) as ErrorCode];
    expect({ status: Number(status), retryable: retryable === 'yes' }).toEqual({
      status: spec.status,
      retryable: spec.retryable,
    });
    expect(['yes', 'no']).toContain(retryable);
    expect(meaning).toMatch(/^[A-Z].{10,}\.$/);
    expect(advice).toMatch(/^[A-Z`].{10,}\.$/);
  });

  it('lists every denial reason', () => {
    expect(tableUnder('docs/errors.md', 'Denial reasons').map(([reason]) => withoutTicks(reason))).toEqual(
      denialReasons,
    );
  });
});

describe('docs/api.md', () => {
  const named = [...read('docs/api.md').matchAll(/`(GET|POST) (\/[^`]*)`/g)].map(
    ([, method, path]) => `${method} ${path}`,
  );
  const known = Object.values(surfaces).map(({ method, template }) => `${method} ${template}`);

  it('names only routes that exist', () => {
    expect(named.length).toBeGreaterThan(10);
    expect(named.filter((route) => !known.includes(route))).toEqual([]);
  });
});

describe('docs/threat-model.md', () => {
  const rows = tableUnder('docs/threat-model.md', 'Promises');

  it('makes promises', () => {
    expect(rows.length).toBeGreaterThan(10);
  });

  it.each(rows)('%s', (_promise, _against, file, title = '') => {
    expect(read(withoutTicks(file))).toContain(title);
  });
});

describe('docs/decisions', () => {
  const numbered = docPages
    .filter((page) => /\/\d{4}-/.test(page))
    .map((page) => page.replace('docs/decisions/', ''))
    .sort();

  it('are numbered without a gap and listed', () => {
    expect(numbered.map((page) => Number(page.slice(0, 4)))).toEqual(numbered.map((_, index) => index + 1));
    const listed = [...read('docs/decisions/README.md').matchAll(/\]\((\d{4}-[^)]+)\)/g)].map(([, page]) => page);
    expect(listed).toEqual(numbered);
  });

  it.each(numbered)('%s says its number, context, choice and what was rejected', (page) => {
    const text = read(`docs/decisions/${page}`);
    expect(text.startsWith(`# ${Number(page.slice(0, 4))}. `)).toBe(true);
    for (const part of ['**Context.**', '**Choice.**', '**Rejected.**']) expect(text).toContain(part);
  });
});

/** The anchor that a heading gets, as forges make it. */
function anchorOf(heading: string): string {
  const words = heading.toLowerCase().replaceAll(/[^\p{L}\p{N} _-]/gu, '');
  return words.replaceAll(' ', '-');
}

function anchorsOf(page: string): string[] {
  return [...read(page).matchAll(/^#{1,6} (.+)$/gm)].map(([, heading = '']) => anchorOf(heading));
}

function brokenLinks(page: string): string[] {
  const links = [...read(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
  return links.filter((target) => {
    if (/^[a-z]+:/.test(target)) return false;
    const [path = '', anchor] = target.split('#');
    const file = path === '' ? page : relative(project, join(project, dirname(page), path));
    if (!existsSync(join(project, file))) return true;
    return anchor !== undefined && !anchorsOf(file).includes(anchor);
  });
}

describe('links', () => {
  it.each(pages)('of %s resolve', (page) => {
    expect(brokenLinks(page)).toEqual([]);
  });
});

/** What stands in shell blocks and between single back-ticks: where commands are. */
function codeOf(page: string): string {
  const text = read(page);
  const blocks = [...text.matchAll(/^```(?:sh|bash|console)\n([\s\S]*?)^```/gm)].map(([, block = '']) => block);
  const spans = [...text.replaceAll(/^```[\s\S]*?^```/gm, '').matchAll(/`([^`\n]+)`/g)].map(([, span = '']) => span);
  return [...blocks, ...spans].join('\n');
}

function named(pattern: RegExp): [page: string, name: string][] {
  return pages.flatMap((page) => {
    const names = [...codeOf(page).matchAll(pattern)].map(([, name = '']) => name);
    return [...new Set(names)].map((name): [string, string] => [page, name]);
  });
}

describe('commands', () => {
  const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };

  it.each(named(/\bnpm run ([\w:]+)/g))('%s: npm run %s', (_page, name) => {
    expect(Object.keys(scripts)).toContain(name);
  });

  it.each(named(/^make ([\w-]+)/gm))('%s: make %s', (_page, target) => {
    expect(read('Makefile')).toMatch(new RegExp(`^${target}:`, 'm'));
  });

  it.each(named(/(?:^|\s)(?:\.\/)?(scripts\/[\w./-]+)/gm))('%s: %s', (_page, path) => {
    expect(existsSync(join(project, path))).toBe(true);
  });

  it.each(named(/(?:^|\s)node ((?:src|cli|bench|scripts)\/[\w./-]+)/gm))('%s: node %s', (_page, path) => {
    expect(existsSync(join(project, path))).toBe(true);
  });
});

describe('examples', () => {
  const templates = Object.values(surfaces).map(({ template }) => template.replaceAll(/[.*+?^$()|[\]\\]/g, '\\$&'));
  const patterns = templates.map((template) => new RegExp(`^${template.replaceAll(/\{[^}]+\}/g, '[^/]+')}$`));

  it.each(named(/http:\/\/127\.0\.0\.1:8000([^\s'"`?]+)/g))('%s: %s is a route', (_page, path) => {
    expect(patterns.some((pattern) => pattern.test(path))).toBe(true);
  });

  it.each(pages)('of JSON in %s can be read', (page) => {
    for (const [, block = ''] of read(page).matchAll(/^```json\n([\s\S]*?)^```/gm)) {
      expect(() => JSON.parse(block)).not.toThrow();
    }
  });
});

const run = promisify(execFile);

/** `talos keys create --out x` → the words before the first option or value, and the options. */
function talosCommands(): [page: string, words: string, options: string[]][] {
  return named(/\btalos ((?:[a-z]+\b(?: |$))*(?:[^\n|;)#]*))/gm)
    .filter(([, line]) => /^[a-z]/.test(line))
    .map(([page, line]) => {
      const words =
        /^(?:api-keys|[a-z]+)(?: (?:create|show|issuer|hints|receipt|export|set|list|delete|rotate(?!-)|add|change|disable|enable|remove|test|diff|approve|reject|deny|forget)\b)?/.exec(
          line,
        )?.[0] ?? '';
      return [page, words, [...line.matchAll(/(?<=\s)--[a-z-]+/g)].map(([option]) => option)];
    });
}

/** `talos` with the commands that the program itself lists. */
async function wholeTalos(): Promise<Command> {
  const { stdout } = await run(process.execPath, ['cli/talos.ts', '--help'], { cwd: project });
  const listed = stdout.slice(stdout.indexOf('\nCommands:'));
  const names = [...listed.matchAll(/^ {2}([a-z-]+)/gm)].map(([, name = '']) => name).filter((name) => name !== 'help');
  const talos = new Command('talos');
  for (const name of names) {
    const module = (await import(`../cli/commands/${name}.ts`)) as Record<string, (program: Command) => void>;
    const add = module[`${name.replace(/-[a-z]/g, ([, letter = '']) => letter.toUpperCase())}Command`];
    if (add === undefined) throw new Error(`cli/commands/${name}.ts has no command of its name`);
    add(talos);
  }
  return talos;
}

/** What `talos WORDS --help` prints. */
function helpOf(talos: Command, words: string): string {
  let command = talos;
  for (const word of words.split(' ')) {
    const next = command.commands.find((each) => each.name() === word);
    if (next === undefined) throw new Error(`there is no talos ${words}`);
    command = next;
  }
  let help = '';
  command.configureOutput({ writeOut: (text) => (help += text) }).outputHelp();
  return help;
}

describe('the command line', () => {
  let talos: Command;

  beforeAll(async () => {
    talos = await wholeTalos();
  });

  it.each(talosCommands())('%s: talos %s takes %j', (_page, words, options) => {
    const help = helpOf(talos, words);
    expect(help).toContain(`talos ${words}`);
    expect(options.filter((option) => !help.includes(option))).toEqual([]);
  });
});
