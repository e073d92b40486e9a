/**
 * The limits of one process, in memory. Each kind has a table of its own, so that strangers, who can have any number of
 * addresses, take no room from callers that are known. When a table is full, newcomers of what the configuration limits
 * share a few buckets; a capability whose count cannot be kept is refused.
 */
import { hash } from 'node:crypto';
import { debtAfter, debtAt, hasRoom, readingOf } from '../core/gcra.ts';
import { bucketOf, type Charge, type LimitKind, type Verdict } from '../core/limit.ts';
import { BucketTable } from './bucket-table.ts';

export interface MemoryLimiterOptions {
  /** Buckets of one kind. */
  readonly bucketsMax: number;
  /** How many buckets the newcomers share when there are that many. */
  readonly crowdedMax: number;
  /** Milliseconds that never run backwards. */
  readonly nowMs: () => number;
}

/** A charge with the bucket that it goes to; undefined when no bucket can take it. */
interface Placed {
  readonly charge: Charge;
  readonly bucket: string | undefined;
}

export class MemoryLimiter {
  readonly #options: MemoryLimiterOptions;
  readonly #tables = new Map<LimitKind, BucketTable>();

  constructor(options: MemoryLimiterOptions) {
    this.#options = options;
  }

  /** How many buckets there are, of all kinds. */
  get size(): number {
    return [...this.#tables.values()].reduce((sum, table) => sum + table.size, 0);
  }

  /** Counts against all limits, or none. */
  take(charges: readonly Charge[]): Verdict {
    const nowMs = Math.floor(this.#options.nowMs());
    // Two charges may share a bucket.
    const debts = new Map<string, number>();
    const placed = charges.map((charge) => ({ charge, bucket: this.#place(charge, nowMs) }));
    const readings = placed.map((one) => this.#weigh(one, debts, nowMs));
    const admitted = readings.every((reading) => reading.admitted);
    if (admitted) for (const one of placed) this.#pour(one, debts, nowMs);
    return { admitted, readings };
  }

  #tableOf(kind: LimitKind): BucketTable {
    const known = this.#tables.get(kind);
    if (known !== undefined) return known;
    const table = new BucketTable(this.#options.bucketsMax);
    this.#tables.set(kind, table);
    return table;
  }

  #place(charge: Charge, nowMs: number): string | undefined {
    const bucket = bucketOf(charge);
    if (this.#tableOf(charge.kind).accepts(bucket, nowMs)) return bucket;
    // Holders can make up rates, each of which would be a bucket more.
    if (charge.kind === 'capability') return undefined;
    const slot = hash('sha256', charge.who, 'buffer').readUInt32BE() % this.#options.crowdedMax;
    return bucketOf({ ...charge, who: `crowd ${slot}` });
  }

  /** Whether the bucket has room, and what it tells then; `debts` keeps what it would hold. */
  #weigh({ charge: { kind, rate }, bucket }: Placed, debts: Map<string, number>, nowMs: number) {
    if (bucket === undefined) return readingOf(rate, rate.burst * rate.periodMs, false);
    const debt = debts.get(bucket) ?? debtAt(rate, this.#tableOf(kind).levelOf(bucket), nowMs);
    const fits = hasRoom(rate, debt);
    if (fits) debts.set(bucket, debtAfter(rate, debt));
    return readingOf(rate, fits ? debtAfter(rate, debt) : debt, fits);
  }

  #pour({ charge: { kind, rate }, bucket = '' }: Placed, debts: ReadonlyMap<string, number>, nowMs: number): void {
    const debt = debts.get(bucket) ?? 0;
    this.#tableOf(kind).set(bucket, { debt, atMs: nowMs }, nowMs + Math.ceil(debt / rate.count));
  }
}
