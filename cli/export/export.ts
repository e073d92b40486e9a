/** The steps of an export: what to copy, up to which checkpoint, from where on, page by page until nothing is left. */
import { parseCheckpoint } from '../../src/core/checkpoint.ts';
import { parseNote } from '../../src/core/note.ts';
import { UsageError } from '../usage-error.ts';
import { type ExportFrame, type Format, type FormatName, formatOf } from './formats.ts';
import { continuedFile, type ExportOutput, type Milestone, newFile, readMilestone, standardOutput } from './output.ts';
import { type ExportedRecord, ExportFailed, type ExportSource } from './source.ts';

export interface ExportRequest {
  readonly format: FormatName;
  /** Filters as the gateway takes them, times aside. */
  readonly filter: Readonly<Record<string, string>>;
  /** Inclusive and exclusive sequence numbers. */
  readonly fromSeq?: number;
  readonly toSeq?: number;
  /** Inclusive and exclusive moments, in whole Unix seconds. */
  readonly fromSec?: number;
  readonly toSec?: number;
  /** A new file, or standard output. */
  readonly output?: string;
  readonly resume: boolean;
  readonly onProgress?: (done: number, of: number) => void;
}

export interface ExportResult {
  readonly records: number;
  readonly size: number;
}

/** Throws `UsageError` for what the caller can put right, `ExportFailed` when the gateway stops answering. */
export async function runExport(source: ExportSource, request: ExportRequest): Promise<ExportResult> {
  const asked = questionOf(request);
  const begun = request.resume && request.output !== undefined ? await readMilestone(request.output) : undefined;
  if (begun !== undefined && begun.asked !== asked) {
    throw new UsageError('That file is of another export: continue it with the options that it was begun with.');
  }
  const frame = begun?.frame ?? (await frameOf(source, request));
  const format = formatOf(request.format, frame, source.nodes(frame.size));
  const output = await outputOf(request, begun);
  try {
    if (begun === undefined) await output.write(await format.header());
    const from = begun ?? { asked, frame, nextSeq: frame.firstSeq, records: 0 };
    const records = await copy({ source, request, format, output }, from);
    await output.finish();
    return { records, size: frame.size };
  } finally {
    await output.close();
  }
}

function questionOf({ format, filter, fromSeq, toSeq, fromSec, toSec }: ExportRequest): string {
  return JSON.stringify({ format, filter, fromSeq, toSeq, fromSec, toSec });
}

async function outputOf({ output }: ExportRequest, begun: Milestone | undefined): Promise<ExportOutput> {
  if (output === undefined) return standardOutput();
  return begun === undefined ? await newFile(output) : await continuedFile(output, begun);
}

/** What the export covers: sequence numbers, all of them under the newest checkpoint. */
async function frameOf(source: ExportSource, request: ExportRequest): Promise<ExportFrame> {
  const { size, note } = await source.checkpoint();
  const { origin } = parseCheckpoint(parseNote(note).text);
  const firstOf = async (sec: number) => await firstSeqOf(source, size, new URLSearchParams({ from: String(sec) }));
  const first = request.fromSec === undefined ? (request.fromSeq ?? 0) : await firstOf(request.fromSec);
  const end = request.toSec === undefined ? (request.toSeq ?? size) : await firstOf(request.toSec);
  const isOpenStart = request.fromSeq === undefined && request.fromSec === undefined;
  // What was pruned is not there to be exported.
  const firstKept = isOpenStart ? await firstSeqOf(source, size, new URLSearchParams()) : first;
  const endSeq = Math.min(end, size);
  return { origin, checkpoint: note, size, firstSeq: Math.min(firstKept, endSeq), endSeq };
}

/** The first record that matches, or the size of the log when there is none. */
async function firstSeqOf(source: ExportSource, size: number, query: URLSearchParams): Promise<number> {
  const [record] = await source.page(0, size, query, 1);
  return record?.leafIndex ?? size;
}

interface Copying {
  readonly source: ExportSource;
  readonly request: ExportRequest;
  readonly format: Format;
  readonly output: ExportOutput;
}

async function copy({ source, request, format, output }: Copying, from: Omit<Milestone, 'bytes'>): Promise<number> {
  const { frame, asked } = from;
  const query = new URLSearchParams(request.filter);
  const isRange = request.format === 'range';
  let { nextSeq, records } = from;
  while (nextSeq < frame.endSeq) {
    const page = await source.page(nextSeq, frame.endSeq, query);
    const last = page.at(-1);
    if (last === undefined) break;
    if (isRange) demandWhole(page, nextSeq);
    const lines = await Promise.all(page.map(format.line));
    await output.write(lines.join(''));
    records += page.length;
    nextSeq = last.leafIndex + 1;
    await output.keep({ asked, frame, nextSeq, records });
    request.onProgress?.(nextSeq - frame.firstSeq, frame.endSeq - frame.firstSeq);
  }
  if (isRange && nextSeq < frame.endSeq) throw missing(nextSeq);
  return records;
}

/** A range proves that nothing is missing, so nothing may be. */
function demandWhole(page: readonly ExportedRecord[], firstSeq: number): void {
  const at = page.findIndex(({ leafIndex }, index) => leafIndex !== firstSeq + index);
  if (at >= 0) throw missing(firstSeq + at);
}

function missing(seq: number): ExportFailed {
  return new ExportFailed(
    `The gateway does not show record ${seq}: it was pruned, or the capability sees one team only. --selection exports what it shows.`,
  );
}
