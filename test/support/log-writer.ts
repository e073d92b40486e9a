/** Drives `log-writer-process.ts`. */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { CommittedEvent } from '../../src/core/audit-event.ts';

export interface WriterProcess {
  readonly child: ChildProcess;
  readonly writerId: string;
  /** Resolves when the records are durable; rejects with the reason that the process gives, or when it ends. */
  readonly add: (count: number, from: number, text?: string) => Promise<CommittedEvent[]>;
  readonly kill: () => Promise<void>;
}

const program = fileURLToPath(new URL('./log-writer-process.ts', import.meta.url));

interface Answer {
  readonly id: number;
  readonly committed?: CommittedEvent[];
  readonly error?: string;
}

export async function startWriterProcess(url: string): Promise<WriterProcess> {
  const child = fork(program, [url]);
  const waiting = new Map<number, { resolve: (events: CommittedEvent[]) => void; reject: (error: Error) => void }>();
  let orders = 0;
  const [{ writerId }] = (await once(child, 'message')) as [{ writerId: string }];
  child.on('message', ({ id, committed, error }: Answer) => {
    const order = waiting.get(id);
    waiting.delete(id);
    if (committed === undefined) order?.reject(new Error(error));
    else order?.resolve(committed);
  });
  child.once('exit', () => {
    for (const { reject } of waiting.values()) reject(new Error('the writer ended'));
  });
  return {
    child,
    writerId,
    add(count, from, text) {
      const added = new Promise<CommittedEvent[]>((resolve, reject) => {
        const id = orders++;
        waiting.set(id, { resolve, reject });
        child.send({ id, count, from, ...(text === undefined ? {} : { text }) });
      });
      // A test that failed before it came to wait for this says by itself what went wrong.
      added.catch(() => undefined);
      return added;
    },
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
}
