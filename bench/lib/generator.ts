/** The load generator's process, as a maker of contenders. */
import type { ChildProcess } from 'node:child_process';
import type { Later } from './cleanup.ts';
import type { Load, LoadResult, Target } from './http-load.ts';
import { cpuMicros } from './proc.ts';
import { endProcess, messageOf, startWorker } from './processes.ts';
import type { Contender } from './rounds.ts';

export interface Generator {
  readonly cpuMicros: () => number;
  /** `operations` is how many an answer stands for: 1, or the size of a batch. */
  readonly contender: (name: string, target: Target, connections: number, operations?: number) => Contender;
  /** Sends so many requests, however long that takes. Throws when one is no success. */
  readonly send: (target: Target, connections: number, requests: number) => Promise<void>;
}

const patienceSec = 3_600;

export async function startGenerator(later: Later): Promise<Generator> {
  const worker = await startWorker('./load-process.ts');
  later(() => endProcess(worker));
  return {
    cpuMicros: () => cpuMicros(worker.pid as number),
    contender: (name, target, connections, operations = 1) => ({
      name,
      run: async (seconds) => {
        const { answers, ...rest } = await load(worker, { target, connections, seconds });
        return { ...rest, operations: answers * operations };
      },
    }),
    async send(target, connections, requests) {
      const { answers, firstError } = await load(worker, {
        target,
        connections,
        seconds: patienceSec,
        requestsMax: requests,
      });
      if (answers !== requests) throw new Error(`${requests - answers} requests were no success: ${firstError}`);
    },
  };
}

async function load(worker: ChildProcess, order: Load): Promise<LoadResult> {
  worker.send(order);
  return await messageOf<LoadResult>(worker);
}
