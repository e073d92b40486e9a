/** The rules of the house that no linter keeps. Each is a pattern, where it holds, and a line that it must catch. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const project = fileURLToPath(new URL('..', import.meta.url));
const folders = [
  '.ci',
  'bench',
  'cli',
  'deploy',
  'docs',
  'examples',
  'migrations',
  'packages',
  'scripts',
  'src',
  'test',
  'verifier',
];
const linesMax = 400;

function filesUnder(folder: string): string[] {
  return readdirSync(join(project, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return ['node_modules', 'dist'].includes(entry.name) ? [] : filesUnder(path);
    return entry.isFile() ? [path] : [];
  });
}

const topFiles = readdirSync(project, { withFileTypes: true })
  .filter((entry) => entry.isFile() && !/^\.env|\.(?:log|tgz)$/.test(entry.name))
  .map((entry) => entry.name);
const files = [...topFiles, ...folders.filter((folder) => existsSync(join(project, folder))).flatMap(filesUnder)];
const modules = files.filter((file) => /^(?:src|cli|verifier|packages)\/.*\.ts$/.test(file));

const texts = new Map<string, string>();

function textOf(file: string): string {
  const text = texts.get(file) ?? readFileSync(join(project, file), 'utf8');
  texts.set(file, text);
  return text;
}

/** The text without its comments, line for line; strings stay. */
function codeOf(text: string): string {
  const blank = (comment: string) => comment.replaceAll(/[^\n]/g, '');
  return text.replaceAll(/^\s*\/\*[\s\S]*?\*\//gm, blank).replaceAll(/(?<=^|\s)\/\/.*$/gm, '');
}

interface Rule {
  readonly name: string;
  readonly pattern: RegExp;
  readonly where: RegExp;
  readonly except?: RegExp;
  /** Comments count too. */
  readonly inComments?: true;
  readonly catches: string;
}

const rules: readonly Rule[] = [
  {
    name: 'the environment is read by src/config/env.ts alone',
    pattern: /\bprocess\s*(?:\.\s*env\b|\[\s*['"]env)|\benv\b[^'"]*\bfrom 'node:process'/,
    where: /^(?:src|cli|verifier|packages)\/.*\.ts$/,
    except: /^src\/config\/env\.ts$/,
    catches: "const port = process.env['PORT'];",
  },
  {
    name: 'time comes from the clock that is passed in',
    pattern: /\bDate\.now\b|\bnew Date\(\s*\)|\bDate\(\s*\)|\bperformance\.now\b|\bprocess\.hrtime\b/,
    where: /^(?:src|cli|verifier)\//,
    except: /^src\/core\/clock\.ts$/,
    catches: 'const startedAt = Date.now();',
  },
  {
    name: 'randomness comes from node:crypto',
    pattern: /\bMath\.random\b/,
    where: /^(?:src|cli|packages|examples)\/.*\.ts$/,
    catches: 'const id = Math.random();',
  },
  {
    name: 'the gateway logs and does not print',
    pattern: /(?<![.\w])console\s*\.\s*\w+/,
    where: /^(?:src|verifier|packages)\/.*\.ts$/,
    catches: "console.log('here');",
  },
  {
    name: 'rooms throw and do not end the process',
    pattern: /\bprocess\.(?:exit|abort)\s*\(/,
    where: /^(?:src|verifier|packages)\/.*\.ts$/,
    catches: 'process.exit(1);',
  },
  {
    name: 'SQL lives in storage',
    pattern:
      /\b(?:SELECT\s[^'"`;]{1,200}\sFROM\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+SET\s|DELETE\s+FROM\s|(?:CREATE|ALTER|DROP)\s+(?:TABLE|INDEX|DATABASE|ROLE|SCHEMA)\s|COPY\s+\w+\s*\()/,
    where: /^(?:src|cli|verifier|packages)\/.*\.ts$/,
    except: /^src\/storage\//,
    catches: "await pool.query('SELECT seq FROM audit_event WHERE seq = $1', [seq]);",
  },
  {
    name: 'what is to be done stands in an issue',
    pattern: /\b(?:TODO|FIXME|XXX|HACK)\b/,
    where: /\.(?:ts|mjs|sh|sql|md|yaml|yml|json|jsonc)$|^(?:Makefile|Dockerfile)$/,
    except: /^package-lock\.json$|^test\/tidy\.test\.ts$/,
    inComments: true,
    catches: '// TODO: later',
  },
  {
    name: 'every test runs',
    pattern: /\b(?:it|test|describe|suite)\s*\.\s*(?:only|skip|todo|fails)\b|\b[xf](?:it|describe)\s*\(/,
    where: /^test\/.*\.ts$/,
    except: /^test\/tidy\.test\.ts$/,
    catches: "it.only('works', () => {});",
  },
  {
    name: 'no path of the machine that it was written on',
    pattern: /(?<![\w.:/-])\/(?:work|home|Users|mnt|media)\/\w/,
    where: /./,
    inComments: true,
    catches: `const file = '${['', 'home', 'me'].join('/')}/talos/file.ts';`,
  },
  {
    name: 'checks are not switched off',
    pattern: /@ts-(?:ignore|nocheck)\b|\beslint-disable|\bas any\b/,
    where: /\.(?:ts|mjs)$/,
    except: /^test\/tidy\.test\.ts$/,
    inComments: true,
    catches: '// @ts-ignore',
  },
];

function offendersOf({ pattern, where, except, inComments }: Rule): string[] {
  return files
    .filter((file) => where.test(file) && except?.test(file) !== true)
    .flatMap((file) => {
      const text = inComments ? textOf(file) : codeOf(textOf(file));
      const match = pattern.exec(text);
      return match === null ? [] : [`${file}:${text.slice(0, match.index).split('\n').length}: ${match[0].trim()}`];
    });
}

describe.each(rules)('$name', (rule) => {
  it('holds everywhere', () => {
    expect(offendersOf(rule)).toEqual([]);
  });

  it('would be noticed', () => {
    expect(rule.inComments ? rule.catches : codeOf(rule.catches)).toMatch(rule.pattern);
  });
});

describe('modules', () => {
  it('are there to be looked at', () => {
    expect(modules.length).toBeGreaterThan(50);
  });

  it(`have at most ${linesMax} lines`, () => {
    const long = modules.filter((file) => textOf(file).trimEnd().split('\n').length > linesMax);
    expect(long).toEqual([]);
  });

  it('say first what they are for', () => {
    const silent = modules.filter((file) => !/^(?:#!.*\n)?\/\*\*[\s\S]{20,}?\*\//.test(textOf(file)));
    expect(silent).toEqual([]);
  });
});

interface LockedPackage {
  readonly version?: string;
  readonly optionalDependencies?: Record<string, string>;
}

interface Manifest {
  readonly dependencies: Record<string, string>;
  readonly devDependencies: Record<string, string>;
  readonly optionalDependencies: Record<string, string>;
}

describe('the packages', () => {
  const manifest = JSON.parse(textOf('package.json')) as Manifest;
  const direct = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies };

  it('are pinned by exact version', () => {
    const loose = Object.entries(direct).filter(([, version]) => !/^\d+\.\d+\.\d+(?:-[\w.]+)?$/.test(version));
    expect(loose).toEqual([]);
  });

  it('are locked at the versions that the manifest names', () => {
    const lock = JSON.parse(textOf('package-lock.json')) as { packages: Record<string, LockedPackage> };
    const other = Object.entries(direct).filter(
      ([name, version]) => lock.packages[`node_modules/${name}`]?.version !== version,
    );
    expect(other).toEqual([]);
  });

  it('are locked for every platform, so that `npm ci` finds them all', () => {
    const lock = JSON.parse(textOf('package-lock.json')) as { packages: Record<string, LockedPackage> };
    const named = Object.values(lock.packages).flatMap(({ optionalDependencies = {} }) =>
      Object.keys(optionalDependencies),
    );
    const locked = Object.keys(lock.packages);
    expect(named.filter((name) => !locked.some((path) => path.endsWith(`node_modules/${name}`)))).toEqual([]);
  });

  it('are locked by their hash and not by an address', () => {
    expect(textOf('package-lock.json')).not.toMatch(/"resolved"|\.tgz\b/);
    expect(textOf('package-lock.json')).toMatch(/"integrity": "sha512-/);
  });
});
