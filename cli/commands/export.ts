/** `talos export`: copies records of a running gateway into a file that can be verified, read or shipped elsewhere. */
import type { Command } from 'commander';
import { readEnvironment } from '../../src/config/env.ts';
import { describeError } from '../../src/core/errors.ts';
import { type ExportRequest, runExport } from '../export/export.ts';
import type { FormatName } from '../export/formats.ts';
import { ExportFailed, gatewaySource } from '../export/source.ts';
import { type FilterOptions, filterOf, filterOptions } from '../filter-options.ts';
import { gatewayUrlDefault } from '../gateway-url.ts';
import { startProgress } from '../progress.ts';
import { reportingUsage, UsageError } from '../usage-error.ts';

interface Options extends FilterOptions {
  readonly url: string;
  readonly token?: string;
  readonly output?: string;
  readonly resume?: true;
  readonly format: string;
  readonly view?: string;
  readonly proofs?: true;
  readonly selection?: true;
  readonly fromSeq?: string;
  readonly toSeq?: string;
  readonly from?: string;
  readonly to?: string;
}

const exitCodeFailed = 1;

export function exportCommand(program: Command): void {
  const command = program
    .command('export')
    .description('Copy records of a running gateway. A JSON Lines export carries its proof: `talos verify export`.')
    .option('--url <url>', 'where the gateway listens', gatewayUrlDefault)
    .option('--token <capability>', 'a capability for tool:gateway/method:events.read (default: $TALOS_TOKEN)')
    .option('--output <file>', 'a new file; without it, standard output')
    .option('--resume', 'go on where an interrupted export into the same file stopped')
    .option('--format <format>', 'jsonl or csv', 'jsonl')
    .option('--proofs', 'each line a receipt of its own (talos.receipt/v1)')
    .option('--view <view>', 'lines as other tools read them: ocsf (API Activity 6003) or cadf')
    .option('--selection', 'prove each record by itself, not the range as a whole')
    .option('--from-seq <n>', 'the first record, by its index in the log')
    .option('--to-seq <n>', 'the record before which it ends')
    .option('--from <time>', 'the first second, such as 2026-01-31 or 2026-01-31T08:00:00Z')
    .option('--to <time>', 'the second before which it ends');
  filterOptions(command).action(reportingUsage(command, runCommand));
}

async function runCommand(options: Options): Promise<void> {
  const request = requestOf(options);
  const source = gatewaySource(options.url, options.token ?? readEnvironment()['TALOS_TOKEN']);
  const progress = startProgress('records');
  try {
    const { records, size } = await runExport(source, { ...request, onProgress: progress.show });
    progress.end();
    console.error(`${records} records, under a checkpoint of ${size}.`);
  } catch (error) {
    progress.end();
    if (!(error instanceof ExportFailed)) throw error;
    const isResumable = options.output !== undefined;
    console.error(`error: ${describeError(error)}${isResumable ? ' --resume goes on where it stopped.' : ''}`);
    process.exitCode = exitCodeFailed;
  }
}

function requestOf(options: Options): ExportRequest {
  const { output, resume } = options;
  if (resume === true && output === undefined) throw new UsageError('--resume needs --output.');
  if ((options.fromSeq ?? options.toSeq) !== undefined && (options.from ?? options.to) !== undefined) {
    throw new UsageError('Give either --from-seq and --to-seq, or --from and --to.');
  }
  const filter = filterOf(options);
  const [fromSeq, toSeq] = [seqOf('--from-seq', options.fromSeq), seqOf('--to-seq', options.toSeq)];
  const [fromSec, toSec] = [secondOf('--from', options.from), secondOf('--to', options.to)];
  return {
    format: formatName(options, Object.keys(filter).length > 0),
    filter,
    resume: resume === true,
    ...(output === undefined ? {} : { output }),
    ...(fromSeq === undefined ? {} : { fromSeq }),
    ...(toSeq === undefined ? {} : { toSeq }),
    ...(fromSec === undefined ? {} : { fromSec }),
    ...(toSec === undefined ? {} : { toSec }),
  };
}

/** What is filtered cannot be proven to be whole, so then each record is proven by itself. */
function formatName({ format, view, proofs, selection }: Options, isFiltered: boolean): FormatName {
  const chosen = [format === 'csv', view !== undefined, proofs === true, selection === true].filter(Boolean);
  if (chosen.length > 1) throw new UsageError('Give one of --format csv, --view, --proofs and --selection.');
  if (format !== 'jsonl' && format !== 'csv') throw new UsageError('--format is jsonl or csv.');
  if (format === 'csv') return 'csv';
  if (view === 'ocsf' || view === 'cadf') return view;
  if (view !== undefined) throw new UsageError('--view is ocsf or cadf.');
  if (proofs === true) return 'receipts';
  return isFiltered || selection === true ? 'selection' : 'range';
}

function seqOf(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new UsageError(`${option} is not the index of a record.`);
}

const timePattern = /^\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:Z|[+-]\d\d:\d\d))?$/;

/** Whole seconds, which is what the gateway filters by. */
export function secondOf(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const ms = timePattern.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms)) throw new UsageError(`${option} is not a time; write 2026-01-31 or 2026-01-31T08:00:00Z.`);
  return ms / 1000;
}
