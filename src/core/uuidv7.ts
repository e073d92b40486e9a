/**
 * UUIDv7 (RFC 9562 section 5.7) with a counter in `rand_a` (section 6.2, method 1): ids made from one chain of ticks
 * sort as they were made. 62 bits stay random, so an id cannot be guessed from its neighbours.
 */
import { randomFillSync } from 'node:crypto';

/** Where a chain of ids stands: the millisecond and the counter of the last id made. */
export interface IdTick {
  readonly ms: number;
  readonly counter: number;
}

const counterMax = 0xfff;

/**
 * The tick after `last`, no earlier than `nowMs`. When the clock stands or runs backwards the counter goes on; when it
 * overflows, the millisecond does, so that ids never freeze and never repeat.
 */
export function nextTick(last: IdTick, nowMs: number): IdTick {
  if (nowMs > last.ms) return { ms: nowMs, counter: 0 };
  if (last.counter < counterMax) return { ms: last.ms, counter: last.counter + 1 };
  return { ms: last.ms + 1, counter: 0 };
}

/** The id of a tick, in canonical lowercase form. */
export function uuidv7(tick: IdTick): string {
  const time = tick.ms.toString(16).padStart(12, '0');
  const counter = tick.counter.toString(16).padStart(3, '0');
  const random = random62();
  return `${time.slice(0, 8)}-${time.slice(8)}-7${counter}-${random.slice(0, 4)}-${random.slice(4)}`;
}

const pattern = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

/** True for a UUIDv7 in canonical form (lowercase). */
export function isUuidv7(text: string): boolean {
  return pattern.test(text);
}

const anyVersion = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** True for a UUID of whatever version in canonical form (lowercase). */
export function isUuid(text: string): boolean {
  return anyVersion.test(text);
}

/** The millisecond in which an id was made. */
export function uuidv7Ms(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
}

/** The smallest id of a millisecond; a bound for comparisons, never an id of its own. */
export function uuidv7Floor(ms: number): string {
  const time = Math.max(0, Math.min(ms, 0xffff_ffff_ffff)).toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-000000000000`;
}

const pool = Buffer.alloc(8 * 1024);
let poolPosition = pool.length;

// 64 random bits as hex, the first two of them replaced by the variant.
function random62(): string {
  if (poolPosition >= pool.length) {
    randomFillSync(pool);
    poolPosition = 0;
  }
  pool[poolPosition] = (pool.readUInt8(poolPosition) & 0x3f) | 0x80;
  const hex = pool.toString('hex', poolPosition, poolPosition + 8);
  poolPosition += 8;
  return hex;
}
