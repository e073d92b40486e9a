/**
 * Reads one local git repository by running `git` without a shell. What callers give can be neither an option nor a path
 * outside of the repository; what git would run by itself (pagers, diff drivers, monitors) is turned off; time and
 * output are bounded.
 */
import { execFile } from 'node:child_process';
import { isAbsolute, normalize } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

const outputBytesMax = 1024 * 1024;
const timeoutMs = 10_000;

/** What went wrong, in words for the caller. */
export class GitError extends Error {
  override readonly name = 'GitError';
}

const always = [
  '--no-pager',
  '--no-optional-locks',
  '--literal-pathspecs',
  ...['-c', 'core.fsmonitor=false'],
  ...['-c', 'core.quotePath=false'],
  ...['-c', 'core.hooksPath=/dev/null'],
  ...['-c', 'diff.external='],
  ...['-c', 'log.showSignature=false'],
];

/** Nothing of a diff is left to programs that the repository names. */
const plainDiff = ['--no-ext-diff', '--no-textconv', '--no-color'];

export interface Commit {
  readonly hash: string;
  readonly author: string;
  /** ISO 8601. */
  readonly date: string;
  readonly subject: string;
}

export interface Status {
  readonly branch: string;
  /** `state` is git's two-letter code: index, then working tree. */
  readonly changes: readonly { readonly state: string; readonly path: string }[];
}

export class Repository {
  readonly #root: string;

  private constructor(root: string) {
    this.#root = root;
  }

  /** Opens the repository that `folder` is in. Throws `GitError` when it is in none. */
  static async open(folder: string): Promise<Repository> {
    const root = await git(folder, ['rev-parse', '--show-toplevel']);
    return new Repository(root.trimEnd());
  }

  async log(options: {
    readonly count: number;
    readonly revision?: string;
    readonly path?: string;
  }): Promise<Commit[]> {
    const format = '--pretty=format:%H%x1f%an%x1f%aI%x1f%s%x1e';
    const revision = checkedRevision(options.revision ?? 'HEAD');
    const text = await this.#git([
      'log',
      `--max-count=${options.count}`,
      '--no-show-signature',
      '--no-color',
      format,
      '--end-of-options',
      revision,
      ...pathArgs(options.path),
    ]);
    return text
      .split('\x1e')
      .map(commitOf)
      .filter((commit) => commit !== undefined);
  }

  async status(): Promise<Status> {
    const text = await this.#git([
      'status',
      '--porcelain=v1',
      '-z',
      '--branch',
      '--no-renames',
      '--untracked-files=normal',
    ]);
    const [branch = '', ...entries] = text.split('\0');
    const changes = entries
      .filter((entry) => entry !== '')
      .map((entry) => ({ state: entry.slice(0, 2), path: entry.slice(3) }));
    return { branch: branch.replace(/^## /, ''), changes };
  }

  /** A commit with its changes, or with `path` the content of that file in it. */
  async show(options: { readonly revision?: string; readonly path?: string }): Promise<string> {
    const revision = checkedRevision(options.revision ?? 'HEAD');
    if (options.path !== undefined)
      return this.#git(['show', '--no-textconv', '--end-of-options', `${revision}:${checkedPath(options.path)}`]);
    return this.#git([
      'show',
      ...plainDiff,
      '--no-show-signature',
      '--stat',
      '--patch',
      '--end-of-options',
      revision,
      '--',
    ]);
  }

  /** Between two revisions, or between one (HEAD by default) and the working tree. */
  async diff(options: { readonly from?: string; readonly to?: string; readonly path?: string }): Promise<string> {
    const revisions = [
      checkedRevision(options.from ?? 'HEAD'),
      ...(options.to === undefined ? [] : [checkedRevision(options.to)]),
    ];
    return this.#git(['diff', ...plainDiff, '--end-of-options', ...revisions, ...pathArgs(options.path)]);
  }

  #git(args: readonly string[]): Promise<string> {
    return git(this.#root, args);
  }
}

async function git(folder: string, args: readonly string[]): Promise<string> {
  try {
    const { stdout } = await run('git', ['-C', folder, ...always, ...args], {
      encoding: 'utf8',
      maxBuffer: outputBytesMax,
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      env: {
        PATH: process.env['PATH'] ?? '',
        HOME: process.env['HOME'] ?? '',
        LC_ALL: 'C.UTF-8',
        GIT_TERMINAL_PROMPT: '0',
        GIT_CONFIG_NOSYSTEM: '1',
      },
    });
    return stdout;
  } catch (error) {
    throw new GitError(reasonOf(error as NodeJS.ErrnoException & { stderr?: string; killed?: boolean }));
  }
}

function reasonOf(error: NodeJS.ErrnoException & { stderr?: string; killed?: boolean }): string {
  if (error.code === 'ENOENT') return 'The program git is not installed.';
  if (error.code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER')
    return `The output is larger than ${outputBytesMax} bytes. Ask for less, for example for one path.`;
  if (error.killed) return `git took longer than ${timeoutMs / 1000} seconds.`;
  const line = (error.stderr ?? '').split('\n').find((text) => text.startsWith('fatal:'));
  return line === undefined ? 'git failed.' : `git says: ${line.slice('fatal:'.length).trim().slice(0, 300)}`;
}

function commitOf(text: string): Commit | undefined {
  const [hash, author, date, subject] = text.trim().split('\x1f');
  if (hash === undefined || author === undefined || date === undefined || subject === undefined) return undefined;
  return { hash, author, date, subject };
}

/** One revision: a name or hash with `~`, `^` and `@{…}`. No range, no path, no option. */
export const revisionPattern = '^[A-Za-z0-9_@][A-Za-z0-9_./@^~{}+-]*$';

function checkedRevision(revision: string): string {
  if (new RegExp(revisionPattern).test(revision) && !revision.includes('..')) return revision;
  throw new GitError('That is not the name of one revision.');
}

function checkedPath(path: string): string {
  const normal = normalize(path);
  const outside = isAbsolute(normal) || normal === '..' || normal.startsWith('../');
  if (path === '' || path.includes('\0') || outside)
    throw new GitError('The path must be inside of the repository, and relative to its top.');
  return normal;
}

function pathArgs(path: string | undefined): string[] {
  return path === undefined ? ['--'] : ['--', checkedPath(path)];
}
