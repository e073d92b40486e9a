/**
 * Runs code whose time nobody knows, such as a stranger's schema on another stranger's arguments, and ends it when it
 * takes too long. Beside the event loop nothing else could: it is the loop that such code would hold up.
 */
import { createContext, Script } from 'node:vm';

/** The work was ended in the middle. */
export class TimeLimitPassed extends Error {
  override readonly name = 'TimeLimitPassed';
}

const idle = (): unknown => undefined;
const room = { work: idle };
const context = createContext(room);
const script = new Script('work()');

// On a machine that gives us little of its time, the clock runs out before the work has had what it may take.
const patience = 8;

/**
 * What `work`, which must be synchronous and leave nothing half done that matters, returns or throws. Throws
 * `TimeLimitPassed` after `ms` of its own. When the time went to others, it is begun anew with more of it. Costs a tenth
 * of a millisecond.
 */
export function withinTime<T>(ms: number, work: () => T): T {
  for (let wallMs = ms; ; wallMs *= 2) {
    const startedAt = cpuMs();
    try {
      return runFor(wallMs, work);
    } catch (error) {
      const hadItsTime = cpuMs() - startedAt >= ms / 2;
      if (!(error instanceof TimeLimitPassed) || hadItsTime || wallMs >= ms * patience) throw error;
    }
  }
}

function runFor<T>(ms: number, work: () => T): T {
  room.work = work;
  try {
    return script.runInContext(context, { timeout: ms }) as T;
  } catch (error) {
    if ((error as NodeJS.ErrnoException | null)?.code === 'ERR_SCRIPT_EXECUTION_TIMEOUT') throw new TimeLimitPassed();
    throw error;
  } finally {
    room.work = idle;
  }
}

/** What this thread has had of the processor; on Node.js 22 the whole process, which is never less. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage?.() ?? process.cpuUsage();
  return (user + system) / 1000;
}
