/**
 * Ends the server that a killed gateway left behind. The caller holds the lock of the data folder, so a server that
 * still runs on it belongs to nobody.
 */
import { readlink, rm } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { bounds } from '../../config/bounds.ts';
import type { Clock } from '../../core/clock.ts';
import type { EmbeddedLog } from './embedded-log.ts';
import { EmbeddedPostgresError } from './failure.ts';
import { stopSteps } from './postmaster.ts';
import { readPostmasterFile } from './postmaster-file.ts';
import { ownUser } from './run-as.ts';
import { runTool } from './run-tool.ts';
import { removeSocketFolder } from './socket-folder.ts';

export interface OrphanSearch {
  readonly dataFolder: string;
  readonly clock: Clock;
  readonly log: EmbeddedLog;
}

/** @throws EmbeddedPostgresError `in_use` when it does not end */
export async function reclaimOrphan({ dataFolder, clock, log }: OrphanSearch): Promise<void> {
  const file = await readPostmasterFile(dataFolder);
  if (file === undefined) return;
  if (await isPostmasterOf(file.pid, dataFolder)) {
    log(
      'warn',
      `A PostgreSQL server (process ${file.pid}) was left running by a gateway that was killed; stopping it.`,
    );
    if (!(await end(file.pid, dataFolder, clock))) throw stuck(file.pid, dataFolder);
  } else if (sendSignal(file.pid, 0)) {
    // The number belongs to another process by now, or to a zombie, which would make the server refuse to start.
    await rm(file.path, { force: true });
  }
  await removeSocketFolder(file.socketFolder);
}

/** A postmaster works inside its data folder, which tells it from any process that got its number later. */
async function isPostmasterOf(pid: number, dataFolder: string): Promise<boolean> {
  if (process.platform !== 'linux') return isNamedIn(pid, dataFolder);
  const folder = await readlink(`/proc/${pid}/cwd`).catch(() => '');
  const program = await readlink(`/proc/${pid}/exe`).catch(() => '');
  return folder === dataFolder && /\/postgres( \(deleted\))?$/.test(program);
}

async function isNamedIn(pid: number, dataFolder: string): Promise<boolean> {
  const { output } = await runTool({ command: '/bin/ps', args: ['-o', 'command=', '-p', String(pid)], runAs: ownUser });
  return output.includes(`postgres -D ${dataFolder} `);
}

/** True when the process is gone. */
async function end(pid: number, dataFolder: string, clock: Clock): Promise<boolean> {
  for (const [signal, waitMs] of stopSteps) {
    sendSignal(pid, signal);
    if (await isGoneWithin(waitMs, pid, dataFolder, clock)) return true;
  }
  return false;
}

async function isGoneWithin(waitMs: number, pid: number, dataFolder: string, clock: Clock): Promise<boolean> {
  const until = clock.monotonic() + waitMs;
  // A zombie counts as gone: in a container there may be nobody who collects it.
  while (await isPostmasterOf(pid, dataFolder)) {
    if (clock.monotonic() > until) return false;
    await delay(bounds.embeddedPollMs);
  }
  return true;
}

function sendSignal(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

function stuck(pid: number, dataFolder: string): EmbeddedPostgresError {
  return new EmbeddedPostgresError('in_use', `The PostgreSQL server on ${dataFolder} (process ${pid}) does not end.`);
}
