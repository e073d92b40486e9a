/** Keeps the server running: when it ends by itself it is started again, ever more slowly, until it is told to stop. */
import { setTimeout as delay } from 'node:timers/promises';
import { bounds } from '../../config/bounds.ts';
import { describeError } from '../../core/errors.ts';
import { type LaunchSetup, launchServer } from './launch.ts';
import type { Postmaster, PostmasterExit } from './postmaster.ts';

export type ExitListener = (exit: Pick<PostmasterExit, 'code' | 'signal'>) => void;

export class Supervisor {
  readonly #setup: LaunchSetup;
  readonly #stopping = new AbortController();
  readonly #listeners: ExitListener[] = [];
  #postmaster: Postmaster;
  readonly #watching: Promise<void>;

  constructor(setup: LaunchSetup, running: Postmaster) {
    this.#setup = setup;
    this.#postmaster = running;
    this.#watching = this.#watch();
  }

  onExit(listener: ExitListener): void {
    this.#listeners.push(listener);
  }

  /** Ends the server and the watch over it; harmless when called again. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#postmaster.stop();
    await this.#watching;
  }

  async #watch(): Promise<void> {
    const { clock, log } = this.#setup;
    let waitMs: number = bounds.embeddedRestartBackoffMinMs;
    for (;;) {
      const since = clock.monotonic();
      const exit = await this.#postmaster.exited;
      if (this.#stopping.signal.aborted) return;
      this.#report(exit);
      if (clock.monotonic() - since > bounds.embeddedSteadyMs) waitMs = bounds.embeddedRestartBackoffMinMs;
      while (!(await this.#restartAfter(waitMs))) {
        if (this.#stopping.signal.aborted) return;
        waitMs = nextBackoff(waitMs);
      }
      waitMs = nextBackoff(waitMs);
      log('info', 'The embedded PostgreSQL is running again.');
    }
  }

  async #restartAfter(waitMs: number): Promise<boolean> {
    try {
      await delay(waitMs, undefined, { signal: this.#stopping.signal });
      this.#postmaster = await launchServer(this.#setup, this.#stopping.signal);
      // A stop that came in the last moment did not see this one.
      if (this.#stopping.signal.aborted) await this.#postmaster.stop();
      return !this.#stopping.signal.aborted;
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#setup.log('error', describeError(error));
      return false;
    }
  }

  #report({ code, signal }: PostmasterExit): void {
    const how = signal === null ? `code ${code}` : `signal ${signal}`;
    this.#setup.log('error', `The embedded PostgreSQL ended unexpectedly (${how}); starting it again.`);
    for (const listener of this.#listeners) listener({ code, signal });
  }
}

function nextBackoff(waitMs: number): number {
  return Math.min(waitMs * 2, bounds.embeddedRestartBackoffMaxMs);
}
