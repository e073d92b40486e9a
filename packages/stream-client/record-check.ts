/**
 * Recomputes what an item says of its record: the strict record is fetched, written as canonical JSON (RFC 8785) and
 * hashed. It shows that item and record belong together; that the record is in the log a receipt shows.
 */

/** `unavailable`: the record could not be had, because it is gone by now or may not be read. */
export type Verification = 'intact' | 'altered' | 'unavailable';

type Json = null | boolean | number | string | Json[] | { readonly [key: string]: Json };
type JsonObject = { readonly [key: string]: Json };

const fetchesAtOnceMax = 8;
const attemptsMax = 3;
const retryMs = 500;

/** The hexadecimal SHA-256 of a strict record, its own `event_hash` left out. */
export async function hashOfRecord(record: JsonObject): Promise<string> {
  const { event_hash: _, ...hashed } = record;
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(canonical(hashed)));
  return Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function canonical(value: Json): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  const object = value as JsonObject;
  // Keys in the order of their UTF-16 units, which is what sort() compares.
  const members = Object.keys(object).sort();
  return `{${members.map((key) => `${JSON.stringify(key)}:${canonical(object[key] as Json)}`).join(',')}}`;
}

export interface CheckedItem {
  readonly event_id: string;
  readonly event_hash: string;
}

/** Asks the gateway that is connected just then, a few records at a time. */
export class RecordChecker {
  readonly #waiting: (() => void)[] = [];
  #fetches = 0;

  async check(item: CheckedItem, source: () => Promise<{ url: string; capability: string }>): Promise<Verification> {
    if (this.#fetches >= fetchesAtOnceMax) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    else this.#fetches++;
    try {
      const record = await fetchRecord(item.event_id, source);
      return record === undefined ? 'unavailable' : await judge(item, record);
    } finally {
      // Whoever waited longest takes over the place.
      const next = this.#waiting.shift();
      if (next === undefined) this.#fetches--;
      else next();
    }
  }
}

async function judge(item: CheckedItem, record: JsonObject): Promise<Verification> {
  const isSame = record['event_id'] === item.event_id && (await hashOfRecord(record)) === item.event_hash;
  return isSame ? 'intact' : 'altered';
}

async function fetchRecord(
  eventId: string,
  source: () => Promise<{ url: string; capability: string }>,
): Promise<JsonObject | undefined> {
  for (let attempt = 1; attempt <= attemptsMax; attempt++) {
    try {
      const { url, capability } = await source();
      const headers = capability === '' ? {} : { authorization: `Bearer ${capability}` };
      const response = await fetch(new URL(`/api/events/${encodeURIComponent(eventId)}`, url), { headers });
      if (response.ok) return ((await response.json()) as { record: JsonObject }).record;
      await response.body?.cancel();
      if (response.status !== 429 && response.status < 500) return undefined;
    } catch {
      // Another gateway, or another time.
    }
    if (attempt < attemptsMax) await new Promise((resolve) => setTimeout(resolve, retryMs * attempt));
  }
  return undefined;
}
