/** One run of the PostgreSQL server: launched, watched until it is ready, told to stop. */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { bounds } from '../../config/bounds.ts';
import type { EmbeddedLog } from './embedded-log.ts';
import { errorCode } from './failure.ts';
import { followLines } from './lines.ts';
import { readPostmasterFile } from './postmaster-file.ts';
import type { RunAs } from './run-as.ts';
import { toolEnvironment } from './run-tool.ts';
import { serverArguments } from './server-settings.ts';

/** Fast shutdown (clients are cut off, everything is written), then immediate, then by force; how long each may take. */
export const stopSteps = [
  ['SIGINT', bounds.embeddedFastStopMs],
  ['SIGQUIT', bounds.embeddedImmediateStopMs],
  ['SIGKILL', bounds.embeddedKillWaitMs],
] as const;

export interface PostmasterSetup {
  /** Path of the program. */
  readonly postgres: string;
  readonly dataFolder: string;
  readonly socketFolder: string;
  readonly connectionsMax: number;
  readonly runAs: RunAs;
  readonly log: EmbeddedLog;
}

export interface PostmasterExit {
  readonly code: number | null;
  readonly signal: string | null;
  /** The last lines that it printed. */
  readonly output: string;
}

export class Postmaster {
  readonly exited: Promise<PostmasterExit>;
  readonly #child: ChildProcess;
  readonly #dataFolder: string;
  #gone = false;

  /** Throws, or ends at once with an exit, when the program cannot be run. */
  constructor(setup: PostmasterSetup) {
    const child = launch(setup);
    const lines: string[] = [];
    followLines(child.stderr, (line) => {
      lines.push(line);
      if (lines.length > bounds.embeddedLogLinesKept) lines.shift();
      report(line, setup.log);
    });
    this.#child = child;
    this.#dataFolder = setup.dataFolder;
    this.exited = exitOf(child).then((exit) => {
      this.#gone = true;
      return { ...exit, output: [exit.output, ...lines].join('\n') };
    });
    // A process that ends without stopping us first must not leave the server behind.
    const abandon = (): void => this.#send('SIGINT');
    process.once('exit', abandon);
    void this.exited.then(() => process.removeListener('exit', abandon));
  }

  get isGone(): boolean {
    return this.#gone;
  }

  /** Whether it accepts connections, as it says itself. */
  async isReady(): Promise<boolean> {
    const file = await readPostmasterFile(this.#dataFolder);
    return file !== undefined && file.pid === this.#child.pid && file.ready;
  }

  async stop(): Promise<void> {
    for (const [signal, waitMs] of stopSteps) {
      if (this.#gone) return;
      this.#send(signal);
      await settledWithin(this.exited, waitMs);
    }
  }

  #send(signal: NodeJS.Signals): void {
    if (!this.#gone) this.#child.kill(signal);
  }
}

/** In a session of its own, so that Ctrl-C in the gateway's terminal cannot stop it before the gateway has drained. */
function launch({ postgres, runAs, ...setup }: PostmasterSetup) {
  return spawn(postgres, serverArguments(setup), {
    ...runAs,
    cwd: '/',
    env: toolEnvironment,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
}

function exitOf(child: ChildProcess): Promise<PostmasterExit> {
  return new Promise((resolve) => {
    child.once('error', (error) => {
      resolve({ code: null, signal: null, output: `FATAL: ${errorCode(error) ?? error.message}` });
    });
    child.once('exit', (code, signal) => {
      // Its last words may still be in the pipe, which processes that outlive it can hold open.
      const closed = new Promise<void>((done) => child.once('close', () => done()));
      void settledWithin(closed, bounds.embeddedRetryMs).then(() => resolve({ code, signal, output: '' }));
    });
  });
}

async function settledWithin(promise: Promise<unknown>, waitMs: number): Promise<void> {
  const timer = new AbortController();
  const late = delay(waitMs, undefined, { signal: timer.signal }).catch(() => undefined);
  await Promise.race([promise, late]);
  timer.abort();
}

/** Of what the server says, only the signs of a crash are for the operator: clients get the errors of their own work. */
function report(line: string, log: EmbeddedLog): void {
  const [, severity = 'LOG', text = line] = /^([A-Z]+):\s+(.*)$/.exec(line) ?? [];
  const crash = /terminated by signal|not properly shut down|shared memory .* corrupt/.test(text);
  const level = severity === 'PANIC' ? 'error' : crash ? 'warn' : 'debug';
  log(level, `postgres: ${text}`);
}
