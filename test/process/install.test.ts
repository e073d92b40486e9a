/** What the scripts install, and where: never through a link, whose other end is somebody else's. */
import { execFile } from 'node:child_process';
import { lstat, mkdir, mkdtemp, readdir, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { childEnv } from '../support/child-env.ts';

const library = join(import.meta.dirname, '../../scripts/lib.sh');
let folder: string;
let root: string;

/** As npm does it: what is in the folder goes first. */
const npm =
  '#!/bin/sh\nmkdir -p node_modules\nrm -rf node_modules/* && echo installed > node_modules/.package-lock.json\n';

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'talos-install-'));
  root = join(folder, 'project');
  await mkdir(join(root, 'scripts'), { recursive: true });
  await mkdir(join(folder, 'bin'));
  await writeFile(join(folder, 'bin', 'npm'), npm, { mode: 0o755 });
  await writeFile(join(root, 'scripts', 'gateway-tool.mjs'), '');
  await writeFile(join(root, 'package-lock.json'), '{}');
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** A folder of packages that was installed `agoSec` ago. */
async function packages(path: string, agoSec: number): Promise<void> {
  await mkdir(path);
  await writeFile(join(path, 'a-package'), 'here');
  await writeFile(join(path, '.package-lock.json'), '');
  const at = Date.now() / 1000 - agoSec;
  await utimes(join(path, '.package-lock.json'), at, at);
}

async function install(): Promise<void> {
  const script = `root='${root}'; node='${process.execPath}'; . '${library}'; ensure_installed`;
  const env = { ...process.env, ...childEnv };
  await promisify(execFile)('sh', ['-eu', '-c', script], {
    env: { ...env, PATH: `${join(folder, 'bin')}:${env['PATH']}` },
  });
}

describe('packages that are older than the lock file', () => {
  it('are installed anew in a folder of their own where there was a link', async () => {
    await packages(join(folder, 'theirs'), 3_600);
    await symlink(join(folder, 'theirs'), join(root, 'node_modules'));
    await install();
    expect(await readdir(join(folder, 'theirs'))).toEqual(['.package-lock.json', 'a-package']);
    expect((await lstat(join(root, 'node_modules'))).isDirectory()).toBe(true);
    expect(await readdir(join(root, 'node_modules'))).toEqual(['.package-lock.json']);
  });

  it('are installed where a link leads nowhere', async () => {
    await symlink(join(folder, 'nowhere'), join(root, 'node_modules'));
    await install();
    expect(await readdir(join(root, 'node_modules'))).toEqual(['.package-lock.json']);
  });

  it('are replaced where they are', async () => {
    await packages(join(root, 'node_modules'), 3_600);
    await install();
    expect(await readdir(join(root, 'node_modules'))).toEqual(['.package-lock.json']);
  });
});

describe('packages that are newer than the lock file', () => {
  it('are used through a link', async () => {
    await packages(join(folder, 'theirs'), -60);
    await symlink(join(folder, 'theirs'), join(root, 'node_modules'));
    await install();
    expect((await lstat(join(root, 'node_modules'))).isSymbolicLink()).toBe(true);
    expect((await readdir(join(folder, 'theirs'))).length).toBe(2);
  });
});
