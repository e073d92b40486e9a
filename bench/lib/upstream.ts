/** The tool server that calls go to. */
import type { Later } from './cleanup.ts';
import { cpuMicros } from './proc.ts';
import { endProcess, messageOf, startWorker } from './processes.ts';

export interface Upstream {
  readonly port: number;
  readonly cpuMicros: () => number;
}

export async function startUpstream(later: Later): Promise<Upstream> {
  const worker = await startWorker('./upstream-process.ts');
  later(() => endProcess(worker));
  return { port: await messageOf<number>(worker), cpuMicros: () => cpuMicros(worker.pid as number) };
}
