/** Times as RFC 3339 writes them, to the second. */

const pattern = /^(\d{4}-\d{2}-\d{2})T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})$/;

/** Unix seconds, a fraction cut off; undefined when `text` is no such time, or names a day that no calendar has. */
export function parseRfc3339(text: string): number | undefined {
  const day = pattern.exec(text)?.[1];
  if (day === undefined || !isDay(day)) return undefined;
  const ms = Date.parse(text);
  return Number.isNaN(ms) ? undefined : Math.floor(ms / 1000);
}

// The parser of the language takes the 30th of February for the 1st of March.
function isDay(day: string): boolean {
  const date = new Date(`${day}T00:00:00Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().startsWith(day);
}
