/** What a check of the log finds: every fault is counted, and the first ones are kept with a sentence each. */

/** The parts that are checked; each finding belongs to one. */
export const parts = [
  'head',
  'records',
  'keys',
  'details',
  'partitions',
  'tiles',
  'root',
  'checkpoints',
  'counters',
  'intents',
  'erasable',
] as const;

export type Part = (typeof parts)[number];

export interface Fault {
  readonly part: Part;
  /** One sentence, without values from records. */
  readonly sentence: string;
}

const keptMax = 200;

export class Findings {
  readonly faults: Fault[] = [];
  readonly #counts = new Map<Part, number>();

  /** Notes the fault unless the condition holds; says whether it holds. */
  expect(condition: boolean, part: Part, sentence: () => string): boolean {
    if (!condition) this.fault(part, sentence());
    return condition;
  }

  fault(part: Part, sentence: string): void {
    this.#counts.set(part, this.count(part) + 1);
    if (this.faults.length < keptMax) this.faults.push({ part, sentence });
  }

  count(part: Part): number {
    return this.#counts.get(part) ?? 0;
  }

  get total(): number {
    return [...this.#counts.values()].reduce((sum, count) => sum + count, 0);
  }
}
