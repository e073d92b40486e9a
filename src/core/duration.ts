/** Durations as people write them: `90s`, `15m`, `1h`, `7d`, `2w`. */

const unitSec: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3_600, d: 86_400, w: 604_800 };
const durationPattern = /^([1-9][0-9]{0,8})([smhdw])$/;

/** Seconds, or undefined when `text` is not a whole positive number followed by one unit of s, m, h, d, w. */
export function parseDuration(text: string): number | undefined {
  const [, count, unit] = durationPattern.exec(text) ?? [];
  const factor = unitSec[unit ?? ''];
  return count === undefined || factor === undefined ? undefined : Number(count) * factor;
}

/** The duration in its largest whole unit: 5,400 seconds is `90m`. */
export function formatDuration(seconds: number): string {
  const fitting = Object.entries(unitSec).findLast(([, factor]) => seconds % factor === 0) ?? ['s', 1];
  return `${seconds / fitting[1]}${fitting[0]}`;
}
