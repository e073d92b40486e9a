/** Runs one short-lived program to its end: bounded in time and output, in a process group of its own, without our environment. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { bounds } from '../../config/bounds.ts';
import { errorCode } from './failure.ts';
import type { RunAs } from './run-as.ts';

export interface ToolRun {
  readonly command: string;
  readonly args: readonly string[];
  readonly runAs: RunAs;
  readonly signal?: AbortSignal | undefined;
}

export interface ToolResult {
  /** Undefined when the program could not be started or was killed. */
  readonly exitCode: number | undefined;
  /** The system's word for why it could not be started, such as `EACCES`. */
  readonly spawnError: string | undefined;
  /** What it printed on both outputs, from the beginning. */
  readonly output: string;
}

/** The environment of every PostgreSQL program: nothing of ours, English messages, UTC. */
export const toolEnvironment = { PATH: '/usr/local/bin:/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' } as const;

/** Never rejects, except with the reason of an aborted `signal`. */
export async function runTool(run: ToolRun): Promise<ToolResult> {
  run.signal?.throwIfAborted();
  const result = await runBounded(run);
  run.signal?.throwIfAborted();
  return result;
}

function runBounded(run: ToolRun): Promise<ToolResult> {
  try {
    return finished(start(run), run.signal);
  } catch (error) {
    // Some refusals, such as of the account, are thrown at once instead of being reported by an event.
    return Promise.resolve({ exitCode: undefined, spawnError: errorCode(error) ?? 'unknown', output: '' });
  }
}

type Tool = ChildProcessByStdio<null, Readable, Readable>;

/** In a working folder that every account may enter, and in a group of its own so that its children end with it. */
function start({ command, args, runAs }: ToolRun): Tool {
  const stdio: ['ignore', 'pipe', 'pipe'] = ['ignore', 'pipe', 'pipe'];
  return spawn(command, args, { ...runAs, cwd: '/', env: toolEnvironment, detached: true, stdio });
}

function finished(child: Tool, signal: AbortSignal | undefined): Promise<ToolResult> {
  return new Promise((resolve) => {
    let output = '';
    const collect = (chunk: string): void => {
      output = (output + chunk).slice(0, bounds.embeddedToolOutputCharsMax);
    };
    const kill = (): void => killGroup(child.pid);
    const timer = setTimeout(kill, bounds.embeddedToolTimeoutMs);
    const finish = (exitCode: number | undefined, spawnError: string | undefined): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', kill);
      resolve({ exitCode, spawnError, output });
    };
    signal?.addEventListener('abort', kill);
    child.stdout.setEncoding('utf8').on('data', collect);
    child.stderr.setEncoding('utf8').on('data', collect);
    child.on('error', (error) => finish(undefined, errorCode(error) ?? 'unknown'));
    child.on('close', (code) => finish(code ?? undefined, undefined));
  });
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}
