/** Child processes of a benchmark: workers that speak over IPC, and programs that are told to end by a signal. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const graceMs = 15_000;

/** A TypeScript file of this folder as a process of its own. It ends when the benchmark does. */
export async function startWorker(file: string, args: readonly string[] = []): Promise<ChildProcess> {
  const path = fileURLToPath(new URL(file, import.meta.url));
  const worker = fork(path, [...args], { serialization: 'advanced', env: {} });
  await once(worker, 'spawn');
  return worker;
}

/** The next message of a worker. Rejects when it ends instead. */
export async function messageOf<T>(worker: ChildProcess): Promise<T> {
  const gone = new AbortController();
  const ended = once(worker, 'exit', { signal: gone.signal }).then(() => {
    throw new Error('a worker of the benchmark ended before it answered');
  });
  try {
    const [message] = (await Promise.race([once(worker, 'message', { signal: gone.signal }), ended])) as [T];
    return message;
  } finally {
    ended.catch(() => {});
    gone.abort();
  }
}

/** Sends SIGTERM, and SIGKILL to what has not ended then. Harmless when it has ended. */
export async function endProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, 'exit');
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), graceMs);
  await exited;
  clearTimeout(timer);
}
