/** A line on stderr that says how far a long command is; only where somebody looks at it. */
import { systemClock } from '../src/core/clock.ts';

export interface Progress {
  /** `of` is 0 where the end is not known. */
  readonly show: (done: number, of: number) => void;
  /** Wipes the line. */
  readonly end: () => void;
}

const intervalMs = 100;
const barChars = 24;

export function startProgress(noun: string, stream: NodeJS.WriteStream = process.stderr): Progress {
  if (!stream.isTTY) return { show: () => undefined, end: () => undefined };
  const startedAtMs = systemClock.monotonic();
  let shownAtMs = Number.NEGATIVE_INFINITY;
  return {
    show(done, of) {
      const nowMs = systemClock.monotonic();
      if (nowMs - shownAtMs < intervalMs) return;
      shownAtMs = nowMs;
      const rate = Math.round((done * 1000) / Math.max(nowMs - startedAtMs, 1));
      stream.write(`\r\u001b[K${bar(done, of)}${done} ${noun}, ${rate}/s`);
    },
    end: () => void stream.write('\r\u001b[K'),
  };
}

function bar(done: number, of: number): string {
  if (of <= 0) return '';
  const share = Math.min(done / of, 1);
  const full = Math.round(share * barChars);
  return `[${'#'.repeat(full)}${'.'.repeat(barChars - full)}] ${Math.floor(share * 100)} % `;
}
