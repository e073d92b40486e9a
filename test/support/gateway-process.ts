/** A gateway in a process of its own, with the embedded store, for tests that end it in ways that it cannot prepare for. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface GatewayProcess {
  readonly url: string;
  readonly child: ChildProcess;
  /** SIGKILL; resolves when the process is gone. */
  readonly kill: () => Promise<void>;
}

const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url));

/** Starts a development gateway on a free port and waits for its ready line. Rejects with its output when it ends before. */
export async function startGatewayProcess(dataDir: string): Promise<GatewayProcess> {
  const child = spawn(process.execPath, [main], {
    cwd: dataDir,
    env: {
      PATH: process.env['PATH'],
      DEV_MODE: 'true',
      TALOS_DATA_DIR: dataDir,
      TALOS_GATEWAY_PORT: '0',
      TALOS_BIND_HOST: '127.0.0.1',
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const kill = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill('SIGKILL');
    await exited;
  };
  const url = await readyUrl(child).catch(async (error: unknown) => {
    await kill();
    throw error;
  });
  return { url, child, kill };
}

async function readyUrl(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error('the gateway has no output');
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    const url = /"msg":"ready: (http[^"]+)"/.exec(line)?.[1];
    if (url !== undefined) {
      child.stdout.resume();
      return url;
    }
  }
  throw new Error(`the gateway ended before it was ready:\n${lines.join('\n')}`);
}
