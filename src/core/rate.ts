/** Rates as people write them: `100/hour`, `20/second burst 40`. */
import type { Rate } from './gcra.ts';

const unitMs: Readonly<Record<string, number>> = {
  second: 1_000,
  minute: 60_000,
  hour: 3_600_000,
  day: 86_400_000,
};

const ratePattern = /^([1-9][0-9]{0,6})\/(second|minute|hour|day)(?: burst ([1-9][0-9]{0,6}))?$/;

// Times a day in milliseconds this stays exact.
const countMax = 1_000_000;

/** The rate, or undefined when the text is none. Without a burst all of a period's events may come at once. */
export function parseRate(text: string): Rate | undefined {
  const [, count, unit, burst = count] = ratePattern.exec(text) ?? [];
  const periodMs = unitMs[unit ?? ''];
  if (periodMs === undefined || Number(count) > countMax || Number(burst) > countMax) return undefined;
  return { count: Number(count), periodMs, burst: Number(burst) };
}

/** The same rate as text. */
export function formatRate({ count, periodMs, burst }: Rate): string {
  const unit = Object.entries(unitMs).find(([, ms]) => ms === periodMs)?.[0] ?? `${periodMs} ms`;
  return `${count}/${unit} burst ${burst}`;
}
