/** Tool servers that run as processes of their own, as in real life. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { fileURLToPath } from 'node:url';
import { onTestFinished } from 'vitest';
import { childEnv } from './child-env.ts';

/** The program of the official `@modelcontextprotocol/server-everything`. */
export const everythingProgram = fileURLToPath(
  new URL('../../node_modules/@modelcontextprotocol/server-everything/dist/index.js', import.meta.url),
);

/** A scripted server over stdio; its tools are described in its file. */
export const scriptedStdioProgram = fileURLToPath(new URL('mcp-stdio-program.ts', import.meta.url));

/** Runs the official server over Streamable HTTP on a free port until the test is over. */
export async function startEverythingHttp(): Promise<string> {
  const port = await freePort();
  await startHttpProgram([everythingProgram, 'streamableHttp'], { PORT: String(port) }, /listening on port/);
  return `http://127.0.0.1:${port}/mcp`;
}

/** Runs a Node program until the test is over; resolves when it has written what `ready` matches to stderr. */
export async function startHttpProgram(
  args: readonly string[],
  env: Record<string, string>,
  ready: RegExp,
): Promise<string> {
  const child = spawn(process.execPath, args, {
    env: { ...childEnv, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
  let text = '';
  for await (const chunk of child.stderr.setEncoding('utf8')) {
    text += chunk;
    if (ready.test(text)) break;
  }
  if (!ready.test(text)) throw new Error(`the server did not start: ${text}`);
  return text;
}

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

/** Whether a process runs. One that is dead but not yet buried by its parent does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !isZombie(pid);
  } catch {
    return false;
  }
}

function isZombie(pid: number): boolean {
  const stat = `/proc/${pid}/stat`;
  return existsSync(stat) && / Z /.test(readFileSync(stat, 'utf8'));
}
