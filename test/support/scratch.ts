/**
 * Where a run of the tests keeps its files: a folder in memory where there is one with room, since what the tests wait for
 * is never the disk, and the compiled form of our programs, so that those that tests start need not compile them again.
 * vitest calls it before everything else, and workers inherit its environment.
 */
import { execFileSync } from 'node:child_process';
import { chmod, mkdtemp, rm, statfs, writeFile } from 'node:fs/promises';
import { freemem, tmpdir } from 'node:os';
import { join } from 'node:path';

const memory = '/dev/shm';
const roomMin = 4 * 1024 ** 3;

let folder: string | undefined;

export async function setup(): Promise<void> {
  folder = await scratchFolder();
  process.env['TMPDIR'] = folder;
  process.env['NODE_COMPILE_CACHE'] = join(folder, 'compiled');
}

export async function teardown(): Promise<void> {
  if (folder !== undefined) await rm(folder, { recursive: true, force: true, maxRetries: 10 });
}

/** What every user may write to, as `/tmp` is. */
async function scratchFolder(): Promise<string> {
  const given = await openFolder((await hasRoom()) ? memory : tmpdir());
  if (await runsPrograms(given)) return given;
  await rm(given, { recursive: true });
  return await openFolder(tmpdir());
}

async function openFolder(parent: string): Promise<string> {
  const opened = await mkdtemp(join(parent, 'talos-run-'));
  await chmod(opened, 0o1777);
  return opened;
}

async function hasRoom(): Promise<boolean> {
  const stats = await statfs(memory).catch(() => undefined);
  return stats !== undefined && stats.bavail * stats.bsize >= roomMin && freemem() >= roomMin;
}

/** Containers forbid it in memory. */
async function runsPrograms(within: string): Promise<boolean> {
  const program = join(within, 'program');
  await writeFile(program, '#!/bin/sh\n', { mode: 0o755 });
  try {
    execFileSync(program);
    return true;
  } catch {
    return false;
  } finally {
    await rm(program);
  }
}
