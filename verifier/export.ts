/**
 * Exports (`talos.export/v1`, JSON Lines, each line canonical JSON): a header with the checkpoint, then one record a
 * line. A range is proven as a whole: its records and the header's edges must give the root of the signed checkpoint, so
 * none can be missing, added, moved or changed. A selection proves each record by itself and says nothing of the rest.
 */
import { type Bytes, countOf, demand, hashesOf, isSame, Refusal, utf8 } from './bytes.ts';
import { type Checkpoint, lookAtCheckpoint } from './checkpoint.ts';
import { canonical, isObject, parseCanonical, parseObject } from './json.ts';
import { demandDetails } from './receipt.ts';
import { Checklist, type Report } from './report.ts';
import { isIncluded, leafHash, TreeBuilder } from './tree.ts';
import type { Trust } from './trust.ts';

export interface ExportReport extends Report {
  /** How many records were read. */
  readonly records: number;
  readonly checkpoint?: Checkpoint;
}

const linesAtOnce = 512;

/** Verifies an export from its lines, given without line ends. Reads up to the first line that cannot be right. */
export async function verifyExport(
  lines: AsyncIterable<string> | Iterable<string>,
  trust: Trust,
): Promise<ExportReport> {
  const list = new Checklist();
  const reader = new ExportReader(list, trust);
  await list.look('lines', async () => {
    for await (const line of lines) await reader.add(line);
    await reader.end();
    return `${reader.records} records`;
  });
  const { checkpoint, records } = reader;
  return { ok: list.ok, checks: list.checks, records, ...(checkpoint === undefined ? {} : { checkpoint }) };
}

interface Line {
  readonly index: number;
  readonly data: Bytes;
  readonly proof: readonly Bytes[];
}

interface Range {
  readonly end: number;
  /** The roots of the perfect subtrees between the end and the size of the tree. */
  readonly right: readonly Bytes[];
  /** All up to the last record that was read. */
  readonly tree: TreeBuilder;
}

class ExportReader {
  checkpoint: Checkpoint | undefined;
  records = 0;
  readonly #list: Checklist;
  readonly #trust: Trust;
  #range: Range | undefined;
  #lines = 0;
  #nextIndex = 0;
  #waiting: Line[] = [];

  constructor(list: Checklist, trust: Trust) {
    this.#list = list;
    this.#trust = trust;
  }

  async add(text: string): Promise<void> {
    this.#lines++;
    try {
      if (this.checkpoint === undefined) await this.#readHeader(text);
      else this.#waiting.push(await this.#readRecord(text, this.checkpoint.size));
    } catch (error) {
      throw error instanceof Refusal ? new Refusal(`Line ${this.#lines}: ${error.message}`) : error;
    }
    if (this.#waiting.length >= linesAtOnce) await this.#flush();
  }

  async end(): Promise<void> {
    await this.#flush();
    const { checkpoint } = this;
    demand(checkpoint !== undefined, 'The export is empty.');
    const range = this.#range;
    if (range === undefined) return;
    demand(this.#nextIndex === range.end, `It ends before record ${this.#nextIndex}, and should before ${range.end}.`);
    await range.tree.appendUpTo(checkpoint.size, range.right);
    await this.#list.look('root', async () => {
      demand(isSame(await range.tree.root(), checkpoint.root), 'The records do not give the signed root.');
      return 'the records give the signed root';
    });
  }

  async #readHeader(text: string): Promise<void> {
    const { format, checkpoint, range, ...more } = parseCanonical(text);
    demand(
      format === 'talos.export/v1' && Object.keys(more).length === 0,
      'It is not the header of a talos.export/v1.',
    );
    demand(typeof checkpoint === 'string', 'The header has no checkpoint.');
    this.checkpoint = await lookAtCheckpoint(this.#list, checkpoint, this.#trust);
    demand(this.checkpoint !== undefined, 'The checkpoint of the header cannot be read.');
    if (range === undefined) return;
    demand(isObject(range), 'The range is not an object.');
    this.#nextIndex = countOf(range['first'], 'first index of the range');
    const end = this.#nextIndex + countOf(range['count'], 'count of the range');
    const tree = new TreeBuilder();
    await tree.appendUpTo(this.#nextIndex, hashesOf(range['left']));
    this.#range = { end, tree, right: hashesOf(range['right']) };
  }

  async #readRecord(text: string, size: number): Promise<Line> {
    const { record, ...rest } = parseObject(text);
    const { leaf_index, details, proof, ...more } = rest;
    demand(isObject(record) && Object.keys(more).length === 0, 'It is not a line of a talos.export/v1.');
    const data = canonical(record);
    // Of all keys of a line, `record` comes last.
    demand(text === `${canonical(rest).slice(0, -1)},"record":${data}}`, 'The line is not canonical JSON (RFC 8785).');
    const index = countOf(leaf_index, 'leaf index');
    const isNext = this.#range === undefined ? index >= this.#nextIndex : index === this.#nextIndex;
    demand(isNext && index < size, `Record ${index} cannot stand here.`);
    if (details !== undefined) await demandDetails(record, canonical(details));
    this.#nextIndex = index + 1;
    return { index, data: utf8(data), proof: this.#range === undefined ? hashesOf(proof) : [] };
  }

  /** Hashes what waits, all at once, and adds it to the range or proves each record. */
  async #flush(): Promise<void> {
    const lines = this.#waiting;
    this.#waiting = [];
    const leaves = await Promise.all(lines.map(({ data }) => leafHash(data)));
    if (this.#range !== undefined) await this.#range.tree.append(leaves);
    else await Promise.all(lines.map((line, at) => this.#demandProof(line, leaves[at] as Bytes)));
    this.records += lines.length;
  }

  async #demandProof({ index, proof }: Line, leaf: Bytes): Promise<void> {
    const isProven = this.checkpoint !== undefined && (await isIncluded(leaf, index, this.checkpoint, proof));
    demand(isProven, `Record ${index} is not proven to be in the log.`);
  }
}
