/**
 * Checks a whole log from what is stored, with the checks in the order of what they rest on: records by themselves, the
 * tree over them, the head, what was signed, and what is kept beside. It reads in pages and holds none of them for long.
 *
 * What a database cannot show by itself is that it was not replaced as a whole: for that, give keys and checkpoints
 * that were kept outside of it.
 */

import { commitment } from '../../core/erasable.ts';
import type { JsonObject } from '../../core/json.ts';
import type { NodeReader } from '../../core/merkle-proof.ts';
import { uuidv7, uuidv7Ms } from '../../core/uuidv7.ts';
import type { LogSnapshot, SnapshotErasable, SnapshotHead, SnapshotRecord } from '../../storage/log-snapshot.ts';
import { checkCheckpoints } from './checkpoints-check.ts';
import { CountersCheck } from './counters-check.ts';
import { type Fault, Findings } from './findings.ts';
import { IntentsCheck } from './intents-check.ts';
import { checkRecord, objectAt } from './record-check.ts';
import { TreeCheck } from './tree-check.ts';

export interface FsckOptions {
  readonly snapshot: LogSnapshot;
  /** Reads nodes of the stored tree. */
  readonly nodes: NodeReader;
  /** The keys to believe; without any, those that the database names are all there is. */
  readonly verifierKeys?: readonly string[];
  /** Checkpoints that were kept outside the database. */
  readonly outside?: readonly { readonly name: string; readonly note: string }[];
  readonly onProgress?: (records: number, of: number) => void;
}

export interface FsckReport {
  /** True when nothing is wrong. */
  readonly ok: boolean;
  readonly origin: string | null;
  readonly size: number;
  /** hex. */
  readonly root: string;
  /** The first record that is not pruned. */
  readonly firstSeq: number;
  readonly checked: {
    readonly records: number;
    readonly tiles: number;
    readonly checkpoints: number;
    readonly outsideCheckpoints: number;
    readonly counters: number;
    readonly erasable: number;
  };
  /** Calls of which the log does not say yet how they ended; no fault while a gateway is at work. */
  readonly openIntents: readonly string[];
  /** True when signatures were judged by keys from outside the database. */
  readonly hasOutsideKeys: boolean;
  readonly faultCount: number;
  /** The first of them. */
  readonly faults: readonly Fault[];
}

/** Reads all of it. Throws when the store cannot be read; what is wrong with the log is in the report. */
export async function fsck(options: FsckOptions): Promise<FsckReport> {
  const check = new LogCheck(options);
  return await check.run();
}

class LogCheck {
  readonly #options: FsckOptions;
  readonly #findings = new Findings();
  readonly #tree: TreeCheck;
  readonly #counters: CountersCheck;
  readonly #intents = new IntentsCheck(this.#findings);
  #records = 0;
  #erasable = 0;
  #nextSeq = 0;
  #lastId: string | undefined;

  constructor(options: FsckOptions) {
    const { snapshot } = options;
    this.#options = options;
    this.#tree = new TreeCheck(snapshot.tiles, this.#findings);
    this.#counters = new CountersCheck(snapshot.counters, this.#findings);
  }

  async run(): Promise<FsckReport> {
    const { snapshot } = this.#options;
    const heads = await snapshot.heads();
    const [head] = heads;
    this.#findings.expect(heads.length === 1, 'head', () => `There are ${heads.length} heads.`);
    const firstSeq = await this.#checkPartitions(head?.nextSeq ?? 0);
    await this.#startAt(firstSeq);
    await this.#checkRecords(head?.nextSeq ?? 0);
    await this.#tree.end(snapshot.tilesOutside);
    await this.#counters.end();
    if (head !== undefined) this.#checkHead(head);
    const checkpoints = await this.#checkSigned(head);
    const openIntents = await snapshot.openIntents();
    this.#intents.end(openIntents);
    await this.#checkWriters(head?.nextSeq ?? 0);
    return this.#report(head, firstSeq, checkpoints, openIntents);
  }

  /** The partitions must follow each other and be there, and only the oldest may be pruned. Where the first kept starts. */
  async #checkPartitions(nextSeq: number): Promise<number> {
    const findings = this.#findings;
    let end = 0;
    let keptFrom: number | undefined;
    for (const { firstSeq, endSeq, isPruned, isAttached } of await this.#options.snapshot.partitions()) {
      findings.expect(firstSeq === end, 'partitions', () => `There is no partition from record ${end} to ${firstSeq}.`);
      findings.expect(
        isPruned || isAttached,
        'partitions',
        () => `The partition of records ${firstSeq} to ${endSeq} is not a part of the log.`,
      );
      // What was marked a moment ago is still there, and is checked for the last time.
      if (isAttached || !isPruned) keptFrom ??= firstSeq;
      else if (keptFrom !== undefined || endSeq > nextSeq) {
        findings.fault('partitions', `Records ${firstSeq} to ${endSeq} are pruned though older ones are kept.`);
      }
      end = endSeq;
    }
    findings.expect(end >= nextSeq, 'partitions', () => `The partitions end at ${end}, before the last record.`);
    return keptFrom ?? end;
  }

  /** Of pruned records only tiles are left. */
  async #startAt(firstSeq: number): Promise<void> {
    try {
      await this.#tree.skipTo(firstSeq);
    } catch (error) {
      this.#findings.fault('tiles', (error as Error).message);
    }
    this.#nextSeq = firstSeq;
  }

  async #checkRecords(total: number): Promise<void> {
    for await (const page of this.#options.snapshot.records()) {
      const erasable = Map.groupBy(page.erasable, ({ eventId }) => eventId);
      this.#erasable += page.erasable.length;
      for (const row of page.records) {
        const waits = this.#checkRow(row, erasable.get(row.eventId));
        if (waits !== undefined) await waits;
        erasable.delete(row.eventId);
      }
      this.#expectNoErasable(erasable);
      this.#options.onProgress?.(this.#records, total);
    }
  }

  /** Resolves only when there is something to wait for. */
  #checkRow(row: SnapshotRecord, erasable: readonly SnapshotErasable[] | undefined): Promise<void> | undefined {
    const findings = this.#findings;
    const { seq, eventId } = row;
    if (seq !== this.#nextSeq) findings.fault('records', `Record ${seq} stands where record ${this.#nextSeq} belongs.`);
    this.#nextSeq = seq + 1;
    const lastId = this.#lastId;
    if (lastId === undefined) {
      if (seq > 0) this.#counters.startAt(uuidv7Ms(eventId));
    } else
      findings.expect(eventId > lastId, 'records', () => `The id of record ${seq} is not after the one before it.`);
    this.#lastId = eventId;
    this.#records++;
    const grown = this.#tree.add(row.leafHash);
    const record = checkRecord(row, findings);
    if (record === undefined) return grown;
    this.#intents.add(seq, eventId, objectAt(record, 'meta'));
    if (erasable !== undefined) this.#checkErasable(row, record, erasable);
    const counted = this.#counters.add(record, uuidv7Ms(eventId));
    return grown === undefined || counted === undefined ? (grown ?? counted) : grown.then(() => counted);
  }

  #expectNoErasable(left: ReadonlyMap<string, readonly SnapshotErasable[]>): void {
    for (const eventId of left.keys()) {
      this.#findings.fault('erasable', `An erasable value is kept of ${eventId}, which is no record of the log.`);
    }
  }

  #checkErasable(row: SnapshotRecord, record: JsonObject, values: readonly SnapshotErasable[]): void {
    const bound = { ...detailsOf(row), ...objectAt(record, 'meta') };
    for (const value of values) {
      const isBound = bound[value.key] === commitment(value);
      this.#findings.expect(isBound, 'erasable', () => `An erasable value of record ${row.seq} is not what it names.`);
    }
  }

  #checkHead(head: SnapshotHead): void {
    const findings = this.#findings;
    const { nextSeq, tree, root, lastMs, lastCounter } = head;
    findings.expect(
      nextSeq === this.#nextSeq && this.#tree.size === nextSeq,
      'head',
      () => `The head counts ${nextSeq} records; there are ${this.#tree.size}, up to ${this.#nextSeq}.`,
    );
    findings.expect(root.equals(this.#tree.root()), 'root', () => 'The root of the head is not that of the records.');
    findings.expect(tree.equals(this.#tree.range()), 'root', () => 'The compact range of the head is another one.');
    if (this.#lastId === undefined) return;
    const tick = uuidv7({ ms: lastMs, counter: lastCounter });
    findings.expect(
      tick.slice(0, tickChars) === this.#lastId.slice(0, tickChars),
      'head',
      () => 'The head stands at another time than the last record.',
    );
  }

  /** What was signed, in the database and outside. How many of the database. */
  async #checkSigned(head: SnapshotHead | undefined): Promise<number> {
    const { snapshot, nodes, verifierKeys, outside = [] } = this.#options;
    const stored = await snapshot.checkpoints();
    const named = stored.map(({ size, root, note }) => ({
      name: `The checkpoint of ${size} records`,
      note,
      row: { size, root },
    }));
    await checkCheckpoints(
      [...named, ...outside],
      {
        verifierKeys: verifierKeys ?? (await snapshot.signers()),
        origin: head?.origin ?? null,
        nodes,
        size: this.#tree.size,
      },
      this.#findings,
    );
    return stored.length;
  }

  async #checkWriters(nextSeq: number): Promise<void> {
    for (const { writerId, firstSeq, size } of await this.#options.snapshot.writers()) {
      const isWithin = firstSeq >= 0 && size >= 0 && firstSeq + size <= nextSeq;
      this.#findings.expect(isWithin, 'head', () => `The last batch of writer ${writerId} lies beyond the log.`);
    }
  }

  #report(
    head: SnapshotHead | undefined,
    firstSeq: number,
    checkpoints: number,
    openIntents: readonly string[],
  ): FsckReport {
    const { outside = [], verifierKeys } = this.#options;
    return {
      ok: this.#findings.total === 0,
      origin: head?.origin ?? null,
      size: this.#tree.size,
      root: this.#tree.root().toString('hex'),
      firstSeq,
      checked: {
        records: this.#records,
        tiles: this.#tree.tiles,
        checkpoints,
        outsideCheckpoints: outside.length,
        counters: this.#counters.compared,
        erasable: this.#erasable,
      },
      openIntents,
      hasOutsideKeys: verifierKeys !== undefined,
      faultCount: this.#findings.total,
      faults: this.#findings.faults,
    };
  }
}

function detailsOf({ details }: SnapshotRecord): JsonObject {
  try {
    return details === null ? {} : (JSON.parse(details) as JsonObject);
  } catch {
    // That they are not those of the record has been said already.
    return {};
  }
}

// Time and counter of a UUIDv7: `tttttttt-tttt-7ccc`.
const tickChars = 18;
