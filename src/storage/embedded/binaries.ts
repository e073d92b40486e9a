/**
 * The PostgreSQL programs of the npm package, made fit to run: npm leaves out symbolic links and may not run the
 * package's install script, so the links are made here; where the account of the server cannot run the programs in
 * place, it gets a copy.
 */
import { chmod, cp, lstat, mkdtemp, readdir, readFile, rename, rm, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import type { EmbeddedLog } from './embedded-log.ts';
import { errorCode } from './failure.ts';
import { unsupported } from './platform.ts';
import type { RunAs } from './run-as.ts';
import { runTool } from './run-tool.ts';

export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  /** Such as `18.4`. */
  readonly version: string;
}

export interface BinariesNeed {
  readonly packageDir: string;
  /** Where a copy goes, if one is needed. */
  readonly home: string;
  readonly runAs: RunAs;
  readonly log: EmbeddedLog;
}

/** @throws EmbeddedPostgresError `unsupported_platform` when the programs do not run on this machine */
export async function prepareBinaries(need: BinariesNeed): Promise<Binaries> {
  if (await makeLinks(need.packageDir)) {
    const inPlace = await tryBinaries(need.packageDir, need.runAs);
    if (inPlace.spawnError !== 'EACCES') return usable(inPlace, need.packageDir);
  }
  return prepareCopy(need);
}

async function prepareCopy(need: BinariesNeed): Promise<Binaries> {
  const folder = join(need.home, `postgres-programs-${await packageVersion(need.packageDir)}`);
  const present = await tryBinaries(folder, need.runAs);
  if (present.version !== undefined) return usable(present, folder);
  need.log('info', `The PostgreSQL programs cannot be used where npm put them, so they are copied to ${folder}.`);
  await removeCopies(need.home);
  await makeCopy(need.packageDir, folder);
  return usable(await tryBinaries(folder, need.runAs), folder);
}

interface Trial {
  readonly version: string | undefined;
  readonly spawnError: string | undefined;
  readonly output: string;
}

async function tryBinaries(packageDir: string, runAs: RunAs): Promise<Trial> {
  const { exitCode, spawnError, output } = await runTool({
    command: programIn(packageDir, 'postgres'),
    args: ['--version'],
    runAs,
  });
  const version = exitCode === 0 ? /PostgreSQL\) (\d+\S*)/.exec(output)?.[1] : undefined;
  return { version, spawnError, output };
}

function usable(trial: Trial, packageDir: string): Binaries {
  if (trial.version === undefined) throw cannotRun(trial);
  return {
    initdb: programIn(packageDir, 'initdb'),
    postgres: programIn(packageDir, 'postgres'),
    version: trial.version,
  };
}

function programIn(packageDir: string, name: string): string {
  return join(packageDir, 'native', 'bin', name);
}

function cannotRun({ spawnError, output }: Trial): Error {
  // The file is there, so what is missing is the loader that it names: another C library than the GNU one.
  const detail = spawnError === 'ENOENT' ? 'it needs the GNU C library' : (spawnError ?? output.trim());
  return unsupported(`The embedded PostgreSQL does not run on this machine (${detail}).`);
}

interface Link {
  readonly path: string;
  readonly target: string;
}

/** Makes the links that are missing; false when the folder may not be written. */
async function makeLinks(packageDir: string): Promise<boolean> {
  try {
    for (const link of await listLinks(packageDir)) await makeLink(link);
    return true;
  } catch (error) {
    if (['EACCES', 'EPERM', 'EROFS'].includes(errorCode(error) ?? '')) return false;
    throw error;
  }
}

async function makeLink({ path, target }: Link): Promise<void> {
  if ((await lstat(path).catch(() => undefined)) !== undefined) return;
  await symlink(target, path).catch((error: unknown) => {
    // Another process made it at the same moment.
    if (errorCode(error) !== 'EEXIST') throw error;
  });
}

/** The package lists each link as `target` (the link) and `source` (the file), both from the package's own folder. */
async function listLinks(packageDir: string): Promise<Link[]> {
  const text = await readFile(join(packageDir, 'native', 'pg-symlinks.json'), 'utf8').catch((error: unknown) => {
    if (errorCode(error) === 'ENOENT') return '[]';
    throw error;
  });
  const list = JSON.parse(text) as readonly { readonly source: string; readonly target: string }[];
  return list.map(({ source, target }) => ({
    path: join(packageDir, target),
    target: relative(dirname(target), source),
  }));
}

async function packageVersion(packageDir: string): Promise<string> {
  const { version } = JSON.parse(await readFile(join(packageDir, 'package.json'), 'utf8')) as { version: string };
  return version;
}

/** Copies under another name first, so that a copy with the right name is a whole one. */
async function makeCopy(packageDir: string, folder: string): Promise<void> {
  const draft = await mkdtemp(`${folder}.new-`);
  await cp(join(packageDir, 'native'), join(draft, 'native'), {
    recursive: true,
    verbatimSymlinks: true,
    filter: (path) => !(path.endsWith('.a') || path.endsWith('pkgconfig')),
  });
  await makeLinks(draft);
  await openToOthers(draft);
  await rename(draft, folder);
}

async function removeCopies(home: string): Promise<void> {
  const old = (await readdir(home)).filter((name) => name.startsWith('postgres-programs-'));
  await Promise.all(old.map((name) => rm(join(home, name), { recursive: true, force: true })));
}

async function openToOthers(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await openToOthers(path);
    else if (entry.isFile()) await chmod(path, folder.endsWith('bin') ? 0o755 : 0o644);
  }
}
