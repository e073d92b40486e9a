/** Brings the server up: ends what was left of the last one, starts it, and starts it again while an old one is still dying. */
import { setTimeout as delay } from 'node:timers/promises';
import { bounds } from '../../config/bounds.ts';
import type { Clock } from '../../core/clock.ts';
import { EmbeddedPostgresError, outputFailure } from './failure.ts';
import { reclaimOrphan } from './orphan.ts';
import { Postmaster, type PostmasterExit, type PostmasterSetup } from './postmaster.ts';
import { renewSocketFolder } from './socket-folder.ts';

export interface LaunchSetup extends PostmasterSetup {
  readonly clock: Clock;
}

/**
 * Resolves when the server accepts connections; nothing is left running when it rejects.
 * @throws EmbeddedPostgresError with what the server said; the reason of an aborted `signal`
 */
export async function launchServer(setup: LaunchSetup, signal: AbortSignal): Promise<Postmaster> {
  const until = setup.clock.monotonic() + bounds.embeddedStartTimeoutMs;
  for (;;) {
    signal.throwIfAborted();
    const postmaster = await launchOnce(setup);
    const exit = await watchStart(postmaster, setup.clock, until, signal);
    if (exit === undefined) return postmaster;
    if (!isPassing(exit) || setup.clock.monotonic() > until) throw outputFailure(exit.output, setup.dataFolder);
    await delay(bounds.embeddedRetryMs);
  }
}

async function launchOnce(setup: LaunchSetup): Promise<Postmaster> {
  await reclaimOrphan(setup);
  await renewSocketFolder(setup.socketFolder, setup.runAs);
  return new Postmaster(setup);
}

/** Undefined once it is ready, or how it ended instead. */
async function watchStart(
  postmaster: Postmaster,
  clock: Clock,
  until: number,
  signal: AbortSignal,
): Promise<PostmasterExit | undefined> {
  while (!postmaster.isGone) {
    if (await postmaster.isReady()) return undefined;
    if (signal.aborted || clock.monotonic() > until) await giveUp(postmaster, signal);
    await Promise.race([delay(bounds.embeddedPollMs), postmaster.exited]);
  }
  return postmaster.exited;
}

async function giveUp(postmaster: Postmaster, signal: AbortSignal): Promise<never> {
  await postmaster.stop();
  signal.throwIfAborted();
  const seconds = bounds.embeddedStartTimeoutMs / 1000;
  throw new EmbeddedPostgresError('failed', `The embedded PostgreSQL was not ready within ${seconds} seconds.`);
}

/** The processes of a killed server take a moment to notice and leave. */
function isPassing({ output }: PostmasterExit): boolean {
  return /lock file ".*" already exists|is still in use/.test(output);
}
