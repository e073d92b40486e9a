/**
 * Exports (`talos.export/v1`, JSON Lines, each line canonical JSON): a header with the checkpoint, then one record a
 * line. A range is proven as a whole: its records and the header's edges must give the root of the signed checkpoint, so
 * none can be missing, added, moved or changed. A selection proves each record by itself and says nothing of the rest.
 */
import { type Bytes, countOf, hashesOf, Malformed, utf8 } from './bytes.ts';
import { type Checkpoint, sentenceOf, verifyCheckpoint } from './checkpoint.ts';
import { canonical, type JsonObject, parseCanonicalObject } from './json.ts';
import { isDetailsOf, refuseUnknown } from './receipt.ts';
import { type Check, check, isAllOk, type Report } from './report.ts';
import { isIncluded, isSameHead, leafHash, TreeBuilder } from './tree.ts';
import type { Trust } from './trust.ts';

export interface ExportReport extends Report {
  /** How many records were read. */
  readonly records: number;
  readonly checkpoint?: Checkpoint;
}

interface Range {
  readonly first: number;
  readonly count: number;
  readonly right: readonly Bytes[];
  readonly tree: TreeBuilder;
}

interface Progress {
  readonly checkpoint: Checkpoint;
  readonly checks: readonly Check[];
  readonly range: Range | undefined;
  /** The index of the last record that was read, or one before the first that is expected. */
  lastIndex: number;
  records: number;
}

interface Line {
  readonly index: number;
  readonly data: Bytes;
  readonly proof: readonly Bytes[];
}

const linesAtOnce = 512;

/** Verifies an export from its lines, without line ends. Reads on until the first line that cannot be right. */
export async function verifyExport(
  lines: AsyncIterable<string> | Iterable<string>,
  trust: Trust,
): Promise<ExportReport> {
  let progress: Progress | undefined;
  let number = 0;
  let waiting: Line[] = [];
  try {
    for await (const text of lines) {
      number++;
      if (progress === undefined) progress = await readHeader(text, trust);
      else waiting.push(await readLine(text, progress));
      if (progress === undefined || waiting.length < linesAtOnce) continue;
      await take(waiting, progress);
      waiting = [];
    }
    if (progress === undefined) throw new Malformed('The export is empty.');
    await take(waiting, progress);
    const checks = [
      ...progress.checks,
      ...(progress.range === undefined ? [] : await rangeChecks(progress, progress.range)),
    ];
    return report([...checks, check('lines', true, `${progress.records} records`)], progress);
  } catch (error) {
    const fault = check('lines', false, `line ${number}: ${sentenceOf(error)}`);
    return report([...(progress?.checks ?? []), fault], progress);
  }
}

function report(checks: readonly Check[], progress: Progress | undefined): ExportReport {
  const checkpoint = progress === undefined ? {} : { checkpoint: progress.checkpoint };
  return { ok: isAllOk(checks), checks, records: progress?.records ?? 0, ...checkpoint };
}

async function readHeader(text: string, trust: Trust): Promise<Progress> {
  const json = parseCanonicalObject(text);
  if (json['format'] !== 'talos.export/v1') throw new Malformed('It is not the header of a talos.export/v1.');
  refuseUnknown(json, ['checkpoint', 'format', 'range']);
  const { checkpoint, checks } = await verifyCheckpoint(String(json['checkpoint']), trust);
  if (checkpoint === undefined) throw new Malformed(checks[0]?.detail ?? '');
  const range = json['range'] === undefined ? undefined : readRange(json['range'] as JsonObject, checkpoint);
  return { checkpoint, checks, range, lastIndex: (range?.first ?? 0) - 1, records: 0 };
}

function readRange(json: JsonObject, checkpoint: Checkpoint): Range {
  const first = countOf(json['first'], 'first index of the range');
  const count = countOf(json['count'], 'count of the range');
  if (first + count > checkpoint.size) throw new Malformed('The range goes beyond the checkpoint.');
  const tree = TreeBuilder.from(first, hashesOf(json['left']));
  return { first, count, right: hashesOf(json['right']), tree };
}

async function readLine(text: string, progress: Progress): Promise<Line> {
  const json = parseCanonicalObject(text);
  refuseUnknown(json, ['details', 'leaf_index', 'proof', 'record']);
  const index = countOf(json['leaf_index'], 'leaf index');
  const { record, details } = json;
  if (typeof record !== 'object' || record === null || Array.isArray(record))
    throw new Malformed('There is no record.');
  if (details !== undefined && !(await isDetailsOf(record, canonical(details)))) {
    throw new Malformed('The details are not those that the record names.');
  }
  const { range, lastIndex } = progress;
  if (index <= lastIndex || (range !== undefined && index !== lastIndex + 1)) {
    throw new Malformed(`Record ${index} cannot follow record ${lastIndex}.`);
  }
  if (index >= progress.checkpoint.size) throw new Malformed('The record lies beyond the checkpoint.');
  progress.lastIndex = index;
  const proof = range === undefined ? hashesOf(json['proof']) : [];
  return { index, data: utf8(canonical(record)), proof };
}

/** Hashes lines all at once, and adds them to the range or proves each. */
async function take(lines: readonly Line[], progress: Progress): Promise<void> {
  const { checkpoint, range } = progress;
  const leaves = await Promise.all(lines.map(({ data }) => leafHash(data)));
  if (range !== undefined) await range.tree.append(leaves);
  else await Promise.all(lines.map((line, at) => refuseUnproven(line, leaves[at] as Bytes, checkpoint)));
  progress.records += lines.length;
}

async function refuseUnproven({ index, proof }: Line, leaf: Bytes, { size, root }: Checkpoint): Promise<void> {
  if (await isIncluded(leaf, index, size, proof, root)) return;
  throw new Malformed(`Record ${index} is not proven to be in the log.`);
}

async function rangeChecks({ checkpoint }: Progress, { first, count, right, tree }: Range): Promise<Check[]> {
  const read = tree.size - first;
  if (read !== count) return [check('count', false, `${read} records are there, the header promises ${count}`)];
  await tree.appendRest(checkpoint.size, right);
  const isRight = isSameHead({ size: tree.size, root: await tree.root() }, checkpoint);
  const detail = `records ${first} to ${first + count - 1} and the edges ${isRight ? 'give' : 'do not give'} the signed root`;
  return [check('count', true, `${count} records`), check('root', isRight, detail)];
}
