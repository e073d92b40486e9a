/** The gateway as a process of its own, as operators run it: its environment, its log, its signals, its exit code. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { JsonObject } from '../../src/core/json.ts';
import { childEnv } from './child-env.ts';
import { eventually, type Send, sender } from './gateway.ts';

export interface GatewayProcess {
  readonly child: ChildProcess;
  readonly url: string;
  readonly send: Send;
  readonly logText: () => string;
  /** Resolves with the exit code and the milliseconds from now to the end. */
  readonly ended: () => Promise<{ readonly code: number | null; readonly ms: number }>;
}

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

export interface ProcessOptions {
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
}

/** Starts `src/main.ts` and waits for its ready line. The caller ends it. */
export async function startGatewayProcess(options: ProcessOptions): Promise<GatewayProcess> {
  const { child, text, ended } = spawnGateway(options);
  const url = await eventually(() => {
    if (child.exitCode !== null) throw new Error(`the gateway ended: ${text()}`);
    return /"msg":"ready: (http[^"]+)"/.exec(text())?.[1];
  }, 45_000);
  return { child, url, send: sender(url), logText: text, ended };
}

/** Runs it to its end, for starts that fail. */
export async function runGateway(
  options: ProcessOptions,
): Promise<{ code: number | null; out: string; err: string; lines: JsonObject[] }> {
  const { ended, out, err } = spawnGateway(options);
  const { code } = await ended();
  const lines = out()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as JsonObject);
  return { code, out: out(), err: err(), lines };
}

/** Starts it and waits for nothing. */
export function spawnGateway({ env, cwd }: ProcessOptions) {
  const child = spawn(process.execPath, [main], {
    cwd,
    env: { ...childEnv, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const collect = (stream: NodeJS.ReadableStream) => {
    let text = '';
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
    });
    return () => text;
  };
  const [out, err] = [collect(child.stdout), collect(child.stderr)];
  const ended = async () => {
    const startedAt = performance.now();
    if (child.exitCode === null && child.signalCode === null) await once(child, 'close');
    return { code: child.exitCode, ms: performance.now() - startedAt };
  };
  return { child, out, err, text: () => out() + err(), ended };
}
