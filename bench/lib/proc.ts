/** CPU time and memory of processes, as Linux tells them in `/proc`. Elsewhere there are no such figures. */
import { readdirSync, readFileSync } from 'node:fs';

// USER_HZ, which is 100 on every platform that Node.js runs on.
const ticksPerSecond = 100;

interface Stat {
  readonly parent: number;
  readonly name: string;
  readonly ownTicks: number;
  /** Of children that have ended and were waited for. */
  readonly childTicks: number;
}

function statOf(pid: number): Stat | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name is in parentheses and may hold blanks; the fields after it are numbered from 3 in proc(5).
    const end = text.lastIndexOf(')');
    const field = text
      .slice(end + 2)
      .split(' ')
      .map(Number);
    const at = (number: number) => field[number - 3] ?? 0;
    return {
      parent: at(4),
      name: text.slice(text.indexOf('(') + 1, end),
      ownTicks: at(14) + at(15),
      childTicks: at(16) + at(17),
    };
  } catch {
    // It has ended, or this is not Linux.
    return undefined;
  }
}

/** CPU microseconds that a process has used so far, all its threads together. */
export function cpuMicros(pid: number): number {
  return micros(statOf(pid)?.ownTicks ?? 0);
}

/** The same for a process with all its children, those that have ended included. */
export function familyCpuMicros(pid: number): number {
  const own = statOf(pid);
  if (own === undefined) return 0;
  const living = childrenOf(pid).reduce((sum, child) => sum + (statOf(child)?.ownTicks ?? 0), 0);
  return micros(own.ownTicks + own.childTicks + living);
}

/** The same for the children of a process that have ended. */
export function endedChildrenCpuMicros(pid: number): number {
  return micros(statOf(pid)?.childTicks ?? 0);
}

function micros(ticks: number): number {
  return (ticks / ticksPerSecond) * 1e6;
}

export function childrenOf(pid: number): number[] {
  try {
    const all = readdirSync('/proc').map(Number).filter(Number.isInteger);
    return all.filter((candidate) => statOf(candidate)?.parent === pid);
  } catch {
    return [];
  }
}

/** The parent of a process that has the given name, such as the postmaster of a server process. */
export function parentNamed(pid: number, name: string): number | undefined {
  const own = statOf(pid);
  return own?.name === name ? own.parent : undefined;
}

/** Resident memory now, and its highest value so far, in MB (10^6 bytes). */
export function residentMb(pid: number): { readonly now: number; readonly peak: number } {
  const text = readFileSync(`/proc/${pid}/status`, 'latin1');
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? Number.NaN);
  return { now: (kib('VmRSS') * 1024) / 1e6, peak: (kib('VmHWM') * 1024) / 1e6 };
}

/** Memory of a process and its children in MB, pages that they share counted once. */
export function familyMemoryMb(pid: number): number {
  return [pid, ...childrenOf(pid)].reduce((sum, member) => sum + proportionalMb(member), 0);
}

function proportionalMb(pid: number): number {
  try {
    const text = readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
    return (Number(/^Pss:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024) / 1e6;
  } catch {
    return 0;
  }
}
