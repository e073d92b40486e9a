/** What a figure was measured on. */
import { availableParallelism, cpus, loadavg, release, totalmem, type } from 'node:os';

const bytesPerGiB = 2 ** 30;

/** Facts of the machine as they are now, by name. */
export function describeMachine(): Readonly<Record<string, string>> {
  return {
    processor: `${availableParallelism()} cores, ${cpus()[0]?.model.trim() || process.arch}`,
    memory: `${Math.round(totalmem() / bytesPerGiB)} GiB`,
    kernel: `${type()} ${release()}`,
    'Node.js': process.version.slice(1),
    'load before the run': loadavg()
      .map((load) => load.toFixed(1))
      .join(', '),
  };
}
