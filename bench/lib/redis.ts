/** A Redis of the benchmark's own, on loopback and with nothing on disk. */
import { spawn } from 'node:child_process';
import type { Later } from './cleanup.ts';
import { freePort } from './nginx.ts';
import { endProcess } from './processes.ts';

export interface BenchRedis {
  readonly url: string;
  readonly pid: number;
}

/** Throws when `redis-server` is not installed. */
export async function startRedis(later: Later): Promise<BenchRedis> {
  const port = await freePort();
  const flags = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  const child = spawn('redis-server', flags, { stdio: ['ignore', 'pipe', 'inherit'] });
  later(() => endProcess(child));
  await new Promise<void>((resolve, reject) => {
    let text = '';
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`redis-server did not start: ${text}`)));
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      if (text.includes('Ready to accept connections')) resolve();
    });
  });
  return { url: `redis://127.0.0.1:${port}`, pid: child.pid as number };
}
