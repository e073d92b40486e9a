/** A Redis of the test's own: on loopback, with nothing on disk, and gone when its test file is. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { freePort } from './mcp-processes.ts';

export interface TestRedis {
  readonly url: string;
  /** As a machine that loses its power: no goodbye, and nothing of what it held. */
  readonly kill: () => Promise<void>;
  /** Starts it anew on the same port, empty. */
  readonly restart: () => Promise<void>;
  /** It holds its connections and answers nobody, until `resume`. */
  readonly suspend: () => void;
  readonly resume: () => void;
  readonly stop: () => Promise<void>;
}

export async function startRedis(): Promise<TestRedis> {
  const port = await freePort();
  let child = await start(port);
  const end = async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  };
  return {
    url: `redis://127.0.0.1:${port}`,
    kill: end,
    restart: async () => {
      child = await start(port);
    },
    suspend: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    stop: end,
  };
}

function start(port: number): Promise<ChildProcess> {
  const flags = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  const child = spawn('redis-server', flags, { stdio: ['ignore', 'pipe', 'inherit'] });
  return new Promise((resolve, reject) => {
    let text = '';
    child.once('error', (cause) => reject(new Error('redis-server must be installed for this test', { cause })));
    child.once('exit', () => reject(new Error(`redis-server did not start: ${text}`)));
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (text.includes('Ready to accept connections')) resolve(child);
    });
  });
}
